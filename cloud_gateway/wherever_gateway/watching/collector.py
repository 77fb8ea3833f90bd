"""How busy a host is, and what its process counted, as `prometheus_client` collects it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wherever_edge.counters import COUNTERS

if TYPE_CHECKING:
    from wherever_edge.host import LocalHost

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


class HostCollector(Collector):
    """How busy a host is, and what this process counted.

    Args:
        levels: numbers such as those of `host_levels`.
        counts: named counts with their labels.
    """

    def __init__(
        self,
        levels: Iterable[Level],
        counts: Callable[[], Iterable[Counts]] = COUNTERS.by_labels,
    ) -> None:
        self._levels = tuple(levels)
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Every number of this moment."""
        for level in self._levels:
            yield GaugeMetricFamily(level.name, level.help, value=level.read())
        yield from _families(self._counts())


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
        Level("wherever_models_loaded", "Variants that are in memory.", models),
        Level("wherever_models_memory_bytes", "What they took when they were opened.", memory),
    )


def _families(counts: Iterable[Counts]) -> Iterator[Metric]:
    found: dict[str, Metric] = {}
    for (name, labels), count in counts:
        family = found.get(name)
        if family is None:
            words = "Counted by this process since it started."
            family = found[name] = CounterMetricFamily(name, words)
        family.add_sample(name, labels, count)
    yield from found.values()
