"""Real processes over a shaped link: no call fails, none is late, and an outage costs one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from routing import live, rig  # noqa: E402 (found through the path above)

pytestmark = [pytest.mark.full, pytest.mark.alone]

SECONDS = 4.0
OUTAGE_S = 3.0
MODES = {
    "link cut": "auto",
    "gateway restarted (GOAWAY)": "prefer_in_cloud",
    "half-open sockets": "prefer_in_cloud",
    "DNS failure": "auto",
}


@pytest.fixture(scope="module")
def made(test_data: Path) -> Iterator[rig.Bench]:
    try:
        rig.find_shaper()
    except SystemExit as missing:
        pytest.skip(str(missing))
    with rig.bench() as made:
        yield made


@pytest.mark.parametrize("trouble", live.TROUBLES)
def test_answers_come_by_the_deadline_whatever_the_link_does(made, trouble):
    mode = "auto" if trouble == "10 cuts" else "prefer_in_cloud"
    seen = live.deadline(made, trouble, mode, SECONDS)
    print(seen)
    assert seen.failed == 0
    # what the router is to blame for: not the calls that a busy machine held up
    assert seen.late == 0


@pytest.mark.parametrize("outage", live.OUTAGES)
def test_an_outage_costs_one_call_and_the_gateway_is_back_within_a_second(made, outage):
    seen = live.outage(made, outage, MODES[outage], OUTAGE_S)
    print(seen)
    assert seen.failed == 0
    assert seen.slow <= 1
    assert seen.back_s <= 1.0
