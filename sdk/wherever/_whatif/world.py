"""The recorded calls made again under another policy, on a virtual clock."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from wherever._escalation.purse import Purse
from wherever._routing.pace import DevicePace
from wherever._whatif.asking import Call, World
from wherever._whatif.endings import happened
from wherever._whatif.facts import DEVICE, Facts, process_of
from wherever._whatif.hosts import Hosts
from wherever._whatif.virtual import Clock

if TYPE_CHECKING:
    from wherever._escalation.words import Bar
    from wherever._routing.steps import Senses
    from wherever._whatif.endings import Ending
    from wherever._whatif.policy import Policy
    from wherever_contracts.places import Place

# Its multiples, less their whole parts, are spread evenly over [0, 1), however many are taken.
_GOLDEN = 0.6180339887498949


class WhatIf:
    """Recorded calls under a policy, made when they were made.

    A process that made its calls one by one makes each when the one before has ended. What a host
    takes does not depend on the policy: calls that it would be asked more do not slow it down.

    Args:
        facts: the calls.
        policy: how they are to be answered.
        bars: (model, variant) -> what its answers are measured by; None: by nothing.
        chance: numbers in [0, 1), for what the router decides by chance.
    """

    def __init__(
        self,
        facts: Facts,
        policy: Policy,
        bars: Callable[[str, str], Bar | None],
        chance: Callable[[], float],
    ) -> None:
        clock = Clock()
        self._clock = clock
        self._facts = facts
        self._policy = policy
        self._bars = bars
        self._purse: Purse | None = None
        if policy.budget is not None:
            self._purse = Purse(policy.budget, policy.prices, lambda: clock.now, nullcontext())
        self._even = defaultdict[str, float](float)
        remotes = [
            each for model in facts.models.values() for each in model.hosts if each.place != DEVICE
        ]
        places: dict[str, Place] = {each.host: each.place for each in remotes}
        self._hosts = Hosts(clock, places, facts.round_trip_s, chance, policy.remote_timeout_s)
        self._devices = {name: DevicePace(0.0) for name in facts.models}
        self._world = World(
            clock,
            facts,
            policy,
            self._hosts,
            self._devices.__getitem__,
            self._purse,
            self._evenly,
        )
        self._queues = defaultdict[str, deque[int]](deque)
        self._endings: dict[int, Ending] = {}

    def run(self) -> list[Ending]:
        """Make every call, and wait until the last has ended; what came of each, in their order."""
        count = len(self._facts.receipts)
        for number in range(count):
            self._clock.at(self._facts.at(number), partial(self._due, number))
        self._clock.run(lambda: len(self._endings) == count)
        return [self._endings[number] for number in range(count)]

    def _evenly(self, host: str) -> float:
        self._even[host] = (self._even[host] + _GOLDEN) % 1.0
        return self._even[host]

    def _due(self, number: int) -> None:
        """A call is to be made; one that its process makes after another waits for that."""
        process = process_of(self._facts.receipts[number])
        if process not in self._facts.one_by_one:
            self._make(number)
            return
        self._queues[process].append(number)
        if self._queues[process][0] == number:
            self._make(number)

    def _make(self, number: int) -> None:
        receipt = self._facts.receipts[number]
        if receipt.cache == "hit":
            ending = happened(receipt, self._policy)
            self._clock.at(self._clock.now + ending.elapsed_s, lambda: self._ended(number, ending))
            return
        senses = self._senses(receipt.ran.model)
        Call(self._world, number, partial(self._ended, number)).begin(senses)

    def _senses(self, model: str) -> Senses:
        def bar(variant: str) -> Bar | None:
            usual = self._bars(model, variant)
            return usual if self._purse is None else self._purse.paced(usual)

        return self._hosts.senses(self._devices[model], bar)

    def _ended(self, number: int, ending: Ending) -> None:
        self._endings[number] = ending
        waiting = self._queues[process_of(self._facts.receipts[number])]
        if waiting and waiting[0] == number:
            waiting.popleft()
            if waiting:
                self._make(waiting[0])
