"""What the check before a package serves for the first time costs, and the one after it."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from time import perf_counter

from harness import Row

from wherever_edge.builtin import PACKAGES
from wherever_edge.host import LocalHost
from wherever_edge.packages.store import Store, open_package

_ROUNDS = 15


def rows() -> list[Row]:
    """Loading the built-in package: unproven, proven here before, and without any proof."""
    _load(None, proves=False)  # the engine is imported
    with tempfile.TemporaryDirectory() as directory:
        proven = Path(directory) / "proven"
        _load(proven)
        first: list[float] = []
        later: list[float] = []
        plain: list[float] = []
        for number in range(_ROUNDS):
            first.append(_load(Path(directory) / str(number)))
            later.append(_load(proven))
            plain.append(_load(None, proves=False))
    best = min(plain)
    return [
        _row("load digits and run its golden samples, first time", min(first), best),
        _row("load digits, proven here before", min(later), best),
    ]


def _load(home: Path | None, *, proves: bool = True) -> float:
    """Seconds to have the package ready."""
    package = open_package(PACKAGES / "digits")
    host = LocalHost(Store(builtin=False), distance="device", home=home, proves=proves)
    with closing(host):
        started = perf_counter()
        host.resolve_package(package)
        return perf_counter() - started


def _row(what: str, found_s: float, plain_s: float) -> Row:
    added_s = found_s - plain_s
    return Row(
        what,
        f"{found_s * 1e3:.1f} ms",
        f"without proof {plain_s * 1e3:.1f} ms",
        "at most 1 s more",
        added_s <= 1.0,
    )
