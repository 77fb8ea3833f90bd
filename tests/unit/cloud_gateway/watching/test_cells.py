"""Counts in a bounded number of cells, whatever names come."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_gateway.watching.cells import BOUNDS_S, OTHER, Cell, Cells, Key, Limits, Spread, Tally

LIMITS = Limits(models=3, versions=2, tenants=4, cells=10)
NAMES = st.sampled_from([f"n{i}" for i in range(30)])


def some(model: str) -> bool:
    return model in ("here", "there")


def test_a_histogram_has_each_value_in_the_first_bucket_that_holds_it():
    spread = Spread()
    for seconds in (0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, 1e3):
        spread.add(seconds)
    assert (spread.counts[0], spread.counts[1], spread.counts[-1]) == (2, 1, 1)
    assert spread.sum_s >= 1e3


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, -1.0])
def test_what_no_clock_says_spoils_no_sum(seconds):
    spread, tally = Spread(), Tally()
    spread.add(seconds)
    tally.add(seconds)
    assert (sum(spread.counts), spread.sum_s, tally.count, tally.sum_s) == (1, 0.0, 1, 0.0)


def test_numbers_of_calls_in_a_run_take_bounded_room():
    cell = Cell()
    for rows in range(1, 10_000):
        cell.ran(rows, 0.001)
    assert len(cell.runs) <= 256
    assert sum(tally.count for tally in cell.runs.values()) == 9_999


def test_calls_are_counted_by_model_version_and_tenant():
    cells = Cells(some)
    cells.cell("here", "1", "ann").total.add(1.0)
    cells.cell("here", "1", "ann").total.add(1.0)
    cells.cell("here", "2", "bob").total.add(1.0)
    assert {tuple(key): sum(cell.total.counts) for key, cell in cells.answered.items()} == {
        ("here", "1", "ann"): 2,
        ("here", "2", "bob"): 1,
    }


def test_a_copy_does_not_change_any_more():
    cell, tally = Cell(), Tally()
    cell.ran(4, 0.1)
    before, failed = cell.copy(), tally.copy()
    cell.total.add(1.0)
    cell.ran(4, 0.1)
    tally.add(1.0)
    assert sum(before.total.counts) == failed.count == 0
    assert before.runs[4].count == 1


def test_made_up_models_and_versions_have_no_cells_of_their_own():
    cells = Cells(some, LIMITS)
    for number in range(1000):
        cells.failure(f"made-up-{number}", f"{number}", "ann", "model_not_found").add(0.1)
        cells.failure("here", f"{number}", "ann", "model_not_found").add(0.1)
    assert {key[:2]: tally.count for key, tally in cells.failed.items()} == {
        (OTHER, ""): 1000,
        ("here", ""): 1000,
    }


def test_a_failure_counts_for_the_version_that_it_asked_for_else_the_newest():
    cells = Cells(some)
    cells.cell("here", "1", "ann")
    cells.cell("here", "2", "ann")
    for version in ("1", "", "made-up"):
        cells.failure("here", version, "ann", "engine").add(0.1)
    assert {key.version: tally.count for key, tally in cells.failed.items()} == {"1": 1, "2": 2}


def test_numbers_of_old_versions_are_dropped_when_new_ones_come():
    cells = Cells(some, LIMITS)
    for version in range(100):
        cells.cell("here", f"{version}", "ann")
        cells.failure("here", f"{version}", "ann", "engine")
    assert {key.version for key in cells.answered} == {"98", "99"}
    assert {key.version for key in cells.failed} == {"98", "99"}


def test_tenants_beyond_the_limit_are_counted_together():
    cells = Cells(some, LIMITS._replace(cells=1000))
    for number in range(1000):
        cells.cell("here", "1", f"t{number}").total.add(0.1)
    assert {key.tenant for key in cells.answered} == {"t0", "t1", "t2", "t3", OTHER}
    assert sum(sum(cell.total.counts) for cell in cells.answered.values()) == 1000


def test_combinations_beyond_the_limit_are_counted_together():
    cells = Cells(lambda _: True, Limits(models=9, versions=9, tenants=9, cells=4))
    for model in "abc":
        for tenant in ("ann", "bob"):
            for _ in range(2):
                cells.cell(model, "1", tenant).total.add(0.1)
                cells.failure(model, "1", tenant, "engine").add(0.1)
    assert len(cells.answered) == len(cells.failed) == 5
    rest = Key(OTHER, "", OTHER)
    assert sum(cells.answered[rest].total.counts) == 4
    assert [tally.count for key, tally in cells.failed.items() if key[:3] == rest] == [4]


@given(st.lists(st.tuples(st.booleans(), NAMES, NAMES, NAMES), max_size=300))
def test_no_names_take_more_room_than_the_limits_give(calls):
    cells = Cells(lambda _: True, LIMITS)
    for fails, model, version, tenant in calls:
        if fails:
            cells.failure(model, version, tenant, "engine")
        else:
            cells.cell(model, version, tenant)
    # each limit, and the one that stands for all others
    assert len(cells.answered) <= LIMITS.cells + 1
    assert len(cells.failed) <= LIMITS.cells + 1
    assert len({key.model for key in cells.answered}) <= LIMITS.models + 1
    assert len({key.tenant for key in (*cells.answered, *cells.failed)}) <= LIMITS.tenants + 1


@given(st.lists(st.tuples(NAMES, NAMES), max_size=200))
def test_no_call_is_lost_while_versions_stay(calls):
    cells = Cells(lambda _: True, LIMITS)
    for model, tenant in calls:
        cells.cell(model, "1", tenant).total.add(0.1)
    assert sum(sum(cell.total.counts) for cell in cells.answered.values()) == len(calls)


def test_what_was_refused_unread_is_counted_by_tenant_in_bounded_room():
    cells = Cells(some, LIMITS)
    for number in range(100):
        for _ in range(2):
            cells.unread(f"n{number}", "overloaded").count += 1
    counted = {key.tenant: tally.count for key, tally in cells.failed.items()}
    assert counted == {"n0": 2, "n1": 2, "n2": 2, "n3": 2, OTHER: 192}
    assert {(key.model, key.version, key.reason) for key in cells.failed} == {
        (OTHER, "", "overloaded")
    }
    assert len(cells._unread) == 4
