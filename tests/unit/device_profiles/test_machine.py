"""What a machine is, read from texts that kernels of several machines wrote."""

from __future__ import annotations

import os
import platform
from dataclasses import replace

import pytest

from wherever_contracts.manifest import Needs
from wherever_devices.groups import parse_groups, parse_limit, parse_quota
from wherever_devices.kernel import parse_meminfo
from wherever_devices.machine import (
    EngineState,
    Machine,
    default_threads,
    probe,
    unable,
    unfit,
    usable_cores,
)
from wherever_devices.processor import FEATURES, parse_cpuinfo

GIB = 1024**3

XEON = """\
processor	: {0}
vendor_id	: GenuineIntel
model name	: Intel(R) Xeon(R) Processor
physical id	: 0
core id		: {1}
cpu cores	: 2
flags		: fpu vme sse4_2 avx f16c avx2 avx512f avx_vnni avx512_vnni amx_bf16 amx_tile amx_int8
bugs		: spectre_v1
power management:
"""

RASPBERRY_PI_4 = """\
processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU part	: 0xd08

processor	: 1
BogoMIPS	: 108.00
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU part	: 0xd08

Hardware	: BCM2835
Revision	: c03111
Model		: Raspberry Pi 4 Model B Rev 1.1
"""

NEOVERSE = """\
processor	: 0
Features	: fp asimd aes atomics fphp asimdhp cpuid asimdrdm asimddp sve
CPU implementer	: 0x41
CPU part	: 0xd40
"""

MACHINE = Machine(
    os="linux",
    arch="x86_64",
    cpu_model="some processor",
    physical_cores=4,
    usable_cores=4,
    memory_bytes=4 * GIB,
    memory_limit_bytes=None,
    cpu_features=frozenset({"avx2"}),
    python="3.13.0",
)


def test_hyper_threads_are_not_cores():
    text = "\n".join(XEON.format(cpu, cpu // 2) for cpu in range(4))
    processor = parse_cpuinfo(text)
    assert processor.physical_cores == 2
    assert processor.model == "Intel(R) Xeon(R) Processor"
    wanted = {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_bf16", "amx_tile", "amx_int8"}
    assert processor.features == wanted


def test_a_board_is_named_by_its_model_and_has_neon():
    processor = parse_cpuinfo(RASPBERRY_PI_4)
    assert processor.model == "Raspberry Pi 4 Model B Rev 1.1"
    assert processor.physical_cores == 2
    assert processor.features == {"asimd", "neon"}


def test_an_arm_processor_without_a_name_is_called_by_its_numbers():
    processor = parse_cpuinfo(NEOVERSE)
    assert processor.model == "ARM 0x41 0xd40"
    assert processor.features == {"asimd", "asimddp", "asimdhp", "sve", "neon"}


@pytest.mark.parametrize("text", ["", "\n\n", "nonsense", "processor : 0"])
def test_an_unknown_text_gives_one_nameless_core(text):
    assert parse_cpuinfo(text) == ("", 1, frozenset())


def test_memory_is_in_bytes():
    assert parse_meminfo("MemTotal:       24684084 kB\nMemFree: 1 kB\n") == 24684084 * 1024
    assert parse_meminfo("") == 0


def test_control_groups_of_both_versions():
    text = "9:name=systemd:/\n4:cpu,cpuacct:/docker/x:y\n0::/user.slice\n"
    assert parse_groups(text) == {
        "name=systemd": "/",
        "cpu": "/docker/x:y",
        "cpuacct": "/docker/x:y",
        "": "/user.slice",
    }
    assert parse_groups("") == {}


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("150000 100000\n", 1.5),
        ("max 100000\n", None),
        ("-1 100000", None),
        (" ", None),
        ("1 0", None),
    ],
)
def test_a_quota_is_a_number_of_cores(text, cores):
    assert parse_quota(text) == cores


@pytest.mark.parametrize(
    ("text", "limit"), [("536870912\n", 2**29), ("max\n", None), ("9223372036854771712", None)]
)
def test_a_memory_limit_may_be_none(text, limit):
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    ("affinity", "quota", "cores"), [(8, None, 8), (8, 2.9, 2), (2, 8.0, 2), (4, 0.5, 1)]
)
def test_usable_cores_respect_affinity_and_quota(affinity, quota, cores):
    assert usable_cores(affinity, quota) == cores


def tree(root, files):
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root


def test_a_container_of_version_2_is_limited_by_its_strictest_ancestor(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": "\n".join(XEON.format(cpu, cpu) for cpu in range(8)),
            "proc/meminfo": "MemTotal: 8388608 kB\n",
            "proc/self/cgroup": "0::/pods/one\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pods/cpu.max": "100000 100000\n",
            "sys/fs/cgroup/pods/one/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/pods/memory.max": str(2 * GIB),
            "sys/fs/cgroup/pods/one/memory.max": "max\n",
        },
    )
    found = probe(root)
    assert (found.physical_cores, found.usable_cores) == (8, 1)
    assert (found.memory_bytes, found.memory_limit_bytes) == (8 * GIB, 2 * GIB)
    assert found.usable_memory_bytes == 2 * GIB


def test_a_container_of_version_1_sees_its_group_as_the_root(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": NEOVERSE,
            "proc/meminfo": "MemTotal: 8388608 kB\n",
            "proc/self/cgroup": "4:memory:/docker/abc\n1:cpu:/docker/abc\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
        },
    )
    found = probe(root)
    assert (found.usable_cores, found.memory_limit_bytes) == (1, GIB)
    assert "asimddp" in found.cpu_features


def test_a_machine_without_kernel_texts_is_known_a_little(tmp_path):
    found = probe(tmp_path)
    assert found.os == platform.system().lower()
    assert found.usable_cores >= 1
    assert found.memory_limit_bytes is None
    assert found.cpu_features is None or "neon" in found.cpu_features


def test_apple_processors_have_the_dot_product(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    found = probe(tmp_path)
    assert (found.os, found.arch) == ("darwin", "aarch64")
    assert found.cpu_features == {"neon", "asimd", "asimddp"}


def test_a_system_without_affinity_or_sysconf_counts_its_cores(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    found = probe(tmp_path)
    assert found.usable_cores == (os.cpu_count() or 1)
    assert found.memory_bytes == found.usable_memory_bytes == 0


def test_this_machine_can_be_probed():
    found = probe()
    assert 1 <= found.usable_cores <= (os.cpu_count() or 1)
    assert found.python == platform.python_version()
    assert found.cpu_features is None or found.cpu_features <= set(FEATURES)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (4, 2), (64, 2)])
def test_a_small_model_gets_one_thread_or_two(cores, threads):
    assert default_threads(replace(MACHINE, usable_cores=cores)) == threads


ENGINES = {
    "onnxruntime": EngineState(("onnx",)),
    "openvino": EngineState(("openvino", "onnx"), "not installed: pip install it"),
    "litert": EngineState(("tflite",)),
}


def test_a_variant_that_needs_nothing_special_fits():
    assert unfit(Needs(), "onnx", MACHINE, ENGINES) is None
    needs = Needs(memory_bytes=GIB, cpu_features=("avx2",), engines=("litert", "onnxruntime"))
    assert unfit(needs, "onnx", MACHINE, ENGINES) is None


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        (
            Needs(engines=("openvino",)),
            "it needs the engine openvino, which is not installed: pip install it",
        ),
        (
            Needs(engines=("litert",)),
            "it needs the engine litert, which does not read 'onnx' files",
        ),
        (
            Needs(engines=("abacus", "openvino", "litert")),
            (
                "it needs the engine abacus or openvino or litert: abacus is not known here; "
                "openvino is not installed: pip install it; litert does not read 'onnx' files"
            ),
        ),
        (Needs(engines=()), "it needs an engine, and names none"),
        (
            Needs(memory_bytes=8 * GIB),
            "it needs 8,192 MiB of memory, this process may use 4,096 MiB",
        ),
        (
            Needs(cpu_features=("avx512_vnni", "avx2", "amx_int8")),
            "it needs a CPU with amx_int8, avx512_vnni, this one has no such instructions",
        ),
    ],
)
def test_a_variant_that_does_not_fit_is_told_why(needs, why):
    assert unfit(needs, "onnx", MACHINE, ENGINES) == why


def test_a_variant_takes_the_engines_that_can_run_it_in_its_own_order():
    needs = Needs(engines=("litert", "openvino", "onnxruntime"))
    assert [name for name, why in unable(needs, "onnx", ENGINES).items() if not why] == [
        "onnxruntime"
    ]
    assert list(unable(needs, "tflite", {})) == ["litert", "openvino", "onnxruntime"]


def test_what_is_not_known_rules_nothing_out():
    blank = replace(MACHINE, memory_bytes=0, cpu_features=None)
    needs = Needs(memory_bytes=8 * GIB, cpu_features=("avx512_vnni",))
    assert unfit(needs, "onnx", blank, ENGINES) is None
