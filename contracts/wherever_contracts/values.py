"""What an answer's `value` can be, and how it is made from the signature's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeGuard

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array


class Label(str):  # noqa: SLOT000 (a str subclass cannot name its slots and annotate them)
    """The name of the best class; a plain string that also knows its score.

    Attributes:
        score: 0 to 1.
        class_index: position in the signature's labels.
        ranking: every (name, score), best first.
    """

    score: float
    class_index: int
    _names: Sequence[str]
    _scores: Array

    def __new__(cls, names: Sequence[str], scores: Array) -> Self:
        index = int(scores.argmax())
        self = super().__new__(cls, names[index])
        self.class_index = index
        self.score = float(scores[index])
        self._names = names
        self._scores = scores
        return self

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """Every (name, score), best first."""
        order = (-self._scores).argsort(kind="stable")
        return [(self._names[int(i)], float(self._scores[i])) for i in order]

    def __reduce__(self) -> tuple[type, tuple[Sequence[str], Array]]:
        return Label, (self._names, self._scores)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the original image: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing found in an image."""

    label: str
    score: float
    box: Box


def detections(
    names: Sequence[str], boxes: Array, scores: Array, classes: Array
) -> list[Detection]:
    """The rows of `boxes` [n, 4], `scores` [n] and `classes` [n], in the order given."""
    rows = zip(boxes.tolist(), scores.tolist(), classes.tolist(), strict=True)
    return [Detection(names[int(c)], score, Box(*box)) for box, score, c in rows]


def is_detections(value: Any) -> TypeGuard[list[Detection]]:
    """True for the value of a model that detects."""
    return isinstance(value, list)


def is_tensors(value: Any) -> TypeGuard[dict[str, Array]]:
    """True for the value of a model that gives tensors."""
    return isinstance(value, dict)
