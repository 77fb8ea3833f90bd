"""Times as people read them. Pure."""

from __future__ import annotations

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
# From here on three digits are a whole number of the unit, or one of the next larger unit.
_ROUNDS_UP = 999.5


def duration(seconds: float) -> str:
    """Seconds to three digits, in the unit that suits: "21.4 ms", "11.6 us", "3600 s"."""
    size, unit = next(
        (pair for pair in _UNITS if seconds >= pair[0] * _ROUNDS_UP / 1000), _UNITS[-1]
    )
    amount = seconds / size
    return f"{amount:.0f} {unit}" if amount >= _ROUNDS_UP else f"{amount:.3g} {unit}"
