"""The file of measurements: what was written is read, and nothing else is believed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_devices.machine import Machine
from wherever_devices.measured import (
    DamagedError,
    Measurement,
    Measurements,
    fingerprint,
    read_measurements,
    short_name,
    write_measurements,
)
from wherever_devices.plans import RunPlan

MACHINE = Machine(
    os="linux",
    arch="x86_64",
    cpu_model="some processor",
    physical_cores=4,
    usable_cores=4,
    memory_bytes=2**32,
    memory_limit_bytes=None,
    cpu_features=frozenset({"avx2"}),
    python="3.13.0",
)
ENGINES = {"onnxruntime": "1.31.1", "litert": "2.3.0"}
HERE = fingerprint(MACHINE, ENGINES)

PLAN = RunPlan("onnxruntime", "cpu", "float32", 2)
ONE = Measurement("a", PLAN, 0.001, 0.002, 0.003, 0.1, 1000, 45, 15)
AMOUNTS = st.floats(0, 1e6)
MEASUREMENTS = st.builds(
    Measurement,
    st.sampled_from("abc"),
    st.builds(RunPlan, st.text(), st.text(), st.text(), st.integers(0, 64)),
    AMOUNTS,
    AMOUNTS,
    AMOUNTS,
    AMOUNTS,
    *[st.integers(0, 2**40)] * 3,
    st.text(),
    st.text(),
)


@given(st.lists(MEASUREMENTS))
def test_what_was_written_is_read(found):
    kept = Measurements(found)
    again = read_measurements(write_measurements(HERE, kept), HERE)
    assert list(again) == sorted(kept, key=lambda each: (each.variant_digest, each.plan))


def test_the_later_of_two_measurements_of_a_plan_counts():
    later = replace(ONE, latency_s=9.0)
    kept = Measurements([ONE]).with_these([later])
    assert dict(kept.of("a")) == {PLAN: later}
    assert len(kept) == 1
    assert not kept.of("b")


def test_the_figures_of_a_variant_can_be_left_out():
    other = replace(ONE, variant_digest="b")
    assert list(Measurements([ONE, other]).without(["a"])) == [other]


@pytest.mark.parametrize(
    ("change", "usable"),
    [({}, True), ({"runs": 0}, False), ({"wrong": "x"}, False), ({"failed": "x"}, False)],
)
def test_only_what_ran_as_planned_and_right_is_usable(change, usable):
    assert replace(ONE, **change).usable is usable


def test_the_cost_is_what_the_objective_counts():
    assert ONE.cost_s("latency") == 0.001
    assert ONE.cost_s("cpu_time") == 0.003


@pytest.mark.parametrize(
    "other",
    [
        fingerprint(replace(MACHINE, cpu_model="another"), ENGINES),
        fingerprint(replace(MACHINE, usable_cores=2), ENGINES),
        fingerprint(replace(MACHINE, cpu_features=frozenset()), ENGINES),
        fingerprint(replace(MACHINE, cpu_features=None), ENGINES),
        fingerprint(replace(MACHINE, onednn_max_cpu_isa="AVX2"), ENGINES),
        fingerprint(replace(MACHINE, imitates="tiny"), ENGINES),
        fingerprint(MACHINE, {**ENGINES, "onnxruntime": "1.32.0"}),
        fingerprint(MACHINE, {}),
    ],
)
def test_another_machine_has_other_figures(other):
    assert short_name(other) != short_name(HERE)
    with pytest.raises(DamagedError, match="another machine"):
        read_measurements(write_measurements(HERE, Measurements([ONE])), other)


def test_an_equal_machine_has_the_same_name():
    assert short_name(fingerprint(replace(MACHINE, python="3.14.0"), dict(ENGINES))) == short_name(
        HERE
    )


def damaged(edit):
    data = json.loads(write_measurements(HERE, Measurements([ONE])))
    edit(data)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda d: d.update(schema=2), "schema"),
        (lambda d: d.update(measurements={}), "no list"),
        (lambda d: d["measurements"].append(3), "no measurement"),
        (lambda d: d["measurements"][0].pop("variant_digest"), "no measurement"),
        (lambda d: d["measurements"][0].update(more=1), "no measurement"),
        (lambda d: d["measurements"][0].update(plan=None), "no measurement"),
        (lambda d: d["measurements"][0]["plan"].update(threads="2"), "threads"),
        (lambda d: d["measurements"][0]["plan"].update(threads=True), "threads"),
        (lambda d: d["measurements"][0].update(latency_s=-1), "latency_s"),
        (lambda d: d["measurements"][0].update(latency_s=None), "latency_s"),
        (lambda d: d["measurements"][0].update(cpu_s=float("nan")), "cpu_s"),
        (lambda d: d["measurements"][0].update(runs=1.5), "runs"),
        (lambda d: d["measurements"][0].update(wrong=False), "wrong"),
    ],
)
def test_a_damaged_file_is_refused_with_a_reason(edit, why):
    with pytest.raises(DamagedError, match=why):
        read_measurements(damaged(edit), HERE)


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(data):
    with pytest.raises(DamagedError):
        read_measurements(data, HERE)


@given(st.integers(0, 400))
def test_half_a_file_is_refused(length):
    whole = write_measurements(HERE, Measurements([ONE]))
    with pytest.raises(DamagedError):
        read_measurements(whole[: min(length, len(whole) - 3)], HERE)
