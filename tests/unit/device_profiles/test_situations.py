"""Battery, heat, control groups and missing engines: each situation ends in a named decision.

A situation is a tree of what a kernel writes. It is probed, takes the profile that it takes by
itself (or the one named), and is decided upon; the row says the profile, the numbers and why.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from wherever_contracts.manifest import parse_manifest
from wherever_devices import here
from wherever_devices.choice import order_options
from wherever_devices.decision import decide
from wherever_devices.machine import EngineState, probe
from wherever_devices.onednn import VARIABLE
from wherever_devices.profiles import as_machine, default_profile
from wherever_devices.profiles.files import load_profile
from wherever_devices.sensing import conditions_now

GIB = 1024**3
X86 = "processor\t: {0}\nmodel name\t: A processor\nphysical id\t: 0\ncore id\t: {0}\nflags\t: avx2"
PI = (
    "processor\t: {0}\nFeatures\t: fp asimd asimddp asimdhp\nCPU implementer\t: 0x41\n"
    "CPU part\t: 0xd0b"
)
POWER, HEAT, GROUP = "sys/class/power_supply", "sys/class/thermal", "sys/fs/cgroup"


def machine(cores=4, memory_gib=16, cpu=X86, board=""):
    texts = {
        "proc/cpuinfo": "\n\n".join(cpu.format(core) for core in range(cores)),
        "proc/meminfo": f"MemTotal: {int(memory_gib * 2**20)} kB\n",
        "proc/self/cgroup": "0::/\n",
        "sys/class/net/lo/uevent": "",
        "sys/devices/system/cpu/online": f"0-{cores - 1}\n",
    }
    return texts | ({"proc/device-tree/model": board + "\0"} if board else {})


def battery(status, left, mains):
    return {
        f"{POWER}/BAT0/type": "Battery\n",
        f"{POWER}/BAT0/status": f"{status}\n",
        f"{POWER}/BAT0/capacity": f"{left}\n",
        f"{POWER}/AC/type": "Mains\n",
        f"{POWER}/AC/online": f"{mains}\n",
    }


def heat(degrees, kind="passive", limit=95):
    return {
        f"{HEAT}/thermal_zone0/temp": f"{degrees * 1000}\n",
        f"{HEAT}/thermal_zone0/trip_point_0_type": f"{kind}\n",
        f"{HEAT}/thermal_zone0/trip_point_0_temp": f"{limit * 1000}\n",
    }


def slowed(state):
    return {
        f"{HEAT}/cooling_device0/type": "cpufreq-cpu0\n",
        f"{HEAT}/cooling_device0/cur_state": f"{state}\n",
    }


def version_2(**limits):
    return {f"{GROUP}/{name.replace('__', '.')}": value for name, value in limits.items()}


def version_1(**limits):
    files = {
        "quota": "cpu/cpu.cfs_quota_us",
        "period": "cpu/cpu.cfs_period_us",
        "memory": "memory/memory.limit_in_bytes",
        "cpus": "cpuset/cpuset.cpus",
    }
    groups = {"proc/self/cgroup": "4:memory:/x\n3:cpuset:/x\n1:cpu,cpuacct:/x\n"}
    return groups | {f"{GROUP}/{files[name]}": value for name, value in limits.items()}


PC = machine()
WIDE = machine(cores=16, memory_gib=64)
LAPTOP = PC | battery("Charging", 80, mains=1)
ON_BATTERY = PC | battery("Discharging", 80, mains=0)
PI_5 = machine(memory_gib=8, cpu=PI, board="Raspberry Pi 5 Model B Rev 1.0")
JETSON = machine(cores=6, memory_gib=8, cpu=PI, board="NVIDIA Jetson Orin Nano")
JETSON_GPU = JETSON | {"etc/nv_tegra_release": "# R36\n", "dev/nvhost-gpu": ""}
NVIDIA = {"dev/nvidia0": ""}


@dataclass
class Situation:
    """A tree, and what it comes to."""

    texts: dict[str, str]
    profile: str
    threads: int
    runs: int
    reasons: list[str] = field(default_factory=list)
    memory: float | None = None  # GiB of the budget
    small: bool = False
    objective: str = "latency"
    devices: tuple[str, ...] = ("cpu",)
    affinity: range | None = None
    asked: str = ""
    imitate: str = ""
    isa: str = ""


SAVING = {"small": True, "objective": "cpu_time"}
TINY = {"small": True, "objective": "cpu_time"}

SITUATIONS = {
    "a PC": Situation(PC, "edge-pc", 2, 2, memory=8),
    "a PC with two cores": Situation(machine(cores=2), "edge-pc", 1, 2),
    "a PC with many cores": Situation(WIDE, "edge-pc", 2, 8, memory=32),
    "a server with a GPU": Situation(
        WIDE | NVIDIA, "gateway-gpu", 2, 8, memory=48, devices=("gpu", "cpu")
    ),
    "a small PC with a GPU": Situation(PC | NVIDIA, "edge-pc", 2, 2, devices=("cpu", "gpu")),
    "a PC with an NPU": Situation(
        PC | {"dev/accel/accel0": ""}, "edge-pc", 2, 2, devices=("cpu", "npu")
    ),
    "one core": Situation(machine(cores=1), "tiny", 1, 1, **TINY),
    "little memory": Situation(
        machine(memory_gib=1), "tiny", 1, 1, ["profile_threads", "profile_runs"], 0.25, **TINY
    ),
    "a Raspberry Pi": Situation(PI_5, "raspberry-pi-5", 2, 2, memory=4),
    "a Jetson": Situation(JETSON_GPU, "jetson-orin", 2, 3, devices=("gpu", "cpu")),
    "a Jetson whose GPU is not passed on": Situation(JETSON, "jetson-orin", 2, 3, ["no_gpu"]),
    # power
    "a laptop on mains": Situation(LAPTOP, "laptop", 2, 2, memory=4),
    "a laptop on its battery": Situation(ON_BATTERY, "laptop", 1, 1, ["on_battery"], 4, **SAVING),
    "a laptop on a battery that is full": Situation(
        PC | battery("Full", 100, mains=1), "laptop", 2, 2
    ),
    "a laptop whose charger is too weak": Situation(
        PC | battery("Discharging", 30, mains=1), "laptop", 2, 2
    ),
    "a PC that follows the laptop's profile": Situation(PC, "laptop", 2, 2, asked="laptop"),
    "a laptop that follows the PC's": Situation(
        ON_BATTERY, "edge-pc", 1, 2, ["on_battery"], asked="edge-pc", **SAVING
    ),
    "a wide laptop on its battery": Situation(
        WIDE | battery("Discharging", 9, mains=0), "laptop", 1, 4, ["on_battery"], **SAVING
    ),
    "a mouse's battery": Situation(
        PC
        | {
            f"{POWER}/m/type": "Battery\n",
            f"{POWER}/m/scope": "Device\n",
            f"{POWER}/m/status": "Discharging\n",
            f"{POWER}/m/capacity": "9\n",
        },
        "edge-pc",
        2,
        2,
    ),
    # heat
    "a cool PC": Situation(PC | heat(50), "edge-pc", 2, 2),
    "a warm PC": Situation(PC | heat(90), "edge-pc", 2, 2),
    "a hot PC": Situation(PC | heat(95), "edge-pc", 1, 1, ["hot"], **SAVING),
    "a PC near its critical heat": Situation(
        PC | heat(91, "critical", 100), "edge-pc", 1, 1, ["hot"], **SAVING
    ),
    "a PC that is slowed down": Situation(
        PC | heat(60) | slowed(2), "edge-pc", 1, 1, ["hot"], **SAVING
    ),
    "a PC that could be slowed down": Situation(PC | slowed(0), "edge-pc", 2, 2),
    "a warm laptop": Situation(LAPTOP | heat(90), "laptop", 1, 2, ["warm"]),
    "a hot laptop on its battery": Situation(
        ON_BATTERY | heat(99), "laptop", 1, 1, ["on_battery", "hot"], **SAVING
    ),
    "a warm Raspberry Pi": Situation(
        PI_5 | heat(78, "passive", 80), "raspberry-pi-5", 1, 2, ["warm"], small=True
    ),
    "a Raspberry Pi that its firmware slows down": Situation(
        PI_5 | {"sys/devices/platform/soc/soc:firmware/get_throttled": "8\n"},
        "raspberry-pi-5",
        1,
        1,
        ["hot"],
        **SAVING,
    ),
    "a warm Jetson": Situation(
        JETSON_GPU | heat(90), "jetson-orin", 2, 1, ["warm"], devices=("gpu", "cpu")
    ),
    "a hot tiny machine": Situation(machine(cores=1) | heat(99), "tiny", 1, 1, ["hot"], **TINY),
    # control groups and affinity
    "a quota of two CPUs": Situation(
        PC | version_2(cpu__max="200000 100000\n"), "edge-pc", 1, 2, ["cgroup_cores"]
    ),
    "a quota of two CPUs and a half": Situation(
        PC | version_2(cpu__max="250000 100000\n"), "edge-pc", 1, 2, ["cgroup_cores"]
    ),
    "a quota of half a CPU": Situation(
        PC | version_2(cpu__max="50000 100000\n"), "tiny", 1, 1, ["cgroup_cores"], **TINY
    ),
    "no quota": Situation(PC | version_2(cpu__max="max 100000\n"), "edge-pc", 2, 2),
    "a quota of version 1": Situation(
        WIDE | version_1(quota="300000\n", period="100000\n"), "edge-pc", 1, 3, ["cgroup_cores"]
    ),
    "no quota of version 1": Situation(
        WIDE | version_1(quota="-1\n", period="100000\n"), "edge-pc", 2, 8
    ),
    "a set of CPUs": Situation(
        WIDE | version_2(cpuset__cpus__effective="0-3\n"), "edge-pc", 2, 2, ["cpuset_cores"]
    ),
    "a set of CPUs of version 1": Situation(
        WIDE | version_1(cpus="2,4\n"), "edge-pc", 1, 2, ["cpuset_cores"]
    ),
    "an affinity": Situation(WIDE, "edge-pc", 2, 2, ["affinity_cores"], affinity=range(4)),
    "an affinity of one": Situation(
        WIDE, "tiny", 1, 1, ["affinity_cores"], affinity=range(1), **TINY
    ),
    "a limit of memory": Situation(
        PC | version_2(memory__max=str(4 * GIB)), "edge-pc", 2, 2, ["memory_limit"], 2
    ),
    "a strict limit of memory": Situation(
        PC | version_2(memory__max=str(GIB)),
        "tiny",
        1,
        1,
        ["memory_limit", "profile_threads", "profile_runs"],
        0.25,
        **TINY,
    ),
    "a limit of memory of version 1": Situation(
        PC | version_1(memory=str(6 * GIB)), "edge-pc", 2, 2, ["memory_limit"], 3
    ),
    "no limit of memory of version 1": Situation(
        PC | version_1(memory="9223372036854771712"), "edge-pc", 2, 2, memory=8
    ),
    "a container on a laptop's battery": Situation(
        ON_BATTERY | version_2(cpu__max="200000 100000\n", memory__max=str(2 * GIB)),
        "laptop",
        1,
        1,
        ["cgroup_cores", "memory_limit", "on_battery"],
        0.5,
        **SAVING,
    ),
    "a hybrid processor": Situation(
        machine(cores=10)
        | {"sys/devices/cpu_core/cpus": "0\n", "sys/devices/cpu_atom/cpus": "1-9\n"},
        "edge-pc",
        1,
        10,
        ["few_cores"],
    ),
    # another machine's limits
    "a Raspberry Pi, imitated": Situation(
        WIDE, "raspberry-pi-5", 2, 2, ["as_profile", "isa_limit"], 4, imitate="raspberry-pi-5"
    ),
    "a tiny machine, imitated on a battery": Situation(
        ON_BATTERY,
        "tiny",
        1,
        1,
        ["as_profile", "isa_limit", "on_battery"],
        0.25,
        imitate="tiny",
        **TINY,
    ),
    "a Jetson, imitated without a GPU": Situation(
        WIDE, "jetson-orin", 2, 3, ["as_profile", "isa_limit", "no_gpu"], imitate="jetson-orin"
    ),
    "a limit of instructions": Situation(PC, "edge-pc", 2, 2, ["isa_limit"], isa="AVX2"),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_ends_in_a_named_decision(tree, name):
    row = SITUATIONS[name]
    root = tree(row.texts)
    cores = len(row.texts["proc/cpuinfo"].split("\n\n"))
    found = probe(root, affinity=row.affinity or range(cores), environment={VARIABLE: row.isa})
    conditions = conditions_now(root)
    if row.imitate:
        found = as_machine(found, load_profile(row.imitate))
    called = row.asked or row.imitate or default_profile(found, conditions).name
    decision = decide(found, load_profile(called), conditions)

    assert decision.profile == row.profile
    assert (decision.threads, decision.runs) == (row.threads, row.runs)
    assert [reason.name for reason in decision.reasons] == row.reasons
    assert (decision.prefer_small, decision.objective) == (row.small, row.objective)
    assert decision.devices == row.devices
    assert row.memory is None or decision.memory_max_bytes == int(row.memory * GIB)


TENSOR = {"dtype": "float32", "shape": [-1, 3]}
TENSORS = {"inputs": [{"name": "x", **TENSOR}], "outputs": [{"name": "y", **TENSOR}]}


def variant(name, file_format, engines, cpu_features=(), memory_bytes=0):
    return {
        "id": name,
        "format": file_format,
        "precision": "float32",
        "files": [{"path": f"{name}.bin", "sha256": "0" * 64, "bytes": 1}],
        "tensors": TENSORS,
        "pipeline": {"pre": [], "post": []},
        "needs": {
            "engines": list(engines),
            "cpu_features": list(cpu_features),
            "memory_bytes": memory_bytes,
        },
    }


MANIFEST = parse_manifest(
    json.dumps(
        {
            "schema": "1.0",
            "name": "model",
            "version": "1.0.0",
            "boundary": "anywhere",
            "reference": "large",
            "signature": {
                "inputs": [{"name": "x", "kind": "tensor", "dtype": "float32", "shape": [3]}],
                "outputs": [{"name": "y", "dtype": "float32", "shape": [3]}],
                "value": {"kind": "tensors"},
            },
            "variants": [
                variant("int8", "onnx", ["openvino"], ["avx512_vnni"]),
                variant("lite", "tflite", ["litert"]),
                variant("large", "onnx", ["openvino", "onnxruntime"], memory_bytes=3 * GIB),
            ],
        }
    ).encode()
)
ALL = {
    "onnxruntime": EngineState(("onnx",)),
    "openvino": EngineState(("onnx", "openvino")),
    "litert": EngineState(("tflite",)),
}


def without(*names):
    return ALL | {name: EngineState((), "not installed") for name in names}


@pytest.mark.parametrize(
    ("texts", "imitate", "engines", "first", "ruled_out"),
    [
        (PC, "", ALL, "lite in litert", {"int8": "a CPU with avx512_vnni"}),
        (
            PC,
            "",
            without("litert"),
            "large in openvino",
            {"lite": "litert, which is not installed"},
        ),
        (
            PC,
            "",
            without("litert", "openvino"),
            "large in onnxruntime",
            {"int8": "openvino, which is not installed", "lite": "litert, which is not installed"},
        ),
        (
            PC,
            "",
            without(*ALL),
            "",
            {"large": "openvino or onnxruntime: openvino is not installed; onnxruntime is not"},
        ),
        (PC, "", {}, "", {"lite": "litert, which is not known here"}),
        (
            PC | version_2(memory__max=str(2 * GIB)),
            "",
            without("litert"),
            "",
            {"large": "3,072 MiB of memory, this process may use 2,048 MiB"},
        ),
        (PC, "tiny", without("litert"), "", {"large": "this process may use 1,024 MiB"}),
        (
            machine(cpu=X86 + " avx512_vnni"),
            "",
            ALL,
            "int8 in openvino",
            {},
        ),
        (
            machine(cpu=X86 + " avx512_vnni"),
            "edge-pc",
            ALL,
            "lite in litert",
            {"int8": "a CPU with avx512_vnni"},
        ),
    ],
)
def test_a_missing_engine_ends_in_the_next_one_or_in_a_reason(
    tree, texts, imitate, engines, first, ruled_out
):
    found = probe(tree(texts), affinity=range(4), environment={})
    if imitate:
        found = as_machine(found, load_profile(imitate))
    options = order_options(
        MANIFEST,
        present=["int8", "lite", "large"],
        machine=found,
        engines=engines,
        threads=1,
        distance="device",
    )
    plans = [
        f"{option.variant.id} in {option.plan.engine}"
        for option in options
        if option.plan and not option.unfit
    ]
    assert (plans[0] if plans else "") == first
    reasons = {option.variant.id: option.unfit for option in options if option.plan is None}
    for variant_id, words in ruled_out.items():
        assert words in reasons[variant_id]


def test_this_machine_is_decided_upon(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    found = here.look_here()
    assert found.why
    assert found.profile.name == found.decision.profile
    assert 1 <= found.decision.threads <= found.machine.usable_cores
    assert found.again().machine is found.machine
    asked = here.look_here("laptop", imitate="tiny")
    assert (asked.profile.name, asked.why) == ("laptop", "it was asked for")
    assert asked.machine.imitates == "tiny"
    assert here.look_here(imitate="tiny").profile.name == "tiny"


def test_conditions_may_be_looked_at_again(tree):
    root = tree(PC | heat(50))
    found = here.look_here(root=root)
    assert found.decision.reasons == here.look_here("edge-pc", root=root).decision.reasons
    tree(heat(99))
    later = found.again(root)
    assert [reason.name for reason in later.decision.reasons][-1:] == ["hot"]
    assert later.machine is found.machine
