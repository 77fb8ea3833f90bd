"""The bench for decisions: links, world and oracle are sound, and the router keeps its bars.

Time is virtual, so the bars are the same on every machine.
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from routing.bars import (  # noqa: E402 (found through the path above)
    SLOW_DEVICES_S,
    outage,
    punctuality,
    quiet,
    score,
    speed,
)
from routing.links import cut, lossy, read_5g, read_mahimahi, read_round_trips, steady  # noqa: E402
from routing.oracle import Oracle  # noqa: E402
from routing.policies import (  # noqa: E402
    MARGIN_S,
    AlwaysCloud,
    AlwaysDevice,
    Ours,
    RoundTrip,
    Threshold,
)
from routing.scenarios import calls_of, cascade, gateway, same_everywhere, ten_cuts  # noqa: E402
from routing.world import World  # noqa: E402

LINK = steady("steady", 60.0, up_bit_s=4e6, down_bit_s=20e6, rtt_s=0.05)
POLICIES = [AlwaysDevice, AlwaysCloud, Threshold, RoundTrip, Ours, Oracle]


def thin(rate: float = 1.5e6):
    """A link that is worth asking at times: it stalls, and carries small pictures in time."""
    return cut(steady("thin", 60.0, up_bit_s=rate, down_bit_s=10e6, rtt_s=0.05), ten_cuts(60.0))


def race(link, device_s=0.4, **options):
    what = same_everywhere(device_s, 0.02)
    return calls_of("race", what, gateway(link), **{"deadline_s": None, "period_s": 1.0, **options})


@given(st.floats(0, 50), st.integers(1, 10**6), st.floats(0, 0.4), st.integers(0, 3), st.booleans())
def test_no_message_arrives_before_it_could(at, size, loss, cuts, up):
    link = lossy(cut(LINK, ten_cuts(60.0, 2.0)[:cuts]), loss)
    way, rate = (link.up, 4e6) if up else (link.down, 20e6)
    passage = link.travel(way, at, size, 0, random.Random(1).random)
    assert passage.arrives >= at + 0.025 + max(0, 8 * size / rate - 0.02)
    assert passage.taken >= 0


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 10**5)), min_size=2, max_size=8))
def test_messages_do_not_pass_each_other(messages):
    at, taken, last = 0.0, 0, 0.0
    for pause_s, size in messages:
        at += pause_s
        passage = LINK.travel(LINK.up, at, size, taken, random.Random(1).random)
        assert passage.arrives >= last
        taken, last = passage.taken, passage.arrives


def test_a_short_cut_delays_a_message_and_a_long_one_loses_it():
    plain = LINK.travel(LINK.up, 9.99, 50_000, 0, random.random).arrives
    short = cut(LINK, ((10.0, 10.5),)).travel(LINK.up, 9.99, 50_000, 0, random.random).arrives
    lost = cut(LINK, ((10.0, 15.0),)).travel(LINK.up, 9.99, 50_000, 0, random.random).arrives
    assert plain < 10.5 < short < 11.5
    assert lost == math.inf


def test_a_picture_takes_round_trips_of_its_own_until_the_window_is_open():
    wide = steady("wide", 60.0, up_bit_s=1e9, down_bit_s=1e9, rtt_s=0.1)
    small, large = (wide.travel(wide.up, 1.0, n, 0, random.random).arrives for n in (10**4, 10**5))
    assert small == pytest.approx(1.05, abs=0.002)
    assert large == pytest.approx(1.25, abs=0.01)  # 10 packets, 20, 40: two round trips more


def test_recordings_become_links(tmp_path):
    (tmp_path / "a.up").write_text("0\n10\n10\n2000\n")
    (tmp_path / "a.down").write_text("5\n1500\n")
    link = read_mahimahi(tmp_path / "a.up", tmp_path / "a.down", rtt_s=0.04)
    assert list(link.up) == [0.0, 0.01, 0.01, 2.0]
    assert link.length_s == 1.5

    rows = ["DL_bitrate,State,PINGAVG", "12,D,-", "99999,I,-", "24,D,80", "0,D,-"]
    (tmp_path / "b.csv").write_text("\n".join(rows))
    link = read_5g(tmp_path / "b.csv", up_share=0.5, rtt_s=0.05)
    assert (len(link.down), len(link.up), link.length_s) == (3, 1, 3.0)
    assert [link.round_trip_s(at) for at in (0.5, 1.5)] == [0.05, 0.08]

    (tmp_path / "c.txt").write_text("2020-04-06 18:54:12_602.0,2020-04-06 18:54:13_71.0,")
    link = read_round_trips("c", [tmp_path / "c.txt"], every_s=0.5, bit_s=1e6)
    assert [link.round_trip_s(at) for at in (0.2, 0.7)] == [0.602, 0.071]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_calls(policy):
    scenario = calls_of("x", cascade("imagenet"), gateway(thin()), deadline_s=0.5, period_s=0.5)
    first, again = (World(scenario, policy(), seed=3).run() for _ in range(2))
    assert first == again
    assert len(first) == scenario.calls
    assert all(record.elapsed_s > 0 for record in first)


@pytest.mark.parametrize("rate", [5e5, 1.5e6, 2e7])
def test_the_oracle_is_never_slower_than_a_static_policy(rate):
    # so far apart that no call waits for the one before it, which policies do not share
    scenario = race(thin(rate), period_s=4.0)
    ran = [World(scenario, make()).run() for make in (Oracle, AlwaysDevice, AlwaysCloud)]
    oracle, *static = [{record.call.number: record for record in records} for records in ran]
    for records in static:
        for number, record in records.items():
            assert not record.place or oracle[number].elapsed_s <= record.elapsed_s + 1e-9


def test_the_oracle_knows_the_network_and_not_the_right_answers():
    scenario = calls_of("x", cascade("imagenet"), gateway(LINK), deadline_s=0.8, period_s=1.0)
    for record in World(scenario, Oracle()).run():
        assert record.in_time
        assert not record.used or record.call.row.confidence < scenario.cascade.threshold


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_is_late_where_the_device_can_answer_unless_it_asks_nobody_else(policy):
    seen = punctuality([thin()], policy)
    assert seen.calls > 1000
    assert (seen.late + seen.failed == 0) or policy is AlwaysCloud


@pytest.mark.parametrize("mode", ["auto", "prefer_in_cloud"])
def test_an_outage_costs_one_call_and_the_gateway_is_used_again_within_a_second(mode):
    seen = outage(quiet(), mode)
    assert (seen.failed, seen.slow <= 1, seen.back_s <= 1.0) == (0, True, True)


@pytest.mark.parametrize("device_s", SLOW_DEVICES_S)
@pytest.mark.parametrize("rate", [1e6, 1e7])
def test_with_either_host_as_good_the_router_is_as_fast_as_the_faster(device_s, rate):
    link = steady("steady", 200.0, up_bit_s=rate, down_bit_s=1e7, rtt_s=0.04)
    seen = speed(link, device_s)
    assert seen.ratio <= 1.15
    assert seen.extra_load <= 0.05


def test_on_a_recorded_link_the_router_keeps_its_bars(test_data):
    root = test_data / "traces" / "mahimahi"
    link = read_mahimahi(root / "Verizon-LTE-short.up", root / "Verizon-LTE-short.down", rtt_s=0.05)
    seen = punctuality([link])
    assert (seen.late, seen.failed) == (0, 0)
    for name in ("digits", "imagenet"):
        assert score(name, [link]).share_of_gain >= 0.95
    fast = speed(link, 0.4)
    assert fast.ratio <= 1.15
    assert fast.extra_load <= 0.05


def test_the_device_alone_is_in_time_whenever_it_can_be():
    scenario = calls_of("x", cascade("digits"), gateway(LINK), deadline_s=0.1, period_s=0.25)
    records = World(scenario, AlwaysDevice()).run()
    assert all(record.in_time for record in records if record.alone_s < 0.1 - MARGIN_S)
