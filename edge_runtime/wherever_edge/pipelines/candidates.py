"""What every decoder of a detector shares.

A decoder leaves candidates in the state, under the names that the signature's value gives them:
boxes float32 [n, 4] (left, top, right, bottom) in pixels of the image and within it, scores
float32 [n], classes int64 [n], in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import MANIFEST_NAME, DetectionsValue
from wherever_contracts.tensors import Array, shape_fits
from wherever_edge.pipelines.pipeline import State, Step, StepContext
from wherever_edge.pipelines.placement import PLACEMENT

MIN_SCORE = "min_score"


class Candidates(NamedTuple):
    """Boxes [n, 4] in pixels of the tensor, scores [n] and classes [n]; NaN may be among them."""

    boxes: Array
    scores: Array
    classes: Array


# Takes one row of each tensor, and a score below which candidates may be left out.
Decode: TypeAlias = Callable[[Sequence[Array], float], Candidates]


class Calibration(NamedTuple):
    """What turns a detector's scores into chances of being right.

    chance = sigmoid(slope * logit(score) + offset), so the order of scores is kept.
    """

    slope: float = 1.0
    offset: float = 0.0

    def chances(self, scores: Array) -> Array:
        """The chances that `scores` stand for, 0 to 1."""
        within = np.minimum(scores, 1)
        if self == (1, 0):
            return within
        return 1 / (1 + ((1 - within) / within) ** self.slope * math.exp(-self.offset))

    def score(self, chance: float) -> float:
        """The score that stands for `chance`."""
        if not 0 < chance < 1 or self == (1, 0):
            return chance
        odds_against: float = (1 - chance) / chance * math.exp(self.offset)
        return 1 / (1 + math.pow(odds_against, 1 / self.slope))


def decoding(
    context: StepContext,
    names: Sequence[str],
    decode: Decode,
    floor: float,
    calibration: Calibration = Calibration(),  # noqa: B008 (immutable)
) -> Step:
    """The step around a decoder: row by row, scores become chances and boxes move to the image.

    Args:
        context: the signature and the variant.
        names: the tensors; their first axis counts the rows that `image_tensor` made.
        decode: takes one row.
        floor: candidates below this chance are left out, unless the caller asks for them.
        calibration: of the scores.

    Raises:
        ManifestError: the signature is not one of detections.
    """
    value = detections_of(context)
    if calibration.slope <= 0:
        raise ValueError(f"slope must be above 0, not {calibration.slope}")

    def step(state: State) -> None:
        low = min(floor, state["options"][MIN_SCORE])
        threshold = calibration.score(low)
        rows = zip(*(state[name] for name in names), strict=True)
        each: list[Candidates] = []
        with np.errstate(all="ignore"):
            for row, placement in zip(rows, state[PLACEMENT], strict=True):
                boxes, scores, classes = decode(row, threshold)
                boxes, scores = placement.to_image(boxes), calibration.chances(scores)
                # NaN fails both comparisons
                good = (scores >= low) & (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
                each.append(Candidates(boxes[good], scores[good], classes[good]))
        found = each[0] if len(each) == 1 else _joined(each)
        state[value.boxes] = found.boxes.astype(np.float32)
        state[value.scores] = found.scores.astype(np.float32)
        state[value.classes] = found.classes.astype(np.int64)

    return step


def detections_of(context: StepContext) -> DetectionsValue:
    """The signature's value, once it is clear that it is one that these steps can make.

    Raises:
        ManifestError: it is not one of detections, or the option `min_score` is missing.
    """
    signature = context.signature
    if not isinstance(signature.value, DetectionsValue):
        raise ManifestError(
            MANIFEST_NAME, "signature.value.kind", "'detections'", repr(signature.value.kind)
        )
    options = [option.name for option in signature.options]
    if MIN_SCORE not in options:
        raise ManifestError(MANIFEST_NAME, "signature.options", repr(MIN_SCORE), f"{options}")
    return signature.value


def check_shapes(context: StepContext, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a decoder whose tensors are not declared, or are not for the signature's labels.

    Raises:
        ManifestError: with the tensor, its shape, and what it should be.
    """
    field = f"variants.{context.variant.id}.tensors.outputs"
    declared = {entry.name: entry.shape for entry in context.variant.tensors.outputs}
    for name, shape in expected.items():
        if name not in declared:
            raise ManifestError(MANIFEST_NAME, field, f"a tensor {name!r}", f"{list(declared)}")
        if not shape_fits(shape, declared[name]):
            wanted = f"{name!r} of shape {list(shape)}"
            raise ManifestError(MANIFEST_NAME, field, wanted, f"{list(declared[name])}")


def best_classes(probabilities: Array) -> tuple[Array, Array]:
    """The class of each row's largest probability, and that probability."""
    classes = probabilities.argmax(axis=1)
    return classes, probabilities[np.arange(len(classes)), classes]


def around(x: Array, y: Array, half_width: Array, half_height: Array) -> Array:
    """Boxes [n, 4] around centres."""
    corners = (x - half_width, y - half_height, x + half_width, y + half_height)
    return np.stack(corners, axis=1)


def _joined(each: Sequence[Candidates]) -> Candidates:
    return Candidates(*(np.concatenate(column) for column in zip(*each, strict=True)))
