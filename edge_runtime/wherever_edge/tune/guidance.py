"""What guides a host's choice of plans: the decision of the moment, and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from wherever_devices.decision import Decision
from wherever_devices.machine import Machine, default_threads
from wherever_edge.tune.kept import KeptMeasurements

if TYPE_CHECKING:
    from wherever_devices.choice import Measured
    from wherever_edge.packages.package import Package

# A decision that holds, or what decides anew under the conditions of the moment.
Deciding: TypeAlias = Decision | Callable[[], Decision]

EVERY_S = 30.0


class Guidance:
    """What guides a host.

    Args:
        machine: what this machine is.
        threads: exactly so many threads a run; by default what the decision says, and measurements.
        home: where measurements are kept; None for none.
        decision: how the machine is used; what decides anew is asked at most every 30 s.
        clock: seconds that never go back.

    Attributes:
        decision: the one that holds; None when nobody decides.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        threads: int | None = None,
        home: Path | None = None,
        decision: Deciding | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._machine = machine
        self._threads = threads
        self._kept = KeptMeasurements(home, machine) if home else None
        self._found = self._kept.load() if self._kept else None
        self._deciding = decision
        self._clock = clock
        self._due_s = clock() + EVERY_S
        self.decision: Decision | None = self._decide()

    @property
    def threads(self) -> int:
        """Threads of one run, where no measurement says otherwise."""
        if self.decision is not None:
            return self.decision.threads
        return default_threads(self._machine) if self._threads is None else self._threads

    def changed(self) -> bool:
        """Look again, at most every 30 s; True when other plans may be better now."""
        now = self._clock()
        if now < self._due_s:
            return False
        self._due_s = now + EVERY_S
        before, found = self.decision, self._found
        self.decision = self._decide()
        self._found = self._kept.load() if self._kept else None
        return self._found is not found or _effect(self.decision) != _effect(before)

    def measured(self, package: Package) -> Measured:
        """What the plans of a package's variants were measured to cost."""
        found = self._kept.load() if self._kept else None
        if not found:
            return {}
        by_variant = {
            variant.id: found.of(package.variant_digest(variant.id))
            for variant in package.manifest.variants
        }
        if self._threads is None:
            return by_variant
        return {
            name: {plan: each for plan, each in plans.items() if plan.threads == self._threads}
            for name, plans in by_variant.items()
        }

    def _decide(self) -> Decision | None:
        decision = self._deciding() if callable(self._deciding) else self._deciding
        if decision is None or self._threads is None:
            return decision
        return replace(decision, threads=self._threads)


def _effect(decision: Decision | None) -> Decision | None:
    """A decision without its reasons, whose words change with every percent of a battery."""
    return decision and replace(decision, reasons=())
