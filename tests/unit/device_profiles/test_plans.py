"""What is meant to run, what the runtime says, and the hardware that a device is."""

from __future__ import annotations

import pytest

from wherever_devices.plans import RunPlan, departures, hardware_of

PLAN = RunPlan("onnxruntime", "cpu", "float32", 2)


def test_what_runs_as_planned_departs_in_nothing():
    assert departures(PLAN, PLAN) == ()
    assert departures(PLAN, RunPlan("onnxruntime", "cpu", "float32", 0)) == ()
    assert departures(RunPlan("onnxruntime", "cpu", "float32", 0), PLAN) == ()


def test_each_departure_is_told():
    assert departures(PLAN, RunPlan("openvino", "gpu", "float16", 4)) == (
        "openvino runs in place of onnxruntime",
        "openvino runs on gpu, not on cpu",
        "openvino computes in float16 here, not in float32",
        "openvino uses 4 threads, not 2",
    )


def test_a_plan_reads_as_a_phrase():
    assert str(PLAN) == "onnxruntime on cpu, float32, 2 threads"
    assert str(RunPlan("litert", "cpu", "int8", 1)) == "litert on cpu, int8, 1 thread"
    assert str(RunPlan("onnxruntime", "cuda", "float32", 0)).endswith("threads by choice")


@pytest.mark.parametrize(
    ("device", "hardware"),
    [
        ("cpu", "cpu"),
        ("gpu", "gpu"),
        ("gpu.1", "gpu"),
        ("npu", "npu"),
        ("cuda", "gpu"),
        ("tensorrt", "gpu"),
        ("directml", "gpu"),
        ("coreml", "npu"),
        ("openvino", "cpu"),
        ("abacus", "abacus"),
    ],
)
def test_devices_of_plans_are_hardware_of_profiles(device, hardware):
    assert hardware_of(device) == hardware
