"""What calls are expected to take: what is learned from what, how soon, and how well it fits."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.host_health.cost import (
    LONGEST_S,
    MAX_MODELS,
    PRIORS,
    CostModel,
    DeviceCost,
)
from wherever_edge.host_health.forecast import Traffic, Work

SMALL = Work("people", up_bytes=2_000)
PHOTO = Work("people", up_bytes=600_000)
COMPUTE_S = 0.012


class Link:
    """A host behind a link of our own making; `hz` calls in a second, each after the last."""

    def __init__(self, round_trip_s=0.04, bytes_per_s=2e6, noise=0.1, hz=5.0, seed=1, told=True):
        self.round_trip_s = round_trip_s
        self.bytes_per_s = bytes_per_s
        self.noise = noise
        self.pause_s = 1.0 / hz
        self.told = told
        self.slower = 1.0
        self.now = 1000.0
        self.rng = random.Random(seed)
        self.model = CostModel(PRIORS["cloud"])

    def takes_s(self, work):
        network_s = self.round_trip_s + (work.up_bytes + 1000) / self.bytes_per_s
        return COMPUTE_S + self.slower * network_s * self.rng.lognormvariate(0.0, self.noise)

    def call(self, work):
        elapsed_s = self.takes_s(work)
        self.now += max(self.pause_s, elapsed_s)
        compute_s = COMPUTE_S if self.told else 0.0
        self.model.answered(Traffic(work, 1000, elapsed_s, 0.0, compute_s), self.now)
        return elapsed_s

    def forecast_s(self, work, quantile):
        return self.model.forecast(work, quantile, self.now).latency_s


@pytest.mark.parametrize(("nearer", "farther"), [("device", "nearby"), ("nearby", "cloud")])
def test_before_the_first_call_a_nearer_place_is_expected_to_be_faster(nearer, farther):
    near, far = (
        CostModel(PRIORS[place]).forecast(Work("people", up_bytes=30_000), 0.5, 0.0)
        for place in (nearer, farther)
    )
    assert near.latency_s < far.latency_s
    assert near.samples == far.samples == 0.0


@pytest.mark.parametrize(("round_trip_s", "bytes_per_s"), [(0.6, 50e3), (0.6, 1e6), (0.003, 50e6)])
@pytest.mark.parametrize("work", [SMALL, PHOTO])
def test_a_few_calls_replace_a_guess_that_was_far_off(round_trip_s, bytes_per_s, work):
    link = Link(round_trip_s, bytes_per_s)
    for _ in range(4):
        link.call(work)
    true_s = COMPUTE_S + round_trip_s + (work.up_bytes + 1000) / bytes_per_s
    assert 0.6 * true_s < link.forecast_s(work, 0.5) < 2.0 * true_s
    assert true_s < link.forecast_s(work, 0.95) < 4.0 * true_s


def test_the_first_call_of_a_slow_model_does_not_make_others_look_slow():
    link = Link()
    for _ in range(60):
        link.call(SMALL)
    usual_s = link.forecast_s(SMALL, 0.95)
    link.model.answered(Traffic(Work("slow"), 1000, 2.04, 0.0, 2.0), link.now)
    assert link.forecast_s(SMALL, 0.95) < 1.2 * usual_s
    assert link.forecast_s(Work("slow"), 0.5) > 1.0


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("work", [SMALL, Work("people", up_bytes=30_000), PHOTO])
@pytest.mark.parametrize("hz", [0.05, 1.0, 20.0])
def test_the_95th_percentile_covers_about_95_percent_of_calls(hz, work, told):
    link = Link(noise=0.3, hz=hz, told=told)
    covered = 0
    for _ in range(600):
        forecast_s = link.forecast_s(work, 0.95)
        covered += link.call(work) <= forecast_s
    assert 0.9 < covered / 600 < 0.98


def test_calls_of_mixed_sizes_are_each_covered():
    link = Link(noise=0.2)
    sizes = (2_000, 30_000, 600_000)
    covered = dict.fromkeys(sizes, 0)
    for number in range(1200):
        work = Work("people", up_bytes=sizes[number % 3])
        forecast_s = link.forecast_s(work, 0.95)
        covered[work.up_bytes] += link.call(work) <= forecast_s
    assert all(0.9 < count / 400 <= 1.0 for count in covered.values()), covered


def test_round_trip_and_rate_are_told_apart():
    link = Link(round_trip_s=0.02, bytes_per_s=4e6)
    for number in range(200):
        link.call((SMALL, PHOTO)[number % 2])
    facts = link.model.facts(link.now)
    assert facts.round_trip_p50_s == pytest.approx(0.02, rel=0.2)
    assert facts.round_trip_p50_s < facts.round_trip_p95_s < 0.04
    assert facts.up_bytes_per_s == pytest.approx(4e6, rel=0.3)
    assert facts.samples > 30


def test_a_payload_of_five_megabytes_is_priced_by_the_rate():
    link = Link(round_trip_s=0.02, bytes_per_s=4e6)
    for number in range(100):
        link.call((SMALL, PHOTO)[number % 2])
    assert link.forecast_s(Work("people", up_bytes=5_000_000), 0.5) == pytest.approx(1.28, rel=0.3)
    assert link.forecast_s(Work("people", up_bytes=5_000), 0.5) == pytest.approx(0.033, rel=0.3)


def test_it_is_less_sure_of_payloads_that_were_not_seen():
    link = Link()
    for _ in range(50):
        link.call(SMALL)
    seen = link.model.forecast(SMALL, 0.95, link.now)
    unseen = link.model.forecast(Work("people", up_bytes=50_000_000), 0.95, link.now)
    assert unseen.samples < seen.samples / 3


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("work", [SMALL, Work("people", up_bytes=30_000), PHOTO])
@pytest.mark.parametrize("hz", [0.1, 1.0, 20.0])
def test_five_calls_show_that_a_link_got_five_times_slower(hz, work, told):
    link = Link(hz=hz, told=told)
    for _ in range(200):
        link.call(work)
    usual_s = link.forecast_s(work, 0.95)
    link.slower = 5.0
    for _ in range(5):
        link.call(work)
    median_s = COMPUTE_S + 5 * (0.04 + (work.up_bytes + 1000) / 2e6)
    assert link.forecast_s(work, 0.95) > median_s
    for _ in range(50):
        link.call(work)
    link.slower = 1.0
    for _ in range(6):
        link.call(work)
    assert link.forecast_s(work, 0.95) < 2.0 * usual_s


def test_losers_that_were_cancelled_show_that_a_host_got_slow():
    link = Link()
    for _ in range(100):
        link.call(SMALL)
    assert link.forecast_s(SMALL, 0.95) < 0.1
    for _ in range(5):
        before_s = link.forecast_s(SMALL, 0.95)
        link.now += 0.2
        link.model.outlasted(SMALL, 0.2, link.now)
        assert link.forecast_s(SMALL, 0.95) > before_s
    assert link.forecast_s(SMALL, 0.95) > 0.2
    assert link.forecast_s(SMALL, 0.5) > 0.12


def test_a_host_that_is_never_waited_for_is_expected_to_take_longer_than_the_wait():
    link = Link()
    for _ in range(20):
        link.call(SMALL)
    for _ in range(6):
        link.now += 0.2
        link.model.outlasted(SMALL, 0.2, link.now)
    assert 0.2 < link.forecast_s(SMALL, 0.5) < 0.3
    for _ in range(100):
        link.now += 0.2
        link.model.outlasted(SMALL, 0.2, link.now)
    assert link.forecast_s(SMALL, 0.95) < 1.0
    for _ in range(12):
        link.call(SMALL)
    assert link.forecast_s(SMALL, 0.95) < 0.2


@pytest.mark.parametrize(("first", "then"), [(SMALL, PHOTO), (PHOTO, SMALL)])
def test_how_wrong_a_guess_was_is_not_taken_for_a_tail(first, then):
    link = Link(round_trip_s=0.6, bytes_per_s=5e4)
    for work in [first] * 20 + [then] * 3:
        link.call(work)
    true_s = COMPUTE_S + 0.6 + (then.up_bytes + 1000) / 5e4
    assert true_s < link.forecast_s(then, 0.95) < 4.0 * true_s


def test_the_first_probes_of_a_far_host_are_not_taken_for_a_tail():
    model = CostModel(PRIORS["nearby"])
    for second in range(4):
        model.pinged(0.6, float(second))
    assert 0.5 < model.facts(4.0).round_trip_p95_s < 2.5


def test_a_call_given_up_before_an_answer_was_due_says_nothing():
    link = Link()
    for _ in range(20):
        link.call(SMALL)
    before = link.model.forecast(SMALL, 0.95, link.now)
    link.model.outlasted(SMALL, 0.02, link.now)
    assert link.model.forecast(SMALL, 0.95, link.now) == before


def test_probes_show_that_a_host_is_near_again():
    link = Link()
    for _ in range(50):
        link.call(SMALL)
    for _ in range(6):
        link.now += 0.2
        link.model.outlasted(SMALL, 0.2, link.now)
    slow_s = link.forecast_s(SMALL, 0.5)
    for _ in range(6):
        link.now += 0.5
        link.model.pinged(0.04, link.now)
    assert link.forecast_s(SMALL, 0.5) < 0.1 < slow_s


def test_probes_alone_teach_the_round_trip():
    model = CostModel(PRIORS["cloud"])
    for second in range(20):
        model.pinged(0.002, float(second))
    assert model.facts(20.0).round_trip_p50_s == pytest.approx(0.002, rel=0.1)
    assert model.forecast(SMALL, 0.5, 20.0).samples > 1.0


def test_a_host_that_was_slow_and_is_left_alone_looks_worth_asking_again():
    link = Link()
    for _ in range(300):
        link.call(SMALL)
    usual_s = link.forecast_s(SMALL, 0.95)
    link.slower = 10.0
    for _ in range(5):
        link.call(SMALL)
    assert link.forecast_s(SMALL, 0.95) > 10.0 * usual_s
    link.now += 600.0
    assert link.forecast_s(SMALL, 0.95) < 2.3 * usual_s
    assert link.model.forecast(SMALL, 0.95, link.now).samples < 0.1


def test_having_to_connect_is_known_apart_from_the_round_trip():
    link = Link(noise=0.05)
    for number in range(60):
        elapsed_s = link.takes_s(SMALL)
        connected = number % 2 == 0
        traffic = Traffic(SMALL, 1000, elapsed_s + 0.3 * connected, 0.0, COMPUTE_S, connected)
        link.now += 0.2
        link.model.answered(traffic, link.now)
    facts = link.model.facts(link.now)
    assert facts.connect_s == pytest.approx(0.3, rel=0.2)
    assert facts.round_trip_p50_s == pytest.approx(0.04, rel=0.2)
    assert link.forecast_s(SMALL, 0.95) < 0.1


def test_a_wait_for_the_engine_is_expected_until_nobody_says_that_it_lasts():
    model = CostModel(PRIORS["nearby"])
    for number in range(20):
        model.answered(Traffic(SMALL, 100, 0.515, 0.5, 0.01), number * 0.2)
    assert model.facts(4.0).queue_s == pytest.approx(0.5, rel=0.05)
    assert model.facts(9.0).queue_s == pytest.approx(0.25, rel=0.1)
    assert model.facts(4.0).round_trip_p50_s < 0.01
    assert model.forecast(SMALL, 0.5, 64.0).latency_s < 0.05


def test_compute_time_is_learned_by_model_variant_and_batch():
    model = CostModel(PRIORS["nearby"])
    for number in range(120):
        batch = (1, 16)[number % 2]
        slow = Work("slow", "fp32", 1000, batch)
        compute_s = 0.02 + 0.03 * batch
        model.answered(Traffic(slow, 100, compute_s + 0.005, 0.0, compute_s), number * 0.1)
        model.answered(Traffic(Work("fast"), 100, 0.006, 0.0, 0.001), number * 0.1)
    assert model.forecast(Work("slow", "fp32", 1000, 1), 0.5, 12.0).latency_s == pytest.approx(
        0.055, rel=0.2
    )
    assert model.forecast(Work("slow", "fp32", 1000, 8), 0.5, 12.0).latency_s == pytest.approx(
        0.265, rel=0.2
    )
    assert model.forecast(Work("fast"), 0.5, 12.0).latency_s < 0.01


def test_large_answers_are_expected_where_a_model_gives_them():
    model = CostModel(PRIORS["cloud"])
    for number in range(60):
        model.answered(Traffic(Work("mask"), 800_000, 0.45, 0.0, 0.01), number * 0.2)
        model.answered(Traffic(Work("label"), 100, 0.05, 0.0, 0.01), number * 0.2)
    assert model.facts(12.0).down_bytes_per_s == pytest.approx(2e6, rel=0.2)
    assert model.forecast(Work("mask"), 0.5, 12.0).latency_s > 0.35
    assert model.forecast(Work("label"), 0.5, 12.0).latency_s < 0.1


def test_the_models_known_are_bounded_and_the_least_used_goes_first():
    model = CostModel(PRIORS["nearby"])
    device = DeviceCost(0.001)
    for number in range(MAX_MODELS + 5):
        if number == 1:
            kept = model._engines["kept", ""]
        for name in ("kept", f"model {number}"):
            model.answered(Traffic(Work(name), 10, 2.005, 0.0, 2.0), 0.1 * number)
            device.answered(Work(name), 2.0, 0.1 * number)
    assert len(model._engines) == len(device._times) == MAX_MODELS
    assert model._engines["kept", ""] is kept
    assert model.forecast(Work("kept"), 0.5, 9.0).latency_s > 1.5
    assert model.forecast(Work("model 0"), 0.5, 9.0).latency_s < 1.0
    assert device.forecast(Work("kept"), 0.5, 9.0).samples > 20
    assert device.forecast(Work("model 0"), 0.5, 9.0).samples == 0.0


odd = st.floats(allow_nan=True, allow_infinity=True)
works = st.builds(
    Work,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["", "v"]),
    st.integers(0, 10**10),
    st.integers(1, 1000),
)
clocks = st.floats(-1e9, 1e9)
events = st.one_of(
    st.tuples(
        st.just("answered"),
        clocks,
        st.builds(Traffic, works, st.integers(0, 10**10), odd, odd, odd, st.booleans()),
    ),
    st.tuples(st.just("outlasted"), clocks, works, odd),
    st.tuples(st.just("pinged"), clocks, odd),
)


def play(model, event):
    kind, now, *seen = event
    getattr(model, kind)(*seen, now)


@given(
    st.sampled_from(sorted(PRIORS)),
    st.lists(events, max_size=30),
    works,
    clocks,
    st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6),
    st.integers(0, 10**9),
)
def test_forecasts_are_sane_and_grow_with_quantile_and_payload_whatever_was_seen(
    place, seen, work, now, quantiles, more
):
    model = CostModel(PRIORS[place])
    for event in seen:
        play(model, event)
    forecasts = [model.forecast(work, quantile, now) for quantile in sorted(quantiles)]
    latencies = [forecast.latency_s for forecast in forecasts]
    assert latencies == sorted(latencies)
    assert all(0.0 < latency_s <= LONGEST_S for latency_s in latencies)
    assert all(0.0 <= forecast.samples < math.inf for forecast in forecasts)
    heavier = work._replace(up_bytes=work.up_bytes + more)
    assert model.forecast(heavier, quantiles[0], now).latency_s >= (
        model.forecast(work, quantiles[0], now).latency_s
    )
    assert all(math.isfinite(fact) and fact >= 0.0 for fact in model.facts(now))


@given(
    st.integers(1, 99),
    st.integers(0, 60),
    st.floats(0.02, 0.6),
    st.integers(0, 10**6),
    st.floats(1.01, 1000.0),
)
def test_a_silence_longer_than_forecast_raises_the_forecast(seed, calls, noise, up_bytes, longer):
    link = Link(noise=noise, seed=seed)
    work = Work("people", up_bytes=up_bytes)
    for _ in range(calls):
        link.call(work)
    before = [link.forecast_s(work, quantile) for quantile in (0.5, 0.95)]
    link.model.outlasted(work, before[1] * longer, link.now)
    after = [link.forecast_s(work, quantile) for quantile in (0.5, 0.95)]
    assert before[0] < after[0]
    assert before[1] < after[1]


def test_the_device_is_expected_to_take_what_its_plan_measured_until_calls_show():
    device = DeviceCost(0.02)
    assert device.forecast(SMALL, 0.5, 0.0) == (pytest.approx(0.02, rel=0.05), 0.0)
    assert device.forecast(SMALL, 0.95, 0.0).latency_s == pytest.approx(0.03, rel=0.05)
    for number in range(40):
        device.answered(SMALL, 0.005, number * 0.1)
    assert device.forecast(SMALL, 0.9, 4.0).latency_s == pytest.approx(0.005, rel=0.05)
    assert device.forecast(SMALL, 0.9, 4.0).samples > 20


def test_a_device_that_was_not_measured_forecasts_nothing_before_its_first_call():
    device = DeviceCost(0.0)
    assert device.forecast(SMALL, 0.95, 0.0) == (0.0, 0.0)
    device.answered(SMALL, 0.004, 1.0)
    assert device.forecast(SMALL, 0.95, 1.0) == (pytest.approx(0.004, rel=0.05), pytest.approx(1.0))


def test_a_device_that_slows_down_is_noticed_within_five_calls():
    device = DeviceCost(0.005)
    for number in range(5000):
        device.answered(SMALL, 0.005, number * 0.005)
    for number in range(5):
        device.answered(SMALL, 0.05, 25.0 + number * 0.05)
    assert device.forecast(SMALL, 0.95, 26.0).latency_s == pytest.approx(0.05, rel=0.05)


def test_the_device_knows_each_number_of_rows_and_guesses_the_others():
    device = DeviceCost(0.001)
    for number in range(60):
        device.answered(Work("people", batch=1), 0.01, float(number))
        device.answered(Work("people", batch=8), 0.05, float(number))

    def median_s(batch):
        return device.forecast(Work("people", batch=batch), 0.5, 60.0).latency_s

    assert median_s(1) == pytest.approx(0.01, rel=0.05)
    assert median_s(2) == median_s(8) == pytest.approx(0.05, rel=0.05)
    assert median_s(32) == pytest.approx(0.2, rel=0.05)
    assert device.forecast(Work("people", batch=32), 0.5, 60.0).samples < (
        device.forecast(Work("people", batch=8), 0.5, 60.0).samples
    )


@given(st.lists(st.tuples(works, odd, clocks)), works, clocks, st.floats(0.0, 1.0))
def test_the_devices_forecasts_are_sane_whatever_was_seen(seen, work, now, quantile):
    device = DeviceCost(0.005)
    for asked, elapsed_s, at in seen:
        device.answered(asked, elapsed_s, at)
    low, high = (device.forecast(work, level, now) for level in sorted((0.5, quantile)))
    assert 0.0 < low.latency_s <= high.latency_s <= LONGEST_S
    assert 0.0 <= low.samples < math.inf
