"""The host of this process: variants loaded once, each with its pipeline, ready to answer."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import (
    EngineError,
    ManifestError,
    ModelNotFoundError,
    WhereverError,
)
from wherever_contracts.manifest import MANIFEST_NAME, Signature, Variant
from wherever_contracts.receipts import Answer, Ran
from wherever_contracts.tensors import describe
from wherever_devices.machine import Machine, default_threads, probe, unfit
from wherever_edge import plugins
from wherever_edge.forking import loading
from wherever_edge.packages.checks import tensor_mismatch
from wherever_edge.pipelines.pipeline import State, Step, StepContext, compile_steps
from wherever_edge.wire_inputs import WireInputs

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_contracts.tensors import Array
    from wherever_edge.engines.engine import Engine, Session
    from wherever_edge.packages.store import Package, Store

# What the longest recent answer counts for, one answer later.
_FADING = 0.95
_RESERVED = ("options", "confidence", "placement")


class LoadedVariant:
    """A variant in an engine, with its pipeline. Safe to use from many threads."""

    __slots__ = (
        "_outputs",
        "_post",
        "_pre",
        "batches",
        "package",
        "ran",
        "session",
        "usual_s",
        "variant",
        "wire_inputs",
    )

    def __init__(self, package: Package, variant: Variant, session: Session) -> None:
        self.package: Package = package
        self.variant: Variant = variant
        self.session: Session = session
        context = StepContext(package.manifest.signature, variant)
        where = f"variants.{variant.id}.pipeline"
        self._pre = compile_steps(variant.pipeline.pre, context, f"{where}.pre")
        self._post = compile_steps(variant.pipeline.post, context, f"{where}.post")
        self._outputs = tuple(
            (spec.name, spec.admits, spec) for spec in (e.spec() for e in self.signature.outputs)
        )
        every = (*session.inputs, *session.outputs)
        self.batches: bool = variant.tensors.batch and all(s.shape[:1] == (-1,) for s in every)
        self.usual_s: float = 0.0
        self.ran: Ran = _ran(package, variant, session)
        self.wire_inputs: WireInputs = WireInputs(self.signature)

    @property
    def signature(self) -> Signature:
        """The signature of the model."""
        return self.package.manifest.signature

    def answer(self, inputs: Mapping[str, Any], options: Mapping[str, float]) -> Answer:
        """Run the whole pipeline for checked inputs.

        Raises:
            InputError: an image turned out to be damaged.
            EngineError: the engine or a step failed, or made something else than promised.
        """
        state: State = {**inputs, "options": options}
        try:
            for step in self._pre:
                step(state)
            started = perf_counter()
            state.update(self.session.run(state))
            engine_s = perf_counter() - started
            for step in self._post:
                step(state)
        except WhereverError:
            raise
        except Exception as error:
            raise self._step_failed(error) from error
        return self._collect(state, engine_s)

    def warm(self) -> None:
        """Run the engine once on zeros, so that the first call does not pay for its first run.

        Raises:
            EngineError: the engine failed where every length that is open is 1.
        """
        feed = {
            spec.name: np.zeros([max(n, 1) for n in spec.shape], spec.numpy_dtype)
            for spec in self.session.inputs
        }
        self.session.run(feed)

    def took(self, elapsed_s: float) -> None:
        """Remember how long an answer takes: the longest recent one, slowly forgotten."""
        faded_s = self.usual_s * _FADING
        self.usual_s = elapsed_s if elapsed_s > faded_s else faded_s  # noqa: FURB136 (hot path)

    def answer_many(
        self, rows: Sequence[Mapping[str, Any]], options: Mapping[str, float]
    ) -> list[Answer | WhereverError]:
        """Answer every row, in order, in one run of the engine where the variant can batch.

        A row that fails gives its error in its place and does not disturb the others.
        """
        if not self.batches or len(rows) == 1:
            return [self._answer_or_error(row, options) for row in rows]
        states = [self._prepared(row, options) for row in rows]
        ready = [state for state in states if isinstance(state, dict)]
        try:
            finished = iter(self._run_together(ready))
        except Exception:  # noqa: BLE001 (one by one, each row gets its own error)
            return [self._answer_or_error(row, options) for row in rows]
        return [next(finished) if isinstance(state, dict) else state for state in states]

    def _run_together(self, states: Sequence[State]) -> list[Answer | WhereverError]:
        """One run of the engine for every state; each gets its own rows of the outputs."""
        if not states:
            return []
        names = [spec.name for spec in self.session.inputs]
        feed = {name: np.concatenate([state[name] for state in states]) for name in names}
        sizes = [len(state[names[0]]) for state in states]
        started = perf_counter()
        outputs = self.session.run(feed)
        engine_s = (perf_counter() - started) / len(states)
        ends = np.cumsum(sizes).tolist()
        if any(array.shape[:1] != (ends[-1],) for array in outputs.values()):
            raise EngineError(f"variant {self.variant.id!r} did not give one row for each it got")
        rows = [
            # copies: a row must not keep the whole batch in memory
            {name: array[end - size : end].copy() for name, array in outputs.items()}
            for end, size in zip(ends, sizes, strict=True)
        ]
        return [
            self._finished(state, own, engine_s) for state, own in zip(states, rows, strict=True)
        ]

    def _finished(
        self, state: State, outputs: Mapping[str, Array], engine_s: float
    ) -> Answer | WhereverError:
        state.update(outputs)
        try:
            self._run_steps(self._post, state)
            return self._collect(state, engine_s)
        except WhereverError as error:
            return error

    def _prepared(
        self, row: Mapping[str, Any], options: Mapping[str, float]
    ) -> State | WhereverError:
        state: State = dict(row)
        state["options"] = options
        try:
            self._run_steps(self._pre, state)
        except WhereverError as error:
            return error
        return state

    def _answer_or_error(
        self, row: Mapping[str, Any], options: Mapping[str, float]
    ) -> Answer | WhereverError:
        try:
            return self.answer(row, options)
        except WhereverError as error:
            return error

    def _collect(self, state: State, engine_s: float) -> Answer:
        """The signature's outputs out of the state, checked."""
        outputs: dict[str, Array] = {}
        for name, admits, spec in self._outputs:
            array: Any = state.get(name)
            if type(array) is not np.ndarray or not admits(array):
                found = describe(array) if hasattr(array, "dtype") else type(array).__name__
                raise EngineError(
                    f"variant {self.variant.id!r} made {found} for output {name!r}, "
                    f"the signature says {spec}"
                )
            outputs[name] = array
        return Answer(outputs, state.get("confidence"), self.ran, engine_s)

    def _run_steps(self, steps: Sequence[Step], state: State) -> None:
        try:
            for step in steps:
                step(state)
        except WhereverError:
            raise
        except Exception as error:
            raise self._step_failed(error) from error

    def _step_failed(self, error: Exception) -> EngineError:
        what = f"{type(error).__name__}: {error}"
        return EngineError(f"a pipeline step of variant {self.variant.id!r} failed: {what}")


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
        self._engines: dict[str, Engine] = {}
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
        """The same, for a package that is in hand."""
        return self.load(package, self._choose(package, variant))

    def load(self, package: Package, variant: Variant) -> LoadedVariant:
        """Load a variant of a package, or return the one that is loaded."""
        key = (package.digest, variant.id)
        with self._lock:
            single = self._loading.setdefault(key, threading.Lock())
        with single, loading():
            loaded = self._loaded.get(key)
            if loaded is None:
                loaded = self._loaded[key] = self._load(package, variant)
        return loaded

    def choices(self, package: Package) -> list[tuple[Variant, str]]:
        """Every variant, best first, with the reason why it cannot run here (or "")."""
        present = package.present()
        engines = plugins.entry_points("wherever.engines")
        choices: list[tuple[Variant, str]] = []
        for variant in package.manifest.variants:
            if variant not in present:
                reason = "its files are not on this machine"
            else:
                reason = unfit(variant.needs, self.machine, engines) or ""
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
        """Drop every session; the next call loads anew."""
        self._lock = threading.RLock()
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

    def _choose(self, package: Package, variant_id: str) -> Variant:
        choices = self.choices(package)
        if variant_id:
            choices = [choice for choice in choices if choice[0].id == variant_id]
            if not choices:
                known = ", ".join(variant.id for variant in package.manifest.variants)
                raise ModelNotFoundError(
                    f"model {package.name!r} has no variant {variant_id!r} (it has: {known})"
                )
        for variant, reason in choices:
            if not reason:
                return variant
        reasons = "; ".join(f"{variant.id}: {reason}" for variant, reason in choices)
        raise EngineError(f"no variant of {package.name!r} can run here ({reasons})")

    def _load(self, package: Package, variant: Variant) -> LoadedVariant:
        _refuse_reserved_names(package.manifest.signature, variant)
        session = self._engine_for(variant).open(
            [package.read(entry) for entry in variant.files],
            file_format=variant.format,
            precision=variant.precision,
            threads=self.threads,
        )
        mismatch = tensor_mismatch(variant, session.inputs, session.outputs)
        if mismatch is not None:
            raise mismatch
        return LoadedVariant(package, variant, session)

    def _engine_for(self, variant: Variant) -> Engine:
        for name in variant.needs.engines:
            if name in plugins.entry_points("wherever.engines"):
                engine = self._engines.get(name)
                if engine is None:
                    engine = self._engines[name] = plugins.load("wherever.engines", name)()
                if variant.format in engine.formats:
                    return engine
        raise EngineError(
            f"no installed engine reads {variant.format!r} files "
            f"(variant {variant.id!r} names {', '.join(variant.needs.engines)})"
        )


def _ran(package: Package, variant: Variant, session: Session) -> Ran:
    facts = session.facts
    return Ran(
        model=package.name,
        version=package.version,
        variant=variant.id,
        package_digest=package.digest,
        variant_digest=package.variant_digest(variant.id),
        trust=package.trust,
        engine=facts.engine,
        engine_version=facts.version,
        provider=facts.provider,
        precision=facts.precision,
        threads=facts.threads,
    )


def _refuse_reserved_names(signature: Signature, variant: Variant) -> None:
    """Refuse tensors named like what a pipeline keeps beside them."""
    names = [entry.name for entry in signature.inputs]
    for entries in (signature.outputs, variant.tensors.inputs, variant.tensors.outputs):
        names += [entry.name for entry in entries]
    for name in names:
        if name in _RESERVED:
            expected = f"no tensor named {' or '.join(_RESERVED)}"
            raise ManifestError(MANIFEST_NAME, f"variants.{variant.id}", expected, name)
