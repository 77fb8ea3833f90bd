"""Interleaved measurements: two things take turns in one run, so that noise hits both alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Pair:
    """Medians, in seconds, of one thing and of what it is measured against."""

    ours_s: float
    reference_s: float

    @property
    def added_s(self) -> float:
        """What ours costs more."""
        return self.ours_s - self.reference_s

    @property
    def ratio(self) -> float:
        """How many times as long ours takes."""
        return self.ours_s / self.reference_s


@dataclass(frozen=True)
class Row:
    """One line of the table; `met` is None where no bar is set."""

    what: str
    measured: str
    reference: str
    bar: str
    met: bool | None


def interleaved(
    ours: Callable[[], object], reference: Callable[[], object], *, rounds: int, calls: int
) -> Pair:
    """Let the two take turns: `calls` calls of one, then of the other, `rounds` times over."""
    for function in (ours, reference):
        _time(function, calls)
    samples = [(_time(ours, calls), _time(reference, calls)) for _ in range(rounds)]
    return Pair(
        statistics.median(own for own, _ in samples),
        statistics.median(other for _, other in samples),
    )


def one_by_one(function: Callable[[], object], calls: int) -> list[float]:
    """Seconds of each of `calls` calls."""
    samples: list[float] = []
    for _ in range(calls):
        started = perf_counter()
        function()
        samples.append(perf_counter() - started)
    return samples


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    marks = {True: "met", False: "**missed**", None: ""}
    lines = ["| what | measured | reference | bar | |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.what} | {r.measured} | {r.reference} | {r.bar} | {marks[r.met]} |" for r in rows
    ]
    return "\n".join(lines)


def _time(function: Callable[[], object], calls: int) -> float:
    started = perf_counter()
    for _ in range(calls):
        function()
    return (perf_counter() - started) / calls
