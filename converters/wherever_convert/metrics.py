"""How good answers are, in plain numpy. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wherever_edge.agreement import overlaps

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.agreement import Found

# COCO's: overlaps that count as found, points of recall, boxes of an image and class.
OVERLAPS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_MOST = 100


class Labelled(NamedTuple):
    """What should be found: boxes [n, 4], classes [n], and which are crowds [n] (bool)."""

    boxes: Array
    classes: Array
    crowd: Array


class ClassMatches(NamedTuple):
    """Detections of one class, over all images, the surest first.

    `image` int [m] says where each is; `hit` and `ignored` bool [levels, m] whether it found
    something at each overlap, or lies in a crowd; `wanted` int [images] how many things there are
    to find.
    """

    image: Array
    hit: Array
    ignored: Array
    wanted: Array


def mean_average_precision(
    found: Sequence[Found], truth: Sequence[Labelled], levels: Array = OVERLAPS
) -> float:
    """COCO's mAP: the mean over classes and overlaps, usually 0.50, 0.55, ... 0.95.

    As COCO does: at most 100 boxes of a class in an image, best first; what lies in a crowd counts
    neither way; classes of which there is nothing to be found are left out.

    Args:
        found: by image.
        truth: by image.
        levels: overlaps that count as found.

    Returns:
        0 to 1; 0 when there is nothing to be found.
    """
    present = [each.classes[~each.crowd] for each in truth]
    classes = np.unique(np.concatenate(present)) if present else np.empty(0)
    if not classes.size:
        return 0.0
    each = [_average_precisions(class_matches(found, truth, int(k), levels)) for k in classes]
    return float(np.mean(each))


def class_matches(
    found: Sequence[Found], truth: Sequence[Labelled], kind: int, levels: Array = OVERLAPS
) -> ClassMatches:
    """What detections of one class found in every image, the surest detection first."""
    scores: list[Array] = []
    hits: list[Array] = []
    ignored: list[Array] = []
    wanted: list[int] = []
    for own, real in zip(found, truth, strict=True):
        mine = np.flatnonzero(own.classes == kind)
        mine = mine[np.argsort(-own.scores[mine], kind="stable")][:_MOST]
        theirs = np.flatnonzero(real.classes == kind)
        theirs = theirs[np.argsort(real.crowd[theirs], kind="stable")]
        crowd = real.crowd[theirs]
        wanted.append(int((~crowd).sum()))
        table = overlaps(own.boxes[mine], real.boxes[theirs], crowd)
        hit, ignore = _assigned(table, crowd, levels)
        scores.append(own.scores[mine])
        hits.append(hit)
        ignored.append(ignore)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    images = np.repeat(np.arange(len(scores)), [len(each) for each in scores])
    hit, ignore = np.concatenate(hits, axis=1), np.concatenate(ignored, axis=1)
    return ClassMatches(images[order], hit[:, order], ignore[:, order], np.array(wanted))


def f1_scores(found: Array, truth: Array, kind: int | None = None) -> Array:
    """F1 of a class, or of each class that is found or should be; float64 [classes].

    Args:
        found: the class of each answer [n].
        truth: the right ones [n].
        kind: the only class that counts.
    """
    classes = np.union1d(found, truth) if kind is None else np.array([kind])
    right = np.array([np.sum((found == each) & (truth == each)) for each in classes])
    all_of = np.array([np.sum(found == each) + np.sum(truth == each) for each in classes])
    scores: Array = np.divide(2.0 * right, all_of, out=np.zeros(len(classes)), where=all_of > 0)
    return scores


def r_squared(found: Array, truth: Array) -> float:
    """Coefficient of determination; 1 is perfect, 0 as good as the mean."""
    spread = float(np.square(truth - truth.mean()).sum())
    error = float(np.square(truth - found).sum())
    return 1 - error / spread if spread else float(not error)


def _average_precisions(matches: ClassMatches) -> Array:
    """Average precision of one class at every overlap [levels]."""
    wanted = int(matches.wanted.sum())
    rows = zip(matches.hit, matches.ignored, strict=True)
    return np.array([_interpolated(h[~i], wanted) for h, i in rows])


def _assigned(table: Array, crowd: Array, levels: Array) -> tuple[Array, Array]:
    """Give each detection, best first, the thing it overlaps most that is still free.

    Args:
        table: overlaps [detections, things]; crowds are the last things.
        crowd: which things are crowds; a crowd is never taken.
        levels: overlaps that count as found.

    Returns:
        bool [levels, detections]: found something; lies in a crowd.
    """
    hit = np.zeros((len(levels), len(table)), bool)
    ignore = np.zeros_like(hit)
    for level, least in enumerate(levels):
        free = np.ones(len(crowd), bool)
        for row, values in enumerate(table):
            thing = _best_thing(values, free, crowd, float(least))
            if thing is not None:
                ignore[level, row] = crowd[thing]
                hit[level, row] = not crowd[thing]
                free[thing] = crowd[thing]
    return hit, ignore


def _best_thing(values: Array, free: Array, crowd: Array, least: float) -> int | None:
    """The free thing that overlaps most; a crowd only when nothing else overlaps enough."""
    for group in (free & ~crowd, crowd):
        candidates = np.flatnonzero(group & (values >= min(least, 1 - 1e-10)))
        if candidates.size:
            # the last of equals, as COCO's evaluation takes it
            best = candidates[values[candidates] == values[candidates].max()]
            return int(best[-1])
    return None


def _interpolated(hits: Array, wanted: int) -> float:
    """COCO's average precision: the mean, at 101 recalls, of the best precision from there on."""
    right = np.cumsum(hits)
    if not right.size:
        return 0.0
    precision = right / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    positions = np.searchsorted(right / wanted, _RECALLS, side="left")
    reached = positions < len(best)
    return float(np.where(reached, best[np.minimum(positions, len(best) - 1)], 0).mean())
