"""How far two answers of one signature are apart, and whether that is near enough. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from wherever_contracts.manifest import DetectionsValue, LabelValue, Signature, Variant
from wherever_contracts.tensors import Array, Tensors, describe

_ATOL = {"float32": 2e-3, "float16": 2e-2, "int8": 6e-2}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an answer may be from the one expected.

    Attributes:
        atol: largest difference of a number, such as a score.
        rtol: the same as a share of the number expected; for tensors and embeddings alone.
        iou: least overlap of two boxes that are one detection.
        min_score: detections with a lower score may come and go.
    """

    atol: float
    rtol: float = 1e-3
    iou: float = 0.8
    min_score: float = 0.5

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) not in {int, float} or not 0 <= value < np.inf:
                raise ValueError(f"tolerance {name}: expected a number from 0 on, found {value!r}")


class Difference(NamedTuple):
    """Two answers that are not the same: the output concerned, and both answers in words."""

    output: str
    expected: str
    found: str


def usual_tolerance(variant: Variant) -> Tolerance:
    """What machines of other kinds make of the same variant: the coarser, the more they differ."""
    return Tolerance(_ATOL[variant.precision])


def coarse_tolerance(tolerance: Tolerance) -> Tolerance:
    """The same where an engine was told to compute in half precision."""
    return Tolerance(
        max(tolerance.atol, _ATOL["float16"]),
        max(tolerance.rtol, _ATOL["float16"]),
        min(tolerance.iou, 0.8),
        max(tolerance.min_score, 0.5),
    )


def difference(
    signature: Signature, expected: Tensors, found: Tensors, tolerance: Tolerance
) -> Difference | float:
    """Compare two answers as the signature's value asks for.

    Labels: the same best class, and every score within `atol`. Detections: each one of
    `min_score` or more, on either side, has a partner of its own on the other, of the same class,
    with boxes that overlap by `iou` and a score within `atol`. Any other tensor: the same shape,
    and every number within `atol` and `rtol`.

    Args:
        signature: what both answers fit.
        expected: the signature's outputs by name.
        found: likewise.
        tolerance: how far they may be apart.

    Returns:
        The first difference that is too large; or the largest share of the tolerance that any
        number uses, 0 to 1.
    """
    worst = 0.0
    for outcome in _outcomes(signature, expected, found, tolerance):
        if isinstance(outcome, Difference):
            return outcome
        worst = max(worst, outcome)
    return worst


def _outcomes(
    signature: Signature, expected: Tensors, found: Tensors, tolerance: Tolerance
) -> Iterator[Difference | float]:
    value = signature.value
    rest = {entry.name for entry in signature.outputs}
    if isinstance(value, DetectionsValue):
        rest -= {value.boxes, value.scores, value.classes}
        ours, theirs = _Things.of(value, expected), _Things.of(value, found)
        yield _detections(value, ours, theirs, tolerance)
    if isinstance(value, LabelValue):
        yield _best(value, expected[value.scores], found[value.scores])
    for entry in signature.outputs:
        if entry.name in rest:
            is_scores = isinstance(value, LabelValue) and entry.name == value.scores
            rtol = 0.0 if is_scores else tolerance.rtol
            pair = expected[entry.name], found[entry.name]
            yield _numbers(entry.name, *pair, tolerance.atol, rtol)


def _best(value: LabelValue, expected: Array, found: Array) -> Difference | float:
    ours, theirs = int(expected.argmax()), int(found.argmax())
    if ours == theirs:
        return 0.0
    return Difference(
        value.scores, _scored(value, expected, ours, theirs), _scored(value, found, theirs, ours)
    )


def _scored(value: LabelValue, scores: Array, best: int, other: int) -> str:
    """The best class, and for comparison the one that another machine called so."""
    names = value.labels
    return f"{names[best]!r} ({scores[best]:.4g}; {names[other]!r} {scores[other]:.4g})"


def _numbers(
    name: str, expected: Array, found: Array, atol: float, rtol: float
) -> Difference | float:
    if expected.dtype != found.dtype or expected.shape != found.shape:
        return Difference(name, describe(expected), describe(found))
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind not in "fiu":
        return _equal(name, expected, found)
    wanted, given = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinity minus itself, or nothing of it
        allowed = np.maximum(atol + rtol * np.abs(wanted), np.finfo(np.float64).tiny)
        shares = np.where(wanted == given, 0.0, np.abs(wanted - given) / allowed)
    position = int(np.nan_to_num(shares, nan=np.inf).argmax())
    worst = float(shares.flat[position])
    if worst <= 1.0:
        return worst
    where = f" at {_place(position, expected)}"
    most = f"{wanted.flat[position]:.6g} ± {allowed.flat[position]:.2g}"
    return Difference(name, most + where, f"{given.flat[position]:.6g}")


def _equal(name: str, expected: Array, found: Array) -> Difference | float:
    """Compare what has no distance: truths and bytes."""
    unequal = np.flatnonzero(expected != found)
    if not unequal.size:
        return 0.0
    position = int(unequal[0])
    where = f" at {_place(position, expected)}"
    return Difference(
        name, f"{expected.flat[position]!r:.60}{where}", f"{found.flat[position]!r:.60}"
    )


def _place(position: int, array: Array) -> str:
    return str([int(index) for index in np.unravel_index(position, array.shape)])


class _Things(NamedTuple):
    """Detections, best score first: boxes [n, 4], scores [n], classes [n]."""

    boxes: Array
    scores: Array
    classes: Array

    @classmethod
    def of(cls, value: DetectionsValue, tensors: Tensors) -> _Things:
        order = (-tensors[value.scores]).argsort(kind="stable")
        return cls(*(tensors[name][order] for name in (value.boxes, value.scores, value.classes)))

    def words(self, position: int, labels: Sequence[str]) -> str:
        box = ", ".join(f"{side:.1f}" for side in self.boxes[position])
        label = labels[int(self.classes[position])]
        return f"{label!r} {self.scores[position]:.3f} at [{box}]"


def _detections(
    value: DetectionsValue, expected: _Things, found: _Things, tolerance: Tolerance
) -> Difference | float:
    partners = _partners(expected, found, tolerance)
    worst = 0.0
    for ours in np.flatnonzero(expected.scores >= tolerance.min_score).tolist():
        if ours not in partners:
            return Difference(value.boxes, expected.words(ours, value.labels), "nothing like it")
        gap = abs(float(expected.scores[ours]) - float(found.scores[partners[ours]]))
        worst = max(worst, gap / tolerance.atol if tolerance.atol else 0.0)
    matched = set(partners.values())
    for theirs in np.flatnonzero(found.scores >= tolerance.min_score).tolist():
        if theirs not in matched:
            return Difference(value.boxes, "nothing like it", found.words(theirs, value.labels))
    return worst


def _partners(expected: _Things, found: _Things, tolerance: Tolerance) -> dict[int, int]:
    """Position of an expected detection -> that of its own partner; the surest choose first."""
    gaps = np.abs(expected.scores[:, None].astype(np.float64) - found.scores[None, :])
    overlap = _overlaps(expected.boxes, found.boxes)
    fits = (expected.classes[:, None] == found.classes[None, :]) & (gaps <= tolerance.atol)
    overlap[~(fits & (overlap >= tolerance.iou))] = -1
    partners: dict[int, int] = {}
    for ours in range(len(overlap)):
        theirs = int(overlap[ours].argmax()) if overlap.shape[1] else -1
        if theirs >= 0 and overlap[ours, theirs] >= 0:
            partners[ours] = theirs
            overlap[:, theirs] = -1
    return partners


def _overlaps(ours: Array, theirs: Array) -> Array:
    """Intersection over union of every box [n, 4] with every box [m, 4]."""
    a, b = ours[:, None].astype(np.float64), theirs[None, :].astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared: Array = sides.clip(0).prod(axis=-1)
    both = _areas(a) + _areas(b) - shared
    overlaps: Array = shared / np.maximum(both, np.finfo(np.float64).tiny)
    return overlaps


def _areas(boxes: Array) -> Array:
    sides: Array = boxes[..., 2:] - boxes[..., :2]
    areas: Array = sides.clip(0).prod(axis=-1)
    return areas
