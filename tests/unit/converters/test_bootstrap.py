"""Bootstrap intervals: the figures of the draws are the figures of what was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_convert.metrics import (
    Labelled,
    class_matches,
    mean_average_precision,
    r_squared,
)
from wherever_convert.proof.bootstrap import (
    draws,
    interval,
    mean_average_precisions,
    means,
    r_squares,
    ratios,
)
from wherever_edge.agreement import Found


def drawn_again(times):
    """The positions of what one draw holds."""
    return np.repeat(np.arange(len(times)), times)


def random_images(count, seed):
    """Boxes to be found in each image, and detections that are near some of them."""
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(count):
        corners = rng.uniform(0, 80, (4, 2))
        boxes = np.hstack([corners, corners + rng.uniform(5, 20, (4, 2))])
        crowd = rng.random(4) < 0.1
        truth.append(Labelled(boxes, rng.integers(0, 3, 4), crowd))
        near = np.vstack([boxes + rng.normal(0, 1.5, boxes.shape), rng.uniform(0, 90, (2, 4))])
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        found.append(Found(near, rng.random(6).round(2), rng.integers(0, 3, 6)))
    return found, truth


def test_a_draw_holds_as_many_items_as_there_are():
    times = draws(7, seed=3, count=50)
    assert times.shape == (50, 7)
    assert (times.sum(axis=1) == 7).all()


def test_the_same_seed_draws_the_same_and_another_does_not():
    assert np.array_equal(draws(9, 1, 5), draws(9, 1, 5))
    assert not np.array_equal(draws(9, 1, 5), draws(9, 2, 5))


def test_nothing_can_be_drawn_from_nothing():
    with pytest.raises(ValueError, match="nothing to draw from"):
        draws(0, 1)


def test_means_of_draws_are_means_of_what_was_drawn():
    scores, times = np.array([1.0, 0, 0.5, 1]), draws(4, 0, 20)
    wanted = [scores[drawn_again(each)].mean() for each in times]
    assert means(scores, times) == pytest.approx(wanted)


def test_ratios_of_draws_weigh_each_item_by_its_own_size():
    parts, wholes, times = np.array([2, 0, 6]), np.array([4, 0, 8]), draws(3, 0, 20)
    for ratio, each in zip(ratios(parts, wholes, times), times, strict=True):
        chosen = drawn_again(each)
        whole = wholes[chosen].sum()
        assert ratio == pytest.approx(parts[chosen].sum() / whole if whole else 1)


def test_r_squared_of_draws_is_that_of_what_was_drawn():
    rng = np.random.default_rng(0)
    truth = 1e6 + rng.normal(0, 1, 12)
    found, times = truth + rng.normal(0, 0.3, 12), draws(12, 0, 20)
    wanted = [r_squared(found[drawn_again(each)], truth[drawn_again(each)]) for each in times]
    assert r_squares(found, truth, times) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_map_of_draws_is_that_of_the_images_drawn(seed):
    found, truth = random_images(8, seed)
    classes = [class_matches(found, truth, kind) for kind in range(3)]
    times = draws(8, seed, 12)
    given = mean_average_precisions(classes, times)
    for value, each in zip(given, times, strict=True):
        chosen = drawn_again(each)
        wanted = mean_average_precision([found[i] for i in chosen], [truth[i] for i in chosen])
        assert value == pytest.approx(wanted, abs=1e-6)


def test_map_of_draws_without_anything_to_find_is_no_number():
    nothing = Labelled(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    matches = class_matches([Found(np.zeros((1, 4)), np.ones(1), np.zeros(1, int))], [nothing], 0)
    assert np.isnan(mean_average_precisions([matches], draws(1, 0, 3))).all()


def test_an_interval_lies_around_its_figure_and_narrows_with_more_items():
    widths = []
    for n in (20, 2000):
        scores = (np.arange(n) % 4 > 0).astype(float)
        found = interval(0.75, means(scores, draws(n, 0)))
        assert found.low <= 0.75 <= found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 5


def test_draws_that_gave_no_number_are_left_out_of_an_interval():
    found = interval(0.5, np.array([np.nan, 0.4, 0.6]))
    assert (found.low, found.high) == (pytest.approx(0.405), pytest.approx(0.595))
    alone = interval(0.5, np.array([np.nan]))
    assert (alone.low, alone.high) == (0.5, 0.5)
