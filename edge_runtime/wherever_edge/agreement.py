"""How far two variants' answers to one input are the same, as one number. Pure.

Calibration, audits and proofs count alike, so that a promise measured by one holds for the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wherever_contracts.manifest import DetectionsValue, EmbeddingValue, LabelValue

if TYPE_CHECKING:
    from wherever_contracts.manifest import Signature
    from wherever_contracts.tensors import Array

SAME_BOX = 0.5
"""The least overlap of two boxes that are one thing."""
NOTHING_FOUND = -1
"""The category of an answer without a detection."""

# Detections with a lower score come and go; they are not counted when variants are compared.
_SURE = 0.3
_MOST_NUMBERS = 4096


class Found(NamedTuple):
    """What is in an image: boxes [n, 4] (left, top, right, bottom), scores [n], classes [n]."""

    boxes: Array
    scores: Array
    classes: Array


def disagreement(
    signature: Signature, ours: Mapping[str, Array], theirs: Mapping[str, Array]
) -> float:
    """How far two answers differ: what a promise of `max_disagreement` is about.

    Labels: 0 for the same best class, else 1. Detections: 1 - F1 of those of at least 0.3, where a
    pair is of one class and overlaps by at least 0.5; 0 when neither answer has any. Vectors:
    1 - cosine. Tensors: their relative root mean square difference.

    Args:
        signature: what both answers fit.
        ours: the signature's outputs by name.
        theirs: likewise; of tensors, the scale of the difference.

    Returns:
        0 to 1; 1 where it is no number.
    """
    return 1.0 - agreement(signature, ours, theirs)


def agreement(
    signature: Signature, ours: Mapping[str, Array], theirs: Mapping[str, Array]
) -> float:
    """1 - `disagreement`."""
    value = signature.value
    if isinstance(value, LabelValue):
        return float(ours[value.scores].argmax() == theirs[value.scores].argmax())
    if isinstance(value, DetectionsValue):
        return detection_agreement([sure(found_in(value, ours))], [sure(found_in(value, theirs))])
    with np.errstate(invalid="ignore", over="ignore"):  # what comes of infinities is no agreement
        if isinstance(value, EmbeddingValue):
            return share(cosine(ours[value.vector], theirs[value.vector]))
        names = [entry.name for entry in signature.outputs]
        pairs = [[thinned(answer[name]) for name in names] for answer in (ours, theirs)]
        return share(closeness(*pairs))


def category_of(signature: Signature, outputs: Mapping[str, Array]) -> int:
    """The class that an answer names: the best label's, or the surest detection's.

    `NOTHING_FOUND` (-1) for an answer without a detection, 0 for answers that name no class.
    """
    value = signature.value
    if isinstance(value, LabelValue):
        return int(outputs[value.scores].argmax())
    if isinstance(value, DetectionsValue):
        return surest(found_in(value, outputs))
    return 0


def found_in(value: DetectionsValue, outputs: Mapping[str, Array]) -> Found:
    """An answer's detections."""
    return Found(outputs[value.boxes], outputs[value.scores], outputs[value.classes])


def surest(found: Found) -> int:
    """The class of the detection with the best score; `NOTHING_FOUND` of none."""
    if not len(found.scores):
        return NOTHING_FOUND
    return int(found.classes[found.scores.argmax()])


def sure(found: Found, least: float = _SURE) -> Found:
    """The detections that are counted when two variants are compared."""
    kept = found.scores >= least
    return Found(found.boxes[kept], found.scores[kept], found.classes[kept])


def detection_agreement(found: Sequence[Found], reference: Sequence[Found]) -> float:
    """F1 of detections against those of another variant, at an overlap of 0.5 within a class."""
    matched = sum(matched_detections(a, b) for a, b in zip(found, reference, strict=True))
    total = sum(len(each.scores) for each in (*found, *reference))
    return 2 * matched / total if total else 1.0


def matched_detections(found: Found, reference: Found) -> int:
    """How many detections have a partner of their class in the other list, at an overlap of 0.5."""
    same = found.classes[:, None] == reference.classes[None, :]
    table = np.where(same, overlaps(found.boxes, reference.boxes), 0)
    count = 0
    while table.size and table.max() >= SAME_BOX:
        row, column = np.unravel_index(int(table.argmax()), table.shape)
        table[row, :] = 0
        table[:, column] = 0
        count += 1
    return count


def overlaps(boxes: Array, others: Array, crowd: Array | None = None) -> Array:
    """Intersection over union of every box with every other; float64 [n, m].

    Args:
        boxes: [n, 4].
        others: [m, 4].
        crowd: which of the others are crowds [m]: there the union is the box alone.
    """
    a, b = boxes.astype(np.float64), others.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    own, theirs = _areas(a)[:, None], _areas(b)[None, :]
    union = own + theirs - shared
    if crowd is not None:
        union = np.where(crowd[None, :], own, union)
    shares: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return shares


def cosine(found: Array, reference: Array) -> float:
    """Cosine of the angle between two vectors; two zeros are the same."""
    a, b = found.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not lengths:
        return float(not a.any() and not b.any())
    return float(a @ b) / lengths


def closeness(found: Sequence[Array], reference: Sequence[Array]) -> float:
    """1 - (root mean square difference / root mean square of the reference), at least 0."""
    pairs = list(zip(found, reference, strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return 0.0
    error = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in pairs)
    scale = sum(float(np.square(b.astype(np.float64)).sum()) for _, b in pairs)
    if not scale:
        return float(not error)
    return max(0.0, 1 - math.sqrt(error / scale))


def thinned(array: Array) -> Array:
    """Of a large tensor numbers at even distances, at most 4096; a copy."""
    numbers: Array = array.ravel()[:: 1 + array.size // _MOST_NUMBERS]
    return numbers.copy()


def share(value: float) -> float:
    """The nearest number from 0 to 1; 0 for what is no number."""
    return 0.0 if math.isnan(value) else min(max(value, 0.0), 1.0)


def _areas(boxes: Array) -> Array:
    areas: Array = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return areas
