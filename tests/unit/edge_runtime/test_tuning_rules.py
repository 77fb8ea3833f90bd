"""What is measured, who goes on, and when two answers are the same."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.manifest import Variant
from wherever_contracts.tensors import TensorSpec
from wherever_devices.decision import Decision
from wherever_devices.machine import EngineState, probe
from wherever_devices.plans import RunPlan
from wherever_edge.tune.agreement import contradiction, made_up
from wherever_edge.tune.candidates import candidates
from wherever_edge.tune.guidance import EVERY_S, Guidance
from wherever_edge.tune.race import (
    FEWEST_TURNS,
    MOST_TURNS,
    Contestant,
    Turn,
    drop_the_slow,
    finished,
    kept,
    settled,
)

ENGINES = {
    "onnxruntime": EngineState(("onnx",)),
    "openvino": EngineState(("onnx",)),
    "absent": EngineState(("onnx",), "not installed"),
}


def decision(**changes):
    fields = {
        "profile": "edge-pc",
        "threads": 2,
        "runs": 2,
        "memory_max_bytes": None,
        "max_waiting": 64,
        "devices": ("cpu",),
        "precisions": ("float32",),
        "objective": "latency",
        "prefer_small": False,
        "reasons": (),
    }
    return Decision(**{**fields, **changes})


def variant(*engines, precision="float32"):
    tensor = {"name": "x", "dtype": "float32", "shape": [1]}
    return Variant.model_validate(
        {
            "id": "only",
            "format": "onnx",
            "precision": precision,
            "files": [{"path": "a.onnx", "sha256": "0" * 64, "bytes": 1}],
            "tensors": {"inputs": [tensor], "outputs": [tensor]},
            "needs": {"engines": list(engines)},
        }
    )


def plans(which, decided, devices=None):
    found = candidates(which, ENGINES, devices or dict.fromkeys(ENGINES, ("cpu",)), decided)
    return [(each.engine, each.device, each.precision, each.threads) for each in found]


def test_what_would_run_unmeasured_is_measured_first():
    assert plans(variant("absent", "openvino", "onnxruntime"), decision()) == [
        ("openvino", "cpu", "float32", 2),
        ("onnxruntime", "cpu", "float32", 2),
        ("openvino", "cpu", "float32", 1),
        ("onnxruntime", "cpu", "float32", 1),
    ]


@pytest.mark.parametrize(
    ("most", "counts"), [(1, [1]), (2, [2, 1]), (6, [6, 1, 2, 4]), (8, [8, 1, 2, 4]), (0, [0])]
)
def test_threads_double_up_to_what_is_allowed(most, counts):
    found = plans(variant("onnxruntime"), decision(threads=most))
    assert [threads for *_, threads in found] == counts


def test_other_precisions_are_tried_for_variants_of_float32_alone():
    both = decision(threads=1, precisions=("float32", "bfloat16"))
    assert [p for _, _, p, _ in plans(variant("openvino"), both)] == ["float32", "bfloat16"]
    assert [p for _, _, p, _ in plans(variant("openvino", precision="int8"), both)] == ["int8"]


def test_a_device_is_tried_where_it_is_allowed_and_the_engine_can_use_it():
    devices = {"openvino": ("cpu", "gpu"), "onnxruntime": ("cpu",)}
    both = decision(devices=("gpu", "cpu"))
    found = plans(variant("openvino", "onnxruntime"), both, devices)
    assert [each for each in found if each[1] == "gpu"] == [("openvino", "gpu", "float32", 2)]
    without = plans(variant("openvino"), decision(devices=("gpu",)), devices)
    assert without == [("openvino", "gpu", "float32", 2)]


def contestant(*costs, cpu=None, **facts):
    """One that took so many ms in each round."""
    turns = [Turn((each / 1e3,) * 3, (cpu or each) * 3 / 1e3) for each in costs]
    return Contestant(RunPlan("onnxruntime", "cpu", "float32", len(costs)), turns, **facts)


def test_who_is_behind_in_every_round_is_dropped():
    fast, slow, close = contestant(1, 1, 1), contestant(2, 2, 2), contestant(1.1, 1.1, 1.1)
    drop_the_slow([fast, slow, close])
    assert [each.dropped for each in (fast, slow, close)] == [False, True, False]


def test_one_noisy_round_drops_nobody():
    fast, hit = contestant(1, 1, 1), contestant(9, 1.1, 9)
    drop_the_slow([fast, hit])
    assert not hit.dropped


def test_who_spares_the_cores_goes_on():
    quick, sparing = contestant(1, 1, 1, cpu=2), contestant(1.9, 1.9, 1.9, cpu=1.9)
    drop_the_slow([quick, sparing])
    assert not sparing.dropped


def test_nobody_is_dropped_before_there_were_some_rounds():
    fast, slow = contestant(*[1] * (FEWEST_TURNS - 1)), contestant(*[9] * (FEWEST_TURNS - 1))
    drop_the_slow([fast, slow])
    assert not slow.dropped
    assert not finished([fast, slow])


def test_a_race_ends_when_nobody_has_more_to_tell():
    assert finished([contestant(*[1] * MOST_TURNS), contestant(1, failed="it died")])
    assert finished([])


@pytest.mark.parametrize(
    ("usual_s", "runs"), [(0.0, 200), (1e-6, 200), (1e-3, 30), (0.02, 1), (5.0, 1)]
)
def test_a_turn_is_short_whatever_a_run_takes(usual_s, runs):
    assert contestant(usual_s=usual_s).next_runs() == runs


def test_what_is_kept_tells_medians_and_what_failed():
    ran, failed, unknown = contestant(1, 5, 2), contestant(failed="it died"), contestant()
    found = kept([ran, failed, unknown], "digest")
    assert len(found) == 2
    assert (found[0].latency_s, found[0].p90_s, found[0].runs) == (0.002, 0.005, 9)
    assert (found[1].failed, found[1].usable) == ("it died", False)


def test_a_plan_is_measured_again_when_it_had_too_few_rounds():
    (short,), (enough,) = (kept([contestant(*[1] * n)], "digest") for n in (1, FEWEST_TURNS))
    (failed,) = kept([contestant(failed="it died")], "digest")
    assert [settled(each) for each in (None, short, enough, failed)] == [False, False, True, True]


def tensors(**values):
    return {name: np.array(value, np.float32) for name, value in values.items()}


@pytest.mark.parametrize(
    ("found", "precisions", "why"),
    [
        (tensors(y=[1, 2]), ["float32"] * 2, ""),
        (tensors(y=[1.001, 2.001]), ["float32"] * 2, ""),
        (tensors(y=[1.1, 2.2]), ["float32"] * 2, "'y' is 10% off"),
        (tensors(y=[1.1, 2.2]), ["float32", "int8"], ""),
        (tensors(y=[1.05, 2.1]), ["bfloat16", "float32"], ""),
        (tensors(y=[np.nan, 2]), ["float32"] * 2, "'y' has other numbers that are not finite"),
        (tensors(y=[[1, 2]]), ["float32"] * 2, "'y' has the shape [1, 2]"),
        (tensors(y=[1, 2, 3]), ["float32"] * 2, ""),
        (tensors(z=[1, 2]), ["float32"] * 2, "'y' is missing"),
    ],
)
def test_two_answers_are_the_same_within_what_their_precision_allows(found, precisions, why):
    assert contradiction(tensors(y=[1, 2]), found, precisions) == why


def test_answers_that_are_not_finite_in_the_same_places_are_the_same():
    both = tensors(y=[np.nan, np.inf, 1])
    assert contradiction(both, tensors(y=[np.nan, np.inf, 1]), ["float32"]) == ""


def test_what_is_far_from_zero_is_not_zero():
    found = contradiction(tensors(y=[0, 0]), tensors(y=[0, 1]), ["float32"])
    assert found == "'y' is not zero"


def test_made_up_tensors_fit_and_stay_the_same():
    specs = [
        TensorSpec("a", "float16", (-1, 3)),
        TensorSpec("b", "uint8", (2, 2)),
        TensorSpec("c", "int64", (1, -1)),
        TensorSpec("d", "bool", ()),
    ]
    feed, again = made_up(specs), made_up(specs)
    assert all(spec.admits(feed[spec.name]) for spec in specs)
    assert all(np.array_equal(feed[name], again[name]) for name in feed)
    assert feed["a"].min() >= 0
    assert feed["a"].max() < 1
    assert not feed["c"].any()


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_conditions_are_looked_at_again_now_and_then():
    clock, decisions = Clock(), [decision(), decision(threads=1), decision(threads=1)]
    asked = iter(decisions)
    guide = Guidance(probe(), decision=lambda: next(asked), clock=clock)
    assert guide.threads == 2
    clock.now_s = EVERY_S - 1
    assert not guide.changed()
    clock.now_s = EVERY_S
    assert guide.changed()
    assert guide.threads == 1
    clock.now_s = 2 * EVERY_S
    assert not guide.changed()


def test_other_words_for_the_same_decision_are_no_change():
    clock = Clock()
    asked = iter([decision(reasons=("87 % left",)), decision(reasons=("86 % left",))])
    guide = Guidance(probe(), decision=lambda: next(asked), clock=clock)
    clock.now_s = EVERY_S
    assert not guide.changed()


def test_threads_that_a_user_asked_for_are_not_decided_upon():
    guide = Guidance(probe(), threads=3, decision=decision(threads=1))
    assert guide.threads == 3
    assert guide.decision.threads == 3
    assert Guidance(probe(), threads=3).threads == 3
