"""The four promises as figures: in time, as fast as the fastest, as right as can be, back at once.

Everything is in virtual time, so a seed gives the same figures on every machine.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from routing.calls import Policy, Record
from routing.links import FIRST_WINDOW, Link, cut, steady
from routing.oracle import Oracle
from routing.policies import MARGIN_S, AlwaysCloud, AlwaysDevice, Ours, RoundTrip, Threshold
from routing.scenarios import (
    Host,
    Scenario,
    calls_of,
    cascade,
    gateway,
    same_everywhere,
    troubled,
)
from routing.world import World
from wherever_contracts.places import Mode

POLICIES: tuple[Callable[[], Policy], ...] = (
    AlwaysDevice,
    AlwaysCloud,
    Threshold,
    RoundTrip,
    Ours,
    Oracle,
)
DEADLINES_S = {"digits": 0.1, "imagenet": 0.5}
PERIODS_S = {"digits": 0.25, "imagenet": 0.5}

# Devices slow enough that the gateway may be worth asking first; it has the same variant.
SLOW_DEVICES_S = (0.4, 0.15, 0.07)
FAST_GATEWAY_S = 0.02

OUTAGE_S = 60.0
ALWAYS_UNSURE = 1.01
SLOW_S = 0.05


class Punctuality(NamedTuple):
    """How many of the calls that the device could answer in time were late, or failed."""

    calls: int
    late: int
    failed: int


class Speed(NamedTuple):
    """The 99th percentiles of a policy and of the oracle, and what the gateway did in vain.

    Attributes:
        extra_load: attempts that reached the gateway and were not used, as a share of the calls.
    """

    trace: str
    p99_s: float
    oracle_p99_s: float
    device_p99_s: float
    cloud_p99_s: float
    extra_load: float

    @property
    def ratio(self) -> float:
        """How many times the oracle's the policy's is."""
        return self.p99_s / self.oracle_p99_s


class Score(NamedTuple):
    """Shares of the calls that were answered rightly and in time, by policy."""

    trace: str
    calls: int
    right: dict[str, float]

    @property
    def share_of_gain(self) -> float:
        """What the router gains over the better static policy, as a share of what an oracle does.

        Infinity where the oracle gains nothing.
        """
        static = max(self.right["device"], self.right["cloud"])
        most = self.right["oracle"] - static
        return (self.right["ours"] - static) / most if most > 0 else math.inf


class Outage(NamedTuple):
    """What a cut of a minute costs.

    Attributes:
        slow: calls slower than the device alone at its 99th percentile and `SLOW_S`.
        back_s: from when the link carries messages again to the first answer of the gateway.
    """

    trace: str
    failed: int
    slow: int
    back_s: float


def punctuality(links: Iterable[Link], policy: Callable[[], Policy] = Ours) -> Punctuality:
    """Late and failed calls in every kind of trouble, with either order of hosts."""
    calls = late = failed = 0
    for scenario in _urgent(links):
        for record in World(scenario, policy()).run():
            deadline_s = record.call.deadline_s or 0.0
            able = record.alone_s <= deadline_s - MARGIN_S
            calls += able
            late += able and not record.in_time
            failed += not record.place
    return Punctuality(calls, late, failed)


def speed(link: Link, device_s: float, policy: Callable[[], Policy] = Ours) -> Speed:
    """How a policy fares where a device that takes `device_s` and a gateway answer equally well."""
    what = same_everywhere(device_s, FAST_GATEWAY_S)
    scenario = calls_of("race", what, gateway(link), deadline_s=None, period_s=0.5)
    records = World(scenario, policy()).run()
    ran = {made.name: made for made in (Oracle(), AlwaysDevice(), AlwaysCloud())}
    p99_s = {name: p99(World(scenario, made).run()) for name, made in ran.items()}
    in_vain = sum(record.received - record.used for record in records)
    return Speed(
        link.name, p99(records), p99_s["oracle"], p99_s["device"], p99_s["cloud"],
        in_vain / len(records),
    )  # fmt: skip


def score(name: str, links: Sequence[Link], trace: str = "") -> Score:
    """How often each policy answers a cascade's inputs rightly and in time, over some links."""
    right: dict[str, int] = {}
    calls = 0
    for link in links:
        options = {"deadline_s": DEADLINES_S[name], "period_s": PERIODS_S[name]}
        scenario = calls_of("as recorded", cascade(name), gateway(link), **options)
        calls += scenario.calls
        for make in POLICIES:
            policy = make()
            records = World(scenario, policy).run()
            good = sum(record.right and record.in_time for record in records)
            right[policy.name] = right.get(policy.name, 0) + good
    return Score(trace, calls, {policy: good / calls for policy, good in right.items()})


def outage(link: Link, mode: Mode, policy: Callable[[], Policy] = Ours) -> Outage:
    """A minute in which nothing passes, in the middle of a link, while all want the gateway.

    Args:
        link: the link to cut.
        mode: "auto" (and the device is unsure of everything) or "prefer_in_cloud".
        policy: who decides.
    """
    begin = link.length_s / 2 - OUTAGE_S / 2
    end = begin + OUTAGE_S
    host = gateway(cut(link, ((begin, end),)))
    what = replace(cascade("digits"), threshold=ALWAYS_UNSURE)
    options = {"deadline_s": None, "period_s": 0.05, "one_by_one": True, "mode": mode}
    scenario = calls_of("outage", what, host, **options)
    records = World(scenario, policy()).run()
    local_s = p99(World(scenario, AlwaysDevice()).run())
    during = [r for r in records if r.call.began < end and r.call.began + r.elapsed_s > begin]
    slow = sum(record.elapsed_s > local_s + SLOW_S for record in during)
    back = (r.call.began + r.elapsed_s for r in records if r.used)
    failed = sum(not record.place for record in records)
    first = min((moment for moment in back if moment >= end), default=math.inf)
    return Outage(link.name, failed, slow, first - _passes_again(link, end))


def quiet(rtt_s: float = 0.05) -> Link:
    """A link without surprises, for outages that are the only one."""
    return steady("steady", 180.0, up_bit_s=5e6, down_bit_s=20e6, rtt_s=rtt_s)


def _passes_again(link: Link, moment: float) -> float:
    """From when on a recording carries messages again, both ways: a window of packets a second.

    A phone in a dead spot when the cut ends is still in it.
    """
    return max(_flows_from(way, moment) for way in (link.up, link.down))


def _flows_from(way: Sequence[float], moment: float) -> float:
    first = bisect_left(way, moment)
    while way[first + FIRST_WINDOW] - way[first] > 1.0:
        first += 1
    return way[first]


def p99(records: Sequence[Record]) -> float:
    """The 99th percentile of what calls took, in seconds; failed ones took for ever."""
    took = sorted(record.elapsed_s if record.place else math.inf for record in records)
    return took[math.ceil(0.99 * len(took)) - 1]


def _urgent(links: Iterable[Link]) -> Iterator[Scenario]:
    for link in links:
        for trouble, host in troubled(link):
            yield from _in_each_mode(trouble, host)


def _in_each_mode(trouble: str, host: Host) -> Iterator[Scenario]:
    for name, deadline_s in DEADLINES_S.items():
        for mode in ("auto", "prefer_in_cloud"):
            options = {"deadline_s": deadline_s, "period_s": PERIODS_S[name], "mode": mode}
            yield calls_of(trouble, cascade(name), host, **options)
