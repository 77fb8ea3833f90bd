"""What a kind of machine is to be used for: limits, preferences, and what it saves when. Pure.

A profile comes from a file; `profiles.files` reads it, `profiles.fields` checks what it says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from wherever_contracts.errors import SettingsError
from wherever_devices.onednn import stricter

if TYPE_CHECKING:
    from wherever_devices.accelerators import Accelerator
    from wherever_devices.conditions import Conditions
    from wherever_devices.machine import Machine

Objective: TypeAlias = Literal["latency", "cpu_time"]

BUILT_IN = ("edge-pc", "laptop", "raspberry-pi-5", "jetson-orin", "gateway-gpu", "tiny")

_GIB = 1024**3
_LITTLE_MEMORY = 2 * _GIB
_MANY_CORES = 8


@dataclass(frozen=True, slots=True)
class Saving:
    """What is done differently under a condition: on battery, warm, or hot.

    Attributes:
        threads_share: of the threads of a run those that remain, over 0 to 1; one always does.
        runs_share: the same of the runs at once.
        prefer_small: smaller variants go first.
        objective: what the choice then aims at; None leaves it as it is.
        below_share: on battery, the charge (0 to 1) at and below which this holds.
    """

    threads_share: float = 1.0
    runs_share: float = 1.0
    prefer_small: bool = False
    objective: Objective | None = None
    below_share: float = 1.0

    @property
    def changes(self) -> bool:
        """Whether it changes anything at all."""
        less = self.threads_share < 1 or self.runs_share < 1
        return less or self.prefer_small or self.objective is not None


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a profile's machine is made of, to try its limits on another one.

    Attributes:
        cores: whole cores.
        memory_bytes: of the machine.
        cpu_features: of `processor.FEATURES` those that it has.
        accelerators: "gpu", "npu".
        onednn_max_cpu_isa: what `ONEDNN_MAX_CPU_ISA` is to be, so that OpenVINO on an x86
            processor computes about as such a machine can; "" for no limit.
    """

    cores: int
    memory_bytes: int
    cpu_features: tuple[str, ...] = ()
    accelerators: tuple[str, ...] = ()
    onednn_max_cpu_isa: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """Limits and preferences.

    Attributes:
        name: as it is called.
        summary: for which machines it is, in a line.
        max_threads: the most threads of one run; None for `default_threads` of the machine.
        max_runs: the most runs at once; None for as many as the cores hold.
        memory_max_share: of the memory that this process may use, what loaded models may take.
        memory_max_bytes: the same in bytes; the smaller holds; both None for no budget.
        max_waiting: calls that may wait for a run; more are refused.
        devices: hardware that may be used, preferred first: "cpu", "gpu", "npu".
        precisions: what a float32 variant may be computed in, the default first.
        objective: what the choice aims at: "latency", or "cpu_time" (which saves energy).
        prefer_small: smaller variants go first.
        on_battery: what a battery changes.
        warm: what changes near the heat at which the system slows down.
        hot: what changes there.
        hardware: the machine to imitate; None when the profile describes none.
    """

    name: str
    summary: str = ""
    max_threads: int | None = None
    max_runs: int | None = None
    memory_max_share: float | None = None
    memory_max_bytes: int | None = None
    max_waiting: int = 64
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("float32",)
    objective: Objective = "latency"
    prefer_small: bool = False
    on_battery: Saving = Saving()
    warm: Saving = Saving()
    hot: Saving = Saving()
    hardware: Hardware | None = None


class Chosen(NamedTuple):
    """Which built-in profile a machine takes when nobody names one, and why."""

    name: str
    words: str


def default_profile(machine: Machine, conditions: Conditions) -> Chosen:
    """The built-in profile that fits a machine best; the first rule that holds decides.

    Args:
        machine: what there is.
        conditions: whether there is a battery.
    """
    memory = machine.usable_memory_bytes
    if machine.usable_cores == 1:
        return Chosen("tiny", "this process has one core")
    if 0 < memory < _LITTLE_MEMORY:
        return Chosen("tiny", f"this process has {memory / _GIB:.1f} GiB of memory")
    for maker, name in (("Raspberry Pi", "raspberry-pi-5"), ("Jetson", "jetson-orin")):
        if maker in machine.board:
            return Chosen(name, f"the board is a {machine.board}")
    if conditions.on_battery or conditions.battery_share is not None:
        return Chosen("laptop", "the machine has a battery")
    nvidia = any(found.vendor == "nvidia" for found in machine.accelerators or ())
    if nvidia and machine.usable_cores >= _MANY_CORES:
        return Chosen("gateway-gpu", f"an NVIDIA GPU and {machine.usable_cores} cores")
    return Chosen("edge-pc", "nothing says that it is another kind of machine")


def as_machine(machine: Machine, profile: Profile) -> Machine:
    """A machine limited to what a profile's machine has; what it lacks cannot be imitated.

    Args:
        machine: the one there is.
        profile: the one to imitate, which describes its hardware.

    Raises:
        SettingsError: the profile describes no hardware.
    """
    target = profile.hardware
    if target is None:
        raise SettingsError(
            f"profile {profile.name!r} describes no machine that could be imitated: "
            "give it a table [hardware] with cores and memory_bytes"
        )
    memory = min(machine.usable_memory_bytes or target.memory_bytes, target.memory_bytes)
    cores = min(machine.usable_cores, target.cores)
    return replace(
        machine,
        physical_cores=min(machine.physical_cores, target.cores),
        usable_cores=cores,
        memory_bytes=memory,
        memory_limit_bytes=None,
        cpu_features=_shared(machine.cpu_features, target.cpu_features),
        core_kinds=None,
        cores_limit="profile" if cores < machine.usable_cores else machine.cores_limit,
        accelerators=_kept(machine.accelerators, target.accelerators),
        onednn_max_cpu_isa=stricter(machine.onednn_max_cpu_isa, target.onednn_max_cpu_isa),
        imitates=profile.name,
    )


def _kept(
    found: tuple[Accelerator, ...] | None, target: tuple[str, ...]
) -> tuple[Accelerator, ...] | None:
    if found is None and target:
        return None
    return tuple(one for one in found or () if one.kind in target)


def _shared(features: frozenset[str] | None, target: tuple[str, ...]) -> frozenset[str] | None:
    return None if features is None else features.intersection(target)
