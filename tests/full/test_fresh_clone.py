"""What a newcomer does: clone, two commands, and the README's own steps."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.full, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("fresh") / "wherever"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(target)], check=True)
    return target


def in_clean_environment(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Nothing of this environment but what any machine has, and where pip finds packages."""
    kept = ("PATH", "LANG", "SSL_CERT_FILE")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment["HOME"] = str(directory.parent / "home")
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def test_make_demo_sets_up_everything_and_runs(clone):
    done = in_clean_environment(["make", "demo"], clone)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "only_on_device" in done.stdout
    assert "left out" not in done.stdout, "what conversion needs is installed as well"


def test_make_test_sets_up_everything_and_passes(clone):
    """The whole suite runs beside this one; here it is enough that it starts from nothing."""
    done = in_clean_environment(
        ["make", "test", "ARGS=tests/unit/sdk tests/integration/test_host.py"], clone
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout


def test_nothing_that_the_commands_made_is_seen_by_git(clone):
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""
