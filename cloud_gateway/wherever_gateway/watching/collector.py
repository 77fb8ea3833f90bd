"""What was counted, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from wherever_edge.counters import COUNTERS
from wherever_gateway.watching.cells import BOUNDS_S, Spread

if TYPE_CHECKING:
    from wherever_edge.host import LocalHost
    from wherever_gateway.watching.metrics import Counted, Metrics

_ENDS = (*(f"{bound:g}" for bound in BOUNDS_S), "+Inf")
_LABELS = ("model", "version", "tenant")


# a count behind its name and labels
Counts: TypeAlias = tuple[tuple[str, dict[str, str]], int]


class Level(NamedTuple):
    """A number that goes up and down.

    Attributes:
        name: as Prometheus has it, with its unit.
        help: what it is, in a sentence.
        read: tells it now.
    """

    name: str
    help: str
    read: Callable[[], float]


class CallCollector(Collector):
    """Calls by model, version and tenant, how busy the host is, and what this process counted.

    Args:
        metrics: what was counted.
        levels: further numbers, such as those of `host_levels`.
        counts: named counts with their labels, of this process.
    """

    def __init__(
        self,
        metrics: Metrics,
        levels: Iterable[Level] = (),
        counts: Callable[[], Iterable[Counts]] = COUNTERS.by_labels,
    ) -> None:
        self._metrics = metrics
        self._levels = tuple(levels)
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Every number of this moment."""
        counted = self._metrics.counted()
        yield from _histograms(counted)
        yield from _totals(counted)
        yield _gauge("wherever_calls_in_flight", "Calls that have not ended.", counted.in_flight)
        for level in self._levels:
            yield _gauge(level.name, level.help, level.read())
        yield from _families(self._counts())

    def describe(self) -> list[Metric]:
        """Nothing: what there is to count is only known later."""
        return []


def host_levels(host: LocalHost) -> tuple[Level, ...]:
    """How busy a host is, and what its models take."""
    queue = host.queue

    def memory() -> float:
        return sum(each.held_bytes for each in host.loaded() if each.in_memory)

    def models() -> float:
        return sum(each.in_memory for each in host.loaded())

    return (
        Level("wherever_queue_waiting", "Calls that wait for their turn.", lambda: queue.waiting),
        Level("wherever_queue_working", "Calls whose turn it is.", lambda: queue.working),
        Level("wherever_models_memory_bytes", "What loaded variants took when opened.", memory),
        Level("wherever_models_loaded", "Variants that are in memory.", models),
    )


def _histograms(counted: Counted) -> Iterator[Metric]:
    for name, words in (
        ("queue", "Waited for the engine, of calls that were answered."),
        ("engine", "Inside the engine, of calls that were answered."),
        ("total", "From admission to the answer, of calls that were answered."),
    ):
        family = HistogramMetricFamily(f"wherever_call_{name}_seconds", words, labels=_LABELS)
        for key, cell in counted.answered.items():
            spread: Spread = getattr(cell, name)
            ends = zip(_ENDS, accumulate(spread.counts), strict=True)
            family.add_metric(key, [(end, float(count)) for end, count in ends], spread.sum_s)
        yield family


def _totals(counted: Counted) -> Iterator[Metric]:
    received = _counter("wherever_received_bytes", "Messages of answered calls.", _LABELS)
    for key, cell in counted.answered.items():
        received.add_metric(key, cell.received_bytes)
    yield received
    failed = _counter(
        "wherever_calls_failed",
        "Calls without an answer, by the error's code.",
        (*_LABELS, "reason"),
    )
    for failure, tally in counted.failed.items():
        failed.add_metric(failure, tally.count)
    yield failed
    kept = _counter("wherever_calls_kept", "Calls that got an answer given before.", ("tenant",))
    for tenant, count in counted.kept.items():
        kept.add_metric((tenant,), count)
    yield kept


def _families(counts: Iterable[Counts]) -> Iterator[Metric]:
    found: dict[str, Metric] = {}
    for (name, labels), count in counts:
        family = found.get(name)
        if family is None:
            words = "Counted by this process since it started."
            family = found[name] = CounterMetricFamily(name, words)
        family.add_sample(name, labels, count)
    yield from found.values()


def _counter(name: str, words: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(name, words, labels=labels)


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, value=value)
