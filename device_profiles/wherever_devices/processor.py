"""The processor: its name, its instructions, its cores of two kinds."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from wherever_devices.kernel import entries, number, numbers, text

# Features that decide how fast, or whether, a variant runs: 8-bit dot products (vnni, asimddp,
# i8mm, amx_int8), 16-bit floats (bf16, fp16, asimdhp), and the width of vectors.
FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "neon",
    "asimd",
    "asimddp",
    "asimdhp",
    "i8mm",
    "bf16",
    "sve",
)

# Small cores reach a quarter to a half of the capacity of large ones; middle ones four fifths.
_SMALL_SHARE = 0.6


class Processor(NamedTuple):
    """What /proc/cpuinfo tells."""

    model: str
    physical_cores: int
    features: frozenset[str]


class CoreKinds(NamedTuple):
    """CPUs (a hyper-thread counts as one) by what they are made for."""

    performance: int
    efficiency: int


def parse_cpuinfo(cpuinfo: str) -> Processor:
    """Read the text of /proc/cpuinfo, of x86 or ARM."""
    cpus = [_fields(block) for block in cpuinfo.strip().split("\n\n")]
    cores = [cpu for cpu in cpus if "processor" in cpu]
    places = {(cpu.get("physical id"), cpu["core id"]) for cpu in cores if "core id" in cpu}
    first = cores[0] if cores else {}
    flags = {*first.get("flags", "").split(), *first.get("Features", "").split()}
    if "asimd" in flags:
        flags.add("neon")
    return Processor(
        model=_model_name(cpus, first),
        physical_cores=len(places) or len(cores) or 1,
        features=frozenset(flags.intersection(FEATURES)),
    )


def core_kinds(root: Path, usable: frozenset[int]) -> CoreKinds | None:
    """How many of the usable CPUs are fast, and how many frugal; None when all are alike.

    Intel's hybrid processors are listed by kind; on ARM each CPU has a capacity.

    Args:
        root: where the `sys` file system is mounted.
        usable: the numbers of the CPUs that this process may use.
    """
    devices = root / "sys/devices"
    large = numbers(text(devices / "cpu_core/cpus"))
    small = numbers(text(devices / "cpu_atom/cpus")) or _small(devices / "system/cpu")
    if not small:
        return None
    frugal = len(usable & small)
    return CoreKinds(len(usable & large) if large else len(usable) - frugal, frugal)


def _small(folder: Path) -> frozenset[int]:
    found = {
        int(path.parent.name[3:]): capacity
        for path in entries(folder, "cpu[0-9]*/cpu_capacity")
        if (capacity := number(path)) is not None
    }
    most = max(found.values(), default=0)
    return frozenset(cpu for cpu, capacity in found.items() if capacity < most * _SMALL_SHARE)


def _fields(block: str) -> dict[str, str]:
    rows = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in rows}


def _model_name(blocks: list[dict[str, str]], first: dict[str, str]) -> str:
    """x86 and old ARM kernels name the processor; boards are named in the last block."""
    for key in ("model name", "Model", "Hardware"):
        for block in (first, blocks[-1]):
            if block.get(key):
                return block[key]
    part = f"{first.get('CPU implementer', '')} {first.get('CPU part', '')}".strip()
    return f"ARM {part}" if part else ""
