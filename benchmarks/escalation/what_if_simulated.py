"""What-if beside the truth, in virtual time: recorded under one policy, asked about another."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # as a script it has its own folder in the path, not the one above
    sys.path.insert(0, str(Path(__file__).parents[1]))

from routing.calls import Call, Steps
from routing.policies import HERE, Ours
from routing.scenarios import Scenario
from routing.world import World, sent_bytes

from wherever._escalation.words import Bar
from wherever._records.record import Record
from wherever._routing.flow import predict_flow
from wherever._routing.steps import Verdict
from wherever._whatif.endings import happened
from wherever._whatif.facts import Facts
from wherever._whatif.outcome import Outcome, outcome_of
from wherever._whatif.policy import Policy
from wherever._whatif.world import WhatIf
from wherever_contracts.receipts import AttemptRecord, Expected, Receipt
from wherever_edge.host_health.forecast import Work

USUAL, LATE = 0.5, 0.95


class Recorded(Ours):
    """The router, with a record of each call written down."""

    def __init__(self, policy: Policy) -> None:
        self.records: list[Record] = []
        self.policy = policy

    def start(self, world: World) -> None:
        super().start(world)
        threshold = self.policy.min_confidence
        if threshold is not None:
            self._plan = replace(self._plan, thresholds={"small": threshold}, escalates=True)

    def flow(self, call: Call) -> Steps:
        size = sent_bytes(call)
        expected = self._expect(size)
        flow = predict_flow(
            self._plan,
            self._senses,
            lambda variant: Work("m", variant, size),
            call.deadline_s,
            call.began,
        )
        verdict = yield from flow
        self.records.append(self._record(call, verdict, expected))
        return verdict.answer, verdict.candidate.place

    def _expect(self, size: int) -> dict[str, Expected]:
        now = self._world.now
        here = [self._device.forecast(HERE, each, now) for each in (USUAL, LATE)]
        found = {"device": Expected(here[0].latency_s, here[1].latency_s, 0, here[0].samples)}
        for host, health in self._health.items():
            usual, late = (health.forecast(Work("m", "", size), q, now) for q in (USUAL, LATE))
            found[host] = Expected(usual.latency_s, late.latency_s, size, usual.samples)
        return found

    def _record(self, call: Call, verdict: Verdict, expected: dict[str, Expected]) -> Record:
        down = self._world.scenario.cascade.answer_bytes
        attempts = []
        for tried in verdict.tried:
            ended = "answered" if tried.error is None else tried.error.code
            word = "given_up" if tried.given_up else ended
            away = tried.candidate.place != "device"
            attempts.append(
                AttemptRecord(
                    tried.candidate.place,
                    tried.candidate.host,
                    word,
                    tried.elapsed_s,
                    str(tried.error or ""),
                    variant="" if tried.answer is None else tried.answer.ran.variant,
                    confidence=None if tried.answer is None else tried.answer.confidence,
                    up_bytes=sent_bytes(call) if away else 0,
                    down_bytes=down if away and word == "answered" else 0,
                )
            )
        receipt = Receipt(
            id=f"p-{call.number:x}",
            ran=verdict.answer.ran,
            place=verdict.candidate.place,
            host=verdict.candidate.host,
            reason="",
            degraded=verdict.degraded,
            mode=self._plan.mode,
            boundary="anywhere",
            deadline_s=call.deadline_s,
            attempts=tuple(attempts),
            alternatives=dict(verdict.skipped),
            total_s=self._world.now - call.began,
            engine_s=verdict.answer.engine_s,
            started_at=1e9 + call.began,
            expected=expected,
        )
        return Record(receipt, {}, verdict.answer.confidence, {}, "", "", "large")


class Compared(NamedTuple):
    """The figures of a recorded run, of the what-if from it, and of the run that it foresees."""

    before: Outcome
    foreseen: Outcome
    happened: Outcome
    estimated: int


def simulated(scenario: Scenario, policy: Policy, seed: int = 0) -> list[Record]:
    """The records of a scenario under a policy."""
    mode = policy.mode or scenario.mode
    deadline_s = policy.deadline_s or scenario.deadline_s
    who = Recorded(policy)
    World(replace(scenario, mode=mode, deadline_s=deadline_s), who, seed).run()
    return who.records


def compared(scenario: Scenario, before: Policy, after: Policy, seed: int = 0) -> Compared:
    """A what-if of `after` from a run of `before`, beside a run of `after`."""
    threshold = scenario.cascade.threshold
    facts = Facts(simulated(scenario, before, seed))
    bar = Bar(after.min_confidence if after.min_confidence is not None else threshold)
    world = WhatIf(
        facts, after, lambda _, __: bar if bar.threshold else None, random.Random(1).random
    )
    foreseen = world.run()
    truth = Facts(simulated(scenario, after, seed))

    def all_of(facts: Facts) -> Outcome:
        return outcome_of([happened(receipt, after) for receipt in facts.receipts])

    return Compared(
        all_of(facts),
        outcome_of(foreseen),
        all_of(truth),
        sum(each.estimated for each in foreseen),
    )
