"""What people say of answers: checked, joined to the call, and kept as evidence."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever._escalation.events import Judged
from wherever._escalation.judging import Rights, Truth, judge, truth_of
from wherever._ledger import Key
from wherever_contracts.errors import InputError
from wherever_edge.agreement import category_of
from wherever_edge.counters import COUNTERS

if TYPE_CHECKING:
    from wherever._prediction import Prediction
    from wherever._records.journal import Journal
    from wherever._records.record import Record
    from wherever_contracts.manifest import Signature
    from wherever_contracts.receipts import Answer, AttemptRecord, Ran
    from wherever_edge.packages.package import Package

# So many calls back it is known that feedback was given before, and is not counted again.
_REMEMBERED = 10_000
_RECORDED = (
    "the id of a call that was recorded (record=True on the call, or as a setting); of an answer "
    "that is at hand, prediction.feedback(...) needs no record"
)


class Opinions:
    """Takes what people say of answers. Safe to use from many threads.

    Args:
        keep: keeps what became known of a variant; `Ledger.add`, or what also tells a promise.
        journal: the recorded calls of this home; None: there are none.
        package: a package by "name@version".
        now: the wall clock, in seconds since 1970.
    """

    def __init__(
        self,
        keep: Callable[[Key, Judged], object],
        journal: Callable[[], Journal | None],
        package: Callable[[str], Package],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keep = keep
        self._journal = journal
        self._package = package
        self._now = now
        self._lock = Lock()
        self._known: OrderedDict[str, Judged] = OrderedDict()

    def feedback(self, prediction: Prediction, *, label: Any, accepted: bool | None) -> None:
        """Say what is known of an answer.

        Args:
            prediction: the answer.
            label: the right label; of a model that detects, all that there is in the image.
            accepted: whether the answer is right.

        Raises:
            InputError: it is not exactly one of the two, or not what this model can be told.
        """
        signature = prediction.context.signature
        truth = truth_of(signature, label, accepted)
        two = _answers_of(prediction)
        rights = judge(signature, truth, two.given.outputs, two.other and two.other.outputs)
        own = two.other if two.escalated and two.other is not None else two.given
        category = category_of(signature, own.outputs)
        judged = _judged(prediction.id, rights, own.confidence, category, escalated=two.escalated)
        self._take(_key(own.ran, own.ran.variant), judged, truth, self._journal())

    def feedback_by_id(self, id: object, *, label: Any, accepted: bool | None) -> None:  # noqa: A002 (as p.id)
        """The same of a recorded call, of this process or an earlier one.

        Args:
            id: the prediction's `id`.
            label: the right label; of a model that detects, all that there is in the image.
            accepted: whether the answer is right.

        Raises:
            InputError: no such call was recorded; it is not exactly one of the two, or not what
                this model can be told; or the label says nothing of what was recorded.
            ModelNotFoundError: the label cannot be checked, as the model is not here any more.
        """
        journal = self._journal()
        record = journal.find(id) if isinstance(id, str) and journal is not None else None
        if record is None:
            raise InputError("id", _RECORDED, f"{id!r:.80}", kind="argument")
        ran = record.receipt.ran
        signature = None
        if label is not None:
            signature = self._package(f"{ran.model}@{ran.version}").manifest.signature
        truth = truth_of(signature, label, accepted)
        rights = Rights(_recorded_right(record, signature, truth), None)
        own = _own_attempt(record)
        confidence = record.confidence if own is None else own.confidence
        judged = _judged(record.receipt.id, rights, confidence, None, escalated=own is not None)
        self._take(_key(ran, ran.variant if own is None else own.variant), judged, truth, journal)

    def _take(self, key: Key, judged: Judged, truth: Truth, journal: Journal | None) -> None:
        """Keep what is new; what was said before, word for word, counts once."""
        with self._lock:
            if self._known.get(judged.id) == judged:
                return
            self._known[judged.id] = judged
            self._known.move_to_end(judged.id)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        at = self._now()
        self._keep(key, judged._replace(at=at))
        if journal is not None:
            label = truth.plain_label()
            journal.feedback(judged.id, label=label, accepted=truth.accepted, at=at)
        outcome = {0.0: "wrong", 1.0: "right"}.get(judged.right_given or 0.0, "partly")
        COUNTERS.add("wherever_feedback_total", model=key.model, outcome=outcome)


class _Two(NamedTuple):
    """The answer that was given, and the one that another variant gave to the same call."""

    given: Answer
    other: Answer | None
    escalated: bool


def _answers_of(prediction: Prediction) -> _Two:
    verdict, reference = prediction.verdict, prediction.context.plan.reference
    given = verdict.answer
    is_reference = given.ran.variant == reference
    answers = [tried.answer for tried in verdict.tried if tried.answer is not None]
    others = (each for each in answers if (each.ran.variant == reference) != is_reference)
    other = next(others, None)
    return _Two(given, other, is_reference and other is not None)


def _own_attempt(record: Record) -> AttemptRecord | None:
    """The attempt that a variant answered before the reference's answer was given, if one did."""
    if record.receipt.ran.variant != record.reference:
        return None
    answered = (each for each in record.receipt.attempts if each.outcome == "answered")
    return next((each for each in answered if each.variant not in ("", record.reference)), None)


def _recorded_right(record: Record, signature: Signature | None, truth: Truth) -> float:
    """How right the answer in a record is."""
    if truth.accepted is not None:
        return float(truth.accepted)
    if signature is not None and record.outputs is not None:
        return judge(signature, truth, record.outputs, None).given
    if "label" in record.summary:
        return float(record.summary["label"] == truth.label)
    expected = "accepted=True or accepted=False instead, as the answer itself was not recorded"
    raise InputError("label", expected, "label=", kind="argument")


def _judged(
    id_: str, rights: Rights, confidence: float | None, category: int | None, *, escalated: bool
) -> Judged:
    own, theirs = (rights.other, rights.given) if escalated else (rights.given, rights.other)
    return Judged(id_, own, theirs, confidence, category, 0.0, escalated)


def _key(ran: Ran, variant: str) -> Key:
    return Key(ran.model, ran.package_digest, variant)
