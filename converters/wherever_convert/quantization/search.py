"""Which mixture of int8 and float to try next. Pure: what was tried goes in, a candidate comes out.

A way (`Way`) is how ranges are found and how much beside the layers is int8. In each way more and
more parts stay float, in a fixed order and doubling, until a candidate keeps its promise; then
bisection looks for about the fewest. Only what was measured and kept the promise is ever taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Method: TypeAlias = Literal["minmax", "entropy", "percentile"]
METHODS: tuple[Method, ...] = ("minmax", "entropy", "percentile")
Breadth: TypeAlias = Literal["everything", "layers"]

MOST_TRIES = 14
# A part of the samples is measured, and every other one may turn out somewhat worse.
_MARGIN = 0.75
# Of answers that are not the float model's some are as good; at least this share counts as lost. It
# keeps a lucky figure on few samples from hiding that a file answers otherwise.
_LOST_OF_CHANGED = 0.05
# More float than this, as a share of all parts, and the file is int8 in name only.
_MOST_FLOAT = 0.5
# Looking for fewer float parts is over when this share of them, or one, is in doubt.
_NEAR = 8
# In the first way the count doubles; the others are tried in larger steps.
_GROWTH = 2
_LATER_GROWTH = 4


class Way(NamedTuple):
    """How a file is quantized, apart from what stays float.

    `breadth` is "everything" when sums, products and sigmoids between the layers are int8, too, and
    "layers" when only layers with weights are, with what merely moves numbers.
    """

    method: Method
    breadth: Breadth


class Candidate(NamedTuple):
    """A file to try: the first `floats` parts, in the order given, stay float."""

    way: Way
    floats: int


class Tried(NamedTuple):
    """A candidate, how much of the metric it lost, and how far it answers as the float model."""

    candidate: Candidate
    drop: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Space:
    """What may be tried.

    Attributes:
        ways: the ways to quantize, in the order in which they are tried.
        parts: how many parts the model has that can stay float one by one.
        max_drop: the most that the metric may lose, in points.
        least_floats: how many parts stay float at least.
        most_tries: after this many it is enough.
    """

    ways: tuple[Way, ...]
    parts: int
    max_drop: float
    least_floats: int = 0
    most_tries: int = MOST_TRIES

    @property
    def most_floats(self) -> int:
        """How many parts may stay float."""
        return int(self.parts * _MOST_FLOAT)

    def keeps(self, tried: Tried) -> bool:
        """Whether a candidate lost so little that other samples will find the same.

        A drop that is not a number is no proof.
        """
        changed = 1 - tried.agreement
        allowed = self.max_drop * _MARGIN
        return tried.drop <= allowed and changed * _LOST_OF_CHANGED <= allowed


def ways(method: Method, *, insisted: bool) -> tuple[Way, ...]:
    """The ways to try, the fastest files first; of each breadth, the method asked for first.

    Args:
        method: how ranges are found.
        insisted: no other method may be used.
    """
    breadths: tuple[Breadth, ...] = ("everything", "layers")
    usual: tuple[Method, ...] = () if insisted else ("minmax", "percentile", "entropy")
    methods: tuple[Method, ...] = (method, *(each for each in usual if each != method))
    return tuple(Way(each, breadth) for breadth in breadths for each in methods)


def next_candidate(space: Space, tried: Sequence[Tried]) -> Candidate | None:
    """What to try next; None when the search is over: see `best`."""
    if len(tried) >= space.most_tries:
        return None
    for position, way in enumerate(space.ways):
        runs = [each for each in tried if each.candidate.way == way]
        kept = [each.candidate.floats for each in runs if space.keeps(each)]
        lost = [each.candidate.floats for each in runs if not space.keeps(each)]
        if kept:
            return _fewer(way, min(kept), [*lost, space.least_floats - 1])
        growth = _LATER_GROWTH if position else _GROWTH
        more = _more(space, lost, growth)
        if more is not None:
            return Candidate(way, more)
    return None


def best(space: Space, tried: Sequence[Tried]) -> Tried | None:
    """Of those that kept the promise, the one with the fewest float parts; None: none did."""
    kept = [each for each in tried if space.keeps(each)]
    return min(kept, key=lambda each: each.candidate.floats, default=None)


def nearest(tried: Sequence[Tried]) -> Tried | None:
    """The one that lost least, whether or not it was little enough."""
    return min(tried, key=lambda each: (each.drop, -each.agreement), default=None)


def _more(space: Space, lost: Sequence[int], growth: int) -> int | None:
    """The next number of float parts when none was enough so far."""
    most = space.most_floats
    if not lost:
        return space.least_floats if space.least_floats <= most else None
    if max(lost) >= most:
        return None
    return min(most, max(1, growth * max(lost)))


def _fewer(way: Way, enough: int, lost: Sequence[int]) -> Candidate | None:
    """Half-way between what was enough and what was not; None when they are near each other."""
    too_few = max(each for each in lost if each < enough)
    if enough - too_few <= max(1, enough // _NEAR):
        return None
    return Candidate(way, (enough + too_few) // 2)
