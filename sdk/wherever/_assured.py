"""A promise about a model's answers, kept: evidence is gathered, audits are made, alarms raised."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from random import random
from time import monotonic, time
from typing import TYPE_CHECKING

from wherever._escalation.assurance import Assurance
from wherever._escalation.blocks import Block
from wherever._escalation.events import VOIDING, Alarmed, Event, Judged, Paired, Stood
from wherever._escalation.words import AUDIT_SHARE
from wherever._ledger import Key, Ledger
from wherever._routing.certainty import sureness
from wherever._routing.steps import Attempt
from wherever_contracts.errors import PackageError
from wherever_contracts.receipts import Answer
from wherever_contracts.urgency import Urgency
from wherever_edge.agreement import category_of, disagreement
from wherever_edge.certification.calibrated import Evidence
from wherever_edge.counters import COUNTERS
from wherever_edge.packages.pairs import Pairs, pairs_with_reference

if TYPE_CHECKING:
    from wherever._calls import Call
    from wherever._escalation.words import Aim, Alarm, Bar
    from wherever._route import Route
    from wherever._routing.steps import Verdict
    from wherever_contracts.tensors import Array
    from wherever_edge.packages.package import Package

_log = logging.getLogger(__name__)

# audits of a model that are under way at a time; what is drawn beyond is left out
_MOST_AUDITS = 2
_BACKGROUND = Urgency("background")
# so much later, at the most, others see promises that are not kept; more often fills the ledger
_TELL_EVERY_S = 60.0


_MEANS = (
    "all answers are asked of the reference until these calls support a threshold anew: look at "
    "the inputs, or calibrate with such as these"
)
_MEANS_NOTHING = "answers are given as before: check the labels, or choose another reference"


class _Variant:
    """What is kept of one variant: its promise, the block of calls, and what is to be written."""

    def __init__(self, key: Key, assurance: Assurance) -> None:
        self.key = key
        self.assurance = assurance
        self.block = Block()
        self.epoch = 0
        """Counts the alarms: what was asked before one says nothing of what holds after it."""
        self.unkept = 0
        self.tell_at = 0.0
        """When other processes are told again that it is not kept, on the monotonic clock."""
        self.stood: Bar | None = None


class Assured:
    """The promise that calls of one package ask for. Safe to use from many threads.

    Args:
        package: the model.
        aim: what is promised.
        ledger: where evidence is kept.
        audit_share: the share of given answers that are compared with the reference's.
        behind: runs a function in a thread that no call waits for; False: it cannot.
    """

    def __init__(
        self,
        package: Package,
        aim: Aim,
        ledger: Ledger,
        audit_share: float,
        behind: Callable[..., bool],
    ) -> None:
        self._package = package
        self._aim = aim
        self._ledger = ledger
        self._audit_share = audit_share
        self._behind = behind
        self._lock = threading.Lock()
        self._variants: dict[str, _Variant] = {}
        self._audits = 0
        self._unsaid: list[str] = []

    def prepare(self, variant: str) -> None:
        """Read what is known of a variant, so that the first call does not wait for the disk."""
        with self._held():
            self._of(variant)

    def bar(self, variant: str) -> Bar:
        """What an answer of a variant must reach now."""
        with self._held():
            return self._of(variant).assurance.bar()

    def ended(self, route: Route, call: Call, verdict: Verdict, own: Answer) -> None:
        """Take note of a call that a variant answered before the reference, or in its place.

        Args:
            route: how it was carried out.
            call: the call.
            verdict: what came of it.
            own: the variant's answer.
        """
        category, confidence = category_of(route.signature, own.outputs), sureness(own)
        pair = None if verdict.answer is own else _paired(route, own, verdict.answer)
        with self._held():
            kept = self._of(own.ran.variant)
            alarm = None
            if confidence is not None:
                alarm = kept.assurance.seen(confidence, category)
            block, epoch = self._settle(kept, route, verdict, own, pair), kept.epoch
            if kept.unkept and monotonic() >= kept.tell_at:
                self._stand(kept, always=True)
            if alarm is not None:
                self._raise(kept, alarm)
        if block is not None:
            again = call.again(_BACKGROUND)
            if not self._behind(self._audit, route, again, own, block, epoch):
                self._audited()

    def judged(self, variant: str, judged: Judged) -> None:
        """Take note of how right an answer of a variant was; it is kept already."""
        with self._held():
            kept = self._variants.get(variant)
            alarm = None if kept is None else kept.assurance.told(judged)
            if kept is not None and alarm is not None:
                self._raise(kept, alarm)

    def tell(self) -> None:
        """Write down how the promises stand now, where that has changed."""
        with self._held():
            for kept in self._variants.values():
                self._stand(kept, always=kept.unkept > 0)

    @contextmanager
    def _held(self) -> Generator[None]:
        """Hold the lock; what alarms say is told after, as those who hear it may call again."""
        with self._lock:
            yield
            unsaid, self._unsaid = self._unsaid, []
        for words in unsaid:
            _log.warning("%s", words)

    def _settle(
        self, kept: _Variant, route: Route, verdict: Verdict, own: Answer, pair: Paired | None
    ) -> Block | None:
        """Count a call; the block that it ends, where its answer is to be audited."""
        block = kept.block
        drawn = random() < self._audit_share  # noqa: S311 (no secret)
        if drawn:
            kept.block = Block()
        if verdict.answer is not own:
            COUNTERS.add("wherever_escalations_total", model=self._package.name)
            if pair is not None and not kept.assurance.gives:
                self._tell(kept, [pair])
            elif pair is not None:
                block.escalated(pair)
                self._tell(kept, block.settled() if drawn else ())
        elif verdict.short:
            COUNTERS.add("wherever_promises_unkept_total", model=self._package.name)
            kept.unkept += 1
            block.failed(_pair(route, own, 1.0))
        elif not drawn:
            block.passed()
        elif self._audits < _MOST_AUDITS:
            self._audits += 1
            return block
        return None

    def _audit(self, route: Route, again: Call, own: Answer, block: Block, epoch: int) -> None:
        """Compare an answer that was given with the reference's."""
        try:
            answer = _reference_answer(route, again)
            ended = "failed" if answer is None else "answered"
            COUNTERS.add("wherever_audits_total", model=self._package.name, outcome=ended)
            pair = None if answer is None else _paired(route, own, answer)
            if pair is None:
                return
            audit = pair._replace(probability=self._audit_share, given=True)
            with self._held():
                kept = self._of(own.ran.variant)
                if kept.epoch == epoch:
                    self._tell(kept, block.settled(audit))
        except Exception:  # noqa: BLE001 (nobody waits for it who would hear of it)
            _log.exception("%s: an audit failed", self._package.name)
        finally:
            self._audited()

    def _audited(self) -> None:
        with self._lock:
            self._audits -= 1

    def _tell(self, kept: _Variant, events: Sequence[Event]) -> None:
        for event in events:
            self._ledger.add(kept.key, event)
            alarm = kept.assurance.told(event)
            if alarm is not None:
                self._raise(kept, alarm)
        self._stand(kept)

    def _raise(self, kept: _Variant, alarm: Alarm) -> None:
        name = self._package.name
        COUNTERS.add("wherever_alarms_total", model=name, kind=alarm.kind)
        said = f"{name}, variant {kept.key.variant}: {alarm.kind}: {alarm.why}"
        self._unsaid.append(f"{said}; {_MEANS if alarm.kind in VOIDING else _MEANS_NOTHING}")
        event = Alarmed(alarm.kind, alarm.why, time())
        self._ledger.add(kept.key, event)
        kept.assurance.told(event)
        kept.block = Block()
        kept.epoch += 1
        self._stand(kept)

    def _stand(self, kept: _Variant, *, always: bool = False) -> None:
        """Write down how the promise stands, when that is another way than before."""
        bar = kept.assurance.bar()
        if bar == kept.stood and not always:
            return
        aim = kept.assurance.aim_in_words
        why = kept.assurance.why
        self._ledger.add(kept.key, Stood(aim, bar.threshold, why, kept.unkept, time()))
        if kept.unkept:
            kept.tell_at = monotonic() + _TELL_EVERY_S
        kept.stood, kept.unkept = bar, 0

    def _of(self, variant: str) -> _Variant:
        kept = self._variants.get(variant)
        if kept is None:
            key = Key(self._package.name, self._package.digest, variant)
            kept = self._variants[variant] = _Variant(key, self._assurance(key))
            for alarm in kept.assurance.found:
                self._raise(kept, alarm)
            self._stand(kept)
        return kept

    def _assurance(self, key: Key) -> Assurance:
        pairs = self._pairs(key.variant)
        evidence, truth = _known(pairs)
        value = self._package.manifest.signature.value
        made = Assurance(
            self._aim,
            evidence,
            truth,
            whole=value.kind == "label",
            names=getattr(value, "labels", ()),
            audit_share=self._audit_share or AUDIT_SHARE,
            chance=random,
        )
        for event in self._ledger.events(key):
            made.remembered(event)
        return made

    def _pairs(self, variant: str) -> Pairs | None:
        """The pairs of a variant with the reference that the package keeps, if it does."""
        try:
            return pairs_with_reference(self._package, variant)
        except (PackageError, OSError) as error:
            name = self._package.name
            self._unsaid.append(f"{name}: the pairs of {variant} cannot be used: {error}")
            return None


def _known(pairs: Pairs | None) -> tuple[Evidence | None, tuple[Array, Array] | None]:
    """What the pairs of a calibration support, and how right their answers are, where known."""
    if pairs is None:
        return None, None
    evidence = Evidence.of(pairs)
    if pairs.right is None or pairs.right_against is None:
        return evidence, None
    return evidence, (pairs.right, pairs.right_against)


def _paired(route: Route, own: Answer, other: Answer) -> Paired | None:
    """The pair of two answers to a call; None where one of them is none of the two wanted."""
    if other.ran.variant != route.plan.reference or sureness(own) is None:
        return None
    return _pair(route, own, disagreement(route.signature, own.outputs, other.outputs))


def _pair(route: Route, own: Answer, loss: float) -> Paired:
    category = category_of(route.signature, own.outputs)
    return Paired(0, sureness(own) or 0.0, loss, 1.0, category, time())


def _reference_answer(route: Route, again: Call) -> Answer | None:
    """What the reference answers to a call; None when it cannot be had now, or not for nothing."""
    plan, senses = route.plan, route.senses
    purse = None if route.escalation is None else route.escalation.purse
    admit = again.wary(senses).admit
    for candidate in plan.attempts:
        if candidate.place == "device" or senses.costs(candidate) or admit(candidate, False):  # noqa: FBT003 (as senses do)
            continue
        outcome = again.perform(Attempt(candidate, senses.timeout_s, plan.reference))
        if purse is not None and isinstance(outcome, Answer):
            purse.received(candidate.place, outcome.down_bytes)
        if isinstance(outcome, Answer) and outcome.ran.variant == plan.reference:
            return outcome
    return None
