"""Which of several sessions is faster: timed in turns, so that what disturbs one disturbs all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.engines.engine import Session

_ROUNDS = 15
# A session that is exactly as fast is called slower less often than this.
_BY_CHANCE = 0.02
# What costs less than this share more is as fast for whoever waits for it.
_MATTERS = 0.02


class Timing(NamedTuple):
    """Seconds of one run of a session: the median and the 95th percentile of `runs`.

    `rounds_s` has the median of each round; sessions that raced have rounds at the same time.
    """

    median_s: float
    p95_s: float
    rounds_s: tuple[float, ...]
    runs: int


def race(
    runs: Mapping[str, tuple[Session, Sequence[Mapping[str, Array]]]], rounds: int = _ROUNDS
) -> dict[str, Timing]:
    """Run sessions in turns; a first round, in which they allocate what they need, does not count.

    Args:
        runs: name -> a session, and the tensors to run it with.
        rounds: how often each has its turn. Whose turn is first changes from round to round.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            turn = _turn(*runs[name])
            if number:
                times[name].append(turn)
    return {name: _timing(turns) for name, turns in times.items()}


def slower(own: Timing, other: Timing) -> bool:
    """Whether one is slower than what it raced with, beyond what chance explains.

    It was behind in so many rounds as happen less than once in fifty times to a session that is
    just as fast (a sign test: no assumption on how noise is spread), and it takes 2 % longer in the
    median. Fewer than six rounds tell nothing.
    """
    pairs = list(zip(own.rounds_s, other.rounds_s, strict=True))
    behind = sum(a > b for a, b in pairs)
    likely = sum(comb(len(pairs), n) for n in range(behind, len(pairs) + 1)) / 2 ** len(pairs)
    return likely < _BY_CHANCE and own.median_s > other.median_s * (1 + _MATTERS)


def _turn(session: Session, feeds: Sequence[Mapping[str, Array]]) -> list[float]:
    times_s: list[float] = []
    for feed in feeds:
        started = perf_counter()
        session.run(dict(feed))
        times_s.append(perf_counter() - started)
    return times_s


def _timing(turns: Sequence[Sequence[float]]) -> Timing:
    flat = np.concatenate([np.asarray(turn) for turn in turns])
    medians = tuple(float(np.median(turn)) for turn in turns)
    return Timing(float(np.median(flat)), float(np.quantile(flat, 0.95)), medians, flat.size)
