"""Which samples become golden, and how far answers to them may be off. Pure.

A golden sample should tell variants that were tampered with from whole ones on any machine: so
variants are at one about it, and it is held to what engines really make of it and not to what is
usual for a precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wherever_contracts.manifest import DetectionsValue, LabelValue, Signature
from wherever_convert.metrics import Found, overlaps
from wherever_edge.packages.agreement import Difference, Tolerance, difference
from wherever_edge.packages.golden import Allowed
from wherever_edge.packages.stages import Limits, average_distance

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array, Tensors
    from wherever_convert.judges import Judge
    from wherever_convert.model_file import Precision

MOST_GOLDEN = 4

# Objects of one class that overlap so far show whether suppression is as it was.
_CROWDED = 0.2
_VISIBLE = 0.1
_MOST_PAIRS = 8
# An unlikely answer of a detector is asked for, too: it moves when anything does.
_ASKED_SCORE = 0.1
# Engines here differ by so much; other processors may by a few times more.
_MARGIN = 4.0
_EPSILON = 1e-12


class Floor(NamedTuple):
    """The least that other machines are allowed, whatever was measured here.

    As shares of the largest number of an answer, and of the range of a tensor's numbers.
    """

    answer: float
    given: float


_FLOORS: Mapping[str, Floor] = {
    "float32": Floor(2e-4, 1e-4),
    "float16": Floor(4e-3, 2e-3),
    "int8": Floor(2e-2, 1e-2),
}
# Decoders of JPEG and WebP may round otherwise elsewhere.
_LOSSY = Floor(2e-3, 2e-3)
_FED, _FED_LOSSY = 1e-5, 2e-3


class Strictness(NamedTuple):
    """How much two lists of detections must be alike."""

    iou: float
    min_score: float


_STRICTNESS = (Strictness(0.95, 0.15), Strictness(0.9, 0.3), Strictness(0.8, 0.5))
_STRICTEST = {"float32": 0, "float16": 1, "int8": 2}


class Run(NamedTuple):
    """What came of a sample in one engine: the answer, and the tensors that the engine gave."""

    outputs: Tensors
    given: Mapping[str, Array] | None


def choose_golden(
    judge: Judge, kept: Sequence[Sequence[Any]], most: int = MOST_GOLDEN
) -> list[int]:
    """The positions of the samples that become golden.

    Those that variants are most at one about, as unlike each other as can be: of labels one of
    each; of detections those with objects that overlap; else from all over the samples.

    Args:
        judge: who compares answers.
        kept: of each variant what the judge kept of its answers, the reference's first.
        most: so many.
    """
    answers = list(zip(*kept, strict=True))
    likeness = [min(judge.agreement([a], [each[0]]) for a in each) for each in answers]
    if answers and isinstance(answers[0][0], Found):
        worth = [_crowding(each[0]) * share for each, share in zip(answers, likeness, strict=True)]
        return sorted(sorted(range(len(worth)), key=lambda n: -worth[n])[:most])
    sure = [n for n, share in enumerate(likeness) if share >= max(likeness)]
    return _spread([answers[n][0] for n in sure], sure, most)


def golden_options(signature: Signature) -> dict[str, float]:
    """The options of a golden call: defaults, but unlikely detections are asked for, too."""
    options = {option.name: option.default for option in signature.options}
    for option in signature.options:
        if option.name == "min_score":
            options[option.name] = max(option.min, min(option.default, _ASKED_SCORE))
    return options


def allowed_for(
    signature: Signature, precision: Precision, runs: Sequence[Run], *, lossy: bool
) -> Allowed | None:
    """How far other machines may be off.

    Args:
        signature: of the model.
        precision: of the variant.
        runs: what came of one sample in every engine and number of threads here; the first is
            what others are held to.
        lossy: the sample is an image that was compressed with loss.

    Returns:
        None when engines here are not at one: no sample to hold others to.
    """
    floor, first = _floor(precision, lossy=lossy), runs[0]
    for strict in _STRICTNESS[_STRICTEST[precision] :]:
        scale = _scale(signature, first.outputs)
        apart = _answers_apart(signature, runs, scale, strict)
        if apart is not None:
            share = max(floor.answer, _MARGIN * apart / scale)
            answer = Tolerance(share * scale, _relative(signature, share), *strict)
            return Allowed(answer, Limits(_FED_LOSSY if lossy else _FED, _given(runs, floor.given)))
    return None


def is_lossy(contents: Iterable[bytes]) -> bool:
    """Whether one of these files is a JPEG or WebP image."""
    return any(data[:3] == b"\xff\xd8\xff" or data[8:12] == b"WEBP" for data in contents)


def _floor(precision: Precision, *, lossy: bool) -> Floor:
    own = _FLOORS[precision]
    return Floor(*map(max, own, _LOSSY)) if lossy else own


def _answers_apart(
    signature: Signature, runs: Sequence[Run], scale: float, strict: Strictness
) -> float | None:
    """The largest difference of any number; None where two are other answers altogether."""
    bound = Tolerance(scale, 0.0, *strict)
    worst = 0.0
    for run in runs[1:]:
        found = difference(signature, runs[0].outputs, run.outputs, bound)
        if isinstance(found, Difference):
            return None
        worst = max(worst, found * scale)
    return worst


def _given(runs: Sequence[Run], floor: float) -> float:
    first = runs[0].given or {}
    apart = [average_distance(first, run.given or {}) for run in runs[1:]]
    return max(floor, _MARGIN * max((each for each in apart if np.isfinite(each)), default=0.0))


def _scale(signature: Signature, outputs: Tensors) -> float:
    """The largest number that is compared; scores are compared as they are, up to 1."""
    value = signature.value
    if isinstance(value, DetectionsValue):
        return 1.0
    names = [value.scores] if isinstance(value, LabelValue) else list(outputs)
    numbers = [outputs[name] for name in names if outputs[name].dtype.kind in "fiu"]
    largest = max((float(np.abs(a).max()) for a in numbers if a.size), default=1.0)
    return max(largest, _EPSILON) if np.isfinite(largest) else 1.0


def _relative(signature: Signature, share: float) -> float:
    return 0.0 if isinstance(signature.value, LabelValue | DetectionsValue) else share


def _crowding(found: Found) -> float:
    """How much of what is found overlaps something of its own class; more things are better."""
    seen = found.scores >= _VISIBLE
    boxes, classes = found.boxes[seen], found.classes[seen]
    table = np.triu(overlaps(boxes, boxes) * (classes[:, None] == classes[None, :]), 1)
    pairs = min(int((table >= _CROWDED).sum()), _MOST_PAIRS)
    return 1.0 + 2 * pairs + min(len(boxes), _MOST_PAIRS) if len(boxes) else 0.0


def _spread(answers: Sequence[Any], positions: Sequence[int], most: int) -> list[int]:
    """Positions from all over, one of each answer first where answers are labels."""
    if not answers or not isinstance(answers[0], int | np.integer):
        return _evenly(positions, most)
    firsts: dict[int, int] = {}
    for answer, position in zip(answers, positions, strict=True):
        firsts.setdefault(int(answer), position)
    chosen = _evenly(sorted(firsts.values()), most)
    rest = [n for n in positions if n not in chosen]
    return sorted([*chosen, *_evenly(rest, most - len(chosen))])


def _evenly(positions: Sequence[int], most: int) -> list[int]:
    count = min(most, len(positions))
    return [positions[n * len(positions) // count] for n in range(count)]
