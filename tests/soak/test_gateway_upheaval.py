"""A thousand swaps of models and a hundred restarts of gateways, under load."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from gateway import upheaval  # noqa: E402 (found through the path above)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(("happen", "times"), [(upheaval.swap, 1000), (upheaval.restart, 100)])
def test_no_call_through_our_sdk_fails(happen, times):
    ours, theirs = happen(times)
    print(ours.line("our SDK"), theirs.line("Triton's client"), sep="\n")
    assert (ours.failed, ours.wrong) == ({}, 0)
