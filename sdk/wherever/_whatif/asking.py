"""One recorded call made again: its flow, and what each of its attempts comes to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from wherever._routing.flow import predict_flow
from wherever._routing.plan import Plan, make_plan
from wherever._whatif.endings import Ending, is_escalated
from wherever._whatif.facts import DEVICE, Facts, Model, Way
from wherever._whatif.virtual import Clock, Course
from wherever_contracts.errors import (
    AttemptError,
    DeadlineError,
    EngineError,
    WhereverError,
)
from wherever_contracts.receipts import Answer, Ran
from wherever_edge.host_health.forecast import Traffic, Work

if TYPE_CHECKING:
    from wherever._escalation.purse import Purse
    from wherever._routing.pace import DevicePace
    from wherever._routing.plan import Candidate
    from wherever._routing.steps import Attempt, Outcome, Senses, Verdict
    from wherever._whatif.evidence import Took
    from wherever._whatif.hosts import Hosts
    from wherever._whatif.policy import Policy
    from wherever._whatif.virtual import GiveUp
    from wherever_contracts.receipts import Receipt


class World(NamedTuple):
    """What all calls share.

    Attributes:
        device: how long it is known to take for each model.
        purse: what escalations may come to; None: as much as there is.
        evenly: host -> the next of numbers that are spread evenly over [0, 1).
    """

    clock: Clock
    facts: Facts
    policy: Policy
    hosts: Hosts
    device: Callable[[str], DevicePace]
    purse: Purse | None
    evenly: Callable[[str], float]


class Call:
    """One call under way.

    Args:
        world: what it shares with the others.
        number: which one.
        ended: told what came of it.
    """

    def __init__(self, world: World, number: int, ended: Callable[[Ending], None]) -> None:
        self.world = world
        self.receipt: Receipt = world.facts.receipts[number]
        self.model: Model = world.facts.models[self.receipt.ran.model]
        self._number = number
        self._told = ended
        self._began = world.clock.now
        self._asked: dict[str, int] = defaultdict(int)
        self._remote_calls = 0.0
        self._up_bytes = self._down_bytes = 0.0
        self._cost = 0.0
        self._estimated = self._guessed = self._beyond = False

    def begin(self, senses: Senses) -> None:
        """Make it, with what is known of the hosts now."""
        world = self.world
        plan = self._plan = plan_of(self.model, world.policy, self.receipt)
        if world.purse is not None:
            guarded = world.purse.guarded(senses.admit, lambda: self._work("").up_bytes)
            senses = senses._replace(admit=guarded)
        flow = predict_flow(plan, senses, self._work, self._deadline_s, self._began)
        Course(world.clock, flow, self._perform, self._ended).advance()

    def outcome(self, took: Took, candidate: Candidate, asked_for: str = "") -> Outcome:
        """What an attempt gives: an answer, or the error that it was."""
        if took.error:
            return error_of(took.error, candidate.host)
        variant = took.variant or asked_for or self.model.reference
        ran = Ran(self.model.name, "", variant, "", "", "", "", "", "", "", 0)
        return Answer({}, took.confidence, ran, took.compute_s, down_bytes=took.down_bytes)

    def sent(self, candidate: Candidate, up_bytes: int) -> None:
        """An attempt at another host began."""
        self._remote_calls += 1
        self._up_bytes += up_bytes
        self._cost += self.world.policy.prices.cost(candidate.place, 1, up_bytes)

    def received(self, candidate: Candidate, down_bytes: int) -> None:
        """An answer came back."""
        self._down_bytes += down_bytes
        self._cost += self.world.policy.prices.cost(candidate.place, 0, down_bytes)
        if self.world.purse is not None:
            self.world.purse.received(candidate.place, down_bytes)

    @property
    def _deadline_s(self) -> float | None:
        wished = self.world.policy.deadline_s
        if wished is None:
            return self.receipt.deadline_s
        return None if wished == math.inf else wished

    def _work(self, variant: str) -> Work:
        remotes = [each.host for each in self.model.hosts if each.place != DEVICE]
        sizes = (self._wanted(host).up_bytes for host in remotes)
        return Work(self.model.name, variant, max(sizes, default=0))

    def _wanted(self, host: str) -> Took:
        return self.world.facts.wanted(self._number, host)

    def _perform(self, attempt: Attempt, done: Callable[[Outcome], None]) -> GiveUp:
        took = self._what_comes(attempt.candidate.host)
        if attempt.timeout_s is not None:
            return _Remote(self, attempt, attempt.timeout_s, took, done).give_up
        clock = self.world.clock

        def ended() -> None:
            self.world.device(self.model.name).took(took.elapsed_s, clock.now)
            if self.world.purse is not None:
                self.world.purse.seen(took.confidence)
            done(self.outcome(took, attempt.candidate))

        clock.at(clock.now + took.elapsed_s, ended)
        return _nothing

    def _what_comes(self, host: str) -> Took:
        """What an attempt comes to: as it did, or else as it would have."""
        number, self._asked[host] = self._asked[host], self._asked[host] + 1
        evidence = self.model.evidence[host]
        took = evidence.own(self._number, number)
        if took is None:
            self._estimated = True
            took = evidence.near(self._wanted(host), self.world.evenly(host))
            took = self._surely(took) if host == DEVICE else took
        self._beyond = self._beyond or took.beyond
        return took

    def _surely(self, near: Took) -> Took:
        """The device's answer, as sure as it was of another call with the same input."""
        same = self.world.facts.same_input(self._number)
        known = None if same is None else self.model.evidence[DEVICE].own(same)
        self._guessed = known is None
        return near if known is None else near._replace(confidence=known.confidence)

    def _is_drawn(self, verdict: Verdict) -> bool:
        """Whether an answer is one of those of which some are audited."""
        promised = verdict.bar is not None and verdict.bar.promised
        return promised and not verdict.short and verdict.candidate.place == DEVICE

    def _audited(self) -> None:
        """Count the audit that an answer which is given is drawn for now and then, in the mean."""
        share = self.world.policy.audit_share
        for remote in self._plan.attempts:
            if remote.place != DEVICE:
                took = self.model.evidence[remote.host].near(self._wanted(remote.host), 0.5)
                self._remote_calls += share
                self._up_bytes += share * took.up_bytes
                self._down_bytes += share * took.down_bytes
                traffic_bytes = share * (took.up_bytes + took.down_bytes)
                self._cost += self.world.policy.prices.cost(remote.place, share, traffic_bytes)
                return

    def _ended(self, verdict: Verdict | WhereverError) -> None:
        if not isinstance(verdict, WhereverError) and self._is_drawn(verdict):
            self._audited()
        way, place, degraded = _ways_end(verdict)
        elapsed_s = self.world.clock.now - self._began
        self._told(
            Ending(
                place,
                elapsed_s + self.world.facts.overhead_s(self._number, way),
                self._deadline_s,
                self._remote_calls,
                self._up_bytes,
                self._down_bytes,
                self._cost,
                escalated=is_escalated(way),
                degraded=degraded,
                estimated=self._estimated,
                guessed=self._guessed,
                beyond=self._beyond,
            )
        )


class _Remote:
    """An attempt at another host."""

    def __init__(
        self,
        call: Call,
        attempt: Attempt,
        timeout_s: float,
        took: Took,
        done: Callable[[Outcome], None],
    ) -> None:
        self._call = call
        self._attempt = attempt
        self._timeout_s = timeout_s
        self._took = took
        self._done = done
        self._over = False
        self._hosts = call.world.hosts
        self._host = attempt.candidate.host
        self._work = Work(call.model.name, attempt.variant, took.up_bytes)
        self._ticket = self._hosts.began(self._host, self._work)
        call.sent(attempt.candidate, took.up_bytes)
        clock = call.world.clock
        clock.at(clock.now + min(took.elapsed_s, timeout_s), self._ended)

    def give_up(self) -> None:
        """Cancel it, while it has not ended."""
        self._over = True
        self._hosts.given_up(self._host, self._ticket)

    def _ended(self) -> None:
        if self._over:
            return
        self._over = True
        outcome = self._outcome()
        if isinstance(outcome, WhereverError):
            self._hosts.failed(self._host, self._ticket, outcome, self._timeout_s)
        else:
            self._answered()
        self._done(outcome)

    def _outcome(self) -> Outcome:
        if self._took.elapsed_s > self._timeout_s:
            return DeadlineError(f"{self._host}: no answer within {self._timeout_s:.3f} s")
        return self._call.outcome(self._took, self._attempt.candidate, self._attempt.variant)

    def _answered(self) -> None:
        took = self._took
        self._call.received(self._attempt.candidate, took.down_bytes)
        times = (took.elapsed_s, took.queue_s, took.compute_s)
        self._hosts.answered(self._host, self._ticket, Traffic(self._work, took.down_bytes, *times))


def plan_of(model: Model, policy: Policy, receipt: Receipt) -> Plan:
    """Who may answer a call of a model, which was recorded with other wishes."""
    return make_plan(
        model=model.name,
        mode=policy.mode or receipt.mode,
        boundary=policy.boundary or receipt.boundary,
        places=policy.places,
        candidates=model.hosts,
        thresholds={},
        reference=model.reference,
        aim=policy.aim,
    )


def error_of(code: str, host: str) -> WhereverError:
    """An error by its code."""
    kind = _ERRORS.get(code, AttemptError)
    return kind(f"{host}: it failed as it did for a call at that time ({code})")


def _ways_end(verdict: Verdict | WhereverError) -> tuple[Way, str, bool]:
    """The places that answered, the one whose answer is given, and whether that is a lesser one."""
    if isinstance(verdict, WhereverError):
        return (), "", False
    way = tuple(each.candidate.place for each in verdict.tried if each.answer is not None)
    return way, verdict.candidate.place, verdict.degraded


def _nothing() -> None:
    """Give nothing up: the device runs to its end."""


def _kinds(kind: type[WhereverError]) -> dict[str, type[WhereverError]]:
    found = {kind.code: kind}
    for each in kind.__subclasses__():
        found |= _kinds(each)
    return found


_ERRORS = _kinds(AttemptError) | {EngineError.code: EngineError}
