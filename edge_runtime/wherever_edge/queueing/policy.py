"""Who of those that wait goes next, who goes along, and who has to give way.

Nothing here knows a clock, a lock or a tensor. What tenants had is kept in `shares.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

# At least one in so many turns is that of the one who has waited longest.
FAIR_TURN = 4

_NEVER = float("inf")

# (rank, tenant) -> where the tenant's next call of that class stands; see `Shares.start`
Start: TypeAlias = Callable[[int, str], float]


class Standing(NamedTuple):
    """One call in the queue; the smaller goes first.

    Attributes:
        rank: of its priority, 0 goes first.
        deadline: on the clock that the decisions are told of; infinite when it has none.
        number: grows with every arrival, and is nobody else's.
        group: calls of one group may share a run; None may share with nobody.
        rows: how many rows it brings.
        size: how many bytes they have.
        tenant: on whose behalf it is.
        weight: how large the tenant's share is beside the others'.
    """

    rank: int
    deadline: float
    number: int
    group: Hashable = None
    rows: int = 1
    size: int = 0
    tenant: str = ""
    weight: float = 1.0


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


def level(_rank: int, _tenant: str) -> float:
    """Where every tenant had as much as every other."""
    return 0.0


def next_of(
    waiting: Collection[Standing],
    passed: int,
    busy: Collection[Hashable] = (),
    start: Start = level,
) -> Standing | None:
    """Whose turn it is: the most urgent, or now and then the one who has waited longest.

    Among calls of one class it is the turn of the tenant that had least for its weight. No tenant
    waits for more than `FAIR_TURN` turns for each of those that its share explains, apart from
    the time for which the group of its own call is busy.

    Args:
        waiting: who waits.
        passed: turns that were taken since one went to `fairest`.
        busy: groups that cannot begin another run now.
        start: what tenants had; by default as much as each other.
    """
    able = [each for each in waiting if each.group not in busy] if busy else waiting
    if not able:
        return None
    if passed >= FAIR_TURN - 1:
        fair = fairest(waiting, start)
        if fair.group not in busy:
            return fair
    first = min(able)
    if start is level:
        return first
    heads = _heads(each for each in able if each.rank == first.rank)
    return min(heads, key=lambda head: (start(head.rank, head.tenant), head))


def fairest(waiting: Collection[Standing], start: Start = level) -> Standing:
    """Whose turn it is where no class goes before another.

    In the class of the call that has waited longest, the oldest call of the tenant that had least.
    """
    oldest = longest_waiting(waiting)
    if start is level:
        return oldest
    eldest: dict[str, Standing] = {}
    for each in waiting:
        if each.rank == oldest.rank:
            known = eldest.setdefault(each.tenant, each)
            if each.number < known.number:
                eldest[each.tenant] = each
    return min(eldest.values(), key=lambda each: (start(each.rank, each.tenant), each.number))


def longest_waiting(waiting: Collection[Standing]) -> Standing:
    """Who came first."""
    return min(waiting, key=lambda each: each.number)


def several_tenants(waiting: Iterable[Standing]) -> bool:
    """Whether there is anything to share."""
    return len({each.tenant for each in waiting}) > 1


def company(
    first: Standing,
    waiting: Collection[Standing],
    prices: Prices,
    now: float,
    limits: Limits,
    start: Start = level,
) -> list[Standing]:
    """Who shares the run of `first`: the most urgent of its group, as many as pays.

    The run stays so short that nobody in it who could make the deadline alone misses it. Where
    there is no room for all, tenants take turns in it.
    """
    others = sorted(
        each for each in waiting if each.group == first.group and each.number != first.number
    )
    if first.group is None or not others:
        return []
    if start is not level:
        others = _in_turn(others, first, prices, start)
    together = _within(first, others, prices, now, limits)
    while together and not prices.pays([first.rows, *(each.rows for each in together)]):
        together = together[: len(together) // 2]
    return together


def displaced_by(
    rank: int, waiting: Collection[Standing], tenant: str = "", weight: float = 1.0
) -> Standing | None:
    """Who gives way to a newcomer where there is no room, if anybody does.

    One of the least urgent class, which is no more urgent than the newcomer: the newest call of
    the tenant that holds most places for its weight. In the newcomer's own class that tenant has
    to hold more than the newcomer's would then.

    Args:
        rank: of the newcomer.
        waiting: who waits.
        tenant: the newcomer's.
        weight: how large its share is beside the others'.
    """
    worst = max((each.rank for each in waiting), default=-1)
    if worst < rank:
        return None
    last = [each for each in waiting if each.rank == worst]
    held = Counter(each.tenant for each in last)
    weights = {each.tenant: each.weight for each in last}
    fullest = max(held, key=lambda each: (held[each] / weights[each], each))
    if worst == rank and held[fullest] / weights[fullest] <= (held[tenant] + 1) / weight:
        return None
    return max((each for each in last if each.tenant == fullest), key=lambda each: each.number)


def ahead_of(rank: int, waiting: Collection[Standing], tenant: str, weight: float) -> float:
    """How many calls go before a newcomer, about, while nobody else comes.

    Those of more urgent classes; and of its own as many as stand between it and its share.
    """
    urgent = sum(each.rank < rank for each in waiting)
    held = Counter(each.tenant for each in waiting if each.rank == rank)
    weights = {each.tenant: each.weight for each in waiting if each.rank == rank}
    own = held.pop(tenant, 0)
    rounds = (own + 1) / weight
    return urgent + own + sum(min(held[each], weights[each] * rounds) for each in held)


def _heads(waiting: Iterable[Standing]) -> Collection[Standing]:
    """The first call of each tenant."""
    heads: dict[str, Standing] = {}
    for each in waiting:
        if each < heads.setdefault(each.tenant, each):
            heads[each.tenant] = each
    return heads.values()


def _in_turn(
    others: Sequence[Standing], first: Standing, prices: Prices, start: Start
) -> list[Standing]:
    """Calls in the order in which they would have their turns, after `first` had its own."""
    row_s = prices.expected_s(first.rows) / first.rows
    stands = {(first.rank, first.tenant): _after(first, start(first.rank, first.tenant), row_s)}
    placed: list[tuple[int, float, Standing]] = []
    for each in others:
        key = each.rank, each.tenant
        stand = stands.get(key)
        if stand is None:
            stand = start(*key)
        placed.append((each.rank, stand, each))
        stands[key] = _after(each, stand, row_s)
    return [each for _, _, each in sorted(placed)]


def _after(each: Standing, stand: float, row_s: float) -> float:
    """Where its tenant stands once it has begun."""
    return stand + row_s * each.rows / each.weight


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
