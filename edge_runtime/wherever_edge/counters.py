"""Counts of what happened in this process; `wherever.status()` shows them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

# errors that clients were told, by the front and the error's code: also those of calls that were
# refused at the door, before anybody could count them by model and tenant
ERRORS_TOLD = "wherever_errors_told_total"


class Counters:
    """Named counts that only grow. Safe to use from many threads.

    Names follow Prometheus: `wherever_substitutions_total`, with labels.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str, amount: int = 1, **labels: str) -> None:
        """Count something."""
        key = name, tuple(sorted(labels.items()))
        with self._lock:
            self._counts[key] += amount

    def snapshot(self) -> dict[str, int]:
        """Every count, by its name with its labels: `name{label="value"}`."""
        return {series(*about): count for about, count in self.by_labels()}

    def by_labels(self) -> list[tuple[tuple[str, dict[str, str]], int]]:
        """Every count behind its name and labels, in their order."""
        with self._lock:
            counts = list(self._counts.items())
        return [((name, dict(labels)), count) for (name, labels), count in sorted(counts)]


def series(name: str, labels: Mapping[str, str] | None = None) -> str:
    """What a number is about, as Prometheus writes it: `name{label="value"}`."""
    if not labels:
        return name
    inner = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{inner}}}"


def exposition(counts: Mapping[str, float], gauges: Mapping[str, float]) -> str:
    """Numbers in the text format of Prometheus, version 0.0.4, each by its `series`."""
    lines: dict[str, list[str]] = {}
    for kind, numbers in (("counter", counts), ("gauge", gauges)):
        for about, number in numbers.items():
            family = about.partition("{")[0]
            lines.setdefault(family, [f"# TYPE {family} {kind}"]).append(f"{about} {number!r}")
    return "".join(f"{line}\n" for family in lines.values() for line in family)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


COUNTERS = Counters()
