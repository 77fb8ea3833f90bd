"""Who of those that wait goes next, who goes along, and who has to give way.

Nothing here knows a clock, a lock or a tensor.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import NamedTuple, Protocol

# At least one in so many turns is that of the one who has waited longest.
FAIR_TURN = 4

_NEVER = float("inf")


class Standing(NamedTuple):
    """One call in the queue; the smaller goes first.

    Attributes:
        rank: of its priority, 0 goes first.
        deadline: on the clock that the decisions are told of; infinite when it has none.
        number: grows with every arrival, and is nobody else's.
        group: calls of one group may share a run; None may share with nobody.
        rows: how many rows it brings.
        size: how many bytes they have.
    """

    rank: int
    deadline: float
    number: int
    group: Hashable = None
    rows: int = 1
    size: int = 0


class Limits(NamedTuple):
    """How much one run may take at most."""

    rows: int = 64
    size: int = 32 * 1024 * 1024


class Prices(Protocol):
    """What is known of the cost of runs of one group."""

    def expected_s(self, rows: int) -> float:
        """What a run of `rows` rows usually takes."""
        ...

    def pays(self, parts: Sequence[int]) -> bool:
        """Whether calls of so many rows each gain by one run together."""
        ...


def next_of(
    waiting: Collection[Standing], passed: int, busy: Collection[Hashable] = ()
) -> Standing | None:
    """Whose turn it is: the most urgent, or now and then the one who has waited longest.

    Nobody waits for more than `FAIR_TURN` turns for each of those who came before, apart from the
    time for which its own group is busy.

    Args:
        waiting: who waits.
        passed: turns that were taken since one went to the one who had waited longest.
        busy: groups that cannot begin another run now.
    """
    able = [each for each in waiting if each.group not in busy] if busy else waiting
    if not able:
        return None
    if passed >= FAIR_TURN - 1:
        oldest = longest_waiting(waiting)
        if oldest.group not in busy:
            return oldest
    return min(able)


def longest_waiting(waiting: Collection[Standing]) -> Standing:
    """Who came first."""
    return min(waiting, key=lambda each: each.number)


def company(
    first: Standing, waiting: Collection[Standing], prices: Prices, now: float, limits: Limits
) -> list[Standing]:
    """Who shares the run of `first`: the most urgent of its group, as many as pays.

    The run stays so short that nobody in it who could make the deadline alone misses it.
    """
    others = sorted(
        each for each in waiting if each.group == first.group and each.number != first.number
    )
    if first.group is None or not others:
        return []
    together = _within(first, others, prices, now, limits)
    while together and not prices.pays([first.rows, *(each.rows for each in together)]):
        together = together[: len(together) // 2]
    return together


def displaced_by(rank: int, waiting: Collection[Standing]) -> Standing | None:
    """Who gives way to one of `rank` where there is no room: the newest of the least urgent."""
    if not waiting:
        return None
    last = max(waiting, key=lambda each: (each.rank, each.number))
    return last if last.rank > rank else None


def _within(
    first: Standing, others: Sequence[Standing], prices: Prices, now: float, limits: Limits
) -> list[Standing]:
    """Those of `others` for whom there is room and time."""
    together: list[Standing] = []
    rows, size = first.rows, first.size
    ends = _binding(first, prices, now)
    for each in others:
        if rows + each.rows > limits.rows or size + each.size > limits.size:
            continue
        earliest = min(ends, _binding(each, prices, now))
        if earliest == _NEVER or now + prices.expected_s(rows + each.rows) <= earliest:
            together.append(each)
            rows, size, ends = rows + each.rows, size + each.size, earliest
    return together


def _binding(each: Standing, prices: Prices, now: float) -> float:
    """Its deadline; infinite when it could not make it alone either."""
    if each.deadline == _NEVER:
        return _NEVER
    alone_ends = now + prices.expected_s(each.rows)
    return each.deadline if alone_ends <= each.deadline else _NEVER
