"""What is promised of one variant's answers, and what supports that. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from wherever._escalation.events import VOIDING, Alarmed, Event, Judged, Paired
from wherever._escalation.refreshing import BrokenTest, Refresher, grid_of
from wherever._escalation.shift import ShiftWatch
from wherever._escalation.words import NOTHING_IS_SURE, Aim, Alarm, Bar, Pair
from wherever_edge.certification.calibrated import Evidence, certify
from wherever_edge.certification.reference import TruthWatch, examine
from wherever_edge.certification.words import CALIBRATION_SHARE

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

# How likely an alarm of a broken promise ever is while it is kept.
_FALSE_ALARM = 0.01
# So many calls since an alarm are what calls after it are compared with.
_MOST_SEEN = 5_000
_FEWEST_SEEN = 100


class Assurance:
    """Sets the threshold that keeps a promise, and watches what the promise assumes.

    It is a fold over `events`: the same events give the same threshold. Beside them it sees every
    call, to tell whether calls are still like those of the calibration. Not safe for threads.

    Args:
        aim: what is promised; `max_disagreement` is set.
        evidence: the calibration's pairs; None: there are none, and everything is taken further
            until enough is known from calls.
        truth: how right the calibration's answers are, the variant's and the reference's; None:
            that is not known.
        whole: losses are 0 or 1 by their nature, as those of labels.
        names: of the classes, by their number.
        audit_share: the probability with which the reference is asked of the other calls.
        chance: gives a random number in [0, 1).
    """

    def __init__(
        self,
        aim: Aim,
        evidence: Evidence | None,
        truth: tuple[Array, Array] | None = None,
        *,
        whole: bool,
        names: Sequence[str] = (),
        audit_share: float,
        chance: Callable[[], float],
    ) -> None:
        assert aim.max_disagreement is not None  # noqa: S101 (asked by those who make one)
        self._level = aim.max_disagreement
        self._error = 1.0 - aim.confidence
        self._floor = aim.min_confidence or 0.0
        self.aim_in_words = (
            f"at most {100 * self._level:.3g} % may differ, {aim.confidence:.3g} sure"
        )
        self._promise = f"at most {100 * self._level:.3g} % may differ"
        self._whole = whole
        self._audit_share = audit_share
        self._chance = chance
        self._void: Alarm | None = None
        self._fresh: list[tuple[float, int]] = []
        self._watch: ShiftWatch | None = None
        self._start(evidence)
        self._truths = TruthWatch(self._refresher.threshold)
        self.found: tuple[Alarm, ...] = ()
        """What the calibration's own truths say against the reference."""
        if evidence is not None and truth is not None:
            known = evidence.confidence, *truth, evidence.category
            self.found = examine(*known, self._refresher.threshold, names=names)

    def bar(self) -> Bar:
        """What an answer must reach now."""
        return self._bar

    @property
    def gives(self) -> bool:
        """Whether there are answers that are given without asking the reference."""
        return self._refresher.threshold < NOTHING_IS_SURE

    @property
    def why(self) -> str:
        """Why no answer is given without asking the reference, in short; "": some are."""
        if self.gives:
            return ""
        return self._why if self._void is None else f"since the alarm: {self._void.kind}"

    def seen(self, confidence: float, category: int) -> Alarm | None:
        """Note a call that the variant answered; the alarm, if calls are no longer as they were.

        The alarm counts once it is told as an event.
        """
        if self._watch is not None:
            why = self._watch.seen(confidence, category)
            return Alarm("shift", why) if why else None
        if len(self._fresh) < _MOST_SEEN:
            self._fresh.append((confidence, category))
        return None

    def told(self, event: Event) -> Alarm | None:
        """Take in what became known; the alarm, if the promise turns out not to hold.

        The alarm counts once it is told as an event itself.
        """
        if isinstance(event, Paired):
            return self._paired(event)
        if isinstance(event, Judged):
            return self._judged(event)
        if isinstance(event, Alarmed) and event.kind in VOIDING:
            self._void = Alarm(event.kind, event.why)
            self._start(None)
        return None

    def remembered(self, event: Event) -> None:
        """Take in what became known to an earlier process, or to another one."""
        if isinstance(event, Paired):
            self._refresh(event)
        else:
            self.told(event)

    def _start(self, evidence: Evidence | None) -> None:
        """Begin with what a calibration supports; None: with nothing."""
        spent = 0.0 if evidence is None else CALIBRATION_SHARE * self._error
        threshold, self._why = NOTHING_IS_SURE, "no pairs are known of this variant"
        if evidence is not None:
            found = certify(evidence, self._level, spent, whole=self._whole)
            threshold, self._why = found.threshold, found.why
            self._watch = ShiftWatch(evidence.confidence, evidence.category, self._chance)
        else:
            self._watch, self._fresh = None, []
        grid = grid_of(None if evidence is None else evidence.confidence)
        left = self._error - spent
        share = self._audit_share
        self._refresher = Refresher(self._level, left, grid, threshold, audit_share=share)
        self._broken = BrokenTest(self._level, _FALSE_ALARM)
        self._bar = self._made_bar()

    def _paired(self, event: Paired) -> Alarm | None:
        self._refresh(event)
        self._broken.passed(event.calls)
        if event.known:
            self._broken.paired(event.loss if event.given else 0.0, event.probability)
        if self._broken.broken:
            share = self._broken.estimate
            return Alarm("broken", f"{share:.1%} of the answers differ, and {self._promise}")
        return None

    def _judged(self, event: Judged) -> Alarm | None:
        """The alarm, if the truths speak against the reference for the first time."""
        known = event.right, event.right_reference, event.category, event.confidence
        if None in known:
            return None
        before = len(self._truths.alarms())
        self._truths.judged(*known)  # type: ignore[arg-type]  # none of them is None
        return next(iter(self._truths.alarms()[before:]), None)

    def _refresh(self, event: Paired) -> None:
        before = self._refresher.threshold
        self._refresher.passed(event.calls)
        self._refresher.paired(Pair(event.confidence, event.loss, event.probability))
        if self._refresher.threshold != before:
            self._refreshed()

    def _refreshed(self) -> None:
        """The calls themselves support another threshold now."""
        self._void = None
        self._truths.threshold = self._refresher.threshold
        self._bar = self._made_bar()
        if self._watch is None and len(self._fresh) >= _FEWEST_SEEN:
            confidences, categories = zip(*self._fresh, strict=True)
            self._watch = ShiftWatch(
                np.array(confidences, np.float32),
                np.array(categories, np.float32),
                self._chance,
            )
            self._fresh = []

    def _made_bar(self) -> Bar:
        threshold = self._refresher.threshold
        if threshold < NOTHING_IS_SURE:
            why = self._promise if threshold >= self._floor else "min_confidence"
            return Bar(max(threshold, self._floor), why, promised=True)
        why = self._why if self._void is None else self._void.why
        return Bar(NOTHING_IS_SURE, f"{self._promise}, and {why}", promised=True)
