"""What a call will cost at a host, learned from the calls that it answered.

The expected time is a sum: round trip + bytes up and down over their rates + queue + the engine's
run of this model. `belief` learns the parts. How far the truth lay from the sum is kept as a
distribution of ratios for each kind of part, so a quantile is what this very host showed: a link
that stalls has a far tail, a wired box hardly any. A payload's quantile is the sum of its parts'
quantiles, so it never falls when the payload grows. While a host is idle its parts return to what
is usual for it, and a worse tail than a new host's to that of a new one.

The network's constants were chosen on half of each recorded link (LTE and UMTS on the road, Wi-Fi
and LTE to an edge and a cloud) and looked at on the other half. Those of queue, engine and device
are judgement: engines change with heat and neighbours, in tens of seconds. Both models are pure
and hold bounded memory; their caller holds the lock.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from wherever_contracts.places import Place
from wherever_edge.host_health.belief import Belief, Drift, Part, learn
from wherever_edge.host_health.forecast import Forecast, Traffic, Work
from wherever_edge.host_health.quantiles import Quantiles

MAX_MODELS = 64
LONGEST_S = 1e5
_SHORTEST_S = 1e-6

_NETWORK = Drift(per_s=0.01, per_look=0.02, most=1.5, back_s=30.0)
_ENGINE = Drift(per_s=0.001, per_look=0.02, most=6.0, back_s=600.0)
_NOISE = 0.1
_HALF_LIFE_S = 60.0
# A call that was given up would have taken longer; by how much it did not say.
_BEYOND = 1.25
_HANDSHAKES = 2.0
# A part that makes up less of the network's time may still be a guess when the whole is judged.
_LITTLE = 0.25
_QUEUE_HALF_LIFE_S = 5.0
_NEWEST_QUEUE = 0.3
_FIRST_ANSWER_BYTES = 1024.0
_NEWEST_ANSWER = 0.2
# A batch costs its rows, and a little that one row costs as well.
_ROWS_SHARE = 0.8
_DEVICE_SPREAD = 1.5
# Where in the log of its spread each value of a guessed distribution lies.
_GUESSED = (-1.0, -0.4, 0.0, 0.4, 1.0)


@dataclass(frozen=True, slots=True)
class Prior:
    """What is expected of a host before its first call.

    Attributes:
        round_trip_s: of an empty call.
        up_bytes_per_s: the rate at which payloads travel to it.
        down_bytes_per_s: the rate at which answers travel back.
        compute_s: one row in its engine.
        spread: by what factor a slow call (the 95th percentile) exceeds the expected time.
    """

    round_trip_s: float
    up_bytes_per_s: float
    down_bytes_per_s: float
    compute_s: float
    spread: float


PRIORS: Mapping[Place, Prior] = {
    "device": Prior(1e-6, 1e10, 1e10, 0.02, _DEVICE_SPREAD),
    "nearby": Prior(0.005, 5e6, 5e6, 0.01, 2.0),
    "cloud": Prior(0.06, 1e6, 2e6, 0.01, 2.5),
}


class CostFacts(NamedTuple):
    """What a cost model has learned, for people.

    Attributes:
        round_trip_p50_s: of an empty call.
        round_trip_p95_s: of a slow one.
        connect_s: what a call that must connect first takes more.
        up_bytes_per_s: the rate to the host.
        down_bytes_per_s: the rate back.
        queue_s: the expected wait for its engine.
        samples: how many recent calls and probes stand behind it, each counting less as it ages.
    """

    round_trip_p50_s: float
    round_trip_p95_s: float
    connect_s: float
    up_bytes_per_s: float
    down_bytes_per_s: float
    queue_s: float
    samples: float


class CostModel:
    """The cost of calls at one remote host."""

    def __init__(self, prior: Prior) -> None:
        self._prior = prior
        self._trip = Belief(prior.round_trip_s, _NETWORK)
        self._connect = Belief(prior.round_trip_s * _HANDSHAKES, _NETWORK)
        self._up = Belief(1.0 / prior.up_bytes_per_s, _NETWORK)
        self._down = Belief(1.0 / prior.down_bytes_per_s, _NETWORK)
        self._queue = _Queue()
        self._unseen = _Engine(prior.compute_s)
        self._engines: OrderedDict[tuple[str, str], _Engine] = OrderedDict()
        self._ratios = _Ratios(prior.spread)

    def answered(self, traffic: Traffic, now: float) -> None:
        """Learn from a call that was answered at `now`.

        A host that does not say its compute time (0) has it learned from the whole.
        """
        work = traffic.work
        elapsed_s = _seconds(traffic.elapsed_s)
        queue_s = min(elapsed_s, max(0.0, traffic.queue_s))
        compute_s = min(elapsed_s - queue_s, max(0.0, traffic.compute_s))
        expected = self._expected(work, now)
        if not traffic.connected and self._knows(work, expected):
            self._ratios.add(expected, elapsed_s, now)
        self._queue.saw(queue_s, now)
        engine = self._engine(work)
        engine.answer_bytes += (traffic.down_bytes - engine.answer_bytes) * _NEWEST_ANSWER
        rest = self._network(work, traffic.down_bytes, connected=traffic.connected)
        if compute_s > 0.0:
            learn(engine.parts(work), compute_s, _NOISE, now)
        else:
            rest += engine.parts(work)
        learn(rest, _seconds(elapsed_s - queue_s - compute_s), _NOISE, now)

    def outlasted(self, work: Work, elapsed_s: float, now: float) -> None:
        """Learn from a call that had no answer after `elapsed_s`, when it was given up.

        It counts as one that would have taken somewhat longer, so that slowness nobody waits for
        is seen too. It says nothing when half of the answers were expected to take longer.
        """
        elapsed_s = _seconds(elapsed_s)
        expected = self._expected(work, now)
        if self._ratios.forecast(expected, 0.5, now).latency_s >= elapsed_s:
            return
        longer_s = elapsed_s * _BEYOND
        if self._knows(work, expected):
            self._ratios.add(expected, longer_s, now)
        engine = self._engine(work)
        parts = self._network(work, engine.answer_bytes) + engine.parts(work)
        learn(parts, max(longer_s, sum(expected)), _NOISE, now)

    def pinged(self, elapsed_s: float, now: float) -> None:
        """Learn from a probe that was answered after `elapsed_s`."""
        elapsed_s = _seconds(elapsed_s)
        if self._trip.known:
            self._ratios.add(_Expected(self._trip.amount(now), 0.0, 0.0), elapsed_s, now)
        learn([(self._trip, 1.0)], elapsed_s, _NOISE, now)

    def forecast(self, work: Work, quantile: float, now: float) -> Forecast:
        """The time that a share of `quantile` (0 to 1) of such calls would not exceed."""
        return self._ratios.forecast(self._expected(work, now), quantile, now)

    def facts(self, now: float) -> CostFacts:
        """What was learned so far."""
        trip = _Expected(self._trip.amount(now), 0.0, 0.0)
        usual, slow = (self._ratios.forecast(trip, share, now) for share in (0.5, 0.95))
        return CostFacts(
            round_trip_p50_s=usual.latency_s,
            round_trip_p95_s=slow.latency_s,
            connect_s=self._connect.amount(now),
            up_bytes_per_s=1.0 / self._up.amount(now),
            down_bytes_per_s=1.0 / self._down.amount(now),
            queue_s=self._queue.expected(now),
            samples=self._ratios.samples(now),
        )

    def _expected(self, work: Work, now: float) -> _Expected:
        engine = self._engines.get((work.model, work.variant), self._unseen)
        moving_s = self._up.amount(now) * work.up_bytes
        moving_s += self._down.amount(now) * engine.answer_bytes
        host_s = self._queue.expected(now) + engine.compute_s(work, now)
        return _Expected(self._trip.amount(now), moving_s, host_s)

    def _knows(self, work: Work, expected: _Expected) -> bool:
        """Whether a surprise is the host's own; the first call shows how wrong a guess was."""
        little_s = (expected.trip_s + expected.moving_s) * _LITTLE
        trip = self._trip.known or expected.trip_s < little_s
        moving = self._up.known or self._down.known or expected.moving_s < little_s
        return trip and moving and (work.model, work.variant) in self._engines

    def _network(self, work: Work, answer_bytes: float, *, connected: bool = False) -> list[Part]:
        connects = [(self._connect, 1.0)] if connected else []
        moves = [(self._up, float(work.up_bytes)), (self._down, float(answer_bytes))]
        return [(self._trip, 1.0), *moves, *connects]

    def _engine(self, work: Work) -> _Engine:
        key = (work.model, work.variant)
        engine = self._engines.get(key)
        if engine is None:
            engine = self._engines[key] = _Engine(self._prior.compute_s)
            if len(self._engines) > MAX_MODELS:
                self._engines.popitem(last=False)
        self._engines.move_to_end(key)
        return engine


class DeviceCost:
    """The cost of calls on this device: how long each variant takes, by its number of rows."""

    __slots__ = ("_guess", "_prior_s", "_times")

    def __init__(self, prior_s: float) -> None:
        """Expect `prior_s` for one row, as the device's plan was measured, until calls show.

        0 says that it was not measured: the forecast is 0 until the first call.
        """
        self._prior_s = _seconds(prior_s) if prior_s > 0.0 else 0.0
        self._guess = {0: self._guessed(0)}
        self._times: OrderedDict[tuple[str, str], dict[int, Quantiles]] = OrderedDict()

    def answered(self, work: Work, elapsed_s: float, now: float) -> None:
        """Learn from a call that took `elapsed_s`; cheap enough for every call."""
        name = (work.model, work.variant)
        size = (work.batch - 1).bit_length()
        try:
            times = self._times[name][size]
        except KeyError:
            times = self._first(name, size)
        self._times.move_to_end(name)
        times.add(elapsed_s, now)

    def forecast(self, work: Work, quantile: float, now: float) -> Forecast:
        """The time that a share of `quantile` (0 to 1) of such calls would not exceed.

        A number of rows that was not seen yet takes as long as the next larger one that was, and
        more than the largest in proportion.
        """
        sizes = self._times.get((work.model, work.variant), self._guess)
        asked = (work.batch - 1).bit_length()
        size = asked if asked in sizes else _nearest(sizes, asked)
        times = sizes[size]
        more = 2.0 ** max(0, asked - size)
        return Forecast(min(LONGEST_S, times.quantile(quantile) * more), times.samples(now) / more)

    def _first(self, name: tuple[str, str], size: int) -> Quantiles:
        sizes = self._times.setdefault(name, {})
        if len(self._times) > MAX_MODELS:
            self._times.popitem(last=False)
        times = sizes[size] = self._guessed(size)
        return times

    def _guessed(self, size: int) -> Quantiles:
        if not self._prior_s:
            return Quantiles(_HALF_LIFE_S)
        expected_s = self._prior_s * 2.0**size
        return Quantiles(
            _HALF_LIFE_S, prior=[expected_s * ratio for ratio in _guessed(_DEVICE_SPREAD)]
        )


class _Expected(NamedTuple):
    """The expected time of a call by its kinds of parts, in seconds."""

    trip_s: float
    moving_s: float
    host_s: float


class _Engine:
    """One variant of a model at a host."""

    __slots__ = ("_fixed", "_row", "answer_bytes")

    def __init__(self, compute_s: float) -> None:
        self._fixed = Belief(compute_s * (1.0 - _ROWS_SHARE), _ENGINE)
        self._row = Belief(compute_s * _ROWS_SHARE, _ENGINE)
        self.answer_bytes = _FIRST_ANSWER_BYTES

    def parts(self, work: Work) -> list[Part]:
        return [(self._fixed, 1.0), (self._row, float(work.batch))]

    def compute_s(self, work: Work, now: float) -> float:
        return self._fixed.amount(now) + self._row.amount(now) * work.batch


class _Queue:
    """The wait for a host's engine, which is over soon when nobody says that it lasts."""

    __slots__ = ("_at", "_wait_s")

    def __init__(self) -> None:
        self._wait_s = 0.0
        self._at = math.inf

    def saw(self, wait_s: float, now: float) -> None:
        newest = max(_NEWEST_QUEUE, 1.0 - self._left(now))
        self._wait_s += (wait_s - self._wait_s) * newest
        self._at = now

    def expected(self, now: float) -> float:
        return self._wait_s * self._left(now)

    def _left(self, now: float) -> float:
        return math.exp2(-max(0.0, now - self._at) / _QUEUE_HALF_LIFE_S)


class _Ratios:
    """How seen times relate to expected ones, for each kind of part."""

    __slots__ = ("_guess", "_of")

    def __init__(self, spread: float) -> None:
        prior = _guessed(spread)
        self._guess = Quantiles(_HALF_LIFE_S, prior=prior)
        self._of = tuple(Quantiles(_HALF_LIFE_S, prior=prior) for _ in _Expected._fields)

    def add(self, expected: _Expected, seen_s: float, now: float) -> None:
        """Credit a call to each kind by its share."""
        total_s = sum(expected)
        for ratios, part_s in zip(self._of, expected, strict=True):
            if part_s > 0.0:
                ratios.add(seen_s / total_s, now, part_s / total_s)

    def forecast(self, expected: _Expected, quantile: float, now: float) -> Forecast:
        latency_s = samples = 0.0
        guess = self._guess.quantile(quantile)
        for ratios, part_s in zip(self._of, expected, strict=True):
            ratio = ratios.quantile(quantile)
            if ratio > guess:
                # Else a host that nobody asks any more would never again look worth asking.
                ratio = guess * (ratio / guess) ** math.exp2(-ratios.idle_s(now) / _HALF_LIFE_S)
            latency_s += part_s * ratio
            samples += part_s * ratios.samples(now)
        return Forecast(min(LONGEST_S, latency_s), samples / sum(expected))

    def samples(self, now: float) -> float:
        return sum(ratios.samples(now) for ratios in self._of)


def _guessed(spread: float) -> tuple[float, ...]:
    """A few ratios around 1, of which the largest is `spread`."""
    return tuple(spread**place for place in _GUESSED)


def _nearest(sizes: Mapping[int, Quantiles], asked: int) -> int:
    larger = [size for size in sizes if size > asked]
    return min(larger) if larger else max(sizes)


def _seconds(elapsed_s: float) -> float:
    return min(LONGEST_S, max(_SHORTEST_S, elapsed_s))
