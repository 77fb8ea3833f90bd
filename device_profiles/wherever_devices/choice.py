"""In which order the variants of a model are tried on a machine, and how each would run. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherever_devices.machine import EngineState, Machine, unable, unfit
from wherever_devices.plans import RunPlan

if TYPE_CHECKING:
    from wherever_contracts.manifest import Manifest, Variant
    from wherever_contracts.places import Place

ABSENT = "its files are not on this machine"


@dataclass(frozen=True, slots=True)
class Option:
    """One way to answer: a variant, and how it would run.

    Attributes:
        variant: the variant.
        plan: how it would run; None when nothing here could run it.
        unfit: why it is not to be tried, or "".
    """

    variant: Variant
    plan: RunPlan | None
    unfit: str = ""


def order_options(
    manifest: Manifest,
    *,
    present: Collection[str],
    machine: Machine,
    engines: Mapping[str, EngineState],
    threads: int,
    distance: Place,
) -> list[Option]:
    """Every way to answer for a model, the one to try first at the front.

    Variants meant for `distance` come first, in the manifest's order (at "cloud" the reference
    before them); of a variant, its engines in the order in which it names them.

    Args:
        manifest: the package's.
        present: ids of the variants whose files are here.
        machine: what there is.
        engines: the engines there are, by name.
        threads: threads of one run.
        distance: where the host stands.
    """
    ordered = sorted(
        manifest.variants,
        key=lambda variant: (
            distance not in variant.places,
            distance == "cloud" and variant.id != manifest.reference,
        ),
    )
    return [
        option
        for variant in ordered
        for option in _ways(variant, present, machine, engines, threads)
    ]


def _ways(
    variant: Variant,
    present: Collection[str],
    machine: Machine,
    engines: Mapping[str, EngineState],
    threads: int,
) -> Sequence[Option]:
    if variant.id not in present:
        return [Option(variant, None, ABSENT)]
    reason = unfit(variant.needs, variant.format, machine, engines)
    if reason:
        return [Option(variant, None, reason)]
    return [
        Option(variant, RunPlan(name, "cpu", variant.precision, threads), why and f"{name} {why}")
        for name, why in unable(variant.needs, variant.format, engines).items()
    ]
