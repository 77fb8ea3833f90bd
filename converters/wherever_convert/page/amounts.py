"""Figures as people read them. Pure."""

from __future__ import annotations

import math

_PREFIXES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
# What a table shows where there is no figure.
NOTHING = "\N{EN DASH}"
_SHARES = frozenset({"top-1", "agreement"})


def seconds(value: float) -> str:
    """A time with three digits and its unit, such as "1.25 ms"."""
    for scale, unit in _PREFIXES:
        if value >= scale * 0.9995:
            return f"{_three(value / scale)}\N{NO-BREAK SPACE}{unit}"
    return f"{_three(value * 1e6)}\N{NO-BREAK SPACE}µs"


def size(value: int) -> str:
    """A number of bytes, such as "1.4 MB" (of 1000 kB)."""
    if value < 1000:
        return f"{value}\N{NO-BREAK SPACE}B"
    for scale, unit in ((1e3, "kB"), (1e6, "MB"), (1e9, "GB")):
        if value < scale * 999.5:
            return f"{_three(value / scale)}\N{NO-BREAK SPACE}{unit}"
    return f"{value / 1e12:.3g}\N{NO-BREAK SPACE}TB"


def quality(value: float, metric: str) -> str:
    """A metric's value: a share in percent, others with four digits."""
    if not math.isfinite(value):
        return "no number"
    return f"{value * 100:.2f}\N{NO-BREAK SPACE}%" if metric in _SHARES else f"{value:.4f}"


def points(value: float) -> str:
    """A drop in points of a metric, with its sign the way a loss is read: "-0.31"."""
    if not math.isfinite(value):
        return "no number"
    lost = round(-value * 100, 2)
    return f"{lost:+.2f}" if lost else "0.00"


def in_points(value: float) -> str:
    """So many points of a metric, such as "1 point"."""
    return f"{value * 100:g} point{'s' * (value != 0.01)}"


def share(value: float) -> str:
    """A share in percent; less than all is never shown as all."""
    if 0.99995 <= value < 1:
        return ">\N{NO-BREAK SPACE}99.99\N{NO-BREAK SPACE}%"
    return f"{value * 100:.2f}\N{NO-BREAK SPACE}%"


def times(value: float) -> str:
    """A ratio, such as "0.62 x"."""
    return f"{value:.2f}\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}"


def round_seconds(value: float) -> str:
    """A round time, such as "50 µs"."""
    for scale, unit in _PREFIXES:
        if value >= scale * 0.9995:
            return f"{value / scale:.6g}\N{NO-BREAK SPACE}{unit}"
    return f"{value * 1e6:.3g}\N{NO-BREAK SPACE}µs"


def round_quality(value: float, metric: str) -> str:
    """A round value of a metric."""
    return f"{value * 100:.6g}\N{NO-BREAK SPACE}%" if metric in _SHARES else f"{value:.6g}"


def _three(value: float) -> str:
    return f"{value:#.3g}".rstrip(".") if value else "0"
