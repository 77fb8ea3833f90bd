"""Shifts of real inputs are found within 500 calls; without one there is hardly ever an alarm."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from escalation import shift_pools, shifts, truths  # noqa: E402 (found through the path above)

pytestmark = pytest.mark.full

ALLOWED = 0.01
FOUND = 0.95


@pytest.fixture(scope="module")
def case_of(test_data):
    return functools.cache(lambda name: shift_pools.CASES[name](test_data))


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("digits", "blur: 0.7 pixels"),
        ("digits", "blur: 1 pixels"),
        ("digits", "noise: 0.38"),
        ("digits", "mix: five of ten classes"),
        ("digits", "mix: one class half of all"),
        ("cifar10", "blur: 1 pixels"),
        ("cifar10", "noise: 0.04"),
        ("cifar10", "noise: 0.08"),
        ("cifar10", "noise: 0.1"),
        ("cifar10", "mix: five of ten classes"),
        ("cifar10", "mix: one class half of all"),
        ("text", "mix: negative only"),
    ],
)
def test_a_shift_is_found_within_500_calls_and_said_with_figures(case_of, case, kind):
    row = shifts.found(case_of(case), kind)
    print(row)
    assert row.share >= FOUND
    assert row.median <= row.most <= shifts.CALLS
    assert "%" in row.why


def test_a_late_shift_is_found_within_500_calls(case_of):
    for kind in ("blur: 1 pixels", "mix: five of ten classes"):
        assert shifts.found(case_of("digits"), kind, streams=60, late=True).share >= FOUND


@pytest.mark.parametrize("case", ["digits", "cifar10", "text"])
def test_calls_like_the_calibration_set_off_an_alarm_in_one_of_a_hundred_streams_at_most(
    case_of, case
):
    exchangeable = [row for row in shifts.false(case_of(case), long_streams=4) if row.exchangeable]
    print(*exchangeable, sep="\n")
    assert len(exchangeable) == 3
    for row in exchangeable:
        assert row.rate <= ALLOWED


def test_a_reference_that_is_no_help_is_found_and_one_that_is_hardly_ever():
    trials = 100
    for situation in ("noise", "specialist"):
        assert getattr(truths.examined(situation, 10_000, trials), situation) >= FOUND
        assert getattr(truths.watched(situation, 10_000, 10), situation) >= FOUND
    useful = truths.examined("useful", 2_000, trials)
    assert max(useful.noise, useful.specialist) <= ALLOWED
