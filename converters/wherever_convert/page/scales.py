"""From values to places on a chart, and the round values that its axes name. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """A line from values to pixels: `low` stands at `start`, `high` at `end`.

    Attributes:
        low: the first value.
        high: the last value, more than the first.
        start: where the first stands.
        end: where the last stands.
        logarithmic: equal ratios are equally far apart; values are more than 0.
        ticks: values to name.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Where a value stands; one beyond an end stands there."""
        low, high, own = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, own = math.log(low), math.log(high), math.log(own)
        return self.start + (own - low) / (high - low) * (self.end - self.start)


def linear(values: Sequence[float], start: float, end: float, least: float) -> Scale:
    """A scale with room around the values, of a span of at least `least`, and about five ticks."""
    low, high = min(values), max(values)
    middle, span = (low + high) / 2, max((high - low) * 1.24, least)
    low, high = middle - span / 2, middle + span / 2
    step = _step(span / 5)
    first = math.ceil(low / step)
    # counting steps, not adding them up, keeps a tick at 0.3 from being 0.30000000000000004
    ticks = tuple(
        round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)
    )
    return Scale(low, high, start, end, logarithmic=False, ticks=ticks)


def logarithmic(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale with room around values more than 0; it spans a factor of four at least."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.14, (4 / (high / low)) ** 0.5, 1.2)
    low, high = low / room, high * room
    return Scale(low, high, start, end, logarithmic=True, ticks=_ratios(low, high))


def _ratios(low: float, high: float) -> tuple[float, ...]:
    """Round values: of a wide range powers of ten, of a narrow one several between them."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [round(m * 10.0**p, 15) for p in decades for m in _steps_within(math.log10(high / low))]
    return tuple(value for value in found if low <= value <= high)


def _steps_within(decades: float) -> tuple[float, ...]:
    if decades > 3:
        return (1,)
    return (1, 2, 5) if decades > 1 else (1, 1.5, 2, 3, 4, 5, 7)


def _step(least: float) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that is not less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= least * 0.999)
