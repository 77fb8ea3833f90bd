"""What a machine, a profile and the conditions come to; each reason has its name and numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_devices.accelerators import Accelerator
from wherever_devices.conditions import Conditions
from wherever_devices.decision import Decision, Reason, decide
from wherever_devices.machine import Machine, default_threads
from wherever_devices.onednn import LEVELS
from wherever_devices.processor import FEATURES, CoreKinds
from wherever_devices.profiles import BUILT_IN, Hardware, Profile, Saving, as_machine
from wherever_devices.profiles.files import load_profile

GIB = 1024**3
CALM = Conditions(on_battery=False, thermal="normal")
GPU = Accelerator("gpu", "nvidia", "/dev/nvidia0")
NPU = Accelerator("npu", "intel", "/dev/accel/accel0")

PC = Machine(
    os="linux",
    arch="x86_64",
    cpu_model="some processor",
    physical_cores=4,
    usable_cores=4,
    memory_bytes=8 * GIB,
    memory_limit_bytes=None,
    cpu_features=frozenset({"avx2"}),
    python="3.13.0",
    accelerators=(),
)
PLAIN = Profile("plain")
SAVING = Profile(
    "saving",
    on_battery=Saving(threads_share=0.5, prefer_small=True, objective="cpu_time"),
    hot=Saving(threads_share=0.25, runs_share=0.5, prefer_small=True),
    warm=Saving(runs_share=0.5),
)


def words(decision: Decision, name: str) -> str:
    return next(reason.words for reason in decision.reasons if reason.name == name)


def names(decision: Decision) -> list[str]:
    return [reason.name for reason in decision.reasons]


def test_a_machine_of_its_own_at_rest_on_mains_has_nothing_to_explain():
    assert decide(PC, PLAIN, CALM) == Decision(
        profile="plain",
        threads=2,
        runs=2,
        memory_max_bytes=None,
        max_waiting=64,
        devices=("cpu",),
        precisions=("float32",),
        objective="latency",
        prefer_small=False,
        reasons=(),
    )


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("cores", [2, 4, 64])
def test_built_in_profiles_keep_the_threads_of_the_rule_but_for_the_tiny_one(name, cores):
    machine = replace(PC, usable_cores=cores, physical_cores=cores)
    expected = 1 if name == "tiny" else default_threads(machine)
    assert decide(machine, load_profile(name), CALM).threads == expected


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_profiles_save_on_battery_and_in_the_heat_and_say_so(name):
    profile = load_profile(name)
    at_rest = decide(PC, profile, CALM)
    for conditions, reason in [
        (Conditions(on_battery=True), "on_battery"),
        (Conditions(thermal="hot"), "hot"),
    ]:
        found = decide(PC, profile, conditions)
        assert found.threads == 1
        assert found.threads * found.runs < at_rest.threads * at_rest.runs or name == "tiny"
        assert found.prefer_small
        assert found.objective == "cpu_time"
        assert "smaller variants first" in words(found, reason)


def test_what_a_battery_changes_is_said_with_numbers():
    found = decide(PC, SAVING, Conditions(on_battery=True, battery_share=0.35))
    assert (found.threads, found.runs, found.prefer_small) == (1, 2, True)
    assert found.objective == "cpu_time"
    assert found.reasons == (
        Reason(
            "on_battery",
            "on battery (35% left): 1 thread a run instead of 2, smaller variants first, "
            "chosen by cpu time",
        ),
    )


def test_a_battery_may_count_from_a_charge_on():
    profile = replace(SAVING, on_battery=replace(SAVING.on_battery, below_share=0.3))
    assert names(decide(PC, profile, Conditions(on_battery=True, battery_share=0.31))) == []
    for left in (0.3, 0.0, None):
        found = decide(PC, profile, Conditions(on_battery=True, battery_share=left))
        assert names(found) == ["on_battery"]


def test_of_several_conditions_the_one_that_saves_most_holds():
    machine = replace(PC, usable_cores=16)
    profile = replace(SAVING, max_threads=8)
    found = decide(machine, profile, Conditions(on_battery=True, thermal="hot"))
    assert (found.threads, found.runs) == (2, 1)
    assert names(found) == ["profile_threads", "on_battery", "hot"]
    assert words(found, "hot") == (
        "heat slows the processor down: 2 threads a run instead of 8, 1 run at once instead of 2, "
        "smaller variants first"
    )


def test_warm_is_less_than_hot():
    found = decide(PC, SAVING, Conditions(thermal="warm"))
    assert (found.threads, found.runs, found.prefer_small) == (2, 1, False)
    assert words(found, "warm").endswith(": 1 run at once instead of 2")


def test_what_changes_nothing_is_no_reason():
    assert names(decide(PC, PLAIN, Conditions(on_battery=True, thermal="hot"))) == []
    one = replace(PC, usable_cores=1)
    bare = Profile("bare", on_battery=Saving(threads_share=0.5))
    assert words(decide(one, bare, Conditions(on_battery=True)), "on_battery") == (
        "on battery: nothing is left to save"
    )


@pytest.mark.parametrize(
    ("limit", "name", "said"),
    [
        ("affinity", "affinity_cores", "its affinity leaves this process 2 cores"),
        ("cpuset", "cpuset_cores", "the control group's cpuset leaves this process 2 cores"),
        ("quota", "cgroup_cores", "the control group's quota leaves this process 2 cores"),
    ],
)
def test_limits_of_cores_are_named(limit, name, said):
    found = decide(replace(PC, usable_cores=2, cores_limit=limit), PLAIN, CALM)
    assert (found.threads, found.runs) == (1, 2)
    assert found.reasons == (Reason(name, said),)


def test_threads_keep_to_the_fast_cores_of_a_hybrid_processor():
    hybrid = replace(PC, usable_cores=12, core_kinds=CoreKinds(4, 8))
    found = decide(hybrid, replace(PLAIN, max_threads=12), CALM)
    assert (found.threads, found.runs) == (4, 3)
    assert words(found, "few_cores") == "4 cores for a run, not 12"
    frugal = replace(PC, core_kinds=CoreKinds(0, 4))
    assert decide(frugal, PLAIN, CALM).threads == 2


def test_a_profile_may_ask_for_less_or_for_more():
    less = decide(PC, replace(PLAIN, max_threads=1, max_runs=3), CALM)
    assert (less.threads, less.runs) == (1, 3)
    assert names(less) == ["profile_threads", "profile_runs"]
    assert words(less, "profile_runs") == "the profile allows 3 runs"
    more = decide(PC, replace(PLAIN, max_threads=4, max_runs=3), CALM)
    assert (more.threads, more.runs) == (4, 1)
    assert names(more) == ["profile_threads"]
    same = decide(PC, replace(PLAIN, max_threads=2), CALM)
    assert names(same) == []


@pytest.mark.parametrize(
    ("share", "most", "budget"),
    [
        (None, None, None),
        (0.5, None, GIB),
        (None, GIB // 4, GIB // 4),
        (None, 64 * GIB, 2 * GIB),
        (0.5, GIB // 4, GIB // 4),
        (0.125, GIB, GIB // 4),
    ],
)
def test_the_budget_of_memory_is_of_what_this_process_may_use(share, most, budget):
    contained = replace(PC, memory_limit_bytes=2 * GIB)
    found = decide(contained, replace(PLAIN, memory_max_share=share, memory_max_bytes=most), CALM)
    assert found.memory_max_bytes == budget
    assert found.reasons == (
        Reason("memory_limit", "the control group leaves this process 2,048 MiB of memory"),
    )


def test_without_knowing_the_memory_only_bytes_are_a_budget():
    unknown = replace(PC, memory_bytes=0)
    assert decide(unknown, replace(PLAIN, memory_max_share=0.5), CALM).memory_max_bytes is None
    asked = replace(PLAIN, memory_max_share=0.5, memory_max_bytes=7)
    assert decide(unknown, asked, CALM).memory_max_bytes == 7


def test_hardware_that_is_preferred_and_absent_is_named():
    profile = replace(PLAIN, devices=("gpu", "cpu", "npu"))
    without = decide(PC, profile, CALM)
    assert without.devices == ("cpu",)
    assert without.reasons == (Reason("no_gpu", "there is no GPU here"),)
    both = decide(replace(PC, accelerators=(GPU, NPU)), profile, CALM)
    assert (both.devices, both.reasons) == (("gpu", "cpu", "npu"), ())
    unknown = decide(replace(PC, accelerators=None), profile, CALM)
    assert unknown.devices == ("gpu", "cpu", "npu")


def test_something_always_computes():
    found = decide(PC, replace(PLAIN, devices=("npu",), precisions=("bfloat16",)), CALM)
    assert (found.devices, found.precisions) == (("cpu",), ("float32",))
    assert names(found) == ["no_npu", "no_bfloat16"]


@pytest.mark.parametrize(
    ("features", "isa", "kept"),
    [
        ({"avx2"}, "", ("float32",)),
        ({"avx2", "amx_bf16"}, "", ("bfloat16", "float32")),
        ({"asimd", "bf16", "asimdhp"}, "", ("bfloat16", "float32", "float16")),
        ({"avx512f", "avx512_fp16"}, "", ("float32", "float16")),
        ({"avx2", "avx512_bf16"}, "AVX2", ("float32",)),
        (None, "", ("bfloat16", "float32", "float16")),
    ],
)
def test_precisions_are_those_that_the_processor_has_instructions_for(features, isa, kept):
    known = None if features is None else frozenset(features)
    machine = replace(PC, cpu_features=known, onednn_max_cpu_isa=isa)
    profile = replace(PLAIN, precisions=("bfloat16", "float32", "float16"))
    assert decide(machine, profile, CALM).precisions == kept
    assert decide(replace(machine, accelerators=(GPU,)), profile, CALM).precisions == kept
    drawing = replace(profile, devices=("cpu", "gpu"))
    found = decide(replace(machine, accelerators=(GPU,)), drawing, CALM)
    assert found.precisions == profile.precisions


def test_a_limit_of_instructions_is_named():
    found = decide(replace(PC, onednn_max_cpu_isa="avx2_vnni"), PLAIN, CALM)
    limited = Reason("isa_limit", "OpenVINO is limited by ONEDNN_MAX_CPU_ISA=avx2_vnni")
    assert found.reasons == (limited,)
    assert names(decide(replace(PC, onednn_max_cpu_isa="DEFAULT"), PLAIN, CALM)) == []


def test_a_decision_and_the_conditions_read_as_a_phrase():
    profile = replace(SAVING, memory_max_share=0.5)
    saving = decide(PC, profile, Conditions(on_battery=True))
    assert str(saving) == (
        "at most 1 thread a run; 2 runs at once, 64 waiting; 4,096 MiB of memory for loaded "
        "models; on cpu in float32; chosen by cpu time; smaller variants first"
    )
    assert str(decide(PC, PLAIN, CALM)) == (
        "at most 2 threads a run; 2 runs at once, 64 waiting; no budget of memory; "
        "on cpu in float32; chosen by latency"
    )
    assert str(Conditions()) == ("power not known; heat not known; network not known to be metered")
    assert str(Conditions(True, 0.3, "warm", True)) == (
        "on battery, 30% left; heat warm; network metered"
    )


SHARES = st.floats(min_value=0.001, max_value=1)
COUNTS = st.none() | st.integers(min_value=1, max_value=512)
SAVINGS = st.builds(
    Saving,
    threads_share=SHARES,
    runs_share=SHARES,
    prefer_small=st.booleans(),
    objective=st.sampled_from([None, "latency", "cpu_time"]),
    below_share=SHARES,
)
DEVICES = st.lists(st.sampled_from(["cpu", "gpu", "npu"]), min_size=1, unique=True).map(tuple)
PRECISIONS = ["float32", "bfloat16", "float16"]
FEATURE_SETS = st.none() | st.frozensets(st.sampled_from(FEATURES))
PROFILES = st.builds(
    Profile,
    name=st.just("any"),
    max_threads=COUNTS,
    max_runs=COUNTS,
    memory_max_share=st.none() | SHARES,
    memory_max_bytes=st.none() | st.integers(min_value=1, max_value=2**50),
    max_waiting=st.integers(min_value=0, max_value=1000),
    devices=DEVICES,
    precisions=st.lists(st.sampled_from(PRECISIONS), min_size=1, unique=True).map(tuple),
    objective=st.sampled_from(["latency", "cpu_time"]),
    prefer_small=st.booleans(),
    on_battery=SAVINGS,
    warm=SAVINGS,
    hot=SAVINGS,
    hardware=st.builds(
        Hardware,
        cores=st.integers(min_value=1, max_value=512),
        memory_bytes=st.integers(min_value=1, max_value=2**45),
        cpu_features=st.lists(st.sampled_from(FEATURES), unique=True).map(tuple),
        accelerators=st.sampled_from([(), ("gpu",), ("gpu", "npu")]),
        onednn_max_cpu_isa=st.sampled_from(["", *LEVELS]),
    ),
)
CONDITIONS = st.builds(
    Conditions,
    on_battery=st.none() | st.booleans(),
    battery_share=st.none() | st.floats(min_value=0, max_value=1),
    thermal=st.sampled_from([None, "normal", "warm", "hot"]),
)
MACHINES = st.builds(
    replace,
    st.just(PC),
    usable_cores=st.integers(min_value=1, max_value=512),
    memory_bytes=st.integers(min_value=0, max_value=2**45),
    memory_limit_bytes=st.none() | st.integers(min_value=1, max_value=2**45),
    cpu_features=FEATURE_SETS,
    core_kinds=st.none() | st.builds(CoreKinds, st.integers(0, 64), st.integers(0, 64)),
    accelerators=st.sampled_from([None, (), (GPU,), (GPU, NPU)]),
    onednn_max_cpu_isa=st.sampled_from(["", "nonsense", *LEVELS]),
)


@given(machine=MACHINES, profile=PROFILES, conditions=CONDITIONS)
def test_no_decision_takes_more_than_there_is_or_leaves_nothing(machine, profile, conditions):
    found = decide(machine, profile, conditions)
    assert 1 <= found.threads <= machine.usable_cores
    assert found.runs >= 1
    assert found.threads * found.runs <= machine.usable_cores
    if found.memory_max_bytes is not None:
        assert found.memory_max_bytes >= 1
        usable = machine.usable_memory_bytes
        assert not usable or found.memory_max_bytes <= usable
    assert found.devices
    assert all(machine.has(device) for device in found.devices)
    assert found.precisions
    at_rest = decide(machine, profile, CALM)
    assert found.threads <= at_rest.threads
    assert found.runs <= at_rest.runs
    assert all(reason.name and reason.words for reason in found.reasons)


@given(machine=MACHINES, profile=PROFILES)
def test_an_imitated_machine_is_never_more_than_the_one_there_is(machine, profile):
    found = as_machine(machine, profile)
    assert 1 <= found.usable_cores <= min(machine.usable_cores, profile.hardware.cores)
    assert 1 <= found.usable_memory_bytes <= profile.hardware.memory_bytes
    if machine.usable_memory_bytes:
        assert found.usable_memory_bytes <= machine.usable_memory_bytes
    if machine.cpu_features is not None:
        assert found.cpu_features <= machine.cpu_features
        assert found.onednn_features <= machine.onednn_features
    assert set(found.accelerators or ()) <= set(machine.accelerators or ())
    assert as_machine(found, profile) == found
    assert names(decide(found, profile, CALM))[0] == "as_profile"
