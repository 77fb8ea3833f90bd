"""A world in virtual time: a device, hosts behind recorded links, and calls that flows carry out.

Nothing waits: the clock jumps from event to event. What the engines and the gateways' other
callers draw depends on the seed, the call and the host alone, so every policy meets the same luck.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from routing.calls import Call, Ending, Outcome, Policy, Record, Steps
from routing.links import Chance, Passage, Windows
from routing.scenarios import DEVICE_SPREAD, GATEWAY_SPREAD, HEADER_BYTES, Host, Scenario
from wherever._routing.plan import Candidate
from wherever._routing.steps import Attempt, Race
from wherever_contracts.errors import DeadlineError, WhereverError
from wherever_contracts.receipts import Answer, Ran
from wherever_edge.host_health.forecast import Traffic, Work

SMALL, LARGE = "small", "large"
PING_BYTES = 100
# What was handed to the socket leaves it, whether or not the call is given up.
SOCKET_PACKETS = 44
DEVICE = Candidate("device", "device")


class World:
    """One scenario under one policy.

    Args:
        scenario: the calls and the hosts.
        policy: who decides.
        seed: of all that is drawn.

    Attributes:
        now: seconds since the beginning.
        records: what came of the calls, in the order of their ends.
    """

    def __init__(self, scenario: Scenario, policy: Policy, seed: int = 0) -> None:
        self.scenario = scenario
        self.hosts: Mapping[str, Host] = {host.name: host for host in scenario.hosts}
        self.now = 0.0
        self.records: list[Record] = []
        self._policy = policy
        self._seed = seed
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._device_free = 0.0
        self._up = dict.fromkeys(self.hosts, 0)
        self._down = dict.fromkeys(self.hosts, 0)
        self._rows = list(scenario.cascade.rows)
        self._losses = random.Random(seed)

    def run(self) -> list[Record]:
        """Make every call, and wait until the last has ended."""
        self._policy.start(self)
        random.Random(self._seed).shuffle(self._rows)
        self.at(self.scenario.period_s, lambda: self._make(0))
        while self._events and len(self.records) < self.scenario.calls:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        return self.records

    def at(self, moment: float, happen: Callable[[], None]) -> None:
        """Have something happen at a moment, or now if that has passed; never at infinity."""
        if moment == math.inf:
            return
        self._serial += 1
        heapq.heappush(self._events, (max(moment, self.now), self._serial, happen))

    def ping(self, host: Host, timeout_s: float, done: Callable[[bool, float], None]) -> None:
        """Send a small message there and back; `done` is told whether it came, and after what."""
        sent = self.now
        there = host.link.travel(host.link.up, sent, PING_BYTES, 0, self._losses.random)
        left = _after(there.arrives, host.hung)
        back = host.link.travel(host.link.down, left, PING_BYTES, 0, self._losses.random)
        healthy = back.arrives <= sent + timeout_s
        ends = back.arrives if healthy else sent + timeout_s
        self.at(ends, lambda: done(healthy, ends - sent))

    def foresee_s(self, call: Call, host: Host) -> float:
        """How long the call takes if it is sent to the host now: what only an oracle knows."""
        link, chance = host.link, self.losses(call, host)
        there = link.travel(link.up, self.now, sent_bytes(call), self._up[host.name], chance)
        if there.arrives == math.inf:
            return math.inf
        queue_s, compute_s = self.luck_there(call, host)
        ready = _after(there.arrives, host.hung) + queue_s + compute_s
        size = self.scenario.cascade.answer_bytes + HEADER_BYTES
        back = link.travel(link.down, ready, size, self._down[host.name], chance)
        return back.arrives - self.now

    def foresee_here_s(self, call: Call) -> float:
        """How long the device will take for the call, if it begins now."""
        return max(0.0, self._device_free - self.now) + self.luck_here(call)

    def luck_here(self, call: Call) -> float:
        """What the device takes for this call once it begins."""
        return self.scenario.cascade.small_s * self._spread(f"{call.number} device", DEVICE_SPREAD)

    def luck_there(self, call: Call, host: Host) -> tuple[float, float]:
        """How long the call queues at the host, and what its engine takes."""
        chance = random.Random(f"{self._seed} {call.number} {host.name}")
        spread = math.exp(chance.gauss(0.0, GATEWAY_SPREAD))
        return chance.expovariate(1.0 / host.queue_s), self.scenario.cascade.large_s * spread

    def losses(self, call: Call, host: Host) -> Chance:
        """Decides which packets of a call to a host are lost, there and back."""
        return random.Random(f"{self._seed} {call.number} {host.name} loss").random

    def _spread(self, what: str, sigma: float) -> float:
        return math.exp(random.Random(f"{self._seed} {what}").gauss(0.0, sigma))

    def _make(self, number: int) -> None:
        row = self._rows[number % len(self._rows)]
        call = Call(number, self.now, row, self.scenario.deadline_s)
        if not self.scenario.one_by_one:
            self._make_next(call)
        _Course(self, self._policy, call).advance(None)

    def _make_next(self, call: Call) -> None:
        number = call.number + 1
        if number < self.scenario.calls:
            self.at(call.began + self.scenario.period_s, lambda: self._make(number))

    def note(self, record: Record) -> None:
        """Take note of what came of a call."""
        self.records.append(record)
        if self.scenario.one_by_one:
            self._make_next(record.call)

    def run_here(self, call: Call, done: Callable[[float], None]) -> None:
        """Run a call on the device after those before it; `done` is told what it took."""
        asked = self.now
        self._device_free = max(asked, self._device_free) + self.luck_here(call)
        self.at(self._device_free, lambda: done(self.now - asked))

    def send_up(self, host: Host, size: int, chance: Chance) -> Passage:
        """Put a message on its way to a host."""
        passage = host.link.travel(host.link.up, self.now, size, self._up[host.name], chance)
        self._up[host.name] = passage.taken
        return passage

    def send_down(self, host: Host, size: int, chance: Chance) -> float:
        """Put an answer on its way from a host; when it arrives."""
        passage = host.link.travel(host.link.down, self.now, size, self._down[host.name], chance)
        self._down[host.name] = passage.taken
        return passage.arrives

    def take_back(self, host: Host, sent: Passage, before: int) -> None:
        """Free the places of a message that was given up, but for what the socket has already."""
        if self._up[host.name] == sent.taken:
            here = bisect_left(host.link.up, self.now) + SOCKET_PACKETS
            self._up[host.name] = min(sent.taken, max(before, here))

    def taken_up(self, host: Host) -> int:
        """The first place of the way to a host that no message takes."""
        return self._up[host.name]


def sent_bytes(call: Call) -> int:
    """What a call takes on its way to a host."""
    return call.row.size + HEADER_BYTES


@dataclass
class _Course:
    """One call under way: its flow, and what of it runs."""

    world: World
    policy: Policy
    call: Call
    received: int = 0
    turn: int = 0
    begun: int = 0
    running: dict[int, _Try] = field(default_factory=dict[int, "_Try"])
    ended: list[tuple[int, Outcome]] = field(default_factory=list[tuple[int, Outcome]])
    waiting: bool = False
    flow: Steps = field(init=False)

    def __post_init__(self) -> None:
        self.flow = self.policy.flow(self.call)

    def advance(self, heard: Outcome | tuple[int, Outcome] | None) -> None:
        """Carry out what the flow wants next, given what came of the step before."""
        self.turn += 1
        self.waiting = False
        try:
            step = self.flow.send(heard)
        except StopIteration as stop:
            self._finish(stop.value)
        except WhereverError:
            self._finish(None)
        else:
            self._carry_out(step)

    def _carry_out(self, step: Attempt | Race) -> None:
        if isinstance(step, Attempt):
            self._begin(step, self.advance)
            return
        if step.begin is not None:
            number, self.begun = self.begun, self.begun + 1
            made = self._begin(step.begin, lambda outcome: self._hear(number, outcome))
            if made is not None:
                self.running[number] = made
        self.waiting = True
        if self.ended:
            self._later(self.world.now, lambda: self.advance(self.ended.pop(0)))
        elif step.until is not None:
            self._later(step.until, lambda: self.advance(None))

    def _later(self, moment: float, happen: Callable[[], None]) -> None:
        turn = self.turn
        self.world.at(moment, lambda: happen() if turn == self.turn else None)

    def _hear(self, number: int, outcome: Outcome) -> None:
        self.running.pop(number, None)
        if self.waiting and not self.ended:
            self.advance((number, outcome))
        else:
            self.ended.append((number, outcome))

    def _begin(self, attempt: Attempt, done: Callable[[Outcome], None]) -> _Try | None:
        if attempt.candidate.place != "device":
            return _Try(self, attempt, done)
        self.world.run_here(self.call, lambda took_s: done(self._answer_here(attempt, took_s)))
        return None

    def _answer_here(self, attempt: Attempt, took_s: float) -> Answer:
        self.policy.answered(attempt, -1, Traffic(work_of(self.call, attempt), 0, took_s))
        return _answer(SMALL, self.call.row.confidence, took_s)

    def _finish(self, ending: Ending | None) -> None:
        self.turn += 1
        for running in self.running.values():
            running.give_up()
        world, row = self.world, self.call.row
        place = ending[1] if ending else ""
        large = ending is not None and ending[0].ran.variant == LARGE
        right = ending is not None and (row.large_right if large else row.small_right)
        world.note(
            Record(
                self.call,
                place,
                world.now - self.call.began,
                right,
                self.received,
                place not in ("", "device"),
                world.luck_here(self.call),
            )
        )


class _Try:
    """One remote attempt, from its first byte to the last of its answer."""

    def __init__(self, course: _Course, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        world = course.world
        self._course = course
        self._attempt = attempt
        self._done = done
        self._began = world.now
        self._over = False
        self._host = world.hosts[attempt.candidate.host]
        self._work = work_of(course.call, attempt)
        self._queue_s, self._compute_s = world.luck_there(course.call, self._host)
        self._ticket = course.policy.began(attempt, self._work)
        self._before = world.taken_up(self._host)
        self._losses = world.losses(course.call, self._host)
        self._sent = world.send_up(self._host, sent_bytes(course.call), self._losses)
        world.at(self._sent.arrives, self._arrived)
        world.at(world.now + cast("float", attempt.timeout_s), self._time_out)

    def give_up(self) -> None:
        """Cancel it."""
        if not self._over:
            self._end()
            self._course.policy.given_up(self._attempt, self._ticket)

    def _arrived(self) -> None:
        if self._over:
            return
        self._course.received += 1
        world = self._course.world
        begins = _after(world.now, self._host.hung)
        world.at(begins + self._queue_s + self._compute_s, self._computed)

    def _computed(self) -> None:
        if not self._over:
            world = self._course.world
            size = world.scenario.cascade.answer_bytes + HEADER_BYTES
            world.at(world.send_down(self._host, size, self._losses), self._answered)

    def _answered(self) -> None:
        if self._over:
            return
        self._over = True
        size = self._course.world.scenario.cascade.answer_bytes
        elapsed_s = self._course.world.now - self._began
        traffic = Traffic(self._work, size, elapsed_s, self._queue_s, self._compute_s)
        self._course.policy.answered(self._attempt, self._ticket, traffic)
        self._done(_answer(LARGE, None, self._compute_s))

    def _time_out(self) -> None:
        if self._over:
            return
        self._end()
        timeout_s = self._attempt.timeout_s
        error = DeadlineError(f"{self._host.name}: no answer within {timeout_s:.3f} s")
        self._course.policy.failed(self._attempt, self._ticket, error)
        self._done(error)

    def _end(self) -> None:
        self._over = True
        if self._course.world.now < self._sent.arrives:
            self._course.world.take_back(self._host, self._sent, self._before)


def work_of(call: Call, attempt: Attempt) -> Work:
    """What an attempt of a call asks of a host."""
    return Work("m", attempt.variant, sent_bytes(call))


def _after(moment: float, hung: Windows) -> float:
    """When a host that got something at a moment goes on with it."""
    return next((end for begin, end in hung if begin <= moment < end), moment)


def _answer(variant: str, confidence: float | None, took_s: float) -> Answer:
    return Answer({}, confidence, _RAN[variant], took_s)


_RAN = {
    variant: Ran("m", "1.0.0", variant, "", "", "local", "", "", "", "", 1)
    for variant in (SMALL, LARGE)
}
