"""What calls came to, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wherever._whatif.endings import Ending


class Outcome(NamedTuple):
    """The figures of many calls.

    Attributes:
        calls: how many.
        failed: of them, without an answer.
        device: answered on the device; nearby, cloud: elsewhere.
        remote_calls: attempts at other hosts, audits included.
        escalated: the share whose answer on the device was replaced by a better one.
        cost: by the policy's costs.
        mean_s, p50_s, p95_s, p99_s: from the call to the answer, of those that were answered.
        degraded: calls with a lesser answer than asked for.
        late: calls that missed their deadline.
    """

    calls: int
    failed: int
    device: int
    nearby: int
    cloud: int
    remote_calls: float
    escalated: float
    up_bytes: float
    down_bytes: float
    cost: float
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    degraded: int
    late: int


def outcome_of(endings: Sequence[Ending]) -> Outcome:
    """The figures of calls; at least one."""
    places = Counter(each.place for each in endings)
    took = sorted(each.elapsed_s for each in endings if each.place) or [0.0]
    return Outcome(
        calls=len(endings),
        failed=places[""],
        device=places["device"],
        nearby=places["nearby"],
        cloud=places["cloud"],
        remote_calls=sum(each.remote_calls for each in endings),
        escalated=sum(each.escalated for each in endings) / len(endings),
        up_bytes=sum(each.up_bytes for each in endings),
        down_bytes=sum(each.down_bytes for each in endings),
        cost=sum(each.cost for each in endings),
        mean_s=sum(took) / len(took),
        p50_s=quantile(took, 0.5),
        p95_s=quantile(took, 0.95),
        p99_s=quantile(took, 0.99),
        degraded=sum(each.degraded for each in endings),
        late=sum(each.late for each in endings),
    )


def quantile(ascending: Sequence[float], share: float) -> float:
    """The value that a share of them do not exceed."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]
