"""The whole bench for decisions in virtual time: every recorded link, every bar."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from routing import run  # noqa: E402 (found through the path above)

pytestmark = pytest.mark.full


@pytest.mark.timeout(600)
def test_the_router_keeps_every_bar_on_every_recorded_link(test_data, monkeypatch):
    monkeypatch.setenv("WHEREVER_TEST_DATA", str(test_data))
    rows = run.rows()
    print(*rows, sep="\n")
    assert [row.what for row in rows if not row.met] == []
