"""What plans were measured to cost on a machine: the figures, and their form in a file. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias, TypeGuard, cast

from wherever_devices.machine import Machine
from wherever_devices.plans import RunPlan
from wherever_devices.profiles import Objective

SCHEMA = 1

# What a machine is as far as figures depend on it: a name, and the value's text.
Fingerprint: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one plan for one variant was measured to cost.

    Attributes:
        variant_digest: which variant, by what decides its answers.
        plan: how it ran.
        latency_s: median of a run; 0 where it did not run.
        p90_s: 90 % of the runs took at most this.
        cpu_s: CPU time of a run, over all threads.
        load_s: opening it took this long.
        memory_bytes: what it added to its process's resident memory.
        runs: how many runs were timed.
        rounds: in how many rounds, in which it took turns with the other plans.
        wrong: how its answers differ from those expected, or "".
        failed: why it could not be measured as planned, or "".
    """

    variant_digest: str
    plan: RunPlan
    latency_s: float = 0.0
    p90_s: float = 0.0
    cpu_s: float = 0.0
    load_s: float = 0.0
    memory_bytes: int = 0
    runs: int = 0
    rounds: int = 0
    wrong: str = ""
    failed: str = ""

    @property
    def usable(self) -> bool:
        """True when it ran as planned, and right."""
        return self.runs > 0 and not self.wrong and not self.failed

    def cost_s(self, objective: Objective) -> float:
        """What `objective` counts, in seconds."""
        return self.latency_s if objective == "latency" else self.cpu_s


class Measurements:
    """The measurements of one machine, by variant and plan.

    Args:
        found: what was measured; of two of one variant and plan the later one counts.
    """

    __slots__ = ("_by_variant",)

    def __init__(self, found: Iterable[Measurement] = ()) -> None:
        self._by_variant: dict[str, dict[RunPlan, Measurement]] = {}
        for each in found:
            self._by_variant.setdefault(each.variant_digest, {})[each.plan] = each

    def __iter__(self) -> Iterator[Measurement]:
        for plans in self._by_variant.values():
            yield from plans.values()

    def __len__(self) -> int:
        return sum(map(len, self._by_variant.values()))

    def of(self, variant_digest: str) -> Mapping[RunPlan, Measurement]:
        """Plan -> what it was measured to cost, for one variant."""
        return self._by_variant.get(variant_digest, {})

    def with_these(self, more: Iterable[Measurement]) -> Measurements:
        """These and `more`, which win."""
        return Measurements([*self, *more])

    def without(self, variant_digests: Iterable[str]) -> Measurements:
        """All but those of some variants."""
        dropped = set(variant_digests)
        return Measurements(each for each in self if each.variant_digest not in dropped)


def fingerprint(machine: Machine, engines: Mapping[str, str]) -> Fingerprint:
    """What figures depend on: other processors, cores, instructions or engines, other figures.

    Args:
        machine: what there is, or is imitated.
        engines: name -> version, of the engines that are installed.
    """
    features = machine.cpu_features
    return {
        "system": f"{machine.os} {machine.arch}",
        "processor": machine.cpu_model,
        "features": "not known" if features is None else " ".join(sorted(features)),
        "cores": str(machine.usable_cores),
        "engines": ", ".join(f"{name} {engines[name]}" for name in sorted(engines)),
        "onednn_max_cpu_isa": machine.onednn_max_cpu_isa,
        "imitates": machine.imitates,
    }


def short_name(machine: Fingerprint) -> str:
    """A fingerprint's name for a file: 16 characters, another one for another fingerprint."""
    return hashlib.sha256(json.dumps(dict(machine), sort_keys=True).encode()).hexdigest()[:16]


class DamagedError(ValueError):
    """A file that holds no measurements of this machine; the message says why not."""


def write_measurements(machine: Fingerprint, found: Measurements) -> bytes:
    """The measurements of a machine as the bytes of a file."""
    ordered = sorted(found, key=lambda each: (each.variant_digest, each.plan))
    data = {
        "schema": SCHEMA,
        "machine": dict(machine),
        "measurements": [asdict(each) for each in ordered],
    }
    return (json.dumps(data, indent=1) + "\n").encode()


def read_measurements(data: bytes, machine: Fingerprint) -> Measurements:
    """What `write_measurements` wrote, for the machine that it was written for.

    Raises:
        DamagedError: these are no such bytes, or those of another machine.
    """
    try:
        raw: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is no JSON ({error})") from error
    if not _is_object(raw) or raw.get("schema") != SCHEMA:
        raise DamagedError(f"it is not of schema {SCHEMA}")
    if raw.get("machine") != dict(machine):
        raise DamagedError("it was written for another machine")
    rows = raw.get("measurements")
    if not isinstance(rows, list):
        raise DamagedError("it has no list of measurements")
    return Measurements(_measurement(row) for row in cast("list[object]", rows))


def _measurement(row: object) -> Measurement:
    if not _is_object(row) or not _is_object(row.get("plan")):
        raise DamagedError(f"{row!r:.80} is no measurement")
    try:
        values: dict[str, Any] = {**row, "plan": RunPlan(**row["plan"])}
        found = Measurement(**values)
    except TypeError as error:
        raise DamagedError(f"{row!r:.80} is no measurement ({error})") from error
    for owner, part in ((found, Measurement), (found.plan, RunPlan)):
        for field in fields(part):
            _check(field.name, str(field.type), getattr(owner, field.name))
    return found


def _check(name: str, kind: str, value: object) -> None:
    if kind == "str":
        right = isinstance(value, str)
    elif kind in {"int", "float"}:
        right = _is_amount(value) and (kind == "float" or isinstance(value, int))
    else:
        right = True
    if not right:
        raise DamagedError(f"{name} is {value!r:.80}")


def _is_amount(value: object) -> bool:
    return type(value) in {int, float} and math.isfinite(cast("float", value)) and value >= 0  # type: ignore[operator]


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
