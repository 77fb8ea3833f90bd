"""Counted calls in the text format of Prometheus, version 0.0.4; pure.

Written here and not by `prometheus_client`, which takes ten times as long for it: a page of a
thousand models and tenants would keep the interpreter from calls for most of a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from wherever_edge.counters import series
from wherever_gateway.watching.cells import BOUNDS_S, Cell, Key, Spread

if TYPE_CHECKING:
    from wherever_gateway.watching.metrics import Counted

_LE = tuple(f'le="{end}"}} ' for end in (*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"))


def exposition(counted: Counted) -> str:
    """What was counted of calls, as Prometheus reads it."""
    return "".join([*_histograms(counted.answered), *_totals(counted)])


def _histograms(answered: Mapping[Key, Cell]) -> Iterator[str]:
    for what, words in (
        ("total", "From admission to the answer, of calls that were answered."),
        ("queue", "Waited for the engine, of calls that were answered."),
        ("engine", "Inside the engine, of calls that were answered."),
    ):
        name = f"wherever_call_{what}_seconds"
        yield _head(name, "histogram", words)
        for key, cell in answered.items():
            yield _histogram(name, _labels(key._asdict()), getattr(cell, what))


def _histogram(name: str, labels: str, spread: Spread) -> str:
    counts = list(accumulate(spread.counts))
    start = f"\n{name}_bucket{{{labels},"
    buckets = start.join(f"{end}{count}" for end, count in zip(_LE, counts, strict=True))
    sums = f"{name}_count{{{labels}}} {counts[-1]}\n{name}_sum{{{labels}}} {spread.sum_s!r}\n"
    return f"{start[1:]}{buckets}\n{sums}"


def _totals(counted: Counted) -> Iterator[str]:
    received = ((key._asdict(), cell.received_bytes) for key, cell in counted.answered.items())
    yield from _family(
        "wherever_received_bytes_total", "counter", "Messages of answered calls.", received
    )
    failed = ((key._asdict(), tally.count) for key, tally in counted.failed.items())
    words = "Calls without an answer, by the error's code."
    yield from _family("wherever_calls_failed_total", "counter", words, failed)
    kept = (({"tenant": tenant}, count) for tenant, count in counted.kept.items())
    words = "Calls that got an answer that was given before."
    yield from _family("wherever_calls_kept_total", "counter", words, kept)
    words = "Calls that have not ended."
    yield from _family("wherever_calls_in_flight", "gauge", words, [({}, counted.in_flight)])


def _family(
    name: str, kind: str, words: str, samples: Iterable[tuple[Mapping[str, str], int]]
) -> Iterator[str]:
    yield _head(name, kind, words)
    for labels, value in samples:
        yield f"{series(name, labels)} {value}\n"


def _head(name: str, kind: str, words: str) -> str:
    return f"# HELP {name} {words}\n# TYPE {name} {kind}\n"


def _labels(labels: Mapping[str, str]) -> str:
    return series("", labels)[1:-1]
