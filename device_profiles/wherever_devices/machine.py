"""What this machine is: processor, cores and memory that this process may use.

On Linux the kernel's own text files are read; elsewhere what the standard library knows is taken,
and the rest is "not known", which never rules a variant out.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from wherever_contracts.manifest import Needs

# Features that decide how fast, or whether, a variant runs.
FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "amx_bf16",
    "neon",
    "asimd",
    "asimddp",
)

_UNLIMITED = 2**60  # cgroup v1 writes "no limit" as the largest multiple of a page


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, as one process sees it.

    Attributes:
        os: "linux", "darwin", "windows".
        arch: "x86_64", "aarch64", "armv7l", ...
        cpu_model: the processor's name, or "".
        physical_cores: cores of the machine, without hyper-threads.
        usable_cores: what affinity and the control group's quota leave to this process.
        memory_bytes: of the machine; 0 when not known.
        memory_limit_bytes: the control group's limit; None without one.
        cpu_features: those of `FEATURES` that the processor has; None when not known.
        python: the version of Python.
    """

    os: str
    arch: str
    cpu_model: str
    physical_cores: int
    usable_cores: int
    memory_bytes: int
    memory_limit_bytes: int | None
    cpu_features: frozenset[str] | None
    python: str

    @property
    def usable_memory_bytes(self) -> int:
        """The smaller of what there is and what this process may take; 0 when not known."""
        return min(self.memory_bytes, self.memory_limit_bytes or self.memory_bytes)


class Processor(NamedTuple):
    """What /proc/cpuinfo tells."""

    model: str
    physical_cores: int
    features: frozenset[str]


def probe(root: Path = Path("/")) -> Machine:
    """Look at this machine; takes a few milliseconds and starts no process.

    Args:
        root: where the `proc` and `sys` file systems are mounted.
    """
    cpuinfo = _text(root / "proc/cpuinfo")
    processor = parse_cpuinfo(cpuinfo) if cpuinfo else _processor_elsewhere()
    groups = parse_cgroups(_text(root / "proc/self/cgroup"))
    return Machine(
        os=platform.system().lower(),
        arch=_arch(),
        cpu_model=processor.model,
        physical_cores=processor.physical_cores,
        usable_cores=usable_cores(_affinity(), _quota(root, groups)),
        memory_bytes=parse_meminfo(_text(root / "proc/meminfo")) or _memory_elsewhere(),
        memory_limit_bytes=_memory_limit(root, groups),
        cpu_features=processor.features if cpuinfo else _features_elsewhere(),
        python=platform.python_version(),
    )


def default_threads(machine: Machine) -> int:
    """Threads for one run of a small model: 2 when the process has at least 4 cores, else 1.

    Two threads made a 1 ms model 1.5 times as fast on idle cores for twice the CPU time, and were
    no faster at the median on busy ones; so two are taken only where half the cores stay free.
    """
    return 2 if machine.usable_cores >= 4 else 1


class EngineState(NamedTuple):
    """An engine as a variant sees it.

    Attributes:
        formats: what it reads.
        missing: why it cannot be used, as words that follow "is"; "" when it can.
    """

    formats: tuple[str, ...]
    missing: str = ""

    def unable(self, file_format: str) -> str:
        """Why it cannot run a file of `file_format`, as half a sentence; "" when it can."""
        if self.missing:
            return f"is {self.missing}"
        return "" if file_format in self.formats else f"does not read {file_format!r} files"


_UNKNOWN = EngineState((), "not known here")


def unable(needs: Needs, file_format: str, engines: Mapping[str, EngineState]) -> dict[str, str]:
    """Each engine that a variant names, in its order -> why that cannot run it, or ""."""
    return {name: engines.get(name, _UNKNOWN).unable(file_format) for name in needs.engines}


def unfit(
    needs: Needs, file_format: str, machine: Machine, engines: Mapping[str, EngineState]
) -> str | None:
    """Why a variant cannot run here, as half a sentence; None when it can.

    Args:
        needs: what the variant needs.
        file_format: what its files are.
        machine: what there is.
        engines: the engines there are, by name.
    """
    without = unable(needs, file_format, engines)
    if all(without.values()):
        return _without_engine(without)
    memory = machine.usable_memory_bytes
    if memory and needs.memory_bytes > memory:
        return f"it needs {_mib(needs.memory_bytes)} of memory, this process may use {_mib(memory)}"
    if machine.cpu_features is not None:
        lacking = sorted(set(needs.cpu_features) - machine.cpu_features)
        if lacking:
            return f"it needs a CPU with {', '.join(lacking)}, this one has no such instructions"
    return None


def usable_cores(affinity: int, quota: float | None) -> int:
    """Whole cores that a process may keep busy: at least one, at most its quota rounded down."""
    return max(1, affinity if quota is None else min(affinity, int(quota)))


def parse_cpuinfo(text: str) -> Processor:
    """Read the text of /proc/cpuinfo, of x86 or ARM."""
    cpus = [_fields(block) for block in text.strip().split("\n\n")]
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


def parse_meminfo(text: str) -> int:
    """Bytes of memory, from the text of /proc/meminfo; 0 when it does not say."""
    match = re.search(r"^MemTotal:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def parse_cgroups(text: str) -> dict[str, str]:
    """Controller -> path of this process's control group; "" is the unified (v2) hierarchy."""
    rows = (line.split(":", 2) for line in text.splitlines())
    return {name: path for _, names, path in rows for name in names.split(",")}


def parse_quota(text: str) -> float | None:
    """Cores that `quota period` (cpu.max, or the two files of v1) grants; None for no limit."""
    quota, _, period = text.strip().partition(" ")
    if not quota.isdigit() or not period.isdigit() or period == "0":
        return None
    return int(quota) / int(period)


def parse_limit(text: str) -> int | None:
    """Bytes that memory.max or memory.limit_in_bytes grants; None for no limit."""
    value = text.strip()
    return int(value) if value.isdigit() and int(value) < _UNLIMITED else None


def _without_engine(why: Mapping[str, str]) -> str:
    if not why:
        return "it needs an engine, and names none"
    if len(why) == 1:
        name, reason = next(iter(why.items()))
        return f"it needs the engine {name}, which {reason}"
    reasons = "; ".join(f"{name} {reason}" for name, reason in why.items())
    return f"it needs the engine {' or '.join(why)}: {reasons}"


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


def _quota(root: Path, groups: dict[str, str]) -> float | None:
    texts = [_text(file) for file in _group_files(root, groups.get(""), "", "cpu.max")]
    for folder in _group_folders(root, groups.get("cpu"), "cpu"):
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        texts.append(f"{quota.strip()} {period.strip()}")
    return min((quota for quota in map(parse_quota, texts) if quota is not None), default=None)


def _memory_limit(root: Path, groups: dict[str, str]) -> int | None:
    files = [
        *_group_files(root, groups.get(""), "", "memory.max"),
        *_group_files(root, groups.get("memory"), "memory", "memory.limit_in_bytes"),
    ]
    limits = (parse_limit(_text(file)) for file in files)
    return min((limit for limit in limits if limit is not None), default=None)


def _group_files(root: Path, group: str | None, controller: str, name: str) -> list[Path]:
    return [folder / name for folder in _group_folders(root, group, controller)]


def _group_folders(root: Path, group: str | None, controller: str) -> Iterator[Path]:
    """The control group's folder and those above it: the strictest limit of all holds.

    In a container the mounted root already is the group, and the path below it does not exist.
    """
    if group is not None:
        path = PurePosixPath(group.lstrip("/"))
        for part in (path, *path.parents):
            yield root / "sys/fs/cgroup" / controller / part


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _arch() -> str:
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def _processor_elsewhere() -> Processor:
    return Processor(platform.processor(), os.cpu_count() or 1, frozenset())


def _features_elsewhere() -> frozenset[str] | None:
    """Every 64-bit ARM machine of Apple has these; nothing is known of other machines."""
    apple = platform.system() == "Darwin" and _arch() == "aarch64"
    return frozenset({"neon", "asimd", "asimddp"}) if apple else None


def _memory_elsewhere() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
