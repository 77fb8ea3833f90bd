"""What came of a call: really, or in a what-if."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherever._whatif.facts import DEVICE, Way, up_bytes_of, way_of

if TYPE_CHECKING:
    from wherever._whatif.policy import Policy
    from wherever_contracts.receipts import Receipt


class Ending(NamedTuple):
    """What came of a call.

    Attributes:
        place: where its answer came from; "": it failed.
        elapsed_s: from the call to its end.
        deadline_s: when the answer was wanted; None: whenever it comes.
        remote_calls: attempts at other hosts; an audit that is made at times is a part of one.
        up_bytes: what travelled to them.
        down_bytes: what travelled back.
        cost: of both, by the policy's prices.
        escalated: an answer of the device was taken further, and a better one came.
        degraded: it was a lesser answer than asked for.
        estimated: something of it is not known from its own record.
        guessed: that is how sure the device is.
        beyond: that is a time longer than any recorded near it.
    """

    place: str
    elapsed_s: float
    deadline_s: float | None
    remote_calls: float
    up_bytes: float
    down_bytes: float
    cost: float
    escalated: bool
    degraded: bool
    estimated: bool = False
    guessed: bool = False
    beyond: bool = False

    @property
    def late(self) -> bool:
        """Whether it missed its deadline."""
        return self.deadline_s is not None and self.elapsed_s > self.deadline_s


def happened(receipt: Receipt, policy: Policy) -> Ending:
    """What really came of a recorded call, by the policy's prices."""
    kept = receipt.cache == "hit"
    remote = [each for each in receipt.attempts if each.place != DEVICE and not kept]
    ups = [up_bytes_of(receipt, each) for each in remote]
    costs = [
        policy.prices.cost(each.place, 1, up_bytes + each.down_bytes)
        for each, up_bytes in zip(remote, ups, strict=True)
    ]
    return Ending(
        receipt.place,
        receipt.total_s,
        receipt.deadline_s,
        len(remote),
        sum(ups),
        sum(each.down_bytes for each in remote),
        sum(costs),
        escalated=is_escalated(way_of(receipt)),
        degraded=receipt.degraded,
    )


def is_escalated(way: Way) -> bool:
    """Whether the device answered first, and another host after it."""
    return way[:1] == (DEVICE,) and len(way) > 1
