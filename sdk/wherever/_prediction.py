"""What a call gives back: the value, and where it came from and why."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from wherever_contracts.errors import InputError, UpgradeError
from wherever_contracts.manifest import Signature
from wherever_contracts.receipts import Answer, AttemptRecord, Expected, Receipt
from wherever_contracts.value_making import plain, value_of
from wherever_contracts.values import Label, is_detections, is_tensors

if TYPE_CHECKING:
    from wherever._outbox.later import Later
    from wherever._route import Views
    from wherever._routing.plan import Plan
    from wherever._routing.steps import Tried, Verdict
    from wherever_contracts.places import Place
    from wherever_contracts.tensors import Array

_serials = itertools.count(1)
_process = os.urandom(8).hex()


class Serial(NamedTuple):
    """What makes a call's id: its process and its number there."""

    process: str
    number: int

    def __str__(self) -> str:
        return f"{self.process}-{self.number:x}"


def next_serial() -> Serial:
    """One that no other call has, in this process or another."""
    return Serial(_process, next(_serials))


def _after_fork_in_child() -> None:
    global _process  # noqa: PLW0603 (a fact about the process)
    _process = os.urandom(8).hex()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Judge(Protocol):
    """Who is told whether answers were right."""

    def feedback(self, prediction: Prediction, *, label: Any, accepted: bool | None) -> None:
        """Note the truth about an answer."""


class Context(NamedTuple):
    """What a prediction knows of its call; its inputs are kept for `plot()`."""

    signature: Signature
    plan: Plan
    deadline_s: float | None
    options: Mapping[str, float]
    inputs: Mapping[str, Any]
    serial: Serial
    started_at: float
    total_s: float
    caches: bool = False
    passed_over: tuple[str, ...] = ()
    views: Views | None = None
    later: Later | None = None
    up_bytes: int = 0
    expected: Mapping[str, Expected] | None = None
    judge: Judge | None = None


class Prediction:
    """An answer.

    Attributes:
        outputs: the signature's tensors, by name; to be read, not written.
        confidence: 0 to 1, or None when the model gives none.
        place: "device", "nearby" or "cloud".
        degraded: True when it is a lesser answer than asked for; `receipt.reason` says why.
    """

    __slots__ = ("_context", "_verdict", "confidence", "degraded", "outputs", "place")
    outputs: dict[str, Array]
    confidence: float | None
    place: Place
    degraded: bool

    def __init__(self, verdict: Verdict, context: Context) -> None:
        answer = verdict.answer
        self.outputs = answer.outputs
        self.confidence = answer.confidence
        self.place = verdict.candidate.place
        self.degraded = verdict.degraded
        self._verdict = verdict
        self._context = context

    @property
    def id(self) -> str:
        """The id of the call; the receipt's too."""
        return str(self._context.serial)

    @property
    def value(self) -> Any:
        """What the model's signature promises.

        A `Label` (a str), a list of `Detection`, an embedding array, or the tensors by name.
        """
        return value_of(self._context.signature, self.outputs)

    @property
    def receipt(self) -> Receipt:
        """The record of the call: what ran, where, why, and what else was considered."""
        verdict, context = self._verdict, self._context
        return Receipt(
            id=self.id,
            ran=verdict.answer.ran,
            place=self.place,
            host=verdict.candidate.host,
            reason="".join(verdict.reason),
            degraded=self.degraded,
            mode=context.plan.mode,
            boundary=context.plan.boundary,
            deadline_s=context.deadline_s,
            attempts=tuple(_attempt(tried, context.up_bytes) for tried in verdict.tried),
            alternatives={**context.plan.ruled_out, **dict(verdict.skipped)},
            total_s=context.total_s,
            engine_s=verdict.answer.engine_s,
            started_at=context.started_at,
            cache=_cache_word(verdict.answer, caches=context.caches),
            protocol=verdict.answer.protocol,
            passed_over=context.passed_over if self.place == "device" else (),
            substituted=verdict.answer.substituted,
            queue_s=verdict.answer.queue_s,
            released=verdict.candidate.release,
            later="" if context.later is None else context.later.word,
            rows=verdict.answer.rows,
            expected=dict(context.expected or {}),
        )

    @property
    def context(self) -> Context:
        """What it knows of its call."""
        return self._context

    def upgrade(self, timeout_s: float | None = None) -> Prediction | None:
        """The better answer that a call with `later=True` asked for.

        That is this one when there is none better: the model's reference gave it, or it was
        confident enough.

        Args:
            timeout_s: how long to wait for it, in seconds; None: not at all.

        Returns:
            The reference's answer; None when it is not there yet.

        Raises:
            UpgradeError: it will not come: the call did not ask for it, its boundary keeps it on
                this device, a host refused it, it waited for too long, or it was dropped.
            OutboxFullError: there was no room to let it wait.
        """
        later = self._context.later
        if later is None:
            why = "did not ask for a later answer (later=True)"
            raise UpgradeError(f"call {self.id} {why}", "kept")
        return later.upgrade(self, timeout_s)

    def put_off(self, put_in: Callable[[Verdict, Context], Later]) -> Prediction:
        """The same answer, with what becomes of a better one."""
        verdict, context = self._verdict, self._context
        return Prediction(verdict, context._replace(later=put_in(verdict, context)))

    @property
    def verdict(self) -> Verdict:
        """The answer with all that is known of how it came about."""
        return self._verdict

    def feedback(self, *, label: Any = None, accepted: bool | None = None) -> None:
        """Say what the right answer is, or whether this one is right, when that is known.

        It stays on this device, joined to the call's receipt, and counts in the accuracy that
        `wherever.status()` shows. The last word on a call replaces those before.

        Args:
            label: the right answer: a label's name, or for detections the labels that should be
                found.
            accepted: whether the answer was taken as it is.

        Raises:
            InputError: neither or both are given, or the label is none of the model's.
        """
        judge = self._context.judge
        if judge is None:
            expected = "a call of this process (wherever.feedback takes ids of recorded ones)"
            raise InputError("feedback", expected, f"call {self.id}", kind="argument")
        judge.feedback(self, label=label, accepted=accepted)

    def explain(self) -> str:
        """The receipt in words, for a person."""
        from wherever._explain import explain  # noqa: PLC0415 (only people need it)

        return explain(self, self._context.views if self.place == "device" else None)

    def plot(self) -> Any:
        """The input with the answer drawn on it, as a `PIL.Image.Image`.

        Raises:
            MissingExtraError: Pillow is not installed.
            ValueError: the model takes no image, or the call was another process's.
        """
        from wherever._plot import plot  # noqa: PLC0415 (needs the image extra)

        context = self._context
        images = [e.name for e in context.signature.inputs if e.kind == "image"]
        if not images:
            raise ValueError(
                f"model {context.plan.model!r} takes no image, so there is none to draw"
            )
        if images[0] not in context.inputs:
            raise ValueError(f"call {self.id} is of another process, and its input is not known")
        shown = context.inputs[images[0]]
        return plot(shown, context.signature, self.outputs, context.options.get("min_score", 0.0))

    def to_dict(self) -> dict[str, Any]:
        """The answer and its receipt as plain data, ready for JSON."""
        return {
            "id": self.id,
            "value": plain(self.value),
            "confidence": self.confidence,
            "place": self.place,
            "degraded": self.degraded,
            "outputs": {name: array.tolist() for name, array in self.outputs.items()},
            "receipt": self.receipt.to_dict(),
        }

    def __repr__(self) -> str:
        ran = self._verdict.answer.ran
        flag = ", degraded" if self.degraded else ""
        return f"<Prediction {_short(self.value)} from {self.place} ({ran.variant}){flag}>"

    def _repr_html_(self) -> str:
        from html import escape  # noqa: PLC0415 (notebooks only)

        return f"<pre>{escape(self.explain())}</pre>"


def _cache_word(answer: Answer, *, caches: bool) -> Literal["hit", "miss", "off"]:
    if answer.cached:
        return "hit"
    return "miss" if caches else "off"


def _attempt(tried: Tried, up_bytes: int) -> AttemptRecord:
    candidate, elapsed_s, error, given_up, answer = tried
    place, host, rule = candidate.place, candidate.host, candidate.release
    sent = 0 if place == "device" else up_bytes
    if answer is None:
        outcome = "given_up" if given_up else "answered" if error is None else error.code
        return AttemptRecord(place, host, outcome, elapsed_s, str(error or ""), rule, up_bytes=sent)
    variant, down_bytes = answer.ran.variant, answer.down_bytes
    return AttemptRecord(
        place, host, "answered", elapsed_s, "", rule, variant, answer.confidence, sent, down_bytes
    )


def _short(value: Any) -> str:
    if isinstance(value, Label):
        return f"{str(value)!r} ({value.score:.2f})"
    if is_detections(value):
        return f"{len(value)} detections"
    if is_tensors(value):
        return f"tensors {', '.join(value)}"
    return f"array {list(value.shape)}"
