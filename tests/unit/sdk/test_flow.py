"""How a plan is carried out, without clock, thread or network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._routing.flow import predict_flow
from wherever._routing.plan import MODES, Candidate, make_plan
from wherever._routing.steps import Attempt, Senses
from wherever._routing.timing import MARGIN_S
from wherever_contracts.errors import (
    BadAnswerError,
    ClosedError,
    DeadlineError,
    EngineError,
    InputError,
    NoRouteError,
    OverloadedError,
    RefusedError,
    RemoteError,
    SubstitutedError,
    UnreachableError,
    WhereverError,
)
from wherever_contracts.receipts import Answer, Ran
from wherever_edge.host_health.forecast import Forecast, Work

DEVICE = Candidate("device", "device")
BOX = Candidate("box:8011", "nearby")
CLOUD = Candidate("gw:8001", "cloud")
FAILURES = [
    UnreachableError("no connection"),
    DeadlineError("2 s passed"),
    RefusedError("unknown model"),
    OverloadedError("queue full"),
    RemoteError("it broke"),
    BadAnswerError("3 rows, not 1"),
    EngineError("out of memory"),
]


def answer(variant="small", confidence: float | None = 0.9) -> Answer:
    ran = Ran("m", "1.0.0", variant, "", "", "local", "e", "1", "cpu", "int8", 1)
    return Answer({"y": np.zeros(1, np.float32)}, confidence, ran, 0.001)


class World:
    """Hosts with scripted answers, and a clock that only they move."""

    def __init__(self, mode="auto", boundary="anywhere", candidates=(DEVICE, CLOUD), **script):
        self.plan = make_plan(
            model="m",
            mode=mode,
            boundary=boundary,
            places=None,
            candidates=candidates,
            thresholds={"small": 0.8, "large": 0.99},
            reference="large",
        )
        self.script = {
            "device": answer(),
            "gw:8001": answer("large"),
            "box:8011": answer(),
            **script,
        }
        self.takes = {"device": 0.01, "gw:8001": 0.05, "box:8011": 0.02}
        # what each host is expected to take, and how many calls that rests on
        self.expected = {host: Forecast(takes, 10.0) for host, takes in self.takes.items()}
        self.usual: dict[str, float] = {}  # the median, where it is another
        self.shut: dict[str, str] = {}
        self.tokens = 10
        self.metered = False
        self.on_battery = False
        self.clock = 100.0
        self.asked: list[Attempt] = []
        self.began_at: list[float] = []
        self.admitted: list[str] = []
        self.hopes: dict[str, bool] = {}
        self._ends: list[tuple[float, int, object]] = []
        self._begun = 0

    def admit(self, candidate: Candidate, last_hope: bool) -> str:
        self.hopes[candidate.host] = last_hope
        reason = self.shut.get(candidate.host, "")
        if not reason:
            self.admitted.append(candidate.host)
        return reason

    def forecast(self, candidate: Candidate, work: Work, quantile: float) -> Forecast:
        expected = self.expected.get(candidate.host, Forecast(0.1, 0.0))
        if quantile == 0.5 and candidate.host in self.usual:
            return expected._replace(latency_s=self.usual[candidate.host])
        return expected

    def spend(self) -> bool:
        self.tokens -= 1
        return self.tokens >= 0

    def outcome(self, host):
        """What is scripted; of a list, the next."""
        scripted = self.script[host]
        return scripted.pop(0) if isinstance(scripted, list) else scripted

    def end_of(self, attempt: Attempt):
        """When an attempt that begins now ends, and how."""
        self.asked.append(attempt)
        self.began_at.append(self.clock - 100.0)
        host = attempt.candidate.host
        takes = self.takes[host]
        if attempt.timeout_s is not None and takes > attempt.timeout_s:
            late = DeadlineError(f"no answer within {attempt.timeout_s:.3f} s")
            return self.clock + attempt.timeout_s, late
        return self.clock + takes, self.outcome(host)

    def perform(self, step):
        if isinstance(step, Attempt):
            assert not self._ends, "an attempt alone while others run"
            self.clock, outcome = self.end_of(step)
            return outcome
        if step.begin is not None:
            at, outcome = self.end_of(step.begin)
            self._ends.append((at, self._begun, outcome))
            self._begun += 1
        at, number, outcome = min(self._ends, default=(float("inf"), -1, None))
        if step.until is not None and step.until < at:
            self.clock = max(self.clock, step.until)
            return None
        assert number >= 0, "nothing runs, and nothing is due"
        self.clock = max(self.clock, at)
        self._ends.remove((at, number, outcome))
        return number, outcome

    def run(self, deadline_s=None, began=None):
        senses = Senses(
            lambda: self.clock,
            self.admit,
            self.forecast,
            self.spend,
            lambda group, work: group,
            lambda: 0.5,
            timeout_s=2.0,
            costs=lambda host: self.metered and host.place == "cloud",
            saving=lambda: self.on_battery,
        )
        flow = predict_flow(
            self.plan, senses, lambda variant: Work("m", variant), deadline_s, began
        )
        try:
            step = next(flow)
            while True:
                step = flow.send(self.perform(step))
        except StopIteration as stop:
            return stop.value

    @property
    def hosts(self) -> list[str]:
        return [attempt.candidate.host for attempt in self.asked]


def why(verdict) -> str:
    return "".join(verdict.reason)


def test_a_confident_answer_of_the_device_is_taken_and_nobody_else_is_asked():
    world = World()
    verdict = world.run()
    assert (verdict.candidate, verdict.degraded, world.hosts) == (DEVICE, False, ["device"])
    assert why(verdict) == "first choice of mode auto, confident enough"


def test_an_answer_without_confidence_is_never_escalated():
    world = World(device=answer(confidence=None))
    assert world.run().candidate == DEVICE
    assert why(world.run()) == "first choice of mode auto"


def test_an_answer_of_a_variant_without_threshold_is_never_escalated():
    world = World(device=answer("other", confidence=0.01))
    assert world.run().candidate == DEVICE


def test_the_reference_is_never_escalated_even_under_its_own_threshold():
    world = World(device=answer("large", confidence=0.5))
    assert world.run().candidate == DEVICE


def test_an_unsure_answer_is_escalated_to_the_reference_variant():
    world = World(device=answer(confidence=0.5))
    verdict = world.run()
    assert verdict.candidate == CLOUD
    assert not verdict.degraded
    assert world.asked[1].variant == "large"
    assert why(verdict) == "escalated: confidence 0.500 of small is under 0.800"


def test_a_first_attempt_leaves_the_choice_of_the_variant_to_the_host():
    world = World(mode="prefer_in_cloud")
    world.run()
    assert world.asked[0].variant == ""


def test_an_unsure_box_is_escalated_further():
    world = World(
        candidates=(DEVICE, BOX, CLOUD),
        **{"device": answer(confidence=0.1), "box:8011": answer(confidence=0.2)},
    )
    assert world.run().candidate == CLOUD
    assert world.hosts == ["device", "box:8011", "gw:8001"]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: error.code)
def test_when_the_escalation_fails_in_any_way_the_device_answers_degraded(failure):
    world = World(**{"device": answer(confidence=0.5), "gw:8001": failure})
    world.tokens = 0
    verdict = world.run()
    assert verdict.candidate == DEVICE
    assert verdict.degraded
    assert str(failure) in why(verdict)
    assert [tried.error for tried in verdict.tried] == [None, failure]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: error.code)
@pytest.mark.parametrize(
    ("mode", "failing", "other", "degraded"),
    [
        ("prefer_in_cloud", "gw:8001", DEVICE, True),
        ("prefer_on_device", "device", CLOUD, False),
        ("auto", "device", CLOUD, False),
    ],
)
def test_any_failure_of_one_place_falls_back_to_the_other(mode, failing, other, degraded, failure):
    world = World(mode=mode, **{failing: failure})
    verdict = world.run()
    assert (verdict.candidate, verdict.degraded) == (other, degraded)
    assert why(verdict).startswith("fell back: ")
    assert str(failure) in why(verdict)


def test_a_wrong_input_is_not_taken_to_another_place():
    world = World(device=InputError("image", "a JPEG", "half of one"))
    with pytest.raises(InputError, match="half of one"):
        world.run()
    assert world.hosts == ["device"]


def test_answers_that_a_strict_call_would_not_have_are_told_as_that():
    refused = SubstitutedError("small: openvino computes in float32 here, not in float16")
    world = World(mode="only_on_device", device=refused)
    with pytest.raises(SubstitutedError, match="openvino") as caught:
        world.run()
    assert isinstance(caught.value.__cause__, NoRouteError)


def test_a_call_whose_client_is_closed_says_that():
    world = World(mode="only_in_cloud", **{"gw:8001": ClosedError("this client was closed")})
    with pytest.raises(ClosedError, match="this client was closed") as caught:
        world.run()
    assert isinstance(caught.value.__cause__, NoRouteError)


def test_when_nobody_answers_the_error_lists_every_cause_in_order():
    world = World(**{"device": EngineError("broken"), "gw:8001": UnreachableError("gone")})
    world.tokens = 0
    with pytest.raises(NoRouteError) as caught:
        world.run()
    assert [type(cause) for cause in caught.value.causes] == [EngineError, UnreachableError]
    assert "broken" in str(caught.value)
    assert "gone" in str(caught.value)


def test_a_plan_without_hosts_says_why_each_was_ruled_out():
    world = World(mode="only_in_cloud", boundary="device")
    with pytest.raises(NoRouteError) as caught:
        world.run()
    assert caught.value.causes == ()
    assert set(caught.value.ruled_out) == {"device", "gw:8001"}


def test_a_host_that_is_shut_out_is_skipped_at_no_cost():
    world = World(device=answer(confidence=0.5))
    world.shut["gw:8001"] = "it failed a moment ago"
    verdict = world.run()
    assert world.hosts == ["device"]
    assert verdict.degraded
    assert verdict.skipped == (("gw:8001", "it failed a moment ago"),)
    assert "it failed a moment ago" in why(verdict)


def test_an_unsure_answer_with_nobody_left_to_ask_is_not_called_degraded():
    world = World(boundary="device", device=answer(confidence=0.5))
    verdict = world.run()
    assert not verdict.degraded
    assert "no other host may be asked" in why(verdict)


def test_a_shut_out_first_choice_is_a_fallback():
    world = World(mode="prefer_in_cloud")
    world.shut["gw:8001"] = "it is down"
    verdict = world.run()
    assert verdict.degraded
    assert why(verdict) == "fell back: gw:8001: it is down"


def test_without_a_deadline_an_unknown_host_has_the_usual_timeout_and_the_device_none():
    world = World(device=answer(confidence=0.5))
    world.expected["gw:8001"] = Forecast(0.1, 0.0)
    world.run()
    assert [attempt.timeout_s for attempt in world.asked] == [None, 2.0]


def test_an_escalation_may_use_what_is_left_of_the_deadline():
    world = World(device=answer(confidence=0.5))
    world.run(deadline_s=0.2)
    assert world.asked[1].timeout_s == pytest.approx(0.2 - 0.01 - MARGIN_S)


def test_an_escalation_that_hangs_ends_before_the_deadline_with_the_devices_answer():
    world = World(device=answer(confidence=0.5))
    world.takes["gw:8001"] = 60.0
    verdict = world.run(deadline_s=0.2)
    assert verdict.candidate == DEVICE
    assert verdict.degraded
    assert world.clock - 100.0 <= 0.2


def test_beside_a_gateway_that_hangs_the_device_begins_just_in_time_for_the_deadline():
    world = World(mode="prefer_in_cloud")
    world.expected["device"] = Forecast(0.03, 10.0)
    world.takes.update({"gw:8001": 60.0, "device": 0.029})
    verdict = world.run(deadline_s=0.2)
    assert (verdict.candidate, verdict.degraded) == (DEVICE, True)
    assert world.hosts == ["gw:8001", "device"]
    assert world.began_at == [0.0, pytest.approx(0.2 - 0.03 - MARGIN_S)]
    assert world.clock - 100.0 <= 0.2
    (gateway,) = [tried for tried in verdict.tried if tried.candidate == CLOUD]
    assert gateway.given_up
    assert gateway.elapsed_s == pytest.approx(0.2 - MARGIN_S - 0.001)
    assert "gw:8001: no answer yet after" in why(verdict)


def test_a_backup_costs_nothing_while_the_gateway_is_well():
    world = World(mode="prefer_in_cloud")
    verdict = world.run(deadline_s=0.2)
    assert verdict.candidate == CLOUD
    assert world.hosts == ["gw:8001"]


def test_the_first_good_answer_wins_also_when_the_backup_has_begun():
    world = World(mode="prefer_in_cloud")
    world.expected["device"] = Forecast(0.1, 10.0)
    world.takes.update({"gw:8001": 0.15, "device": 0.1})
    verdict = world.run(deadline_s=0.2)
    assert world.hosts == ["gw:8001", "device"]
    assert verdict.candidate == CLOUD
    assert not verdict.degraded
    assert [tried.given_up for tried in verdict.tried] == [False, True]


def test_without_a_deadline_the_device_answers_when_nearly_every_gateway_answer_has_come():
    world = World(mode="prefer_in_cloud")
    world.expected["gw:8001"] = Forecast(0.12, 10.0)
    world.takes["gw:8001"] = 60.0
    verdict = world.run()
    assert verdict.candidate == DEVICE
    assert world.began_at[1] == pytest.approx(0.12 - 0.01)
    assert world.clock - 100.0 == pytest.approx(0.12)


def test_a_gateway_of_which_little_is_known_has_half_of_the_time_that_it_may_take():
    world = World(mode="prefer_in_cloud")
    world.expected["gw:8001"] = Forecast(0.05, 0.0)
    world.takes["gw:8001"] = 0.9
    assert world.run().candidate == CLOUD
    world = World(mode="prefer_in_cloud")
    world.expected["gw:8001"] = Forecast(0.05, 0.0)
    world.takes["gw:8001"] = 60.0
    assert world.run().candidate == DEVICE
    assert world.began_at[-1] == pytest.approx(1.0)


def test_an_unsure_backup_waits_for_the_gateway_as_long_as_the_deadline_allows():
    world = World(mode="prefer_in_cloud", device=answer(confidence=0.1))
    world.takes.update({"gw:8001": 0.185, "device": 0.008})
    assert world.run(deadline_s=0.2).candidate == CLOUD
    world = World(mode="prefer_in_cloud", device=answer(confidence=0.1))
    world.takes.update({"gw:8001": 60.0, "device": 0.008})
    verdict = world.run(deadline_s=0.2)
    assert verdict.candidate == DEVICE
    assert why(verdict).startswith("kept although confidence 0.100")
    assert world.clock - 100.0 == pytest.approx(0.2 - MARGIN_S)


def test_without_a_deadline_an_unsure_backup_waits_for_some_times_what_the_gateway_takes():
    world = World(mode="prefer_in_cloud", device=answer(confidence=0.1))
    world.expected["gw:8001"] = Forecast(0.1, 10.0)
    world.takes["gw:8001"] = 60.0
    verdict = world.run()
    assert (verdict.candidate, verdict.degraded) == (DEVICE, True)
    assert world.clock - 100.0 == pytest.approx(0.4)


def test_while_the_devices_time_is_not_known_half_of_the_deadline_is_kept_back():
    world = World(mode="prefer_in_cloud")
    world.expected["device"] = Forecast(0.0, 0.0)
    world.takes["gw:8001"] = 60.0
    world.run(deadline_s=0.2)
    assert world.began_at[1] == pytest.approx((0.2 - MARGIN_S) / 2)


def test_when_the_gateway_fails_the_device_begins_at_once():
    world = World(mode="prefer_in_cloud", **{"gw:8001": RefusedError("unknown model")})
    verdict = world.run(deadline_s=1.0)
    assert verdict.candidate == DEVICE
    assert world.began_at == [0.0, pytest.approx(0.05)]


def test_a_gateway_that_is_known_to_be_too_slow_for_the_deadline_is_not_asked():
    world = World(mode="prefer_in_cloud")
    world.expected["gw:8001"] = Forecast(0.4, 10.0)
    verdict = world.run(deadline_s=0.2)
    assert world.hosts == ["device"]
    assert "expected to take 400 ms at best, and 190 ms is left" in why(verdict)
    world = World(mode="prefer_in_cloud")
    world.expected["gw:8001"] = Forecast(0.4, 0.0)  # a guess is no reason
    world.run(deadline_s=0.2)
    assert world.hosts[0] == "gw:8001"


def test_a_device_that_would_be_late_goes_second_and_begins_at_once():
    world = World()
    world.takes["device"] = 0.3
    world.expected["device"] = Forecast(0.3, 10.0)
    verdict = world.run(deadline_s=0.2)
    assert verdict.candidate == CLOUD
    assert world.began_at == [0.0, 0.0]
    late = World(**{"gw:8001": answer("large")})
    late.takes.update(device=0.3, **{"gw:8001": 5.0})
    late.expected.update(device=Forecast(0.3, 10.0), **{"gw:8001": Forecast(0.5, 10.0)})
    assert late.run(deadline_s=0.2).candidate == DEVICE  # nobody is in time: the first choice
    assert late.hosts == ["device"]


def test_a_slow_device_goes_second_where_another_is_expected_to_answer_sooner():
    for samples in (10.0, 0.0):
        world = World()
        world.takes["device"] = 0.3
        world.expected.update(device=Forecast(0.3, 10.0), **{"gw:8001": Forecast(0.05, samples)})
        verdict = world.run()
        assert verdict.candidate == CLOUD
        assert why(verdict) == "first because the device is expected to take 300 ms, gw:8001 50 ms"
    world = World()
    world.expected.update(device=Forecast(0.3, 10.0), **{"gw:8001": Forecast(0.31, 10.0)})
    assert world.run().candidate == DEVICE
    asked = World(mode="prefer_on_device")
    asked.expected["device"] = Forecast(0.3, 10.0)
    assert asked.run().candidate == DEVICE
    quick = World()
    quick.expected.update(device=Forecast(0.04, 10.0), **{"gw:8001": Forecast(0.01, 10.0)})
    assert quick.run().candidate == DEVICE


def test_a_slow_device_stands_by_with_a_tenth_of_its_time_as_a_head_start_for_the_other():
    world = World()
    world.takes.update({"device": 0.3, "gw:8001": 60.0})
    world.expected["device"] = Forecast(0.3, 10.0)
    assert world.run().candidate == DEVICE
    assert world.began_at == [0.0, pytest.approx(0.03)]
    assert world.clock - 100.0 == pytest.approx(0.33)


def test_a_slow_device_that_saves_power_stands_by_until_the_other_is_late():
    for on_battery, takes in ((True, 60.0), (True, 0.05), (False, 60.0)):
        world = World()
        world.on_battery = on_battery
        world.takes.update({"device": 0.3, "gw:8001": takes})
        world.expected.update(device=Forecast(0.3, 10.0), **{"gw:8001": Forecast(0.08, 10.0)})
        verdict = world.run()
        if takes < 0.08:
            assert (verdict.candidate, world.hosts) == (CLOUD, ["gw:8001"])
        else:
            assert verdict.candidate == DEVICE
            assert world.began_at == [0.0, pytest.approx(0.08 if on_battery else 0.03)]


def test_where_each_byte_costs_a_gateway_does_not_go_first_for_being_faster():
    for there in (Forecast(0.05, 10.0), Forecast(0.28, 0.0)):
        world = World(candidates=(DEVICE, CLOUD))
        world.metered = True
        world.takes["device"] = 0.3
        world.expected.update({"device": Forecast(0.3, 10.0), "gw:8001": there})
        assert world.run().candidate == DEVICE
        assert (world.hosts, world.tokens) == (["device"], 10)
    nearby = World(candidates=(DEVICE, BOX, CLOUD))
    nearby.metered = True
    nearby.expected["device"] = Forecast(0.3, 10.0)
    assert nearby.run().candidate == BOX


def test_where_each_byte_costs_a_gateway_is_asked_all_the_same_where_it_is_needed():
    late = World()
    late.takes["device"] = late_s = 0.3
    late.expected["device"] = Forecast(late_s, 10.0)
    asked = World(mode="prefer_in_cloud")
    unsure = World(device=answer(confidence=0.5))
    for world, deadline_s in ((late, 0.2), (asked, None), (unsure, None)):
        world.metered = True
        assert world.run(deadline_s).candidate == CLOUD


def test_where_each_byte_costs_no_second_gateway_is_asked_before_the_first_has_failed():
    other = Candidate("other:8001", "cloud")
    for first, asked in (
        (answer("large"), ["gw:8001"]),
        (UnreachableError("gone"), ["gw:8001", "other:8001"]),
    ):
        script = {"gw:8001": first, "other:8001": answer("large")}
        world = World(mode="only_in_cloud", candidates=(CLOUD, other), **script)
        world.metered = True
        world.takes.update({"gw:8001": 0.5, "other:8001": 0.05})
        world.run()
        assert (world.hosts, world.tokens) == (asked, 10)


def test_a_host_that_may_be_faster_is_tried_while_little_is_known_and_a_token_is_left():
    for tokens, samples, first in ((1, 0.0, "gw:8001"), (0, 0.0, "device"), (1, 10.0, "device")):
        world = World()
        world.tokens = tokens
        world.takes["device"] = 0.3
        world.expected.update(device=Forecast(0.3, 10.0), **{"gw:8001": Forecast(0.2, samples)})
        world.usual = {"gw:8001": 0.4}
        verdict = world.run()
        assert world.hosts[0] == first
        assert ("too little is known of it" in why(verdict)) == (first == "gw:8001")


def test_a_second_gateway_is_asked_when_the_first_is_late_and_a_token_is_left():
    other = Candidate("other:8001", "cloud")
    hosts = (CLOUD, other)
    for tokens, asked in ((1, ["gw:8001", "other:8001"]), (0, ["gw:8001"])):
        world = World(mode="only_in_cloud", candidates=hosts, **{"other:8001": answer("large")})
        world.expected["other:8001"] = Forecast(0.05, 10.0)
        world.takes.update({"gw:8001": 0.5, "other:8001": 0.05})
        world.tokens = tokens
        verdict = world.run()
        assert world.hosts == asked
        assert world.clock - 100.0 == pytest.approx(0.1 if tokens else 0.5)
        assert verdict.candidate == (other if tokens else CLOUD)


def test_a_backup_and_a_second_gateway_each_begin_when_they_are_due():
    other = Candidate("other:8001", "cloud")
    world = World(mode="prefer_in_cloud", candidates=(DEVICE, CLOUD, other))
    world.script["other:8001"] = answer("large")
    world.expected.update(device=Forecast(0.15, 10.0), **{"gw:8001": Forecast(0.1, 10.0)})
    world.takes.update({"device": 0.15, "gw:8001": 60.0, "other:8001": 0.03})
    verdict = world.run(deadline_s=0.2)
    assert world.hosts == ["gw:8001", "device", "other:8001"]
    assert world.began_at == [0.0, pytest.approx(0.04), pytest.approx(0.1)]
    assert verdict.candidate == other


def test_a_backup_that_fails_does_not_hurry_the_second_gateway():
    other = Candidate("other:8001", "cloud")
    world = World(mode="prefer_in_cloud", candidates=(DEVICE, CLOUD, other))
    world.script.update({"device": EngineError("broken"), "other:8001": answer("large")})
    world.expected.update(device=Forecast(0.15, 10.0), **{"gw:8001": Forecast(0.1, 10.0)})
    world.takes.update({"gw:8001": 60.0, "other:8001": 0.03})
    assert world.run(deadline_s=0.2).candidate == other
    assert world.began_at == [0.0, pytest.approx(0.04), pytest.approx(0.1)]


def test_a_failure_that_may_pass_is_retried_once_where_nobody_else_could_answer():
    overloaded = OverloadedError("no room")
    world = World(mode="only_in_cloud", **{"gw:8001": [overloaded, answer("large")]})
    verdict = world.run()
    assert verdict.candidate == CLOUD
    assert world.began_at == [0.0, pytest.approx(0.05 + 0.05)]
    twice = World(mode="only_in_cloud", **{"gw:8001": [overloaded, overloaded]})
    with pytest.raises(NoRouteError):
        twice.run()
    assert len(twice.asked) == 2


@pytest.mark.parametrize(
    ("error", "tokens", "deadline_s"),
    [
        (RefusedError("unknown model"), 10, None),
        (DeadlineError("2 s passed"), 10, None),
        (UnreachableError("gone"), 10, None),
        (OverloadedError("no room"), 0, None),
        (OverloadedError("no room"), 10, 0.1),
    ],
    ids=["final", "slow", "gone", "no token", "no time"],
)
def test_what_would_not_help_is_not_retried(error, tokens, deadline_s):
    world = World(mode="only_in_cloud", **{"gw:8001": error})
    world.tokens = tokens
    with pytest.raises(NoRouteError):
        world.run(deadline_s)
    assert len(world.asked) == 1


@pytest.mark.parametrize(("said_s", "again"), [(0.3, True), (float("inf"), False), (5.0, False)])
def test_a_host_that_says_when_to_come_again_is_taken_at_its_word(said_s, again):
    overloaded = OverloadedError("no room")
    overloaded.retry_after_s = said_s
    world = World(mode="only_in_cloud", **{"gw:8001": [overloaded, answer("large")]})
    if again:
        world.run()
        assert world.began_at[1] == pytest.approx(0.05 + said_s)
    else:
        with pytest.raises(NoRouteError):
            world.run()


def test_a_retry_does_not_cost_the_backup_its_time():
    overloaded = OverloadedError("no room")
    world = World(mode="prefer_in_cloud", **{"gw:8001": [overloaded, answer("large")]})
    world.takes["gw:8001"] = 0.02
    world.expected["gw:8001"] = Forecast(0.2, 10.0)
    assert world.run().candidate == DEVICE  # another 0.2 s would be too late
    world = World(mode="prefer_in_cloud", **{"gw:8001": [overloaded, answer("large")]})
    world.takes["gw:8001"] = 0.02
    world.expected.update(device=Forecast(0.001, 10.0), **{"gw:8001": Forecast(0.2, 10.0)})
    world.usual = {"gw:8001": 0.01}
    assert world.run().candidate == CLOUD
    world = World(mode="prefer_in_cloud", **{"gw:8001": [overloaded, answer("large")]})
    assert world.run(deadline_s=0.5).candidate == CLOUD
    world = World(mode="prefer_in_cloud", **{"gw:8001": [overloaded, answer("large")]})
    assert world.run().candidate == DEVICE  # without a deadline nearly all would have come by now


def test_an_escalation_without_deadline_is_waited_for_some_times_as_long_as_usual():
    world = World(device=answer(confidence=0.5))
    world.takes["gw:8001"] = 60.0
    verdict = world.run()
    assert verdict.candidate == DEVICE
    assert verdict.degraded
    assert world.asked[1].timeout_s == pytest.approx(0.2)
    world = World(device=answer(confidence=0.5))
    world.expected["gw:8001"] = Forecast(0.2, 10.0)
    world.run()
    assert world.asked[1].timeout_s == pytest.approx(0.8)


def test_gateways_that_may_still_be_asked_share_what_is_left():
    other = Candidate("other:8001", "cloud")
    world = World(
        mode="only_in_cloud", candidates=(CLOUD, other), **{"other:8001": answer("large")}
    )
    world.takes.update({"gw:8001": 60.0, "other:8001": 0.05})
    verdict = world.run(deadline_s=0.5)
    assert verdict.candidate == other
    assert world.asked[0].timeout_s == pytest.approx((0.5 - MARGIN_S) / 2)


def test_time_that_passed_before_the_first_attempt_counts_too():
    world = World(mode="only_in_cloud")
    world.run(deadline_s=0.2, began=world.clock - 0.05)
    assert world.asked[0].timeout_s == pytest.approx(0.15 - MARGIN_S)


def test_a_reason_names_each_host_once():
    named = UnreachableError("gw:8001 could not be reached")
    verdict = World(mode="prefer_in_cloud", **{"gw:8001": named}).run()
    assert why(verdict) == "fell back: gw:8001 could not be reached"


def test_a_reason_is_short_however_long_an_error_is():
    long = UnreachableError(f"gw:8001 could not be reached after 2 s (UNAVAILABLE: {'x' * 900})")
    verdict = World(mode="prefer_in_cloud", **{"gw:8001": long}).run()
    assert why(verdict) == "fell back: gw:8001 could not be reached after 2 s"
    longer = World(mode="prefer_in_cloud", **{"gw:8001": RemoteError("x" * 900)}).run()
    assert len(why(longer)) < 150


def test_a_host_is_told_when_nobody_else_is_left_to_answer():
    alone = World(mode="only_in_cloud")
    alone.run()
    assert alone.hopes == {"gw:8001": True}
    backed = World(mode="prefer_in_cloud")
    backed.run()
    assert backed.hopes == {"gw:8001": False}
    escalating = World(device=answer(confidence=0.1))
    escalating.run()
    assert escalating.hopes == {"gw:8001": False}


def test_a_confidence_that_is_no_number_is_not_sure():
    assert World(device=answer(confidence=float("nan"))).run().candidate == CLOUD


def test_confidence_is_claimed_only_where_there_is_a_threshold():
    assert why(World(device=answer("other", confidence=0.02)).run()) == "first choice of mode auto"
    assert why(World(device=answer("large", confidence=0.5)).run()) == "first choice of mode auto"


def test_nothing_is_kept_back_when_the_device_may_not_answer():
    world = World(mode="only_in_cloud")
    world.run(deadline_s=0.2)
    assert world.asked[0].timeout_s == pytest.approx(0.2 - MARGIN_S)


def test_a_deadline_that_leaves_no_time_for_the_cloud_is_kept_and_no_leave_is_taken():
    world = World(device=answer(confidence=0.5))
    verdict = world.run(deadline_s=0.015)
    assert verdict.degraded
    assert "the deadline leaves no time" in why(verdict)
    assert world.admitted == []


def test_a_long_deadline_does_not_stretch_the_timeout_of_one_host():
    world = World(mode="only_in_cloud")
    world.run(deadline_s=60.0)
    assert world.asked[0].timeout_s == 2.0


def test_each_attempt_is_recorded_with_its_own_time():
    world = World(device=answer(confidence=0.5))
    verdict = world.run()
    assert [tried.elapsed_s for tried in verdict.tried] == [
        pytest.approx(0.01),
        pytest.approx(0.05),
    ]


outcomes = st.sampled_from([*FAILURES, answer(), answer(confidence=0.1), answer("large", 0.4)])


@given(
    mode=st.sampled_from(sorted(MODES)),
    script=st.fixed_dictionaries(dict.fromkeys(("device", "box:8011", "gw:8001"), outcomes)),
    takes=st.fixed_dictionaries({h: st.floats(0.001, 5.0) for h in ("box:8011", "gw:8001")}),
    shut=st.sets(st.sampled_from(["box:8011", "gw:8001"])),
    deadline_s=st.floats(0.05, 3.0),
)
def test_whatever_the_network_does_an_answer_of_the_device_comes_by_the_deadline(
    mode, script, takes, shut, deadline_s
):
    world = World(mode, candidates=(DEVICE, BOX, CLOUD), **script)
    world.takes.update(takes, device=0.01)
    world.shut = dict.fromkeys(shut, "down")
    try:
        verdict = world.run(deadline_s)
    except NoRouteError as error:
        assert all(isinstance(cause, WhereverError) for cause in error.causes)
        assert "device" not in world.hosts or isinstance(script["device"], WhereverError)
    else:
        assert verdict.answer is script[verdict.candidate.host]
    assert world.clock - 100.0 <= deadline_s + 1e-9
    assert world.admitted == [host for host in world.hosts if host != "device"]


def test_the_token_of_a_hedge_that_a_host_does_not_take_is_used_for_the_next():
    others = [Candidate(f"gw:800{n}", "cloud") for n in (2, 3)]
    world = World("only_in_cloud", candidates=(CLOUD, *others))
    world.takes |= {"gw:8001": 1.0, "gw:8002": 0.05, "gw:8003": 0.05}
    world.expected = {host: Forecast(0.05, 10.0) for host in world.takes}
    world.script |= {"gw:8002": answer("large"), "gw:8003": answer("large")}
    world.shut["gw:8002"] = "too many calls are on the way to it"
    assert world.run().candidate == others[1]
    assert (world.hosts, world.tokens) == (["gw:8001", "gw:8003"], 9)


def test_a_lesser_host_says_that_nobody_before_it_may_be_asked():
    verdict = World("prefer_in_cloud", boundary="device").run()
    assert (verdict.candidate, verdict.degraded) == (DEVICE, True)
    assert why(verdict) == ("next choice of mode prefer_in_cloud, as nobody before it may be asked")
