"""Models are swapped and gateways restarted under load: no call through our SDK notices."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from gateway import upheaval  # noqa: E402 (found through the path above)

pytestmark = pytest.mark.full
SWAPS, RESTARTS = 60, 8


def test_models_are_swapped_under_load_and_no_call_fails_of_any_client():
    ours, theirs = upheaval.swap(SWAPS)
    assert (ours.failed, ours.wrong) == ({}, 0)
    assert theirs.failed == {}
    assert len(ours.versions) > SWAPS / 2


def test_of_two_gateways_one_is_restarted_or_killed_again_and_again_and_no_call_fails():
    ours, theirs = upheaval.restart(RESTARTS)
    assert (ours.failed, ours.wrong) == ({}, 0)
    assert ours.calls > 100 * RESTARTS
    assert theirs.calls > 0
