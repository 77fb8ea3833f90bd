"""Which of several sessions is faster: timed in turns, so that what disturbs one disturbs all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.engines.engine import Session

_ROUNDS = 15


class Timing(NamedTuple):
    """Seconds of one run of a session: the median and the 95th percentile of `runs`."""

    median_s: float
    p95_s: float
    rounds_s: tuple[float, ...]
    runs: int


def race(
    runs: Mapping[str, tuple[Session, Sequence[Mapping[str, Array]]]], rounds: int = _ROUNDS
) -> dict[str, Timing]:
    """Run sessions in turns.

    Args:
        runs: name -> a session, and the tensors to run it with.
        rounds: how often each has its turn.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (session, feeds) in runs.items():
            turn: list[float] = []
            for feed in feeds:
                started = perf_counter()
                session.run(dict(feed))
                turn.append(perf_counter() - started)
            times[name].append(turn)
    return {name: _timing(turns) for name, turns in times.items()}


def slower(own: Timing, other: Timing) -> bool:
    """Whether one is slower in three of four rounds, and in the median of all."""
    pairs = list(zip(own.rounds_s, other.rounds_s, strict=True))
    share = sum(a > b for a, b in pairs) / len(pairs)
    return share >= 0.75 and own.median_s > other.median_s


def _timing(turns: Sequence[Sequence[float]]) -> Timing:
    flat = np.concatenate([np.asarray(turn) for turn in turns])
    medians = tuple(float(np.median(turn)) for turn in turns)
    return Timing(float(np.median(flat)), float(np.quantile(flat, 0.95)), medians, flat.size)
