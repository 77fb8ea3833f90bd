"""What `import wherever` adds to the start of Python."""

from __future__ import annotations

import statistics
import subprocess
import sys
from time import perf_counter

from harness import Row


def rows() -> list[Row]:
    """Fresh processes, taking turns with bare ones."""
    pairs = [(_start("import wherever"), _start("pass")) for _ in range(25)]
    ours = statistics.median(own for own, _ in pairs)
    bare = statistics.median(other for _, other in pairs)
    added_ms = (ours - bare) * 1000
    return [
        Row(
            "`import wherever`, fresh process",
            f"{ours * 1000:.1f} ms, {added_ms:.1f} ms added",
            f"bare Python {bare * 1000:.1f} ms",
            "<= 60 ms added",
            added_ms <= 60,
        )
    ]


def _start(code: str) -> float:
    started = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return perf_counter() - started
