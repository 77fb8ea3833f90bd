"""The host of this process: variants loaded once, each with its pipeline, ready to answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from wherever_contracts.errors import ModelNotFoundError, WhereverError
from wherever_contracts.manifest import Variant
from wherever_devices.choice import Option, Row, order_options, table
from wherever_devices.machine import Machine, probe
from wherever_edge.engines.engine import Resources, runs_at_once
from wherever_edge.eviction import Pin, is_tight
from wherever_edge.loaded import LoadedVariant
from wherever_edge.memory import resident_bytes
from wherever_edge.opening import Isolation, engines_for, open_variant
from wherever_edge.proving import Proving
from wherever_edge.queueing.bounds import Bounds, bounds_of
from wherever_edge.queueing.run_queue import RunQueue
from wherever_edge.readying import Readying
from wherever_edge.residents import Loaded, Residents
from wherever_edge.tune.guidance import Guidance
from wherever_edge.updates.state import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherever_contracts.places import Place
    from wherever_devices.plans import RunPlan
    from wherever_edge.engines.engine import Session
    from wherever_edge.packages.store import Package, Store
    from wherever_edge.queueing.sharing import Sharing
    from wherever_edge.tune.guidance import Deciding

__all__ = ["Loaded", "LoadedVariant", "LocalHost"]


class LocalHost:
    """Answers for the models of a store, in this process.

    Args:
        store: the packages.
        distance: where this host stands as its callers see it; variants meant for that distance
            are preferred, and a gateway prefers the reference.
        machine: what this machine is; probed when not given.
        threads: threads of one run; by default what the machine's profile says.
        memory_max_bytes: how much the process may grow by what is loaded (see `Budget`); what was
            used longest ago leaves the memory, and comes back when it is asked. None: no limit.
        runs: runs of engines at a time; by default what the decision says, and without one any
            number on the device, and as many as there are cores (but two at least) elsewhere.
        max_waiting: calls that may wait behind them; by default what the decision says, and
            without one any number on the device, and 64 elsewhere.
        batching: calls that wait for the same variant share a run where that pays.
        home: where measurements of this machine are kept, which then choose among plans, and what
            engines compiled, which then load sooner.
        decision: how the machine is used now, or what says so: it is asked again at most every
            30 s, and what changed by then holds for what is resolved from then on.
        isolation: "process" runs each variant in a worker process, whose death costs the calls in
            it another try; see docs/isolation.md.
        pinned: models, as "people" or "people@2.1", that stay in memory once they were used.
        proves: a variant serves only after its golden samples passed here (see `Proving`).

    Attributes:
        queue: where calls wait for the engines.
    """

    def __init__(
        self,
        store: Store,
        *,
        distance: Place,
        machine: Machine | None = None,
        threads: int | None = None,
        memory_max_bytes: int | None = None,
        runs: int | None = None,
        max_waiting: int | None = None,
        batching: bool = True,
        home: Path | None = None,
        decision: Deciding | None = None,
        isolation: Isolation = "none",
        pinned: Collection[str] = (),
        proves: bool = True,
    ) -> None:
        self.store = store
        self.distance: Place = distance
        self.machine = machine or probe()
        self._guide = Guidance(self.machine, threads=threads, home=home, decision=decision)
        self.threads = self._guide.threads
        self._wished = Bounds(runs, max_waiting)
        self.queue = RunQueue(*self._bounds())
        self._isolation: Isolation = isolation
        self._engines = engines_for(isolation)
        self._resources = Resources(
            runs=runs_at_once(self.machine.usable_cores, self.threads),
            cache_dir=None if home is None else home / "compiled",
            frugal=memory_max_bytes is not None and is_tight(memory_max_bytes),
        )
        self._residents = Residents(self._open, memory_max_bytes, resident_bytes())
        self._readying = Readying(
            self._residents,
            self.queue,
            machine=self.machine,
            distance=distance,
            batching=batching,
            proving=Proving(self.machine, home) if proves else None,
        )
        self._aliases: dict[tuple[str, str, str], LoadedVariant] = {}
        self._outdated: set[tuple[str, str, str]] = set()
        self._withdrawn: set[str] = set()
        for name in pinned:
            self._residents.pin(self._pin(name, "", ""))

    def resolve(self, model: str, version: str = "", variant: str = "") -> LoadedVariant:
        """The loaded variant that answers for `model`; loads it on first use, once.

        Args:
            model: the model's name, or "name@version".
            version: a version, when the name carries none.
            variant: a variant's id; by default the best one for this host.

        Raises:
            ModelNotFoundError: no such package or variant here.
            PackageError: the package's files are not what it promises.
            EngineError: no engine here can run it.
        """
        alias = (model, version, variant)
        self.changed()
        found = self._aliases.get(alias)
        if found is None or alias in self._outdated:
            self._outdated.discard(alias)
            self._refuse_withdrawn(model)
            package = self.store.get(f"{model}@{version}" if version else model)
            loaded = self.resolve_package(package, variant)
            if found is not None:
                self._aliases.pop(alias, None)
            found = self._aliases.setdefault(alias, loaded)
        return found

    def resolved(self, model: str, version: str = "", variant: str = "") -> LoadedVariant | None:
        """What answers for `model` now, as `resolve` found it last; None before that."""
        return self._aliases.get((model, version, variant))

    def resolve_package(self, package: Package, variant: str = "") -> LoadedVariant:
        """The same, for a package that is in hand.

        What does not fit this machine is told in the answer's `passed_over`; what was to run and
        an engine cannot load after all, in `substituted`.
        """
        return self._readying.first(package, self._wanted(package, variant))

    def load(self, package: Package, variant: Variant, engine: str = "") -> LoadedVariant:
        """Load a variant of a package, or return the one that is loaded.

        Args:
            package: the package.
            variant: one of its variants.
            engine: the one engine that may run it; by default whichever comes first.

        Raises:
            PackageError: the package's files are not what it promises.
            EngineError: no engine here, or not that one, can run it.
        """
        wanted = self._wanted(package, variant.id)
        if engine:
            wanted = [each for each in wanted if each.plan and each.plan.engine == engine]
        return self._readying.first(package, wanted)

    def load_as(self, package: Package, variant: Variant, plan: RunPlan) -> LoadedVariant:
        """Load a variant by this plan and no other; raises as `load` does."""
        return self._readying.by(package, Option(variant, plan))

    def options(self, package: Package) -> list[Option]:
        """Every way to answer for a package's model, the one to try first at the front."""
        names = {name for variant in package.manifest.variants for name in variant.needs.engines}
        options = order_options(
            package.manifest,
            present={variant.id for variant in package.present()},
            machine=self.machine,
            engines=self._engines.states(sorted(names)),
            threads=self._guide.threads,
            distance=self.distance,
            measured=self._guide.measured(package),
            decision=self._guide.decision,
        )
        return [self._within_budget(package, option) for option in options]

    def choices(self, package: Package) -> list[tuple[Variant, str]]:
        """Every variant, best first, with the reason why it cannot run here (or "")."""
        choices: dict[str, tuple[Variant, str]] = {}
        for option in self.options(package):
            if not option.unfit or option.variant.id not in choices:
                choices[option.variant.id] = (option.variant, option.unfit)
        return list(choices.values())

    def changed(self) -> bool:
        """True when other plans may be better now; looked at afresh at most every 30 s."""
        if not self._guide.changed():
            return False
        self.queue.bound(*self._bounds())
        self._outdated = set(self._aliases)
        return True

    @property
    def reasons(self) -> tuple[str, ...]:
        """What limits or changes how this machine is used now, in words."""
        decision = self._guide.decision
        return () if decision is None else tuple(reason.words for reason in decision.reasons)

    def table(self, package: Package) -> list[Row]:
        """What was measured of a package's plans on this machine, and which one is chosen."""
        return table(self.options(package), self._guide.measured(package))

    def pin(self, model: str, version: str = "", variant: str = "") -> LoadedVariant:
        """Load a variant as `resolve` does, and keep what it names in memory whatever is short.

        Without a version, or a variant, every one of the model's is kept once it was used.

        Raises:
            WhereverError: it cannot be loaded (see `resolve`).
        """
        loaded = self.resolve(model, version, variant)
        self._residents.pin(self._pin(model, version, variant))
        loaded.resident.bring_back()
        return loaded

    def unpin(self, model: str, version: str = "", variant: str = "") -> None:
        """Take back what `pin` was told in the same words."""
        self._residents.unpin(self._pin(model, version, variant))

    def withdraw(self, model: str) -> None:
        """Answer no more calls for a model, and let go of it when those that run have ended."""
        self._withdrawn.add(model)
        for alias in list(self._aliases):
            if alias[0].partition("@")[0] == model:
                self._aliases.pop(alias, None)
        self._release_unnamed()

    def offer(self, model: str) -> None:
        """Answer calls for a model again that was withdrawn."""
        self._withdrawn.discard(model)

    def offers(self, model: str) -> bool:
        """Whether calls for a model are answered, as far as its owner has a say."""
        return model not in self._withdrawn

    def share_by(self, sharing: Callable[[str], Sharing]) -> None:
        """Let the calls of each model share runs as its operator says, from now on.

        Args:
            sharing: how, by the model's name.
        """
        self._readying.share_by(sharing)

    def loaded(self) -> list[Loaded]:
        """What was loaded and not let go of, in memory or able to come back; last used first."""
        return self._residents.loaded()

    def refresh(self) -> list[tuple[str, WhereverError]]:
        """Look for packages again, and let the names in use mean the newest ones.

        What a name comes to mean is loaded before it does, so that no call waits; calls that run
        end with what they began with.

        Returns:
            (name, why it goes on meaning what it meant), for each that could not.
        """
        self.store.rescan()
        kept: list[tuple[str, WhereverError]] = []
        for alias in list(self._aliases):
            model, version, variant = alias
            try:
                package = self.store.get(f"{model}@{version}" if version else model)
                self._aliases[alias] = self.resolve_package(package, variant)
            except WhereverError as error:
                kept.append((model, error))
        self._release_unnamed()
        return kept

    def drop_missing(self) -> list[str]:
        """Answer no more calls for models whose packages are gone; `refresh` goes on with those.

        Returns:
            Their names.
        """
        there = {package.name for package in self.store.list()}
        gone = [alias for alias in list(self._aliases) if alias[0].partition("@")[0] not in there]
        for alias in gone:
            self._aliases.pop(alias, None)
        self._release_unnamed()
        return sorted({model.partition("@")[0] for model, _, _ in gone})

    def release(self, used: Collection[str]) -> None:
        """Let go of what is loaded from packages of other digests than `used`.

        A session is freed when the last call in it has ended.
        """
        self._residents.release(used)
        self._readying.release(used)

    def forget(self) -> None:
        """Drop every session and engine; the next call loads anew."""
        self._engines = engines_for(self._isolation)
        self._residents.forget()
        self._aliases = {}
        self.queue = self.queue.again()
        self._readying.forget(self.queue)

    def close(self) -> None:
        """Close every session, each when the last call in it has ended."""
        self._residents.close()
        self.forget()

    def _release_unnamed(self) -> None:
        """Let go of what no name in use means any more."""
        self.release({loaded.package.digest for loaded in list(self._aliases.values())})

    def _refuse_withdrawn(self, model: str) -> None:
        name = model.partition("@")[0]
        if name in self._withdrawn:
            raise ModelNotFoundError(f"model {name!r} was unloaded here; load it to use it again")

    def _bounds(self) -> Bounds:
        decision = self._guide.decision
        return bounds_of(self._wished, decision, self.distance, self.machine.usable_cores)

    def _wanted(self, package: Package, variant_id: str) -> list[Option]:
        """The options, or of these those of the variant that is asked for."""
        options = self.options(package)
        if not variant_id:
            return options
        named = [option for option in options if option.variant.id == variant_id]
        if not named:
            known = ", ".join(variant.id for variant in package.manifest.variants)
            raise ModelNotFoundError(
                f"model {package.name!r} has no variant {variant_id!r} (it has: {known})"
            )
        return named

    def _within_budget(self, package: Package, option: Option) -> Option:
        if option.plan is None or option.unfit:
            return option
        unfit = self._residents.too_large(package, option.variant, option.plan)
        return replace(option, unfit=unfit)

    def _pin(self, model: str, version: str, variant: str) -> Pin:
        """The wish that these words stand for; "name@canary" is the version that it means now."""
        name, _, named = model.partition("@")
        wanted = version or named
        meant = self.store.get(f"{name}@{wanted}").version if wanted in CHANNELS else wanted
        return Pin(name, meant, variant)

    def _open(self, package: Package, variant: Variant, plan: RunPlan) -> Session:
        return open_variant(self._engines, package, variant, plan, self._resources)
