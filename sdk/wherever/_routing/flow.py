"""How a plan is carried out: one generator, driven by a sync and an async loop.

It yields `Attempt`s and `Race`s and is sent what came of them. It does no I/O, and it learns the
time and the state of the hosts through functions that are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wherever._escalation.words import Bar
from wherever._routing.certainty import bar_for, doubt, falls_short
from wherever._routing.order import in_turn, why_not_here
from wherever._routing.plan import Candidate, Plan
from wherever._routing.reasons import failures
from wherever._routing.steps import Attempt, Flow, Outcome, Race, Senses, Tried, Verdict
from wherever._routing.timing import (
    EARLY,
    LATE,
    LATEST,
    MARGIN_S,
    SURE,
    USUAL,
    backup_at,
    patience_s,
    retry_in_s,
    rival_at,
)
from wherever._routing.verdicts import Hand, at_once, failure, is_lesser, kept, turn
from wherever_contracts.durations import duration
from wherever_contracts.errors import (
    InputError,
    RefusedError,
    WhereverError,
)
from wherever_contracts.receipts import Answer
from wherever_edge.host_health.forecast import Forecast, Work

_NEVER = float("inf")


def predict_flow(
    plan: Plan,
    senses: Senses,
    work: Callable[[str], Work],
    deadline_s: float | None = None,
    began: float | None = None,
) -> Flow:
    """Ask the hosts of `plan` until an answer is good enough, or the deadline is near.

    A host at a distance is raced by the device, which begins just early enough to answer in time
    by itself; the first good answer wins. An answer of low confidence is taken further where the
    mode says so, and given when nothing better comes in time.

    Args:
        plan: the hosts, in order.
        senses: clock and hosts' state.
        work: what the call asks of a host for a variant; called only when a forecast is needed.
        deadline_s: seconds from `began` in which the answer is wanted.
        began: when the call was made, on the clock of `senses`; by default now.

    Raises:
        InputError: a host found the input itself to be wrong; no other host is asked.
        SubstitutedError: the call is strict, and no answer was as planned.
        NoRouteError: no host answered; `causes` are in the order in which they ended.
    """
    started = senses.now()
    deadline = None if deadline_s is None else (began or started) + deadline_s
    attempts = plan.attempts
    elsewhere = ""
    first = next(iter(attempts), None)
    if first is not None and first.place == "device":
        if len(attempts) > 1:
            left_s = None if deadline is None else deadline - started
            elsewhere = why_not_here(plan, senses, work, left_s)
        if not elsewhere:
            outcome = yield Attempt(first, None, "")
            elapsed_s = senses.now() - started
            if isinstance(outcome, Answer):
                verdict = at_once(plan, senses, first, outcome, elapsed_s)
                if verdict is not None:
                    return verdict
            course = _Course(plan, senses, work, deadline, device=None)
            course.take(first, elapsed_s, outcome)  # type: ignore[arg-type]  # of an Attempt
            return (yield from course.run())
    device = next((each for each in attempts if each.place == "device"), None)
    return (yield from _Course(plan, senses, work, deadline, device, elsewhere).run())


class _Running(NamedTuple):
    attempt: Attempt
    began: float


class _Course:
    """One call under way: what runs, what has come, and what may still be tried."""

    __slots__ = (
        "_backup_at",
        "_begun",
        "_deadline",
        "_device",
        "_elsewhere",
        "_hand",
        "_hedge_at",
        "_hedge_paid",
        "_lacking",
        "_patient_until",
        "_plan",
        "_remotes",
        "_retried",
        "_retry_at",
        "_running",
        "_senses",
        "_skipped",
        "_tried",
        "_work",
    )

    def __init__(
        self,
        plan: Plan,
        senses: Senses,
        work: Callable[[str], Work],
        deadline: float | None,
        device: Candidate | None,
        elsewhere: str = "",
    ) -> None:
        self._plan = plan
        self._senses = senses
        self._work = work
        self._deadline = deadline
        self._device = device
        self._elsewhere = elsewhere
        self._remotes = (
            in_turn(plan, senses, work(""))
            if len(plan.attempts) > 1
            else [each for each in plan.attempts if each.place != "device"]
        )
        self._running: dict[int, _Running] = {}
        self._begun = 0
        self._hand: Hand | None = None
        self._lacking: set[str] = set()
        self._tried: list[Tried] = []
        self._skipped: list[tuple[str, str]] = []
        self._retried: set[str] = set()
        self._backup_at = _NEVER
        self._hedge_at = _NEVER
        self._hedge_paid = False
        self._retry_at = 0.0
        self._patient_until = _NEVER

    def run(self) -> Flow:
        """Try what there is until there is a verdict."""
        while True:
            now = self._senses.now()
            attempt = self._due(now)
            if attempt is None and not self._running and not self._waits(now):
                return self._end()
            if attempt is not None and self._is_alone(attempt):
                outcome = yield attempt
                elapsed_s = self._senses.now() - now
                verdict = self.take(attempt.candidate, elapsed_s, outcome)  # type: ignore[arg-type]
            else:
                if attempt is not None:
                    self._begin(attempt, now)
                elif self._hand is not None and now >= self._patient_until:
                    return self._end()
                ended = yield Race(attempt, self._until())
                verdict = self._heard(ended)  # type: ignore[arg-type]  # of a Race
            if verdict is not None:
                return verdict

    def take(self, candidate: Candidate, elapsed_s: float, outcome: Outcome) -> Verdict | None:
        """Note the end of an attempt; the verdict, if that settles the call."""
        if isinstance(outcome, InputError):
            raise outcome
        if isinstance(outcome, WhereverError):
            self._tried.append(Tried(candidate, elapsed_s, outcome))
            if not self._takes_less(candidate, outcome):
                self._consider_retry(candidate, outcome)
            return None
        self._tried.append(Tried(candidate, elapsed_s, None, answer=outcome))
        bar = bar_for(self._plan, self._senses, outcome)
        if bar is not None and falls_short(bar, outcome) and self._may_do_better():
            self._hand = Hand(outcome, candidate, bar)
            self._patient_until = self._end_of_patience()
            return None
        return self._settled(outcome, candidate, bar)

    def _heard(self, ended: tuple[int, Outcome] | None) -> Verdict | None:
        if ended is None:
            return None
        number, outcome = ended
        attempt, began = self._running.pop(number)
        return self.take(attempt.candidate, self._senses.now() - began, outcome)

    def _end_of_patience(self) -> float:
        """Until when the hosts that are asked already may give a better answer."""
        if self._deadline is not None:
            return self._deadline - MARGIN_S
        ends = [
            began + patience_s(self._forecast(attempt.candidate, LATE), attempt.timeout_s)
            for attempt, began in self._running.values()
            if attempt.timeout_s is not None
        ]
        return max(ends, default=_NEVER)

    def _may_do_better(self) -> bool:
        """Whether an unsure answer is kept in hand while others are asked."""
        return self._asks_remote() or self._plan.escalates

    def _asks_remote(self) -> bool:
        return any(each.attempt.timeout_s is not None for each in self._running.values())

    def _due(self, now: float) -> Attempt | None:
        """The attempt that is to begin now."""
        if self._device is not None and now >= self._backup_at:
            return self._here()
        while self._remotes and self._wants_remote(now):
            attempt = self._there(self._remotes.pop(0), now)
            if attempt is not None:
                return attempt
        if self._device is not None and not self._running and not self._waits(now):
            return self._here()
        return None

    def _wants_remote(self, now: float) -> bool:
        if now < self._retry_at:
            return False
        if not self._asks_remote():
            return True
        return now >= self._hedge_at and self._may_hedge()

    def _may_hedge(self) -> bool:
        """Whether one more host may be asked beside; it keeps the token of one that was not."""
        senses = self._senses
        if not senses.costs(self._remotes[0]):
            self._hedge_paid = self._hedge_paid or senses.spend()
            if self._hedge_paid:
                return True
        self._hedge_at = _NEVER
        return False

    def _waits(self, now: float) -> bool:
        """Whether a retry is only waited for."""
        return bool(self._remotes) and now < self._retry_at

    def _here(self) -> Attempt:
        device = self._device
        assert device is not None  # noqa: S101 (asked by the callers)
        self._device = None
        return Attempt(device, None, "")

    def _there(self, candidate: Candidate, now: float) -> Attempt | None:
        """An attempt of a remote host, if it has a chance and leave is given."""
        last_hope = not (self._hand or self._device or self._remotes or self._running)
        why_not = self._too_late_for(candidate, now, last_hope=last_hope)
        why_not = why_not or self._senses.admit(candidate, last_hope)
        if why_not:
            self._skipped.append((candidate.host, why_not))
            return None
        return Attempt(candidate, self._time_for(candidate, now), self._variant(candidate))

    def _variant(self, candidate: Candidate) -> str:
        plan = self._plan
        wanted = self._hand is not None or plan.wants_reference
        return plan.reference if wanted and candidate.host not in self._lacking else ""

    def _takes_less(self, candidate: Candidate, error: WhereverError) -> bool:
        """Have a host that lacks the reference give what it has, where nobody else answered."""
        refused = type(error) is RefusedError and self._variant(candidate) != ""
        if not refused or self._hand or self._device:
            return False
        self._lacking.add(candidate.host)
        self._remotes.append(candidate)
        return True

    def _too_late_for(self, candidate: Candidate, now: float, *, last_hope: bool) -> str:
        """Why the deadline leaves a remote host no chance; "": it does."""
        if self._deadline is None:
            return ""
        left_s = self._deadline - MARGIN_S - now
        if left_s <= 0:
            return "the deadline leaves no time to ask it"
        early = self._forecast(candidate, EARLY)
        if not last_hope and early.samples >= SURE and early.latency_s > left_s:
            expected, left = duration(early.latency_s), duration(left_s)
            return f"it is expected to take {expected} at best, and {left} is left"
        return ""

    def _time_for(self, candidate: Candidate, now: float) -> float:
        """How long a remote host may take."""
        timeout_s = self._senses.timeout_s
        if self._deadline is None:
            late = self._forecast(candidate, LATE) if self._hand else None
            return timeout_s if late is None else patience_s(late, timeout_s)
        left_s = self._deadline - MARGIN_S - now
        if not (self._hand or self._device):  # nobody would answer for one that hangs
            left_s /= 1 + len(self._remotes)
        return min(left_s, timeout_s)

    def _forecast(self, candidate: Candidate, quantile: float) -> Forecast:
        return self._senses.forecast(candidate, self._work(self._variant(candidate)), quantile)

    def _is_alone(self, attempt: Attempt) -> bool:
        """Whether nothing else runs, and nothing else could begin before it ends."""
        if self._running:
            return False
        return attempt.timeout_s is None or not (self._device or self._remotes)

    def _begin(self, attempt: Attempt, now: float) -> None:
        self._running[self._begun] = _Running(attempt, now)
        self._begun += 1
        if attempt.timeout_s is None:
            return
        late = self._forecast(attempt.candidate, LATE)
        self._hedge_at, self._hedge_paid = now + late.latency_s, False
        if self._device is not None:
            here = self._forecast(self._device, LATEST)
            if self._elsewhere and self._deadline is None:
                due = rival_at(now, here, late, saving=self._senses.saving())
            else:
                due = backup_at(now, self._deadline, here, late, attempt.timeout_s)
            self._backup_at = min(self._backup_at, due)
        if self._hand and self._deadline is None:
            self._patient_until = now + attempt.timeout_s

    def _until(self) -> float | None:
        """When something is due although no attempt has ended."""
        due = _NEVER
        if self._device is not None:
            due = self._backup_at
        if self._remotes:
            due = min(due, self._hedge_at if self._asks_remote() else self._retry_at)
        if self._hand:
            due = min(due, self._patient_until)
        return None if due == _NEVER else due

    def _consider_retry(self, candidate: Candidate, error: WhereverError) -> None:
        """Have the same host asked once more, when that may help and costs nobody the deadline."""
        if candidate.place == "device" or self._remotes or candidate.host in self._retried:
            return
        pause_s = retry_in_s(error, self._senses.chance())
        if pause_s is None or not self._has_time_for(candidate, pause_s):
            return
        if self._senses.spend():
            self._retried.add(candidate.host)
            self._retry_at = self._senses.now() + pause_s
            self._remotes.append(candidate)
            self._hedge_at = _NEVER

    def _has_time_for(self, candidate: Candidate, pause_s: float) -> bool:
        usual = self._forecast(candidate, USUAL)
        needed_s = pause_s + usual.latency_s
        now = self._senses.now()
        if self._deadline is not None:
            return now + needed_s <= self._deadline - MARGIN_S
        if self._device is not None:
            return now + needed_s <= self._backup_at
        return needed_s <= self._senses.timeout_s

    def _settled(self, answer: Answer, candidate: Candidate, bar: Bar | None) -> Verdict:
        plan = self._plan
        tried = self._all_tried()
        degraded = is_lesser(plan, candidate)
        if self._hand is not None:
            reason = ("escalated: ", *doubt(self._hand.bar, self._hand.answer))
        elif trouble := failures(tried, self._skipped):
            reason = ("fell back: ", trouble)
        elif self._elsewhere:
            reason = ("first because ", self._elsewhere)
        else:
            reason, degraded = turn(plan, candidate, answer, bar)
        skipped = tuple(self._skipped)
        return Verdict(answer, candidate, degraded, reason, tried, skipped, bar)

    def _end(self) -> Verdict:
        """Give what is in hand, or say that nothing is."""
        tried = self._all_tried()
        if self._hand is not None:
            return kept(self._hand, tried, tuple(self._skipped))
        # with no name here: it and the inputs go with its catcher
        raise failure(self._plan, tried, self._skipped)

    def _all_tried(self) -> tuple[Tried, ...]:
        """Every attempt; what still runs is given up."""
        now = self._senses.now()
        late = [
            Tried(attempt.candidate, now - began, None, given_up=True)
            for attempt, began in self._running.values()
        ]
        return (*self._tried, *late)
