"""What the full tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tools_cache(shared_environments: Path) -> Path:
    """Where environments of heavy tools go: made once for all tests, from nothing.

    WHEREVER_TEST_TOOLS names a directory that is kept from run to run.
    """
    given = os.environ.get("WHEREVER_TEST_TOOLS", "")
    return Path(given) if given else shared_environments


@pytest.fixture(autouse=True)
def shared_tools(tools_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHEREVER_ENVIRONMENTS", str(tools_cache))
