"""Candidates become detections: doubles dropped, sorted, cut at the caller's `min_score`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from wherever_contracts.manifest import DetectionsValue
from wherever_contracts.tensors import Array
from wherever_edge.pipelines.candidates import MIN_SCORE, Candidates, detections_of
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory
from wherever_edge.pipelines.resizing import opencv

# Gives the positions of the candidates to keep, best first.
_Select: TypeAlias = Callable[[Candidates], Array]


def class_nms(
    context: StepContext, *, iou: float = 0.45, over: str = "union", within_class: bool = True
) -> Step:
    """Sort candidates, best first, and drop each that covers a better one.

    Formula:
        Greedy: of the candidates that are left, the one with the best score is kept (the first of
        equals), and those are dropped whose overlap with it is above `iou` and whose class is the
        same; again, until none is left. The overlap of two boxes is the area of their intersection
        over that of their union, or of the smaller one.

    Cost:
        Over the union about 45 us for 100 candidates and 2.5 ms for 1000, over the smaller box 1 ms
        and 20 ms; it grows with candidates times those that are kept, so `floor` and `min_score`
        decide.

    Args:
        context: the signature.
        iou: see above.
        over: "union", as everybody has it; or "smaller", which also drops the part of a thing
            that lies within a box of all of it, as the tiles of an image leave it.
        within_class: False compares boxes of different classes too.

    Raises:
        ManifestError: the signature is not one of detections.
        ValueError: `over` is another word, or `iou` no share.
        MissingExtraError: OpenCV is not installed.
    """
    value = detections_of(context)
    if over not in ("union", "smaller"):
        raise ValueError(f"over must be one of union, smaller, not {over!r}")
    if not 0 <= iou <= 1:
        raise ValueError(f"iou must be from 0 to 1, not {iou}")
    select = _over_union(iou) if over == "union" else _over_smaller(iou)

    def step(state: State) -> None:
        scores = state[value.scores]
        if len(scores) == 0:
            return
        classes = state[value.classes] if within_class else np.zeros(len(scores), np.int64)
        _keep(state, value, select(Candidates(state[value.boxes], scores, classes)))

    return step


def detection_confidence(context: StepContext) -> Step:
    """Leave the F1 that the answer may expect, if every score is the chance of being right.

    Formula:
        Of n candidates of at least `min_score`, with scores that add up to s, s are right; of all
        candidates, whose scores add up to t, t are there to be found. The expected F1 is then
        2 s / (n + t); one sure find more keeps an empty answer from being undefined, so that the
        confidence is min(1, (2 s + 1) / (n + t + 1)).

    Cost:
        About 3 us for 100 candidates.

    Args:
        context: the signature (detections, with an option `min_score`).

    Raises:
        ManifestError: the signature is another.
    """
    name = detections_of(context).scores

    def step(state: State) -> None:
        scores = state[name]
        shown = scores[scores >= state["options"][MIN_SCORE]]
        right = float(shown.sum())
        state["confidence"] = min(1.0, (2 * right + 1) / (len(shown) + float(scores.sum()) + 1))

    return step


def best_detections(context: StepContext, *, most: int = 100) -> Step:
    """Keep the best of the sorted candidates, down to the caller's `min_score`.

    Formula:
        The first min(most, n) candidates, where n is the number with a score of at least
        `min_score`.

    Cost:
        About 1.5 us.

    Args:
        context: the signature (detections, with an option `min_score`).
        most: keep no more than this many.

    Raises:
        ManifestError: the signature is another.
    """
    value = detections_of(context)

    def step(state: State) -> None:
        shown = np.count_nonzero(state[value.scores] >= state["options"][MIN_SCORE])
        _keep(state, value, slice(min(most, shown)))

    return step


def _keep(state: State, value: DetectionsValue, which: Array | slice) -> None:
    for name in (value.boxes, value.scores, value.classes):
        state[name] = state[name][which]


def _over_union(limit: float) -> _Select:
    suppress = opencv().dnn.NMSBoxesBatched

    def select(found: Candidates) -> Array:
        corners = found.boxes.astype(np.float64)
        corners[:, 2:] -= corners[:, :2]
        # it drops scores that do not exceed the threshold; zero may be asked for
        kept = suppress(corners, found.scores, found.classes.astype(np.int32), -1.0, limit)
        return np.asarray(kept, np.intp).ravel()

    return select


def _over_smaller(limit: float) -> _Select:
    def select(found: Candidates) -> Array:
        order = np.argsort(-found.scores, kind="stable")
        boxes, classes = found.boxes[order].astype(np.float64), found.classes[order]
        left = np.ones(len(order), bool)
        for best in range(len(order)):
            if left[best]:
                shares = _shares_of_smaller(boxes[best], boxes[best + 1 :])
                same = classes[best + 1 :] == classes[best]
                left[best + 1 :] &= ~(same & (shares > limit))
        return order[left]

    return select


def _shares_of_smaller(box: Array, others: Array) -> Array:
    """Intersection over the smaller area, of a box with each of others [n, 4]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared: Array = sides.clip(0).prod(axis=1)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    shares: Array = shared / np.minimum(areas, (box[2] - box[0]) * (box[3] - box[1]))
    return shares


STEPS: dict[str, StepFactory] = {
    "class_nms": class_nms,
    "detection_confidence": detection_confidence,
    "best_detections": best_detections,
}
