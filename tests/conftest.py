"""What every tier of tests shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

IN_CI = os.environ.get("CI") == "true"
NO_DATA = (
    "WHEREVER_TEST_DATA is not set: this test needs the labelled images and models "
    "of the project's test data"
)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The directory of real models and labelled data; CI has it, others may not."""
    given = os.environ.get("WHEREVER_TEST_DATA", "")
    if given and Path(given).is_dir():
        return Path(given)
    if IN_CI:
        pytest.fail(f"in CI this may not be skipped; {NO_DATA}")
    pytest.skip(NO_DATA)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a state directory of its own, and none of the caller's settings."""
    for name in list(os.environ):
        if name.startswith("WHEREVER_") and name not in ("WHEREVER_TEST_DATA", "WHEREVER_TRAIN_PYTHON"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("WHEREVER_HOME", str(home))
    return home


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Skips hide gaps: in CI one is a failure (see `pytest_sessionfinish`), elsewhere it is said."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests did not run here; the reasons are above")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and exitstatus == 0 and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = 1
