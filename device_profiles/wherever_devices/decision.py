"""What a machine, a profile and the conditions of the moment come to, with each reason. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from wherever_devices.machine import default_threads
from wherever_devices.onednn import VARIABLE, is_limit

if TYPE_CHECKING:
    from wherever_devices.conditions import Conditions
    from wherever_devices.machine import Machine
    from wherever_devices.profiles import Objective, Profile, Saving

# Instructions by which a processor computes in a precision; one of them is enough.
_INSTRUCTIONS = {
    "bfloat16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "float16": frozenset({"avx512_fp16", "asimdhp"}),
}
_OF_LIMITS = {
    "affinity": ("affinity_cores", "its affinity leaves this process {cores}"),
    "cpuset": ("cpuset_cores", "the control group's cpuset leaves this process {cores}"),
    "quota": ("cgroup_cores", "the control group's quota leaves this process {cores}"),
}


class Reason(NamedTuple):
    """Why a decision is as it is.

    Attributes:
        name: a stable word for programs.
        words: the same for people, with the numbers.
    """

    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Decision:
    """How a machine is used now.

    Attributes:
        profile: the name of the profile that it follows.
        threads: the most threads of one run.
        runs: runs at once.
        memory_max_bytes: for loaded models; None for no budget.
        max_waiting: calls that may wait for a run.
        devices: hardware that may be used, preferred first: "cpu", "gpu", "npu".
        precisions: what a float32 variant may be computed in, the default first.
        objective: what the choice aims at.
        prefer_small: smaller variants go first.
        reasons: what limits or changes it.
    """

    profile: str
    threads: int
    runs: int
    memory_max_bytes: int | None
    max_waiting: int
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    objective: Objective
    prefer_small: bool
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        most = self.memory_max_bytes
        return "; ".join(
            (
                f"at most {_counted(self.threads, 'thread')} a run",
                f"{_counted(self.runs, 'run')} at once, {self.max_waiting} waiting",
                "no budget of memory" if most is None else f"{_size(most)} for loaded models",
                f"on {', '.join(self.devices)} in {', '.join(self.precisions)}",
                f"chosen by {self.objective.replace('_', ' ')}",
                *(["smaller variants first"] if self.prefer_small else []),
            )
        )


class _Condition(NamedTuple):
    """A condition that holds, and what it changes."""

    name: str
    words: str
    saving: Saving


def decide(machine: Machine, profile: Profile, conditions: Conditions) -> Decision:
    """How a machine is used.

    Never more threads in a run than cores, never more memory than this process may use, and of
    threads, runs, devices and precisions always at least one.

    Args:
        machine: what there is.
        profile: what is asked of it.
        conditions: how things stand now.
    """
    hold = _holding(profile, conditions)
    savings = [condition.saving for condition in hold]
    threads = min(_threads(machine, profile), _fast_cores(machine))
    runs = min(_runs(machine, threads), profile.max_runs or machine.usable_cores)
    devices = tuple(device for device in profile.devices if machine.has(device)) or ("cpu",)
    objectives: list[Objective] = [each.objective for each in savings if each.objective]
    return Decision(
        profile=profile.name,
        threads=_part(threads, min((saving.threads_share for saving in savings), default=1.0)),
        runs=_part(runs, min((saving.runs_share for saving in savings), default=1.0)),
        memory_max_bytes=_memory(machine, profile),
        max_waiting=profile.max_waiting,
        devices=devices,
        precisions=_precisions(machine, profile, devices),
        objective=objectives[0] if objectives else profile.objective,
        prefer_small=profile.prefer_small or any(saving.prefer_small for saving in savings),
        reasons=(
            *_machine_reasons(machine),
            *_profile_reasons(machine, profile),
            *_absent(machine, profile, devices),
            *(_saved(condition, threads, runs) for condition in hold),
        ),
    )


def _threads(machine: Machine, profile: Profile) -> int:
    return profile.max_threads or default_threads(machine)


def _fast_cores(machine: Machine) -> int:
    """Those that a run's threads may take: a run waits for its slowest thread."""
    fast = machine.core_kinds.performance if machine.core_kinds else 0
    return min(machine.usable_cores, fast or machine.usable_cores)


def _runs(machine: Machine, threads: int) -> int:
    return max(1, machine.usable_cores // threads)


def _part(count: int, share: float) -> int:
    return max(1, int(count * share))


def _memory(machine: Machine, profile: Profile) -> int | None:
    share, most = profile.memory_max_share, profile.memory_max_bytes
    usable = machine.usable_memory_bytes
    if not usable or (share is None and most is None):
        return most
    part = usable if share is None else max(1, int(usable * share))
    return part if most is None else min(part, most)


def _precisions(machine: Machine, profile: Profile, devices: Sequence[str]) -> tuple[str, ...]:
    kept = (name for name in profile.precisions if _computes_in(machine, devices, name))
    return tuple(kept) or ("float32",)


def _computes_in(machine: Machine, devices: Sequence[str], precision: str) -> bool:
    """Whether something here has instructions for a precision; what is not known, has."""
    features, needed = machine.onednn_features, _INSTRUCTIONS.get(precision)
    if features is None or needed is None or any(device != "cpu" for device in devices):
        return True
    return bool(features & needed)


def _holding(profile: Profile, conditions: Conditions) -> list[_Condition]:
    """The conditions that hold and change something."""
    left, hold = conditions.battery_share, list[_Condition]()
    if conditions.on_battery and (left is None or left <= profile.on_battery.below_share):
        charge = "" if left is None else f" ({left:.0%} left)"
        hold.append(_Condition("on_battery", f"on battery{charge}", profile.on_battery))
    if conditions.thermal == "hot":
        hold.append(_Condition("hot", "heat slows the processor down", profile.hot))
    if conditions.thermal == "warm":
        hold.append(_Condition("warm", "heat will soon slow the processor down", profile.warm))
    return [condition for condition in hold if condition.saving.changes]


def _saved(condition: _Condition, threads: int, runs: int) -> Reason:
    saving = condition.saving
    now, at_once = _part(threads, saving.threads_share), _part(runs, saving.runs_share)
    changes = [
        f"{_counted(now, 'thread')} a run instead of {threads}" if now < threads else "",
        f"{_counted(at_once, 'run')} at once instead of {runs}" if at_once < runs else "",
        "smaller variants first" if saving.prefer_small else "",
        f"chosen by {saving.objective.replace('_', ' ')}" if saving.objective else "",
    ]
    what = ", ".join(filter(None, changes)) or "nothing is left to save"
    return Reason(condition.name, f"{condition.words}: {what}")


def _machine_reasons(machine: Machine) -> Iterator[Reason]:
    if machine.imitates:
        has = f"{_counted(machine.usable_cores, 'core')}, {_size(machine.usable_memory_bytes)}"
        yield Reason("as_profile", f"limited to the machine of {machine.imitates}: {has}")
    if machine.cores_limit in _OF_LIMITS:
        name, words = _OF_LIMITS[machine.cores_limit]
        yield Reason(name, words.format(cores=_counted(machine.usable_cores, "core")))
    if machine.usable_memory_bytes < machine.memory_bytes:
        left = _size(machine.usable_memory_bytes)
        yield Reason("memory_limit", f"the control group leaves this process {left}")
    if is_limit(machine.onednn_max_cpu_isa):
        words = f"OpenVINO is limited by {VARIABLE}={machine.onednn_max_cpu_isa}"
        yield Reason("isa_limit", words)


def _profile_reasons(machine: Machine, profile: Profile) -> Iterator[Reason]:
    wanted, fast = _threads(machine, profile), _fast_cores(machine)
    threads = min(wanted, fast)
    if wanted > threads:
        yield Reason("few_cores", f"{_counted(fast, 'core')} for a run, not {wanted}")
    elif profile.max_threads and threads != default_threads(machine):
        yield Reason("profile_threads", f"the profile allows {_counted(threads, 'thread')} a run")
    if profile.max_runs and profile.max_runs < _runs(machine, threads):
        yield Reason("profile_runs", f"the profile allows {_counted(profile.max_runs, 'run')}")


def _absent(machine: Machine, profile: Profile, devices: Sequence[str]) -> Iterator[Reason]:
    for device in takewhile(lambda device: device != "cpu", profile.devices):
        if not machine.has(device):
            yield Reason(f"no_{device}", f"there is no {device.upper()} here")
    for precision in profile.precisions:
        if not _computes_in(machine, devices, precision):
            words = f"the processor has no instructions for {precision}"
            yield Reason(f"no_{precision}", words)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _size(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB of memory"
