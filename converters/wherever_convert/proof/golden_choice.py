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
from wherever_edge.agreement import Found, overlaps
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
# Lesser processors are the farthest that others are.
_LESSER_MARGIN = 1.5
# Beyond this an answer hangs on rounding: a sample that tells processors apart, not packages.
_MOST_APART = 0.1
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
    "int8": Floor(6e-2, 2e-2),
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
    signature: Signature,
    precision: Precision,
    runs: Sequence[Run],
    *,
    lossy: bool,
    lesser: Sequence[Run] = (),
) -> Allowed | None:
    """How far other machines may be off.

    Args:
        signature: of the model.
        precision: of the variant.
        runs: what came of one sample in every engine and number of threads here; the first is
            what others are held to.
        lossy: the sample is an image that was compressed with loss.
        lesser: what came of it on processors with fewer instructions.

    Returns:
        None when engines here, or processors, are not at one: no sample to hold others to.
    """
    floor, first = _floor(precision, lossy=lossy), runs[0]
    scale = _scale(signature, first.outputs)
    groups = ((_MARGIN, runs[1:]), (_LESSER_MARGIN, lesser))
    given = max(margin * _tensors_apart(first, others) for margin, others in groups)
    fed = _FED_LOSSY if lossy else _FED
    for strict in _STRICTNESS[_STRICTEST[precision] :]:
        spreads = [_answers_apart(signature, first, others, scale, strict) for _, others in groups]
        if max(spreads) <= _MOST_APART * scale:
            wide = max(m * spread for (m, _), spread in zip(groups, spreads, strict=True))
            share = max(floor.answer, wide / scale)
            answer = Tolerance(share * scale, _relative(signature, share), *strict)
            return Allowed(answer, Limits(fed, max(floor.given, given)))
    return None


def is_lossy(contents: Iterable[bytes]) -> bool:
    """Whether one of these files is a JPEG or WebP image."""
    return any(data[:3] == b"\xff\xd8\xff" or data[8:12] == b"WEBP" for data in contents)


def _floor(precision: Precision, *, lossy: bool) -> Floor:
    own = _FLOORS[precision]
    return Floor(*map(max, own, _LOSSY)) if lossy else own


def _answers_apart(
    signature: Signature, first: Run, others: Sequence[Run], scale: float, strict: Strictness
) -> float:
    """The largest difference of any number; infinity where one is another answer altogether."""
    bound = Tolerance(scale, 0.0, *strict)
    worst = 0.0
    for run in others:
        found = difference(signature, first.outputs, run.outputs, bound)
        worst = max(worst, np.inf if isinstance(found, Difference) else found * scale)
    return worst


def _tensors_apart(first: Run, others: Sequence[Run]) -> float:
    """The largest distance of what engines gave, of those that gave the same tensors."""
    apart = [average_distance(first.given or {}, run.given or {}) for run in others]
    return max((each for each in apart if np.isfinite(each)), default=0.0)


def _scale(signature: Signature, outputs: Tensors) -> float:
    """The largest number that is compared; scores count for 1 at least, as probabilities do."""
    value = signature.value
    if isinstance(value, DetectionsValue):
        return 1.0
    names = [value.scores] if isinstance(value, LabelValue) else list(outputs)
    numbers = [outputs[name] for name in names if outputs[name].dtype.kind in "fiu"]
    largest = max((float(np.abs(a).max()) for a in numbers if a.size), default=1.0)
    least = 1.0 if isinstance(value, LabelValue) else _EPSILON
    return max(largest, least) if np.isfinite(largest) else 1.0


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
