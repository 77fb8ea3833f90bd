"""Promises on real cascades: how often they hold, and what is escalated for them."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from escalation import run  # noqa: E402 (found through the path above)
from escalation.pairs_of import pool_of  # noqa: E402

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def figures_of(test_data):
    return functools.cache(lambda name: run.figures(pool_of(name, test_data)))


@pytest.mark.parametrize("name", ["digits", "cifar10", "imagenet-224", "coco", "text", "files"])
def test_a_promise_holds_over_real_pairs_as_often_as_it_says(figures_of, name):
    figures = figures_of(name)
    print(run.in_words([figures]))
    assert figures.cells
    for cell in figures.cells:
        assert min(cell.held, cell.held_ample) >= run.BAR, cell
        assert cell.half_not_above >= run.BAR, cell


def test_without_a_bound_the_same_promise_is_broken_every_other_time(figures_of):
    cells = figures_of("text").cells
    assert [cell.level for cell in cells] == [0.02, 0.05, 0.1]
    for cell in cells:
        assert cell.held_plug_in < 0.6
        assert cell.held_conformal < 0.7


def test_few_pairs_promise_nothing_and_everything_is_escalated(figures_of):
    cell = figures_of("files").cells[0]
    assert (cell.n, cell.level) == (76, 0.02)
    assert cell.certified == 0
    assert cell.escalated == 1


def test_a_bound_costs_few_escalations_more_than_to_know_the_population(figures_of):
    (cell,) = figures_of("digits").cells
    assert cell.oracle < cell.escalated_ample < cell.escalated < cell.oracle + 0.05
    # Sedna's Threshold ranks digits by the same number; it is told what to set it to here
    assert cell.miners["Threshold"] == pytest.approx(cell.escalated_ample, abs=0.005)
