"""The host of this process: variants loaded once, each with its pipeline, ready to answer."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import TYPE_CHECKING

from wherever_contracts.errors import (
    EngineError,
    ManifestError,
    ModelNotFoundError,
    WhereverError,
)
from wherever_contracts.manifest import MANIFEST_NAME, Signature, Variant
from wherever_devices.machine import Machine, default_threads, probe, unfit
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.forking import loading
from wherever_edge.loaded import LoadedVariant
from wherever_edge.packages.checks import tensor_mismatch

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_edge.engines.engine import Session
    from wherever_edge.packages.store import Package, Store

__all__ = ["LoadedVariant", "LocalHost"]

_RESERVED = ("options", "confidence", "placement")


class LocalHost:
    """Answers for the models of a store, in this process.

    Args:
        store: the packages.
        distance: where this host stands as its callers see it; variants meant for that distance
            are preferred, and a gateway prefers the reference.
        machine: what this machine is; probed when not given.
        threads: threads of one run; by default what the machine's profile says.
    """

    def __init__(
        self,
        store: Store,
        *,
        distance: Place,
        machine: Machine | None = None,
        threads: int | None = None,
    ) -> None:
        self.store = store
        self.distance: Place = distance
        self.machine = machine or probe()
        self.threads = default_threads(self.machine) if threads is None else threads
        self._engines = InstalledEngines()
        self._loaded: dict[tuple[str, str], LoadedVariant] = {}
        self._aliases: dict[tuple[str, str, str], LoadedVariant] = {}
        self._lock = threading.RLock()
        self._loading: dict[tuple[str, str], threading.Lock] = {}

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
        found = self._aliases.get(alias)
        if found is None:
            package = self.store.get(f"{model}@{version}" if version else model)
            found = self._aliases[alias] = self.resolve_package(package, variant)
        return found

    def resolve_package(self, package: Package, variant: str = "") -> LoadedVariant:
        """The same, for a package that is in hand.

        What an engine cannot load after all is passed over like what does not fit, and is told
        in the answer's `passed_over`.
        """
        passed_over: list[str] = []
        for choice, unfit_because in self._candidates(package, variant):
            reason = unfit_because
            if not reason:
                try:
                    return self.load(package, choice, tuple(passed_over))
                except EngineError as error:
                    reason = str(error)
            passed_over.append(f"{choice.id}: {reason}")
        raise EngineError(f"no variant of {package.name!r} can run here ({'; '.join(passed_over)})")

    def load(
        self, package: Package, variant: Variant, passed_over: tuple[str, ...] = ()
    ) -> LoadedVariant:
        """Load a variant of a package, or return the one that is loaded."""
        key = (package.digest, variant.id)
        with self._lock:
            single = self._loading.setdefault(key, threading.Lock())
        with single, loading():
            loaded = self._loaded.get(key)
            if loaded is None:
                loaded = self._loaded[key] = self._load(package, variant, passed_over)
        return loaded

    def choices(self, package: Package) -> list[tuple[Variant, str]]:
        """Every variant, best first, with the reason why it cannot run here (or "")."""
        present = package.present()
        choices: list[tuple[Variant, str]] = []
        for variant in package.manifest.variants:
            if variant not in present:
                reason = "its files are not on this machine"
            else:
                engines = self._engines.states(variant.needs.engines)
                reason = unfit(variant.needs, variant.format, self.machine, engines) or ""
            choices.append((variant, reason))
        reference = package.manifest.reference
        choices.sort(
            key=lambda choice: (
                self.distance not in choice[0].places,
                self.distance == "cloud" and choice[0].id != reference,
            )
        )
        return choices

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
        self.release({loaded.package.digest for loaded in self._aliases.values()})
        return kept

    def release(self, used: Collection[str]) -> None:
        """Let go of what is loaded from packages of other digests than `used`.

        A session is freed when the last call in it has ended.
        """
        with self._lock:
            for key in [key for key in self._loaded if key[0] not in used]:
                self._loaded.pop(key)
                self._loading.pop(key, None)

    def forget(self) -> None:
        """Drop every session and engine; the next call loads anew."""
        self._lock = threading.RLock()
        self._engines = InstalledEngines()
        self._loading = {}
        self._loaded = {}
        self._aliases = {}

    def close(self) -> None:
        """Close every session."""
        with self._lock:
            loaded_now = list(self._loaded.values())
        for loaded in loaded_now:
            loaded.session.close()
        self.forget()

    def _candidates(self, package: Package, variant_id: str) -> list[tuple[Variant, str]]:
        """The choices, or of these the one that is asked for."""
        choices = self.choices(package)
        if not variant_id:
            return choices
        named = [choice for choice in choices if choice[0].id == variant_id]
        if not named:
            known = ", ".join(variant.id for variant in package.manifest.variants)
            raise ModelNotFoundError(
                f"model {package.name!r} has no variant {variant_id!r} (it has: {known})"
            )
        return named

    def _load(
        self, package: Package, variant: Variant, passed_over: tuple[str, ...]
    ) -> LoadedVariant:
        _refuse_reserved_names(package.manifest.signature, variant)
        files = [package.read(entry) for entry in variant.files]
        session, skipped = self._engines.open(variant, files, threads=self.threads)
        mismatch = tensor_mismatch(variant, session.inputs, session.outputs)
        if mismatch is not None:
            raise mismatch
        own = (
            f"{variant.id}: {reason}" for reason in (*skipped, *_other_precision(variant, session))
        )
        return LoadedVariant(package, variant, session, (*passed_over, *own))


def _other_precision(variant: Variant, session: Session) -> tuple[str, ...]:
    used = session.facts.precision
    if used == variant.precision:
        return ()
    return (f"{session.facts.engine} computes in {used} here, not in {variant.precision}",)


def _refuse_reserved_names(signature: Signature, variant: Variant) -> None:
    """Refuse tensors named like what a pipeline keeps beside them."""
    names = [entry.name for entry in signature.inputs]
    for entries in (signature.outputs, variant.tensors.inputs, variant.tensors.outputs):
        names += [entry.name for entry in entries]
    for name in names:
        if name in _RESERVED:
            expected = f"no tensor named {' or '.join(_RESERVED)}"
            raise ManifestError(MANIFEST_NAME, f"variants.{variant.id}", expected, name)
