"""What the full tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tools_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where environments of heavy tools go: made once for all tests, from nothing.

    WHEREVER_TEST_TOOLS names a directory that is kept from run to run.
    """
    given = os.environ.get("WHEREVER_TEST_TOOLS", "")
    return Path(given) if given else tmp_path_factory.mktemp("tools")


@pytest.fixture(autouse=True)
def shared_tools(tools_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHEREVER_CACHE", str(tools_cache))
