"""The gateway's rows of `make bench`: our stream, overload, and upheaval."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from gateway import overload, stream, upheaval
from harness import Row

_MLP = "mlp"
# what Triton's server reached with its dynamic batching, behind a client in C++ (docs/stream.md)
_STREAM_BAR = 11_500


def rows() -> list[Row]:
    """What the gateway is held to under load."""
    return [*_streams(), *_overload(), *_upheaval()]


def _streams() -> Iterator[Row]:
    figures = stream.measure(seconds=1.0, rounds=5)
    for model in dict.fromkeys(case["model"] for case in figures):
        for in_flight in sorted({case["in_flight"] for case in figures}):
            alike = [c for c in figures if (c["model"], c["in_flight"]) == (model, in_flight)]
            yield _stream_row(model, in_flight, alike)


def _stream_row(model: str, in_flight: int, cases: list[dict[str, Any]]) -> Row:
    over = max(_rate(case) for case in cases if case["stream"])
    single = max(_rate(case) for case in cases if not case["stream"])
    barred = in_flight > 1 and model == _MLP
    return Row(
        f"calls over our stream, {_layers(model)}, {in_flight} in flight, one Python client",
        f"{over:,.0f}/s, {over / single:.2f} x",
        f"single calls {single:,.0f}/s",
        f">= {_STREAM_BAR:,}/s" if barred else "",
        over >= _STREAM_BAR if barred else None,
    )


def _layers(model: str) -> str:
    return "-".join(map(str, stream.WIDTHS[model]))


def _rate(case: dict[str, Any]) -> float:
    return float(statistics.median(case["rates"]))


def _overload() -> Iterator[Row]:
    result = overload.measure(seconds=20.0)
    yield Row(
        "answers at five times the capacity, 20 s",
        f"{result.goodput_kept:.0%} of the peak",
        f"peak {result.peak.goodput:,.0f}/s",
        ">= 90 %",
        result.goodput_kept >= 0.9,
    )
    yield Row(
        "99th percentile of accepted calls, then",
        f"{result.slower:.2f} x",
        f"at the peak {result.peak.p99_ms:.0f} ms",
        "<= 2 x",
        result.slower <= 2,
    )
    yield Row(
        "a light tenant's median, then",
        f"{result.light_slower:.2f} x",
        f"alone {result.alone.p50_ms:.1f} ms",
        "<= 1.5 x",
        result.light_slower <= 1.5,
    )


def _upheaval() -> Iterator[Row]:
    for name, happen, times in (
        ("swaps of a model", upheaval.swap, 100),
        ("restarts of one of two gateways, half of them killed", upheaval.restart, 12),
    ):
        ours, theirs = happen(times)
        failed = sum(ours.failed.values())
        yield Row(
            f"{times} {name}, calls failed",
            f"{failed} of {ours.calls:,} through our SDK",
            f"{sum(theirs.failed.values())} of {theirs.calls:,} by Triton's client",
            "0",
            not failed,
        )
