"""What was measured of each variant in each engine, from whatever says it best. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherever_contracts.certificate import Certificate

if TYPE_CHECKING:
    from wherever_convert.report import ConversionReport, Row

# Less than any clock tells; a chart of ratios has no place for nothing.
_LEAST_S = 1e-9


@dataclass(frozen=True, slots=True)
class Point:
    """One variant in one engine; what was not measured is None.

    Attributes:
        number: by which chart and table name it, from 1.
        variant: the variant's id.
        short: the same without the model's name.
        engine: where it ran.
        metric: what `value` is of.
        value: the metric's, with the ends `low` and `high` of its interval.
        drop: how much less than the reference's.
        agreement: how far answers are the reference's.
        median_s: of a run of the engine; nine of ten runs and more took at most `p95_s`.
        of_float: the median as a share of the float variant's.
        memory_bytes: what it added to a process at most.
        size_bytes: of its files.
        places: where it is offered.
    """

    number: int
    variant: str
    short: str
    engine: str
    metric: str
    value: float
    low: float | None
    high: float | None
    drop: float
    agreement: float
    median_s: float
    p95_s: float | None
    of_float: float | None
    memory_bytes: int | None
    size_bytes: int
    places: tuple[str, ...]


def points_of(report: ConversionReport, certificates: Sequence[Certificate]) -> tuple[Point, ...]:
    """A point for each certificate, and for each variant that has none; in the report's order."""
    found: list[Point] = []
    for row in report.rows:
        own = [each for each in certificates if each.variant == row.variant]
        short = _short(row.variant, report.name)
        found += [_certified(len(found) + n + 1, short, row, each) for n, each in enumerate(own)]
        if not own:
            found.append(_measured(len(found) + 1, short, row))
    return tuple(found)


def _short(variant: str, name: str) -> str:
    prefix = f"{name}-"
    return variant[len(prefix) :] if variant.startswith(prefix) and variant != prefix else variant


def _certified(number: int, short: str, row: Row, said: Certificate) -> Point:
    return Point(
        number=number,
        variant=row.variant,
        short=short,
        engine=said.engine,
        metric=said.metric.name,
        value=said.metric.value,
        low=said.metric.low,
        high=said.metric.high,
        drop=said.metric.drop,
        agreement=said.agreement.value,
        median_s=said.latency.median_s,
        p95_s=said.latency.p95_s,
        of_float=said.latency.of_float,
        memory_bytes=said.memory_peak_bytes,
        size_bytes=said.file_bytes,
        places=row.places,
    )


def _measured(number: int, short: str, row: Row) -> Point:
    return Point(
        number=number,
        variant=row.variant,
        short=short,
        engine=row.engine,
        metric=row.metric,
        value=row.value,
        low=row.low,
        high=row.high,
        drop=row.drop,
        agreement=row.agreement,
        median_s=max(row.latency_s, _LEAST_S),
        p95_s=None,
        of_float=row.of_float,
        memory_bytes=None,
        size_bytes=row.bytes,
        places=row.places,
    )
