"""A variant that is loaded: its session with its pipeline around it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wherever_contracts.errors import EngineCrashError, EngineError, WhereverError
from wherever_contracts.receipts import Answer, Ran
from wherever_contracts.tensors import describe
from wherever_contracts.urgency import CALM, Urgency
from wherever_edge.counters import COUNTERS
from wherever_edge.opened import ran_by, shares_runs
from wherever_edge.pipelines.pipeline import State, Step, StepContext, compile_steps
from wherever_edge.pipelines.rows import IN_TURN, run_in_turn
from wherever_edge.queueing.desk import URGENCY, needs_desk
from wherever_edge.resident import Ran as EngineRan
from wherever_edge.wire_inputs import WireInputs

if TYPE_CHECKING:
    from wherever_contracts.manifest import Signature, Variant
    from wherever_contracts.tensors import Array
    from wherever_edge.engines.engine import Session
    from wherever_edge.packages.store import Package
    from wherever_edge.queueing.desk import Desk
    from wherever_edge.resident import Resident

_LOG = logging.getLogger(__name__)

# How often a call is tried again where its engine's process dies, and for how long it waits for a
# new one. Whoever ends worker after worker from outside may hit the same call twice.
_TRIES = 8
_BACK_S = 10.0


class Trace(NamedTuple):
    """An answer, and what there was on the way to it.

    `fed` are the tensors that went into the engine and `given` those that came out, each None
    where it had several rows of one call in turn.
    """

    fed: dict[str, Array] | None
    given: dict[str, Array] | None
    outputs: dict[str, Array]


class LoadedVariant:
    """A variant in an engine, with its pipeline. Safe to use from many threads.

    Attributes:
        resident: the session, or the way to it.
        passed_over: why each better variant and each engine that this one prefers cannot be used
            on this machine, as was known before: "variant: reason".
        substituted: what was to run by the plan and did not, and what runs otherwise than planned:
            "variant: reason".
    """

    __slots__ = (
        "_at_once",
        "_next",
        "_outputs",
        "_post",
        "_pre",
        "batches",
        "package",
        "passed_over",
        "ran",
        "resident",
        "substituted",
        "variant",
        "wire_inputs",
    )

    def __init__(
        self,
        package: Package,
        variant: Variant,
        resident: Resident,
        passed_over: tuple[str, ...] = (),
        substituted: tuple[str, ...] = (),
        *,
        next_best: Callable[[], LoadedVariant] | None = None,
        desk: Desk | None = None,
    ) -> None:
        self.package: Package = package
        self.passed_over: tuple[str, ...] = passed_over
        self.substituted: tuple[str, ...] = substituted
        self.variant: Variant = variant
        self.resident: Resident = resident
        self._next: Callable[[], LoadedVariant] | None = next_best
        session = resident.bring_back()
        context = StepContext(package.manifest.signature, variant, package.read_path)
        where = f"variants.{variant.id}.pipeline"
        self._pre = compile_steps(variant.pipeline.pre, context, f"{where}.pre")
        self._post = compile_steps(variant.pipeline.post, context, f"{where}.post")
        if desk is not None:
            self._pre, self._post = desk.around(self._pre), desk.around(self._post)
        self._outputs = tuple(
            (spec.name, spec.admits, spec) for spec in (e.spec() for e in self.signature.outputs)
        )
        self.batches: bool = shares_runs(variant, session)
        self._at_once = not needs_desk(self.signature) and not session.pids
        self.ran: Ran = ran_by(package, variant, session)
        self.wire_inputs: WireInputs = WireInputs(self.signature)

    @property
    def signature(self) -> Signature:
        """The signature of the model."""
        return self.package.manifest.signature

    @property
    def session(self) -> Session:
        """The session; it comes back into memory if it had left it."""
        return self.resident.bring_back()

    @property
    def together(self) -> int:
        """With how many calls one gains by a run of all; 0 for what is over at once."""
        lane = self.resident.lane
        if lane is None:
            return 1
        return 0 if lane.tiny and self._at_once else lane.together

    def answer(
        self, inputs: Mapping[str, Any], options: Mapping[str, float], urgency: Urgency = CALM
    ) -> Answer:
        """Run the whole pipeline for checked inputs.

        When the engine's process dies of it, the next best option answers; where there is none,
        the same one does as soon as it has a process again.

        Raises:
            InputError: an image turned out to be damaged.
            EngineError: the engine or a step failed, or made something else than promised.
        """
        try:
            return self._answered(inputs, options, urgency)
        except EngineCrashError as crash:
            return self._answered_instead(crash, inputs, options, urgency)

    def _answered(
        self, inputs: Mapping[str, Any], options: Mapping[str, float], urgency: Urgency
    ) -> Answer:
        state: State = {**inputs, "options": options, URGENCY: urgency}
        try:
            for step in self._pre:
                step(state)
            ran = self._run(state, urgency)
            state.update(ran.outputs)
            for step in self._post:
                step(state)
        except WhereverError:
            raise
        except Exception as error:
            raise self._step_failed(error) from error
        return self._collect(state, ran)

    def trace(self, inputs: Mapping[str, Any], options: Mapping[str, float]) -> Trace:
        """Answer as `answer` does, and keep what there was on the way; nothing answers instead.

        Raises:
            InputError: an image turned out to be damaged.
            EngineError: the engine or a step failed, or made something else than promised.
        """
        state: State = {**inputs, "options": options}
        self._run_steps(self._pre, state)
        alone = IN_TURN not in state
        fed = {spec.name: state[spec.name] for spec in self.session.inputs} if alone else None
        ran = self._run(state, CALM)
        # copies: a step may work in place
        given = {name: array.copy() for name, array in ran.outputs.items()} if alone else None
        state.update(ran.outputs)
        return Trace(fed, given, self._outputs_of(state))

    def outputs_from(
        self,
        given: Mapping[str, Array],
        inputs: Mapping[str, Any],
        options: Mapping[str, float],
    ) -> dict[str, Array]:
        """The signature's outputs, had the engine given these tensors.

        Raises:
            EngineError: a step failed, or made something else than promised.
        """
        state: State = {**inputs, "options": options}
        self._run_steps(self._pre, state)
        state.update(given)
        return self._outputs_of(state)

    def warm(self) -> None:
        """Run the engine once on zeros, so that the first call does not pay for its first run.

        Raises:
            EngineError: the engine failed where every length that is open is 1.
        """
        self.resident.warm()

    def answer_many(
        self,
        rows: Sequence[Mapping[str, Any]],
        options: Mapping[str, float],
        urgency: Urgency = CALM,
        *,
        if_it_pays: bool = False,
    ) -> list[Answer | WhereverError]:
        """Answer every row, in order, in one run of the engine where the variant can batch.

        A row that fails gives its error in its place and does not disturb the others.

        Args:
            rows: the inputs of each.
            options: the options of all.
            urgency: how much they can wait.
            if_it_pays: in as many runs as take the least, as far as is known.
        """
        if not self.batches or len(rows) == 1:
            return [self._answer_or_error(row, options, urgency) for row in rows]
        states = [self._prepared(row, options, urgency) for row in rows]
        ready = [state for state in states if isinstance(state, dict)]
        together = self._gain(ready, urgency) if if_it_pays else len(rows)
        if together < len(ready):
            starts = range(0, len(rows), together)
            parts = [rows[start : start + together] for start in starts]
            return [each for part in parts for each in self.answer_many(part, options, urgency)]
        try:
            finished = iter(self._run_together(ready, urgency))
        except Exception:  # noqa: BLE001 (one by one, each row gets its own error)
            return [self._answer_or_error(row, options, urgency) for row in rows]
        return [next(finished) if isinstance(state, dict) else state for state in states]

    def _run(self, state: State, urgency: Urgency) -> EngineRan:
        if IN_TURN in state:
            return run_in_turn(lambda tensors: self.resident.run(tensors, urgency), state)
        return self.resident.run(state, urgency)

    def _run_together(
        self, states: Sequence[State], urgency: Urgency
    ) -> list[Answer | WhereverError]:
        """One run of the engine for every state; each gets its own rows of the outputs."""
        if not states:
            return []
        names = [spec.name for spec in self.session.inputs]
        feed = {name: np.concatenate([state[name] for state in states]) for name in names}
        sizes = [len(state[names[0]]) for state in states]
        outputs, together_s, queue_s, shared = self.resident.run(feed, urgency, len(states))
        engine_s = together_s / len(states)
        ends = list(itertools.accumulate(sizes))
        if any(array.shape[:1] != (ends[-1],) for array in outputs.values()):
            raise EngineError(f"variant {self.variant.id!r} did not give one row for each it got")
        rows = [
            # copies: a row must not keep the whole batch in memory
            {name: array[end - size : end].copy() for name, array in outputs.items()}
            for end, size in zip(ends, sizes, strict=True)
        ]
        together = max(shared, ends[-1])
        return [
            self._finished(state, EngineRan(own, engine_s, queue_s, together))
            for state, own in zip(states, rows, strict=True)
        ]

    def _gain(self, states: Sequence[State], urgency: Urgency) -> int:
        """How many of the first calls gain by one run."""
        lane = self.resident.lane
        return len(states) if not states or lane is None else lane.gain(states, urgency)

    def _finished(self, state: State, ran: EngineRan) -> Answer | WhereverError:
        state.update(ran.outputs)
        try:
            if self._post:
                self._run_steps(self._post, state)
            return self._collect(state, ran)
        except WhereverError as error:
            return error

    def _prepared(
        self, row: Mapping[str, Any], options: Mapping[str, float], urgency: Urgency
    ) -> State | WhereverError:
        state: State = {**row, "options": options, URGENCY: urgency}
        try:
            if self._pre:
                self._run_steps(self._pre, state)
        except WhereverError as error:
            return error
        return state

    def _answer_or_error(
        self, row: Mapping[str, Any], options: Mapping[str, float], urgency: Urgency
    ) -> Answer | WhereverError:
        try:
            return self.answer(row, options, urgency)
        except WhereverError as error:
            return error

    def _answered_instead(
        self,
        crash: EngineCrashError,
        inputs: Mapping[str, Any],
        options: Mapping[str, float],
        urgency: Urgency,
    ) -> Answer:
        """Let the next best option answer; where none can, the same one once it is back."""
        if self._next is None:
            return self._answered_again(crash, inputs, options, urgency)
        try:
            answer = self._next().answer(inputs, options, urgency)
        except EngineError:
            return self._answered_again(crash, inputs, options, urgency)
        model, variant = self.package.name, self.variant.id
        COUNTERS.add("wherever_substitutions_total", model=model, variant=variant)
        return answer._replace(substituted=(f"{self.variant.id}: {crash}", *answer.substituted))

    def _answered_again(
        self,
        crash: EngineCrashError,
        inputs: Mapping[str, Any],
        options: Mapping[str, float],
        urgency: Urgency,
    ) -> Answer:
        for _ in range(_TRIES):
            if not crash.retryable or not self.resident.recovers(_patience_s(urgency)):
                break
            try:
                return self._answered(inputs, options, urgency)
            except EngineCrashError as again:
                crash = again
        raise crash

    def _outputs_of(self, state: State) -> dict[str, Array]:
        self._run_steps(self._post, state)
        return self._collect(state, EngineRan({}, 0.0, 0.0)).outputs

    def _collect(self, state: State, ran: EngineRan) -> Answer:
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
        return Answer(
            outputs,
            state.get("confidence"),
            self.ran,
            ran.engine_s,
            queue_s=ran.queue_s,
            substituted=self.substituted,
            rows=ran.rows,
        )

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


def _patience_s(urgency: Urgency) -> float:
    """How long a call may wait for an engine's process to be back."""
    if urgency.deadline is None:
        return _BACK_S
    return min(_BACK_S, urgency.deadline - perf_counter())


def tell_substituted(loaded: LoadedVariant) -> None:
    """Log and count what is not as planned."""
    for words in loaded.substituted:
        _LOG.warning("%s: not as planned: %s", loaded.package.name, words)
        COUNTERS.add(
            "wherever_substitutions_total", model=loaded.package.name, variant=loaded.variant.id
        )
