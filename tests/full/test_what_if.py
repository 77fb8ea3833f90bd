"""What-ifs over recorded links in virtual time, beside runs of the policy that they ask about.

Thresholds that are higher or lower than those recorded, over links that mostly answer by the
deadline; docs/receipts.md says what comes out less well.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from escalation.what_if_simulated import compared  # noqa: E402 (found through the path above)
from routing.links import clipped, read_5g, read_mahimahi, read_round_trips  # noqa: E402
from routing.scenarios import LTE_BIT_S, WIFI_BIT_S, calls_of, cascade, gateway  # noqa: E402

from wherever._whatif.policy import Policy  # noqa: E402

pytestmark = pytest.mark.full

LENGTH_S = 140.0
SEEDS = (0, 1, 2)
FIGURES = ("mean_s", "p95_s", "cost")
DEADLINES_S = {"digits": (0.1, 0.25), "imagenet": (0.5, 0.5)}


def link(traces, name):
    if name.startswith("Verizon"):
        up = traces / "mahimahi" / f"{name}.up"
        return read_mahimahi(up, up.with_suffix(".down"), rtt_s=0.05)
    if name.startswith("Static"):
        return read_5g(traces / "5g_ucc" / f"{name}.csv", up_share=0.25, rtt_s=0.05)
    paths = sorted((traces / "mecperf_rtt").glob(f"{name}_trace*.txt"))
    bit_s = LTE_BIT_S if name.startswith("lte") else WIFI_BIT_S
    return read_round_trips(name, paths, every_s=0.4, bit_s=bit_s)


@pytest.mark.parametrize(("before", "after"), [(0.7, 0.9), (0.9, 0.7)])
@pytest.mark.parametrize("model", ["digits", "imagenet"])
@pytest.mark.parametrize(
    "name",
    [
        "Verizon-LTE-short",
        "Static_B_2020.02.14_13.21.26",
        "lte-TCPRTT-noise0M_Client_cloud",
        "wifi-TCPRTT-noise0M_Client_cloud",
    ],
)
def test_cost_and_latency_under_another_threshold_are_within_5_percent(
    test_data, name, model, before, after
):
    host = gateway(clipped(link(test_data / "traces", name), LENGTH_S))
    deadline_s, period_s = DEADLINES_S[model]
    scenario = calls_of("x", cascade(model), host, deadline_s=deadline_s, period_s=period_s)
    recorded = Policy(min_confidence=before)
    asked = Policy(min_confidence=after, cost_per_call=0.001, cost_per_gb=0.1)
    found = [compared(scenario, recorded, asked, seed) for seed in SEEDS]
    errors = {
        figure: fmean(getattr(each.foreseen, figure) for each in found)
        / fmean(getattr(each.happened, figure) for each in found)
        - 1.0
        for figure in FIGURES
    }
    print({figure: f"{error:+.1%}" for figure, error in errors.items()})
    assert all(abs(error) <= 0.05 for error in errors.values())
