"""Steps that make detections of what a detector's engine gives.

A decoder leaves candidates in the state, under the names that the signature's value gives them:
boxes float32 [n, 4] (left, top, right, bottom) in pixels of the image and within it, scores
float32 [n], classes int64 [n], in any order. `class_nms` sorts them and drops the doubles,
`detection_confidence` weighs the scores on both sides of the caller's `min_score`, and
`best_detections` keeps those above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import MANIFEST_NAME, DetectionsValue
from wherever_contracts.tensors import Array, shape_fits
from wherever_edge.pipelines.image import PLACEMENT, opencv
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory

MIN_SCORE = "min_score"


class Candidates(NamedTuple):
    """Boxes [n, 4] in pixels of the tensor, scores [n] and classes [n]; NaN may be among them."""

    boxes: Array
    scores: Array
    classes: Array


# Takes the tensor without its batch axis, and a score below which candidates may be left out.
_Decode: TypeAlias = Callable[[Array, float], Candidates]


class Calibration(NamedTuple):
    """What turns a detector's scores into chances of being right.

    chance = sigmoid(slope * logit(score) + offset), so the order of scores is kept.
    """

    slope: float
    offset: float

    def chances(self, scores: Array) -> Array:
        """The chances that `scores` stand for, 0 to 1."""
        within = np.minimum(scores, 1)
        if self == (1, 0):
            return within
        return 1 / (1 + ((1 - within) / within) ** self.slope * math.exp(-self.offset))

    def score(self, chance: float) -> float:
        """The score that stands for `chance`."""
        if not 0 < chance < 1:
            return chance
        odds_against: float = (1 - chance) / chance * math.exp(self.offset)
        return 1 / (1 + math.pow(odds_against, 1 / self.slope))


def fastestdet_boxes(
    context: StepContext,
    *,
    name: str,
    stride: int = 16,
    floor: float = 0.05,
    slope: float = 1.0,
    offset: float = 0.0,
) -> Step:
    """Decode FastestDet's grid into candidates.

    The tensor is [1, 5 + labels, rows, columns]: objectness, four numbers for the box, and the
    probability of each label. A score is objectness^0.6 * probability^0.4.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        name: the tensor.
        stride: pixels of the tensor that a cell covers.
        floor: candidates below this chance are left out, unless the caller asks for them.
        slope: see `Calibration`; 1 and an offset of 0 leave the scores as they are.
        offset: likewise.

    Raises:
        ManifestError: the signature or the tensor is another.
    """
    labels = len(detections_of(context).labels)
    _check_shape(context, name, (1, 5 + labels, -1, -1))

    def decode(raw: Array, low: float) -> Candidates:
        columns, count = raw.shape[2], raw.shape[1] * raw.shape[2]
        cells = raw.reshape(-1, count)
        # no probability exceeds 1, so a score never exceeds this
        near = np.flatnonzero(cells[0] ** 0.6 >= low)
        objectness, x, y, width, height = cells[:5, near]
        classes, best = _best(cells[5:, near].T)
        centre_x = (np.tanh(x) + near % columns) * stride
        centre_y = (np.tanh(y) + near // columns) * stride
        half_width = _sigmoid(width) * (columns * stride / 2)
        half_height = _sigmoid(height) * (raw.shape[1] * stride / 2)
        boxes = _around(centre_x, centre_y, half_width, half_height)
        return Candidates(boxes, objectness**0.6 * best**0.4, classes)

    return decoding(context, name, decode, floor, Calibration(slope, offset))


def yolox_boxes(
    context: StepContext,
    *,
    name: str,
    size: Sequence[int],
    strides: Sequence[int] = (8, 16, 32),
    floor: float = 0.05,
    slope: float = 1.0,
    offset: float = 0.0,
) -> Step:
    """Decode YOLOX's rows into candidates.

    The tensor is [1, cells, 5 + labels], the cells of every stride's grid in row order: four
    numbers for the box, objectness, and the probability of each label. A score is objectness *
    probability.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        name: the tensor.
        size: height and width of the tensor that the image went into.
        strides: pixels that a cell covers, grid by grid.
        floor: candidates below this chance are left out, unless the caller asks for them.
        slope: see `Calibration`; 1 and an offset of 0 leave the scores as they are.
        offset: likewise.

    Raises:
        ManifestError: the signature or the tensor is another.
    """
    height, width = size
    grids = [_grid(height // stride, width // stride, stride) for stride in strides]
    # x, y of a cell's corner and its stride
    corner_x, corner_y, cell = np.concatenate(grids, axis=1)
    labels = len(detections_of(context).labels)
    _check_shape(context, name, (1, len(cell), 5 + labels))

    def decode(raw: Array, low: float) -> Candidates:
        # no probability exceeds 1, so a score never exceeds this
        near = np.flatnonzero(raw[:, 4] >= low)
        rows = raw[near]
        x, y, width, height, objectness = rows[:, :5].T
        classes, best = _best(rows[:, 5:])
        stride = cell[near]
        boxes = _around(
            x * stride + corner_x[near],
            y * stride + corner_y[near],
            np.exp(width) * stride / 2,
            np.exp(height) * stride / 2,
        )
        return Candidates(boxes, objectness * best, classes)

    return decoding(context, name, decode, floor, Calibration(slope, offset))


def class_nms(context: StepContext, *, iou: float = 0.45) -> Step:
    """Sort candidates, best first, and drop each that covers a better one of its class.

    Args:
        context: the signature.
        iou: two boxes cover each other when their intersection is more than this share of their
            union.

    Raises:
        ManifestError: the signature is not one of detections.
        MissingExtraError: OpenCV is not installed.
    """
    value = detections_of(context)
    select = opencv().dnn.NMSBoxesBatched

    def step(state: State) -> None:
        boxes, scores = state[value.boxes], state[value.scores]
        if len(scores) == 0:
            return
        corners = boxes.astype(np.float64)
        corners[:, 2:] -= corners[:, :2]
        # it drops scores that do not exceed the threshold; zero may be asked for
        kept = select(corners, scores, state[value.classes].astype(np.int32), -1.0, iou)
        _keep(state, value, np.asarray(kept, np.intp).ravel())

    return step


def detection_confidence(context: StepContext) -> Step:
    """Leave the F1 that the answer may expect, if every score is the chance of being right.

    Of n candidates shown, with chances that add up to s, s are right; of all candidates, whose
    chances add up to t, t are there to be found. F1 is then 2 s / (n + t); one sure find more
    keeps an empty answer from being undefined.

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


def decoding(
    context: StepContext, name: str, decode: _Decode, floor: float, calibration: Calibration
) -> Step:
    """The step around a decoder: scores become chances, boxes move to the image."""
    value = detections_of(context)
    if calibration.slope <= 0:
        raise ValueError(f"slope must be above 0, not {calibration.slope}")

    def step(state: State) -> None:
        low = min(floor, state["options"][MIN_SCORE])
        with np.errstate(all="ignore"):
            found = decode(state[name][0], calibration.score(low))
            scores = calibration.chances(found.scores)
            boxes = state[PLACEMENT].to_image(found.boxes)
        # NaN fails both comparisons
        good = (scores >= low) & (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
        state[value.boxes] = boxes[good].astype(np.float32)
        state[value.scores] = scores[good].astype(np.float32)
        state[value.classes] = found.classes[good].astype(np.int64)

    return step


def _keep(state: State, value: DetectionsValue, which: Array | slice) -> None:
    for name in (value.boxes, value.scores, value.classes):
        state[name] = state[name][which]


def _best(probabilities: Array) -> tuple[Array, Array]:
    """The class of each row's largest probability, and that probability."""
    classes = probabilities.argmax(axis=1)
    return classes, probabilities[np.arange(len(classes)), classes]


def _around(x: Array, y: Array, half_width: Array, half_height: Array) -> Array:
    """Boxes [n, 4] around centres."""
    corners = (x - half_width, y - half_height, x + half_width, y + half_height)
    return np.stack(corners, axis=1)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _grid(rows: int, columns: int, stride: int) -> Array:
    """Float32 [3, cells]: x and y of each cell's corner in pixels, and the stride."""
    y, x = np.indices((rows, columns)).reshape(2, -1)
    return np.stack((x * stride, y * stride, np.full_like(x, stride))).astype(np.float32)


def detections_of(context: StepContext) -> DetectionsValue:
    """The signature's value, once it is clear that it is one that these steps can make."""
    signature = context.signature
    if not isinstance(signature.value, DetectionsValue):
        raise ManifestError(
            MANIFEST_NAME, "signature.value.kind", "'detections'", repr(signature.value.kind)
        )
    options = [option.name for option in signature.options]
    if MIN_SCORE not in options:
        raise ManifestError(MANIFEST_NAME, "signature.options", repr(MIN_SCORE), f"{options}")
    return signature.value


def _check_shape(context: StepContext, name: str, shape: tuple[int, ...]) -> None:
    """Refuse a decoder whose tensor is not declared, or is not for the signature's labels."""
    field = f"variants.{context.variant.id}.tensors.outputs"
    declared = {entry.name: entry.shape for entry in context.variant.tensors.outputs}
    if name not in declared:
        raise ManifestError(MANIFEST_NAME, field, f"a tensor {name!r}", f"{list(declared)}")
    if not shape_fits(shape, declared[name]):
        raise ManifestError(
            MANIFEST_NAME, field, f"{name!r} of shape {list(shape)}", f"{list(declared[name])}"
        )


STEPS: dict[str, StepFactory] = {
    "fastestdet_boxes": fastestdet_boxes,
    "yolox_boxes": yolox_boxes,
    "class_nms": class_nms,
    "detection_confidence": detection_confidence,
    "best_detections": best_detections,
}
