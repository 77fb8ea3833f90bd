"""Forecasts over links that were recorded on the road: as many calls keep them as they say."""

from __future__ import annotations

import random
from bisect import bisect_left
from pathlib import Path

import pytest

from wherever_edge.host_health.cost import PRIORS, CostModel
from wherever_edge.host_health.forecast import Traffic, Work

PACKET_BYTES = 1500
ANSWER_BYTES = 1000
COMPUTE_S = 0.012
ROUND_TRIP_S = 0.04


class Direction:
    """One direction of a mahimahi trace: each line is a millisecond in which a packet may pass.

    The second half of a recording is used, over and over; the first is what the model's constants
    were fitted to.
    """

    def __init__(self, path: Path):
        recorded = [int(line) for line in path.read_text().split()]
        self.lap_ms = recorded[-1] / 2
        self.passes_ms = [ms - self.lap_ms for ms in recorded if ms >= self.lap_ms]

    def arrival_s(self, sent_s: float, size: int) -> float:
        lap, sent_ms = divmod(sent_s * 1e3, self.lap_ms)
        last = bisect_left(self.passes_ms, sent_ms) - (-size // PACKET_BYTES) - 1
        more_laps, last = divmod(last, len(self.passes_ms))
        return ((lap + more_laps) * self.lap_ms + self.passes_ms[last]) / 1e3


@pytest.fixture(
    scope="module", params=["ATT-LTE-driving-2016", "Verizon-LTE-short", "TMobile-UMTS-driving"]
)
def link(request, test_data):
    traces = test_data / "traces" / "mahimahi"
    up, down = (Direction(traces / f"{request.param}.{way}") for way in ("up", "down"))
    rng = random.Random(7)

    def ends_s(sent_s, size):
        round_trip_s = ROUND_TRIP_S * rng.lognormvariate(0.0, 0.15)
        arrived_s = up.arrival_s(sent_s + round_trip_s / 2, size)
        return down.arrival_s(arrived_s + COMPUTE_S, ANSWER_BYTES) + round_trip_s / 2

    return ends_s


@pytest.mark.parametrize("sizes", [[2_000], [30_000], [600_000], [2_000, 30_000, 2_000, 600_000]])
def test_95_percent_of_calls_keep_their_95th_percentile(link, sizes):
    model = CostModel(PRIORS["cloud"])
    now, kept, calls = 0.0, 0, 600
    for number in range(calls):
        work = Work("people", up_bytes=sizes[number % len(sizes)])
        forecast_s = model.forecast(work, 0.95, now).latency_s
        ended = link(now, work.up_bytes)
        kept += ended - now <= forecast_s
        model.answered(Traffic(work, ANSWER_BYTES, ended - now, 0.0, COMPUTE_S), ended)
        now = max(ended, now + 0.2)
    assert 0.92 <= kept / calls <= 0.98
