"""Calls that something is promised of: what they ask, and what is said of their answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wherever._escalation.words import NOTHING_IS_SURE, PACED, Aim, Bar, Budget
from wherever._routing.certainty import sureness
from wherever._routing.flow import predict_flow
from wherever._routing.plan import Candidate, make_plan
from wherever._routing.steps import Attempt, Race, Senses
from wherever_contracts.errors import NoRouteError, RefusedError, UnreachableError
from wherever_contracts.receipts import Answer, Ran
from wherever_edge.host_health.forecast import Forecast, Work

DEVICE = Candidate("device", "device")
CLOUD = Candidate("gw:8001", "cloud")
PROMISED = Bar(0.9, "at most 2 % may differ", promised=True)
NOTHING = Bar(NOTHING_IS_SURE, "at most 2 % may differ, and no pairs are known", promised=True)


def answer(variant="small", confidence: float | None = 0.5) -> Answer:
    ran = Ran("m", "1.0.0", variant, "", "", "local", "e", "1", "cpu", "int8", 1)
    return Answer({"y": np.zeros(1, np.float32)}, confidence, ran, 0.001)


def call(script, *, mode="auto", candidates=(DEVICE, CLOUD), bar=PROMISED, aim=None, shut=""):
    """Carry a call out; what it came to, and the (host, variant)s that were asked."""
    plan = make_plan(
        model="m",
        mode=mode,
        boundary="anywhere",
        places=None,
        candidates=candidates,
        thresholds={"small": 0.1},
        reference="large",
        aim=Aim(max_disagreement=0.02) if aim is None else aim,
    )
    senses = Senses(
        now=lambda: 0.0,
        admit=lambda _, last_hope: shut,
        forecast=lambda *_: Forecast(0.01, 10.0),
        spend=lambda: False,
        arrange=lambda group, _: group,
        chance=lambda: 0.5,
        timeout_s=2.0,
        bar=None if bar is None else lambda _: bar,
    )
    flow = predict_flow(plan, senses, lambda variant: Work("m", variant))
    asked, script, begun = [], {host: list(ends) for host, ends in script.items()}, 0
    try:
        step = next(flow)
        while True:
            if isinstance(step, Race):
                assert step.begin is not None, "nobody else is due"
                asked.append(_asked(step.begin))
                outcome = begun, script[step.begin.candidate.host].pop(0)
                begun += 1
            else:
                asked.append(_asked(step))
                outcome = script[step.candidate.host].pop(0)
            step = flow.send(outcome)
    except StopIteration as end:
        return end.value, asked


def _asked(attempt: Attempt) -> tuple[str, str]:
    return attempt.candidate.host, attempt.variant


def test_an_answer_over_the_bar_is_given_and_the_reason_names_the_promise():
    verdict, asked = call({"device": [answer(confidence=0.95)]})
    assert asked == [("device", "")]
    assert "".join(verdict.reason) == (
        "first choice of mode auto, confident enough (at most 2 % may differ)"
    )
    assert (verdict.short, verdict.degraded) == (False, False)


def test_an_answer_under_the_bar_is_asked_of_the_reference():
    verdict, asked = call({"device": [answer()], "gw:8001": [answer("large")]})
    assert asked == [("device", ""), ("gw:8001", "large")]
    assert "".join(verdict.reason) == (
        "escalated: confidence 0.500 of small is under 0.900 (at most 2 % may differ)"
    )
    assert (verdict.short, verdict.degraded) == (False, False)
    own = verdict.tried[0].answer
    assert own is not None
    assert own.ran.variant == "small"


@pytest.mark.parametrize("candidates", [(DEVICE, CLOUD), (CLOUD,)])
def test_an_answer_that_the_budget_does_not_pay_to_improve_is_a_lesser_one(candidates):
    paced, aim = Bar(0.3, PACED, wanted=0.9), Aim(budget=Budget(calls=600))
    own = [answer(confidence=0.5)]
    script = {each.host: own for each in candidates[:1]}
    verdict, _ = call(script, bar=paced, aim=aim, candidates=candidates)
    assert "".join(verdict.reason) == (
        "kept although confidence 0.500 of small is under 0.900; "
        "the budget goes to answers under 0.3"
    )
    assert verdict.degraded
    sure, _ = call({"device": [answer(confidence=0.9)]}, bar=paced, aim=aim)
    assert "".join(sure.reason).endswith("confident enough (which the budget pays for)")
    assert not sure.degraded


@pytest.mark.parametrize(
    ("confidence", "threshold", "told"),
    [
        (0.9994, 1.0, "confidence 0.999 of small is under 1.000"),
        (0.9999996, 1.0, "confidence 0.999999600 of small is under 1.000000000"),
        (
            math.nextafter(1, 0),
            1.0,
            "confidence 1.000000000000000 of small is under 1.000000000000000",
        ),
    ],
)
def test_what_is_hardly_under_the_bar_is_told_with_digits_enough(confidence, threshold, told):
    verdict, _ = call(
        {"device": [answer(confidence=confidence)]}, bar=Bar(threshold), candidates=(DEVICE,)
    )
    assert told in "".join(verdict.reason)


def test_where_nothing_is_sure_the_reason_is_why():
    verdict, _ = call(
        {"device": [answer(confidence=1.0)], "gw:8001": [answer("large")]}, bar=NOTHING
    )
    assert "".join(verdict.reason) == f"escalated: {NOTHING.why}"


@pytest.mark.parametrize(
    ("mode", "candidates", "shut"),
    [
        ("only_on_device", (DEVICE,), ""),
        ("auto", (DEVICE,), ""),
        ("auto", (DEVICE, CLOUD), "it was down a moment ago"),
        ("prefer_on_device", (DEVICE, CLOUD), "it was down a moment ago"),
    ],
)
def test_a_promise_that_cannot_be_kept_makes_the_answer_a_lesser_one(mode, candidates, shut):
    verdict, _ = call({"device": [answer()]}, mode=mode, candidates=candidates, shut=shut)
    assert (verdict.short, verdict.degraded) == (True, True)
    assert "".join(verdict.reason).startswith("kept although confidence 0.500 of small")


def test_without_a_confidence_nothing_speaks_for_an_answer_that_is_promised():
    verdict, _ = call({"device": [answer(confidence=None)], "gw:8001": [answer("large")]})
    assert "".join(verdict.reason) == (
        "escalated: small gives no confidence (at most 2 % may differ)"
    )
    unpromised, _ = call({"device": [answer(confidence=None)]}, bar=None, aim=Aim())
    assert "".join(unpromised.reason) == "first choice of mode auto"


def test_no_bar_of_a_variant_lets_its_answers_pass():
    plan_says = call({"device": [answer(confidence=0.2)]}, bar=None, aim=Aim())
    assert not plan_says[0].short
    other = call({"device": [answer("middle", confidence=0.0)]}, bar=None, aim=Aim())
    assert "".join(other[0].reason) == "first choice of mode auto"


@pytest.mark.parametrize("mode", ["prefer_in_cloud", "only_in_cloud"])
def test_where_something_is_promised_other_hosts_are_asked_for_the_reference_at_once(mode):
    verdict, asked = call({"gw:8001": [answer("large")]}, mode=mode, candidates=(CLOUD,))
    assert asked == [("gw:8001", "large")]
    assert not verdict.degraded


def test_a_host_that_lacks_the_reference_gives_what_it_has():
    script = {"gw:8001": [RefusedError("no variant 'large'"), answer("middle", 0.95)]}
    verdict, asked = call(script, mode="only_in_cloud", candidates=(CLOUD,))
    assert asked == [("gw:8001", "large"), ("gw:8001", "")]
    assert verdict.answer.ran.variant == "middle"


def test_what_it_has_is_a_lesser_answer_when_it_is_under_the_bar():
    script = {"gw:8001": [RefusedError("no variant 'large'"), answer("middle", 0.5)]}
    verdict, _ = call(script, mode="only_in_cloud", candidates=(CLOUD,))
    assert (verdict.short, verdict.degraded) == (True, True)


def test_a_host_that_refuses_altogether_is_not_asked_a_third_time():
    refusals = [RefusedError("no such model"), RefusedError("no such model")]
    with pytest.raises(NoRouteError):
        call({"gw:8001": refusals}, mode="only_in_cloud", candidates=(CLOUD,))


def test_a_refused_escalation_keeps_what_is_in_hand():
    script = {"device": [answer()], "gw:8001": [RefusedError("no variant 'large'")]}
    verdict, asked = call(script)
    assert asked == [("device", ""), ("gw:8001", "large")]
    assert verdict.degraded


def test_an_aim_without_a_promise_is_a_lesser_answer_only_where_a_host_failed():
    aim, bar = Aim(min_confidence=0.9), Bar(0.9)
    alone, _ = call({"device": [answer()]}, candidates=(DEVICE,), bar=bar, aim=aim)
    assert (alone.short, alone.degraded) == (True, False)
    failed = {"device": [answer()], "gw:8001": [UnreachableError("no way")]}
    verdict, asked = call(failed, bar=bar, aim=aim, mode="prefer_on_device")
    assert asked == [("device", ""), ("gw:8001", "large")]
    assert verdict.degraded


@pytest.mark.parametrize(
    ("said", "taken"),
    [(None, None), (float("nan"), None), (0.25, 0.25), (-3.0, 0.0), (7.5, 1.0)],
)
def test_a_confidence_is_evidence_only_as_a_number_from_0_to_1(said, taken):
    assert sureness(answer(confidence=said)) == taken


def test_an_answer_whose_confidence_is_no_number_is_asked_of_the_reference():
    script = {"device": [answer(confidence=float("nan"))], "gw:8001": [answer("large")]}
    assert call(script)[1] == [("device", ""), ("gw:8001", "large")]
