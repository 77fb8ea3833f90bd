"""What variants answer otherwise than their reference: confusions, and the worst samples. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np

from wherever_convert.metrics import Labelled
from wherever_convert.own_metric import Kept
from wherever_convert.samples.sample import Boxes
from wherever_edge.agreement import Found

if TYPE_CHECKING:
    from wherever_convert.judges import Judge
    from wherever_convert.measuring import Measured
    from wherever_convert.samples.sample import Sample

MOST_WORST = 12
# Of two answers that are the same but for rounding.
_SAME = 1 - 1e-4
_MOST_BOXES = 25
_LEAST_SCORE = 0.3
_MOST_NUMBERS = 6

Change: TypeAlias = Literal["lost", "gained", "changed"]


@dataclass(frozen=True, slots=True)
class Box:
    """Something in an image: its edges in pixels, the name of its class, and how sure (0 to 1)."""

    left: float
    top: float
    right: float
    bottom: float
    label: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as a person reads it: in words, and for a detector the boxes."""

    text: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Worst:
    """A sample that a variant answers otherwise than the reference.

    Attributes:
        sample: the sample.
        change: "lost" when the reference is right and the variant wrong, "gained" when it is the
            other way round, else "changed".
        likeness: how far the two answers are the same, 0 to 1.
        truth: what is right; None when it is not known.
        reference: what the reference answers.
        answer: what the variant answers.
    """

    sample: Sample
    change: Change
    likeness: float
    truth: Said | None
    reference: Said
    answer: Said


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often one class was taken for another.

    `cells` holds (row, column, count) by position among the labels, the most frequent first. Rows
    are the truth, or where it is not known the reference's answers.
    """

    cells: tuple[tuple[int, int, int], ...]

    @property
    def mistaken(self) -> tuple[tuple[int, int, int], ...]:
        """The cells off the diagonal."""
        return tuple(cell for cell in self.cells if cell[0] != cell[1])


@dataclass(frozen=True, slots=True)
class Findings:
    """What variants answer otherwise than their reference.

    Attributes:
        metric: what was measured.
        reference: the id of the reference.
        n: how many samples were asked about.
        labels: the names of the classes; empty when there are none.
        confusion: truth against the reference's answers; None unless both are classes.
        changes: variant -> the reference's answers against its own, of those that differ.
        worst: variant -> the samples with the worst answers, the worst first.
        counts: variant -> change -> how many samples changed so.
    """

    metric: str
    reference: str
    n: int
    labels: tuple[str, ...] = ()
    confusion: Confusion | None = None
    changes: Mapping[str, Confusion] = field(default_factory=dict[str, Confusion])
    worst: Mapping[str, tuple[Worst, ...]] = field(default_factory=dict[str, "tuple[Worst, ...]"])
    counts: Mapping[str, Mapping[Change, int]] = field(
        default_factory=dict[str, "Mapping[Change, int]"]
    )


def find(
    judge: Judge, samples: Sequence[Sample], measured: Mapping[str, Measured], reference: str
) -> Findings:
    """Find what variants answer otherwise than their reference.

    Args:
        judge: who kept the answers.
        samples: what was asked, in the order of the answers.
        measured: variant id -> its answers; the reference's among them.
        reference: its id.
    """
    first = measured[reference].kept
    others = {name: each.kept for name, each in measured.items() if name != reference}
    truths = _truths(judge, len(samples))
    every = {
        name: _differences(judge, _asked(samples, truths, first, kept))
        for name, kept in others.items()
    }
    best = [_best(each) for each in first]
    are_classes = bool(judge.labels) and all(_is_class(each) for each in best)
    are_known = are_classes and all(_is_class(each) for each in truths)
    return Findings(
        metric=judge.metric,
        reference=reference,
        n=len(samples),
        labels=judge.labels,
        confusion=_confusion(truths, best) if are_known else None,
        changes={
            name: _changes(best, [_best(each) for each in kept])
            for name, kept in others.items()
            if are_classes
        },
        worst={name: tuple(each[:MOST_WORST]) for name, each in every.items()},
        counts={name: Counter(one.change for one in each) for name, each in every.items()},
    )


class _Asked(NamedTuple):
    """One sample, what is right, and what was kept of the reference's and a variant's answer."""

    sample: Sample
    truth: Any
    first: Any
    own: Any


def _asked(
    samples: Sequence[Sample], truths: Sequence[Any], first: Sequence[Any], own: Sequence[Any]
) -> list[_Asked]:
    return [_Asked(*each) for each in zip(samples, truths, first, own, strict=True)]


def _truths(judge: Judge, count: int) -> list[Any]:
    """What is right, as the position of a class or as boxes where it is one; None: not known."""
    if judge.truth is None:
        return [None] * count
    return [_truth(each, judge.labels) for each in judge.truth]


def _truth(given: Any, labels: Sequence[str]) -> Any:
    if isinstance(given, str) and given in labels:
        return labels.index(given)
    if isinstance(given, Boxes) and set(given.names) <= set(labels):
        kinds = np.array([labels.index(name) for name in given.names], np.int64)
        return Labelled(given.boxes, kinds, given.crowd)
    return given


def _plain(kept: Any) -> Any:
    """Without what was kept for a metric of the user's own."""
    return kept.compared if isinstance(kept, Kept) else kept


def _best(kept: Any) -> Any:
    """The best class, where the best few were kept."""
    plain = _plain(kept)
    return plain[0] if _are_classes(plain) else plain


def _are_classes(plain: Any) -> bool:
    if not isinstance(plain, tuple) or isinstance(plain, Found):
        return False
    return plain != () and all(_is_class(each) for each in cast("Sequence[Any]", plain))


def _is_class(kept: Any) -> bool:
    return isinstance(kept, int | np.integer)


def _confusion(rows: Sequence[Any], columns: Sequence[Any]) -> Confusion:
    pairs = Counter((int(a), int(b)) for a, b in zip(rows, columns, strict=True))
    cells = [(row, column, count) for (row, column), count in pairs.items()]
    return Confusion(tuple(sorted(cells, key=lambda cell: (-cell[2], cell[0], cell[1]))))


def _changes(reference: Sequence[Any], kept: Sequence[Any]) -> Confusion:
    pairs = [(a, b) for a, b in zip(reference, kept, strict=True) if a != b]
    return _confusion([a for a, _ in pairs], [b for _, b in pairs])


_RANK: Mapping[Change, int] = {"lost": 0, "changed": 1, "gained": 2}


def _differences(judge: Judge, asked: Sequence[_Asked]) -> list[Worst]:
    """Every sample with another answer, what was lost first, then the least alike."""
    alike = judge.agreements([each.own for each in asked], [each.first for each in asked])
    found = [
        _worst(each, float(likeness), judge.labels)
        for each, likeness in zip(asked, alike, strict=True)
        if not likeness >= _SAME
    ]
    # a likeness that is no number is the worst there is
    return sorted(found, key=lambda each: (_RANK[each.change], np.nan_to_num(each.likeness)))


def _worst(asked: _Asked, likeness: float, labels: Sequence[str]) -> Worst:
    return Worst(
        sample=asked.sample,
        change=_change(asked),
        likeness=likeness,
        truth=None if asked.truth is None else _said(asked.truth, labels),
        reference=_said(_plain(asked.first), labels),
        answer=_said(_plain(asked.own), labels),
    )


def _change(asked: _Asked) -> Change:
    if not _is_class(asked.truth):
        return "changed"
    was, now = (_holds(_plain(each), asked.truth) for each in (asked.first, asked.own))
    if was == now:
        return "changed"
    return "lost" if was else "gained"


def _holds(plain: Any, truth: Any) -> bool:
    return truth in plain if _are_classes(plain) else bool(plain == truth)


def _said(kept: Any, labels: Sequence[str]) -> Said:
    """What was kept of an answer (or is right), for a person."""
    if _is_class(kept):
        return Said(_label(labels, int(kept)))
    if _are_classes(kept):
        return Said(", ".join(_label(labels, int(each)) for each in kept))
    if isinstance(kept, Found | Labelled):
        boxes = _boxes(kept, labels)
        verb = "found" if isinstance(kept, Found) else "to find"
        return Said(f"{len(boxes)} {verb}", boxes)
    if isinstance(kept, list) and kept:
        tensors = cast("Sequence[Any]", kept)
        return Said(", ".join(_numbers(each) for each in tensors[:3]))
    return Said(_numbers(kept))


def _label(labels: Sequence[str], position: int) -> str:
    return labels[position] if 0 <= position < len(labels) else str(position)


def _boxes(found: Found | Labelled, labels: Sequence[str]) -> tuple[Box, ...]:
    scores = found.scores if isinstance(found, Found) else [None] * len(found.classes)
    rows = zip(found.boxes, found.classes, scores, strict=True)
    boxes = [
        _box(edges, _label(labels, int(kind)), score)
        for edges, kind, score in rows
        if score is None or score >= _LEAST_SCORE
    ]
    return tuple(boxes[:_MOST_BOXES])


def _box(edges: Any, label: str, score: Any) -> Box:
    left, top, right, bottom = map(float, edges)
    return Box(left, top, right, bottom, label, None if score is None else float(score))


def _numbers(value: Any) -> str:
    """The first numbers of an array, or what else there is as short text."""
    if not isinstance(value, np.ndarray | float | np.floating):
        return str(value)[:200]
    flat = np.asarray(value).ravel()
    shown = ", ".join(f"{each:.4g}" for each in flat[:_MOST_NUMBERS].tolist())
    return shown + (f", … ({flat.size})" if flat.size > _MOST_NUMBERS else "")
