"""Flows of calls whose answers are kept: what is there is given, and identical ones run once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever._drivers import drive, drive_async, drive_many
from wherever._kept import own_copy, patience_s
from wherever._routing.steps import Flow, Outcome, Verdict
from wherever_contracts.errors import WhereverError

if TYPE_CHECKING:
    from wherever._drivers import ManyPerformer, Performer
    from wherever._kept import KeptCall
    from wherever._routing.plan import Plan
    from wherever._routing.steps import Attempt


class Terms(NamedTuple):
    """What a call asks beside its input.

    Attributes:
        plan: who may answer.
        strict: an answer by something else than planned is none.
        way: what must be alike for an answer to be shared, beside the route.
        left_s: seconds until the deadline; None: there is none.
        device_s: how long this device will take; 0: not known.
    """

    plan: Plan
    strict: bool
    way: Hashable
    left_s: float | None
    device_s: float

    @property
    def patience_s(self) -> float:
        """How long to wait for an identical call."""
        return patience_s(self.left_s, self.device_s)


def drive_kept(flow: Flow, performer: Performer, kept: KeptCall, terms: Terms) -> Verdict:
    """Carry out one flow in this thread, unless its answer is there or on its way already."""
    found = _best(kept, terms)
    if found is not None:
        return found
    return kept.once(terms.way, lambda: drive(flow, performer), terms.patience_s)


async def drive_kept_async(
    flow: Flow,
    perform: Callable[[Attempt], Awaitable[Outcome]],
    kept: KeptCall,
    terms: Terms,
    in_thread: Callable[..., Awaitable[Any]],
) -> Verdict:
    """The same in a task; the input is digested, and the disk read, by `in_thread`."""
    found: Verdict | None = await in_thread(_best, kept, terms)
    if found is not None:
        return found
    return await kept.once_async(terms.way, lambda: drive_async(flow, perform), terms.patience_s)


def drive_many_kept(
    flows: Sequence[Flow], performer: ManyPerformer, kept: Sequence[KeptCall], terms: Terms
) -> list[Verdict | Exception]:
    """Carry out many flows in step, but for those that are there; doubles run once."""
    first: dict[bytes, int] = {}
    due: list[Flow] = []
    for position, (flow, one) in enumerate(zip(flows, kept, strict=True)):
        end = _end(one, terms, position, first)
        due.append(flow if end is None else _ended(end))
    ends = drive_many(due, performer)
    return [_own(end, ends) for end in ends]


class _Double(Exception):  # noqa: N818 (it takes the place of an end, and no caller sees it)
    """The call at another position is the same."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def _own(end: Verdict | Exception, ends: Sequence[Verdict | Exception]) -> Verdict | Exception:
    if not isinstance(end, _Double):
        return end
    same = ends[end.position]
    if isinstance(same, Exception):
        return same
    return own_copy(same, "the same call was made in this batch, and was answered: ")


def _end(
    kept: KeptCall, terms: Terms, position: int, first: dict[bytes, int]
) -> Verdict | Exception | None:
    """What a call ends with before it begins: its kept answer, or what is wrong with its input.

    Args:
        kept: what is known of the call.
        terms: what else it asks.
        position: its own.
        first: at which position each call was seen first, by its digest; this one is added.
    """
    try:
        found = _best(kept, terms)
        if found is None and first.setdefault(kept.digest, position) != position:
            return _Double(first[kept.digest])
    except WhereverError as error:
        return error
    return found


def _best(kept: KeptCall, terms: Terms) -> Verdict | None:
    found = kept.best(terms.plan)
    return None if found is not None and terms.strict and found.answer.substituted else found


def _ended(end: Verdict | Exception) -> Flow:
    """A flow that has nothing to do."""
    if isinstance(end, Exception):
        raise end
    return end
    yield  # makes it a flow
