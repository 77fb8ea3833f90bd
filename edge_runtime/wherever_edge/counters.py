"""Counts of what happened in this process; `wherever.status()` shows them."""

from __future__ import annotations

import threading
from collections import Counter


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
        with self._lock:
            counts = dict(self._counts)
        return {_shown(name, labels): count for (name, labels), count in sorted(counts.items())}


def _shown(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return name
    inner = ",".join(f'{label}="{value}"' for label, value in labels)
    return f"{name}{{{inner}}}"


COUNTERS = Counters()
