"""Who decides: the router itself, and what it is compared with."""

from __future__ import annotations

import random
from collections.abc import Sequence

from routing.calls import Call, Steps
from routing.scenarios import Host, Scenario
from routing.world import DEVICE, LARGE, SMALL, World, sent_bytes
from wherever._routing.flow import predict_flow
from wherever._routing.plan import Candidate, Plan, make_plan
from wherever._routing.steps import Attempt, Senses
from wherever_contracts.errors import AttemptError, NoRouteError, WhereverError
from wherever_contracts.receipts import Answer
from wherever_edge.host_health.balance import arrange
from wherever_edge.host_health.cost import DeviceCost
from wherever_edge.host_health.forecast import Forecast, Traffic, Work
from wherever_edge.host_health.health import HostHealth
from wherever_edge.host_health.tokens import RetryTokens

TIMEOUT_S = 2.0
PROBE_TIMEOUT_S = 1.0
# The static policies and the heuristic leave as much of the deadline unused as the router does.
MARGIN_S = 0.01
# As in `wherever._watch`.
QUIET_S = 3.0
PING_EVERY_S = 1.0
# What the device takes does not depend on what would travel.
HERE = Work("m")
GOOD_PING_S = 0.1


class Plain:
    """What the simple policies share: they learn nothing from calls."""

    name = ""

    def __init__(self) -> None:
        self.world: World

    def start(self, world: World) -> None:
        self.world = world

    def began(self, attempt: Attempt, work: Work) -> int:
        return 0

    def answered(self, attempt: Attempt, ticket: int, traffic: Traffic) -> None:
        """Nothing is learned."""

    def failed(self, attempt: Attempt, ticket: int, error: AttemptError) -> None:
        """Nothing is learned."""

    def given_up(self, attempt: Attempt, ticket: int) -> None:
        """Nothing is learned."""

    @property
    def gateway(self) -> Host:
        """The host that the simple policies ask: the first."""
        return self.world.scenario.hosts[0]

    def there(self, call: Call, host: Host | None = None) -> Attempt:
        """An attempt of a host that takes as long as the deadline allows, or `TIMEOUT_S`."""
        asked = host or self.gateway
        timeout_s = TIMEOUT_S
        if call.deadline_s is not None:
            timeout_s = call.began + call.deadline_s - MARGIN_S - self.world.now
        return Attempt(Candidate(asked.name, asked.place), max(timeout_s, 0.0), LARGE)

    def cascaded(self, call: Call, escalates: bool) -> Steps:  # noqa: FBT001 (one word)
        """Ask the device, then the gateway if it is unsure and `escalates`."""
        here = _answered((yield Attempt(DEVICE, None, "")))
        if not escalates or not is_unsure(self.world.scenario, call):
            return here, "device"
        outcome = yield self.there(call)
        if isinstance(outcome, Answer):
            return outcome, self.gateway.place
        return here, "device"


class AlwaysDevice(Plain):
    """The device alone."""

    name = "device"

    def flow(self, call: Call) -> Steps:
        return _answered((yield Attempt(DEVICE, None, ""))), "device"


class AlwaysCloud(Plain):
    """The gateway alone: what it does not answer fails."""

    name = "cloud"

    def flow(self, call: Call) -> Steps:
        return _answered((yield self.there(call))), self.gateway.place


class Threshold(Plain):
    """Escalates when the device is unsure, whatever the network."""

    name = "threshold"

    def flow(self, call: Call) -> Steps:
        return self.cascaded(call, escalates=True)


class RoundTrip(Plain):
    """Uses the gateway, or escalates to it, when the last ping was short."""

    name = "rtt"

    def __init__(self) -> None:
        super().__init__()
        self._last_s = float("inf")

    def start(self, world: World) -> None:
        super().start(world)
        self._ping()

    def flow(self, call: Call) -> Steps:
        good = self._last_s < GOOD_PING_S
        if self.world.scenario.cascade.threshold or not good:
            return self.cascaded(call, escalates=good)
        return self._there_first(call)

    def _there_first(self, call: Call) -> Steps:
        outcome = yield self.there(call)
        if isinstance(outcome, Answer):
            return outcome, self.gateway.place
        return _answered((yield Attempt(DEVICE, None, ""))), "device"

    def _ping(self) -> None:
        self.world.ping(self.gateway, PROBE_TIMEOUT_S, self._pinged)
        self.world.at(self.world.now + PING_EVERY_S, self._ping)

    def _pinged(self, healthy: bool, elapsed_s: float) -> None:  # noqa: FBT001 (a callback's)
        self._last_s = elapsed_s if healthy else float("inf")


class Ours:
    """The router: its flow, its costs and its hosts' health, with the clock and the luck passed in.

    What `wherever._remotes` and `wherever._watch` do with threads (probing beside the calls, and
    while it is quiet) is done by events here.
    """

    name = "ours"

    def start(self, world: World) -> None:
        self._world = world
        scenario = world.scenario
        self._health = {host.name: HostHealth(host.place) for host in scenario.hosts}
        self._probing: set[str] = set()
        self._device = DeviceCost(scenario.cascade.small_s)
        self._tokens = RetryTokens()
        self._plan = plan_of(scenario)
        self._chance = random.Random(1).random
        self._asked = False
        self._tend()
        self._senses = Senses(
            now=lambda: world.now,
            admit=self._admit,
            forecast=self._forecast,
            spend=self._tokens.spend,
            arrange=self._arrange,
            chance=self._chance,
            timeout_s=TIMEOUT_S,
        )

    def flow(self, call: Call) -> Steps:
        size = sent_bytes(call)

        def work(variant: str) -> Work:
            return Work("m", variant, size)

        flow = predict_flow(self._plan, self._senses, work, call.deadline_s, call.began)
        verdict = yield from flow
        return verdict.answer, verdict.candidate.place

    def began(self, attempt: Attempt, work: Work) -> int:
        self._asked = True
        return self._health[attempt.candidate.host].began(work, self._world.now)

    def answered(self, attempt: Attempt, ticket: int, traffic: Traffic) -> None:
        now = self._world.now
        if attempt.candidate.place == "device":
            self._device.answered(HERE, traffic.elapsed_s, now)
        else:
            self._health[attempt.candidate.host].answered(ticket, traffic, now)
            self._tokens.answered()

    def failed(self, attempt: Attempt, ticket: int, error: AttemptError) -> None:
        host = attempt.candidate.host
        assert attempt.timeout_s is not None
        self._health[host].failed(ticket, error, self._world.now, attempt.timeout_s)
        self._tokens.failed()
        self._watch(host)

    def given_up(self, attempt: Attempt, ticket: int) -> None:
        host = attempt.candidate.host
        self._health[host].given_up(ticket, self._world.now)
        self._watch(host)

    def _admit(self, candidate: Candidate, last_hope: bool) -> str:  # noqa: FBT001 (Senses')
        why_not = self._health[candidate.host].admit(self._world.now, last_hope=last_hope)
        if why_not:
            self._watch(candidate.host)
        return why_not

    def _forecast(self, candidate: Candidate, work: Work, quantile: float) -> Forecast:
        if candidate.place == "device":
            return self._device.forecast(HERE, quantile, self._world.now)
        return self._health[candidate.host].forecast(work, quantile, self._world.now)

    def _arrange(self, group: Sequence[Candidate], work: Work) -> Sequence[Candidate]:
        now = self._world.now
        return arrange(group, lambda each: self._health[each.host].burden(work, now), self._chance)

    def _watch(self, host: str) -> None:
        """Probe a host that calls are kept from, when that is due, until they are not."""
        if host in self._probing:
            return
        in_s = self._health[host].probe_in_s(self._world.now)
        if in_s is not None:
            self._probing.add(host)
            self._world.at(self._world.now + in_s, lambda: self._probe(host))

    def _tend(self) -> None:
        """Probe the hosts that were quiet for a while."""
        now = self._world.now
        for host, health in self._health.items():
            if self._asked and host not in self._probing and health.quiet_s(now) >= QUIET_S:
                self._probing.add(host)
                self._probe(host)
        self._world.at(now + QUIET_S / 4, self._tend)

    def _probe(self, host: str) -> None:
        def probed(healthy: bool, elapsed_s: float) -> None:  # noqa: FBT001 (a callback's)
            self._probing.discard(host)
            self._health[host].probed(
                healthy,
                elapsed_s,
                self._world.now,
                timeout_s=PROBE_TIMEOUT_S,
                sparing=not self._tokens.allows,
            )
            self._watch(host)

        self._world.ping(self._world.hosts[host], PROBE_TIMEOUT_S, probed)


def plan_of(scenario: Scenario) -> Plan:
    """The plan of every call of a scenario."""
    remotes = [Candidate(host.name, host.place) for host in scenario.hosts]
    threshold = scenario.cascade.threshold
    return make_plan(
        model="m",
        mode=scenario.mode,
        boundary="anywhere",
        places=None,
        candidates=[DEVICE, *remotes],
        thresholds={SMALL: threshold} if threshold else {},
        reference=LARGE,
    )


def is_unsure(scenario: Scenario, call: Call) -> bool:
    """Whether the small variant's answer of a call is one to take further."""
    return call.row.confidence < scenario.cascade.threshold


def _answered(outcome: object) -> Answer:
    if isinstance(outcome, WhereverError):
        raise NoRouteError("m", [outcome], {}) from outcome
    assert isinstance(outcome, Answer)
    return outcome
