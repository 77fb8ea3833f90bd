"""What else a probe finds: kinds of cores, accelerators, boards, CPU sets; from fake trees."""

from __future__ import annotations

import pytest

from wherever_devices.accelerators import Accelerator
from wherever_devices.groups import GroupLimits, group_limits
from wherever_devices.kernel import numbers
from wherever_devices.machine import probe
from wherever_devices.processor import FEATURES, CoreKinds, parse_cpuinfo

EIGHT = frozenset(range(8))
DRM, DRI = "sys/class/drm", "dev/dri"


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("", set()),
        ("0", {0}),
        ("0-3", {0, 1, 2, 3}),
        ("0-1,8,10-11\n", {0, 1, 8, 10, 11}),
        ("none", set()),
        ("3-", {3}),
    ],
)
def test_lists_of_the_kernel_are_numbers(listed, found):
    assert numbers(listed) == found


def test_all_features_that_decide_speed_are_seen():
    x86 = [name for name in FEATURES if name.startswith(("avx", "amx"))]
    arm = ["asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve"]
    text = "processor : 0\nflags : fpu {} sse4_2\n".format(" ".join(x86))
    assert parse_cpuinfo(text).features == set(x86)
    text = "processor : 0\nFeatures : fp {} crc32\n".format(" ".join(arm))
    assert parse_cpuinfo(text).features == {*arm, "neon"}
    assert set(FEATURES) == {*x86, *arm, "neon"}


@pytest.mark.parametrize(
    ("texts", "usable", "kinds"),
    [
        ({}, EIGHT, None),
        ({"cpu_core/cpus": "0-3\n", "cpu_atom/cpus": "4-7\n"}, EIGHT, CoreKinds(4, 4)),
        ({"cpu_core/cpus": "0-3\n", "cpu_atom/cpus": "4-7\n"}, {0, 6, 7}, CoreKinds(1, 2)),
        ({"cpu_core/cpus": "0-7\n"}, EIGHT, None),
        ({f"system/cpu/cpu{n}/cpu_capacity": "1024\n" for n in range(8)}, EIGHT, None),
        (
            {
                f"system/cpu/cpu{n}/cpu_capacity": f"{size}\n"
                for n, size in enumerate((398, 398, 398, 398, 870, 870, 870, 1024))
            },
            EIGHT,
            CoreKinds(4, 4),
        ),
        (
            {"system/cpu/cpu0/cpu_capacity": "x\n", "system/cpu/cpu1/cpu_capacity": "9"},
            {0, 1},
            None,
        ),
    ],
)
def test_cores_are_told_apart_where_there_are_two_kinds(tree, texts, usable, kinds):
    root = tree({f"sys/devices/{name}": text for name, text in texts.items()})
    assert probe(root, affinity=usable).core_kinds == kinds


def render(node, **texts):
    return {
        f"{DRI}/{node}": "",
        **{f"{DRM}/{node}/device/{name}": text for name, text in texts.items()},
    }


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ({"sys/class/net/lo/uevent": ""}, ()),
        (
            {
                **render("renderD128", vendor="0x8086\n"),
                "dev/accel/accel0": "",
                "sys/class/accel/accel0/device/vendor": "0x8086\n",
            },
            (
                Accelerator("gpu", "intel", "/dev/dri/renderD128"),
                Accelerator("npu", "intel", "/dev/accel/accel0"),
            ),
        ),
        (
            {
                **render("renderD128", vendor="0x10de\n"),
                **render("renderD129", vendor="0x1002\n"),
                "dev/nvidia0": "",
                "dev/nvidiactl": "",
                "dev/nvidia-uvm": "",
            },
            (
                Accelerator("gpu", "nvidia", "/dev/nvidia0"),
                Accelerator("gpu", "amd", "/dev/dri/renderD129"),
            ),
        ),
        (
            render("renderD128", vendor="0x10de\n"),
            (Accelerator("gpu", "nvidia", "/dev/dri/renderD128"),),
        ),
        (
            render("renderD128", uevent="DRIVER=v3d\nOF_NAME=v3d\n"),
            (Accelerator("gpu", "v3d", "/dev/dri/renderD128"),),
        ),
        (render("renderD128", vendor="0x1af4\n"), ()),
        (render("renderD128", uevent="DRIVER=virtio_gpu\n"), ()),
        (render("renderD128", uevent="\n"), (Accelerator("gpu", "", "/dev/dri/renderD128"),)),
        (
            {
                "sys/class/x": "",
                "etc/nv_tegra_release": "# R36\n",
                "dev/nvhost-gpu": "",
                "dev/nvgpu": "",
            },
            (Accelerator("gpu", "nvidia", "/dev/nvhost-gpu"),),
        ),
        ({"sys/class/x": "", "etc/nv_tegra_release": "# R36\n"}, ()),
        ({"dev/nvidia0": ""}, None),
    ],
)
def test_accelerators_are_found_by_their_device_files(tree, texts, found):
    machine = probe(tree(texts))
    assert machine.accelerators == found
    assert machine.has("gpu") is (found is None or any(one.kind == "gpu" for one in found))
    assert machine.has("cpu")


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        ({}, ""),
        (
            {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"},
            "Raspberry Pi 5 Model B Rev 1.0",
        ),
        ({"proc/device-tree/model": "NVIDIA Jetson Orin Nano\0"}, "NVIDIA Jetson Orin Nano"),
        (
            {"proc/device-tree/model": "p3768\0", "etc/nv_tegra_release": "# R36"},
            "Jetson (p3768)",
        ),
        ({"etc/nv_tegra_release": "# R36"}, "Jetson"),
    ],
)
def test_boards_say_what_they_are(tree, texts, name):
    assert probe(tree(texts)).board == name


@pytest.mark.parametrize(
    ("texts", "limits"),
    [
        ({}, GroupLimits(None, None, None)),
        (
            {
                "proc/self/cgroup": "0::/pod\n",
                "sys/fs/cgroup/pod/cpuset.cpus.effective": "2-3\n",
                "sys/fs/cgroup/cpuset.cpus.effective": "0-7\n",
                "sys/fs/cgroup/pod/cpu.max": "max 100000\n",
                "sys/fs/cgroup/pod/memory.high": "1000\n",
                "sys/fs/cgroup/pod/memory.max": "2000\n",
            },
            GroupLimits(frozenset({2, 3}), None, 1000),
        ),
        (
            {
                "proc/self/cgroup": "3:cpuset:/a\n2:cpu,cpuacct:/a\n1:memory:/a\n",
                "sys/fs/cgroup/cpuset/a/cpuset.cpus": "5\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
            },
            GroupLimits(frozenset({5}), 2.5, None),
        ),
    ],
)
def test_control_groups_limit_cpus_their_time_and_memory(tree, texts, limits):
    assert group_limits(tree(texts)) == limits


CPUSET = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpuset.cpus.effective": "0-1\n"}
ONLINE = {"sys/devices/system/cpu/online": "0-7\n"}


@pytest.mark.parametrize(
    ("texts", "affinity", "cores", "limit"),
    [
        (ONLINE, EIGHT, 8, ""),
        ({}, EIGHT, 8, ""),
        ({**ONLINE, **CPUSET}, {0, 1}, 2, "cpuset"),
        (CPUSET, EIGHT, 2, "cpuset"),
        (ONLINE, {0, 1}, 2, "affinity"),
        ({**ONLINE, **CPUSET}, {1}, 1, "affinity"),
        ({**CPUSET, "sys/fs/cgroup/cpu.max": "150000 100000\n"}, {0, 1}, 1, "quota"),
        ({**CPUSET, "sys/fs/cgroup/cpu.max": "50000 100000\n"}, {0, 1}, 1, "quota"),
        ({**ONLINE, **CPUSET, "sys/fs/cgroup/cpu.max": "400000 100000\n"}, {0, 1}, 2, "cpuset"),
        ({**CPUSET, "sys/fs/cgroup/cpu.max": "50000 100000\n"}, {0}, 1, "quota"),
        (CPUSET, {4, 5, 6}, 3, ""),
    ],
)
def test_what_limits_the_cores_is_named(tree, texts, affinity, cores, limit):
    found = probe(tree(texts), affinity=affinity)
    assert (found.usable_cores, found.cores_limit) == (cores, limit)


def test_the_environment_limits_what_openvino_uses(tree):
    root = tree({"proc/cpuinfo": "processor : 0\nflags : avx2 avx512f amx_int8\n"})
    found = probe(root, environment={"ONEDNN_MAX_CPU_ISA": "AVX2"})
    assert found.onednn_max_cpu_isa == "AVX2"
    assert found.cpu_features == {"avx2", "avx512f", "amx_int8"}
    assert found.onednn_features == {"avx2"}
    assert probe(root, environment={}).onednn_features == found.cpu_features
