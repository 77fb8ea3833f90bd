"""How sure a figure is that was measured on a sample of the world: bootstrap intervals. Pure.

A figure is computed again for draws of as many items, with replacement; the interval lies between
percentiles of what came out (Efron 1979). Each draw is the same for every figure of one seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wherever_contracts.certificate import Interval

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_convert.metrics import ClassMatches

DRAWS = 1000
# mAP costs as much again for each draw
FEWER_DRAWS = 400
_CONFIDENCE = 0.95
_RECALL_STEPS = 100
# so many numbers at a time
_CHUNK = 4_000_000


def draws(n: int, seed: int, count: int = DRAWS) -> Array:
    """How often each of `n` items is in each of `count` draws; int64 [count, n]."""
    if n < 1:
        raise ValueError("nothing to draw from")
    times: Array = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), count)
    return times


def interval(value: float, drawn: Array) -> Interval:
    """A figure between the percentiles of what the draws gave [count].

    Draws that gave no number, as when nothing was to be found in them, are left out.
    """
    known = drawn[np.isfinite(drawn)]
    if not known.size:
        return Interval(value=value, low=value, high=value, confidence=_CONFIDENCE)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(known, (tail, 1 - tail)).tolist()
    # of few items, what was measured can lie outside of nearly all draws
    return Interval(value=value, low=min(low, value), high=max(high, value), confidence=_CONFIDENCE)


def means(scores: Array, times: Array) -> Array:
    """The mean score of each draw [count].

    Args:
        scores: of each item [n].
        times: see `draws`.
    """
    drawn: Array = times @ scores.astype(np.float64) / times.sum(axis=1)
    return drawn


def ratios(parts: Array, wholes: Array, times: Array) -> Array:
    """The sum of parts over the sum of wholes, in each draw [count]; 1 where there is nothing."""
    above, below = times @ parts.astype(np.float64), times @ wholes.astype(np.float64)
    drawn: Array = np.divide(above, below, out=np.ones_like(above), where=below > 0)
    return drawn


def r_squares(found: Array, truth: Array, times: Array) -> Array:
    """The coefficient of determination of each draw [count]; NaN where all truths are equal."""
    # centred first: sums of squares of large numbers would cancel
    centred = truth.astype(np.float64) - truth.mean()
    n = times.sum(axis=1)
    spread = times @ np.square(centred) - np.square(times @ centred) / n
    error = times @ np.square(found.astype(np.float64) - truth)
    drawn: Array = 1 - np.divide(error, spread, out=np.full_like(error, np.nan), where=spread > 0)
    return drawn


def mean_average_precisions(classes: Sequence[ClassMatches], times: Array) -> Array:
    """COCO's mAP of each draw of images [count]; NaN where nothing is to be found.

    Args:
        classes: what was found of each class, matched once over all images.
        times: see `draws`.
    """
    total, known = np.zeros(len(times)), np.zeros(len(times))
    for matches in classes:
        wanted = times @ matches.wanted
        there = wanted > 0
        total[there] += _precisions(matches, times[there], wanted[there])
        known += there
    drawn: Array = np.divide(total, known, out=np.full_like(total, np.nan), where=known > 0)
    return drawn


def _precisions(matches: ClassMatches, times: Array, wanted: Array) -> Array:
    """The mean over overlaps of a class's average precision, in each draw."""
    levels = zip(matches.hit, matches.ignored, strict=True)
    total = np.zeros(len(times))
    step = max(1, _CHUNK // max(1, len(matches.image)))
    for hit, ignored in levels:
        image, right = matches.image[~ignored], hit[~ignored]
        if right.any():
            for start in range(0, len(times), step):
                part = slice(start, start + step)
                weights = times[part][:, image].astype(np.float32)
                total[part] += _interpolated(weights, right, wanted[part])
    drawn: Array = total / len(matches.hit)
    return drawn


def _interpolated(weights: Array, right: Array, wanted: Array) -> Array:
    """COCO's average precision of each draw.

    The best precision from a recall on changes at hits alone, and counts as often as there are
    points of recall (0, 0.01, ... 1) from one hit to the next.

    Args:
        weights: how often each detection is in each draw [count, m], the surest first.
        right: which found something [m].
        wanted: how many there are to be found [count].
    """
    all_so_far = np.cumsum(weights, axis=1)[:, right]
    right_so_far = np.cumsum(weights[:, right], axis=1)
    precision = right_so_far / np.maximum(all_so_far, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.floor(right_so_far * _RECALL_STEPS / wanted[:, None] + 1e-9) + 1
    reached[right_so_far == 0] = 0
    points = np.diff(reached, axis=1, prepend=0)
    drawn: Array = (best * points).sum(axis=1, dtype=np.float64) / (_RECALL_STEPS + 1)
    return drawn
