"""What the events of a variant come to: a fold over them. Pure."""

from __future__ import annotations

from wherever._escalation.accuracy import accuracy_by_agreement, share_of
from wherever._escalation.estimate import AgreementEstimate, Estimated
from wherever._escalation.events import Alarmed, Event, Judged, Paired, Stood
from wherever._escalation.facts import Facts, Interval
from wherever._escalation.words import AUDIT_SHARE, NOTHING_IS_SURE, Pair

# Older alarms and aims are forgotten; the newest say how things are.
_MOST_ALARMS = 8
_MOST_AIMS = 8


class Account:
    """What is known of one variant of a package, from whatever process.

    Not safe to use from several threads at once.

    Args:
        model: the model's name.
        version: the package's.
        variant: the variant.
        reference: how often the reference is right, where its package states that.
    """

    def __init__(
        self, model: str, version: str, variant: str, reference: Interval | None = None
    ) -> None:
        self._name = Facts(model, version, variant)
        self._reference = reference
        self._share = AUDIT_SHARE
        self._estimate = AgreementEstimate(self._share)
        self._calls = self._escalated = self._audits = 0
        self._judged: dict[str, float] = {}
        self._alarms: dict[str, None] = {}
        self._stood: dict[str, Stood] = {}

    def audits(self, share: float) -> None:
        """From the next call on, answers that are given are audited with this probability."""
        self._share = share
        self._sharpen()

    def add(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Paired):
            self._paired(event)
        elif isinstance(event, Judged):
            self._judge(event)
        elif isinstance(event, Stood):
            self._stand(event)
        else:
            self._alarm(event)

    def passed(self, calls: int) -> None:
        """So many answers were given and compared with nothing."""
        self._calls += calls
        self._estimate.passed(calls)

    def facts(self) -> Facts:
        """What is known by now, whatever was asked for."""
        agreement = _interval(self._estimate.given())
        return self._name._replace(
            calls=self._calls,
            escalated=self._escalated,
            audits=self._audits,
            pairs=self._escalated + self._audits,
            agreement=agreement,
            alone=_interval(self._estimate.facts()),
            feedback=share_of(self._judged.values()),
            accuracy=accuracy_by_agreement(self._reference, agreement),
            alarms=tuple(self._alarms),
        )

    def promises(self) -> tuple[Facts, ...]:
        """What is known, and how each promise stood when that was last written down."""
        known = self.facts()
        stood = [
            known._replace(aim=aim, threshold=s.threshold, why=s.why, unkept=s.unkept)
            for aim, s in self._stood.items()
        ]
        return tuple(stood) or (known,)

    def _paired(self, event: Paired) -> None:
        self.passed(event.calls)
        if not event.known:
            return
        self._calls += 1
        self._audits += event.given
        self._escalated += not event.given
        pair = Pair(event.confidence, event.loss, event.probability)
        self._estimate.paired(pair, event.given)

    def _stand(self, event: Stood) -> None:
        known = self._stood.pop(event.aim, None)
        before = 0 if known is None else known.unkept
        self._stood[event.aim] = event._replace(unkept=before + event.unkept)
        while len(self._stood) > _MOST_AIMS:
            del self._stood[next(iter(self._stood))]
        self._sharpen()

    def _sharpen(self) -> None:
        """While no promise lets any answer be given, the reference is asked of each call."""
        bars = [stood.threshold for stood in self._stood.values()]
        everything = bool(bars) and min(bars) >= NOTHING_IS_SURE
        self._estimate.audits(1.0 if everything else self._share)

    def _judge(self, event: Judged) -> None:
        right = event.right_given
        if right is None:
            self._judged.pop(event.id, None)
        else:
            self._judged[event.id] = right

    def _alarm(self, event: Alarmed) -> None:
        words = f"{event.kind}: {event.why}"
        self._alarms.pop(words, None)  # one that is raised again is the newest
        self._alarms[words] = None
        while len(self._alarms) > _MOST_ALARMS:
            del self._alarms[next(iter(self._alarms))]


def _interval(known: Estimated) -> Interval | None:
    """What an estimate says; None before the first pair."""
    return Interval(known.value, known.low, known.high) if known.pairs else None
