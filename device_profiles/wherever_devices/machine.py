"""What this machine is: processor, cores and memory that this process may use.

On Linux the kernel's own text files are read; elsewhere what the standard library knows is taken,
and the rest is "not known", which never rules a variant out.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from wherever_devices.accelerators import Accelerator, accelerators, board
from wherever_devices.groups import GroupLimits, group_limits
from wherever_devices.kernel import numbers, parse_meminfo, text
from wherever_devices.onednn import VARIABLE, onednn_features
from wherever_devices.processor import CoreKinds, Processor, core_kinds, parse_cpuinfo

if TYPE_CHECKING:
    from wherever_contracts.manifest import Needs

CoresLimit: TypeAlias = Literal["", "affinity", "cpuset", "quota", "profile"]


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
        core_kinds: of the CPUs that may be used how many are fast and how many frugal; None when
            all are alike, or it is not known.
        cores_limit: what leaves fewer CPUs to this process than there are: "affinity", "cpuset"
            or "quota" (of a control group), "profile" (an imitated machine), or "".
        accelerators: GPUs and NPUs; None when not known.
        board: the board's name, such as "Raspberry Pi 5 Model B Rev 1.0"; or "".
        onednn_max_cpu_isa: what the environment says to OpenVINO's CPU code; or "".
        imitates: the profile whose machine this one is limited to; or "".
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
    core_kinds: CoreKinds | None = None
    cores_limit: CoresLimit = ""
    accelerators: tuple[Accelerator, ...] | None = None
    board: str = ""
    onednn_max_cpu_isa: str = ""
    imitates: str = ""

    @property
    def usable_memory_bytes(self) -> int:
        """The smaller of what there is and what this process may take; 0 when not known."""
        return min(self.memory_bytes, self.memory_limit_bytes or self.memory_bytes)

    @property
    def onednn_features(self) -> frozenset[str] | None:
        """The instructions that OpenVINO may use; None when not known."""
        return onednn_features(self.cpu_features, self.onednn_max_cpu_isa)

    def has(self, device: str) -> bool:
        """Whether there is hardware of a kind: "cpu", "gpu", "npu"; or it is not known."""
        if device == "cpu" or self.accelerators is None:
            return True
        return any(found.kind == device for found in self.accelerators)


def probe(
    root: Path = Path("/"),
    *,
    affinity: Collection[int] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Machine:
    """Look at this machine; takes a few milliseconds, starts no process and loads no runtime.

    Args:
        root: where the `proc`, `sys` and `dev` file systems are mounted.
        affinity: numbers of the CPUs that the scheduler may give this process; asked when None.
        environment: the environment's variables; this process's when None.
    """
    cpuinfo = text(root / "proc/cpuinfo")
    processor = parse_cpuinfo(cpuinfo) if cpuinfo else _processor_elsewhere()
    limits = group_limits(root)
    allowed = _affinity() if affinity is None else frozenset(affinity)
    cpus = allowed & (limits.cpus or allowed) or allowed
    online = numbers(text(root / "sys/devices/system/cpu/online"))
    return Machine(
        os=platform.system().lower(),
        arch=_arch(),
        cpu_model=processor.model,
        physical_cores=processor.physical_cores,
        usable_cores=usable_cores(len(cpus), limits.quota),
        memory_bytes=parse_meminfo(text(root / "proc/meminfo")) or _memory_elsewhere(),
        memory_limit_bytes=limits.memory_bytes,
        cpu_features=processor.features if cpuinfo else _features_elsewhere(),
        python=platform.python_version(),
        core_kinds=core_kinds(root, cpus),
        cores_limit=_set_by(limits, cpus, online | allowed),
        accelerators=accelerators(root),
        board=board(root),
        onednn_max_cpu_isa=(os.environ if environment is None else environment).get(VARIABLE, ""),
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


def _without_engine(why: Mapping[str, str]) -> str:
    if not why:
        return "it needs an engine, and names none"
    if len(why) == 1:
        name, reason = next(iter(why.items()))
        return f"it needs the engine {name}, which {reason}"
    reasons = "; ".join(f"{name} {reason}" for name, reason in why.items())
    return f"it needs the engine {' or '.join(why)}: {reasons}"


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _set_by(limits: GroupLimits, cpus: frozenset[int], there: frozenset[int]) -> CoresLimit:
    """The affinity of a process in a cpuset is within it, so one that equals it is its work."""
    if limits.quota is not None and limits.quota < len(cpus):
        return "quota"
    if len(cpus) >= len(there):
        return ""
    return "cpuset" if cpus == limits.cpus else "affinity"


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
