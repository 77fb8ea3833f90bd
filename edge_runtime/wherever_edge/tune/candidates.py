"""Which plans of a variant are worth measuring here. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from wherever_devices.choice import precisions
from wherever_devices.machine import EngineState, unable
from wherever_devices.plans import RunPlan, hardware_of

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_devices.decision import Decision


def candidates(
    variant: Variant,
    engines: Mapping[str, EngineState],
    devices: Mapping[str, Sequence[str]],
    decision: Decision,
) -> list[RunPlan]:
    """Every plan that a decision allows: first those that would run if nothing were measured.

    Args:
        variant: the variant.
        engines: the engines there are, by name.
        devices: the hardware that each of them can use.
        decision: what is allowed.
    """
    able = [name for name, why in unable(variant.needs, variant.format, engines).items() if not why]
    declared = [RunPlan(name, "cpu", variant.precision, decision.threads) for name in able]
    every = [
        RunPlan(name, device, precision, threads)
        for name in able
        for hardware in decision.devices
        for device in devices.get(name, ())
        if hardware_of(device) == hardware
        for precision in precisions(decision, variant)
        for threads in _counts(device, decision.threads)
    ]
    return list(dict.fromkeys([*(plan for plan in declared if plan in every), *every]))


def _counts(device: str, most: int) -> list[int]:
    """1, 2, 4, ... and the most; other hardware than the CPU has its own."""
    if device != "cpu" or most < 1:
        return [most]
    doubled = [2**power for power in range(most.bit_length()) if 2**power < most]
    return [*doubled, most]
