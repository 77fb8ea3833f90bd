"""What is known of a variant's answers, as `wherever.status()` shows it. Pure, without numpy."""

from __future__ import annotations

from typing import Any, NamedTuple

# A threshold above every confidence; `words.NOTHING_IS_SURE` is one.
_ABOVE_ALL = 1.0


class Interval(NamedTuple):
    """An estimate, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_percent(self.value)} ({_percent(self.low)} to {_percent(self.high)})"


class FeedbackFacts(NamedTuple):
    """What feedback says of the answers that were given.

    Attributes:
        n: calls that feedback came for.
        right: how many of those answers were right; detections count by their F1.
        low: the lower end of the 95 % interval of the share that is right.
        high: its upper end.
    """

    n: int
    right: float
    low: float
    high: float

    def __str__(self) -> str:
        share = Interval(self.right / self.n, self.low, self.high)
        return (
            f"{share} right in the {_calls(self.n)} with feedback, which may not be like the rest"
        )


class Facts(NamedTuple):
    """A variant, what is promised of its answers, and what they turned out to be.

    Attributes:
        model: the model's name.
        version: the package's.
        variant: the variant that answers first.
        aim: what was asked for, in words; "" when nothing was.
        threshold: an answer with less confidence is taken further; None: that is not known here.
        why: what sets the threshold, in words.
        calls: answers that evidence is kept of; those that nobody could check are left out.
        escalated: how many of them the reference gave.
        audits: how many were given and compared with the reference's beside the call.
        pairs: calls that both answered: escalations and audits.
        agreement: the share of the answers given that are the reference's; None: no pair yet.
        alone: the same, had the variant's answer always been given.
        feedback: what people said; None when they said nothing.
        accuracy: how right the answers are by `agreement` and the reference's measured quality
            alone, without any label; None where that says nothing.
        alarms: assumptions that were found not to hold, the newest last.
        unkept: calls of which the promise could not be kept; their answers were degraded.
    """

    model: str
    version: str
    variant: str
    aim: str = ""
    threshold: float | None = None
    why: str = ""
    calls: int = 0
    escalated: int = 0
    audits: int = 0
    pairs: int = 0
    agreement: Interval | None = None
    alone: Interval | None = None
    feedback: FeedbackFacts | None = None
    accuracy: Interval | None = None
    alarms: tuple[str, ...] = ()
    unkept: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, ready for JSON."""
        data = self._asdict()
        for name in ("agreement", "alone", "feedback", "accuracy"):
            part = data[name]
            data[name] = None if part is None else part._asdict()
        return data

    def lines(self) -> list[str]:
        """The same in words, a line for each thing; the first says what it is about."""
        said = [
            _bar_line(self),
            _evidence_line(self),
            "" if self.agreement is None else f"answers are the reference's in {self.agreement}",
            "" if self.alone is None else f"the variant alone agrees in {self.alone}",
            "" if self.feedback is None else f"feedback: {self.feedback}",
            _accuracy_line(self.accuracy),
            f"not kept in {_calls(self.unkept)}, answered all the same (degraded)"
            if self.unkept
            else "",
            *(f"alarm: {alarm}" for alarm in self.alarms),
        ]
        return [f"{self.model} {self.version}, {self.variant}", *filter(None, said)]


def _bar_line(facts: Facts) -> str:
    """What is promised, and how."""
    if facts.threshold is None:
        return facts.aim
    bar = f"given from confidence {facts.threshold:.3g} on"
    if facts.threshold > _ABOVE_ALL:
        bar = "everything escalates"
    because = f" ({facts.why})" if facts.why else ""
    return f"{facts.aim}: {bar}{because}" if facts.aim else f"{bar}{because}"


def _evidence_line(facts: Facts) -> str:
    if not facts.calls:
        return "no answer was compared with the reference's yet"
    escalated = f"{facts.escalated} escalated ({_percent(facts.escalated / facts.calls)})"
    return f"{_calls(facts.calls)}, {escalated}, {facts.audits} audits"


def _accuracy_line(accuracy: Interval | None) -> str:
    if accuracy is None:
        return ""
    ends = f"between {_percent(accuracy.low)} and {_percent(accuracy.high)}"
    return f"right {ends}, if calls are like what the reference was measured on"


def _calls(number: int) -> str:
    return "1 call" if number == 1 else f"{number} calls"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
