"""Variants made ready to answer: opened, proven, and loaded once by the first way that works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, cast

from wherever_contracts.errors import EngineError, GoldenError
from wherever_devices.plans import departures
from wherever_edge.loaded import LoadedVariant, tell_substituted
from wherever_edge.opened import shares_runs
from wherever_edge.queueing.desk import desk_for, needs_desk
from wherever_edge.queueing.lane import lane_of
from wherever_edge.queueing.sharing import AS_USUAL

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_contracts.places import Place
    from wherever_devices.choice import Option
    from wherever_devices.machine import Machine
    from wherever_devices.plans import RunPlan
    from wherever_edge.packages.store import Package
    from wherever_edge.proving import Proving
    from wherever_edge.queueing.run_queue import RunQueue
    from wherever_edge.queueing.sharing import Sharing
    from wherever_edge.resident import Resident
    from wherever_edge.residents import Residents


class Readying:
    """Makes the variants of a host ready. Safe to use from many threads.

    Args:
        residents: their sessions.
        queue: where calls wait for the engines.
        machine: what this machine is.
        distance: where the host stands as its callers see it.
        batching: calls that wait for the same variant share a run where that pays.
        proving: says which variants give their golden answers here; None: all may serve.
    """

    def __init__(
        self,
        residents: Residents,
        queue: RunQueue,
        *,
        machine: Machine,
        distance: Place,
        batching: bool,
        proving: Proving | None,
    ) -> None:
        self._residents = residents
        self._queue = queue
        self._cores = machine.usable_cores
        self._distance: Place = distance
        self._batching = batching
        self._proving = proving
        self._desk = desk_for(distance, self._cores)
        self._sharing: Callable[[str], Sharing] = lambda _model: AS_USUAL
        self._variants: dict[tuple[object, ...], LoadedVariant] = {}
        self._lock = threading.RLock()

    def first(
        self, package: Package, options: Sequence[Option], failed: tuple[str, ...] = ()
    ) -> LoadedVariant:
        """The first option that opens; those that were to and do not are told as substituted.

        Raises:
            EngineError: none does; it tells why, for each.
            GoldenError: none does, and one gives other answers than it should.
        """
        passed_over: list[str] = []
        wrong: GoldenError | None = None
        for position, option in enumerate(options):
            reason = option.unfit
            if option.plan is not None and not reason:
                rest = options[position + 1 :]
                try:
                    return self._ready(package, option, passed_over, failed, rest)
                except (EngineError, GoldenError) as error:
                    failed += (f"{option.variant.id}: {error}",)
                    if isinstance(error, GoldenError):
                        wrong = error
                    continue
            passed_over.append(f"{option.variant.id}: {reason}")
        reasons = "; ".join((*passed_over, *failed))
        raise wrong or EngineError(f"no variant of {package.name!r} can run here ({reasons})")

    def by(self, package: Package, option: Option) -> LoadedVariant:
        """A variant by this option; nothing else is tried.

        Raises:
            EngineError: it does not open.
            GoldenError: it gives other answers than it should.
        """
        return self._ready(package, option, (), (), ())

    def share_by(self, sharing: Callable[[str], Sharing]) -> None:
        """Let the calls of each model share runs as `sharing` says of its name, from now on."""
        with self._lock:
            self._sharing = sharing
            for loaded in list(self._variants.values()):
                if loaded.resident.lane is not None:
                    loaded.resident.lane.share_by(sharing(loaded.package.name))

    def release(self, used: Collection[str]) -> None:
        """Let go of what is from packages of other digests than `used`."""
        with self._lock:
            for known in list(self._variants):
                if known[0] not in used:
                    self._variants.pop(known, None)

    def forget(self, queue: RunQueue) -> None:
        """Know none any more, without touching a lock that another process may hold.

        Args:
            queue: where calls wait from now on.
        """
        self._lock = threading.RLock()
        self._queue = queue
        self._variants = {}
        self._proving = self._proving and self._proving.again()
        self._desk = desk_for(self._distance, self._cores)

    def _ready(
        self,
        package: Package,
        option: Option,
        passed_over: Sequence[str],
        failed: tuple[str, ...],
        rest: Sequence[Option],
    ) -> LoadedVariant:
        variant, started = option.variant, perf_counter()
        resident = self._resident(package, variant, cast("RunPlan", option.plan))
        left = [option for option in rest if option.plan is not None and not option.unfit]
        key = (
            package.digest,
            variant.id,
            resident.plan,
            tuple(passed_over),
            failed,
            tuple((option.variant.id, option.plan) for option in left),
        )
        known = self._variants.get(key)
        if known is not None and known.resident is resident:
            return known
        others = departures(resident.plan, resident.bring_back().facts.ran)
        loaded = LoadedVariant(
            package,
            variant,
            resident,
            tuple(passed_over),
            (*failed, *(f"{variant.id}: {other}" for other in others)),
            next_best=(lambda: self.first(package, left)) if left else None,
            desk=self._desk if needs_desk(package.manifest.signature) else None,
        )
        if self._proving is not None:
            self._proving.require(loaded, perf_counter() - started)
        first = self._variants.setdefault(key, loaded)
        if first is loaded:
            tell_substituted(loaded)
        return first

    def _resident(self, package: Package, variant: Variant, plan: RunPlan) -> Resident:
        """The session of a variant under a plan, opened once whoever asks at the same time."""
        resident = self._residents.get(package, variant, plan)
        session = resident.bring_back()
        with self._lock:
            if resident.lane is None:
                resident.lane = lane_of(
                    self._queue,
                    resident,
                    session,
                    joins=self._batching and shares_runs(variant, session),
                    cores=self._cores,
                )
                resident.lane.share_by(self._sharing(package.name))
        return resident
