"""What records say, put the way a what-if asks for it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from wherever._escalation.words import NO_AIM, Aim
from wherever._routing.hints import OFFLINE
from wherever._routing.plan import Candidate
from wherever._whatif.evidence import Evidence, Took
from wherever_edge.host_health.breaker import BEING_PROBED

if TYPE_CHECKING:
    from wherever._records.record import Record
    from wherever_contracts.places import Place
    from wherever_contracts.receipts import AttemptRecord, Receipt

DEVICE: Final = "device"

_GIVEN_UP = "given_up"
_ANSWERED = "answered"
_DEADLINE = "deadline"
# As `wherever._routing.flow` puts it: the deadline leaves a host no chance.
_TOO_SLOW = "it is expected to take"
# Clocks that are read one after the other differ by less.
_CLOCKS_S = 0.002
# A caller that makes one call at a time may be found in two, where clocks were set.
_AT_ONCE_SHARE = 0.01

Way: TypeAlias = "tuple[str, ...]"
"""The places that answered a call on its way to the answer, in order."""


class Model(NamedTuple):
    """What is recorded of one model.

    Attributes:
        hosts: every host whose answers are recorded, the device first.
        evidence: host -> what it took.
        reference: the variant that an escalation asks for; "": not known.
        variant: the device's; "": not known.
        unasked: hosts that could have been asked and never were: nothing is known of them.
    """

    name: str
    hosts: tuple[Candidate, ...]
    evidence: Mapping[str, Evidence]
    reference: str
    variant: str
    unasked: tuple[str, ...] = ()


class Facts:
    """Recorded calls, in the order of time.

    Args:
        records: in any order.

    Attributes:
        receipts: of the calls; a call's number is its place here.
        models: what is recorded of each model, by name.
        aim: what most calls asked of escalation.
        others: how many calls asked something else.
        one_by_one: the processes that made no call before the one before it had ended.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        known = sorted(records, key=lambda record: record.receipt.started_at)
        self.receipts: tuple[Receipt, ...] = tuple(record.receipt for record in known)
        aims = Counter(record.aim for record in known)
        self.aim: Aim = max(aims, key=aims.__getitem__, default=NO_AIM)
        self.others: int = len(known) - aims[self.aim]
        self._start = self.receipts[0].started_at if known else 0.0
        by_model: dict[str, list[int]] = defaultdict(list)
        for number, receipt in enumerate(self.receipts):
            by_model[receipt.ran.model].append(number)
        self.models = {
            name: _Reader(self, [(number, known[number]) for number in numbers]).model(name)
            for name, numbers in by_model.items()
        }
        self.one_by_one = _one_by_one(self.receipts)
        self._overheads = _overheads(self.receipts)
        self._same = _same_inputs(known)

    def at(self, number: int) -> float:
        """When a call was made, in seconds since the first."""
        return self.receipts[number].started_at - self._start

    def wanted(self, number: int, host: str) -> Took:
        """What is known of an attempt before it is made."""
        expected = self.receipts[number].expected.get(host)
        if expected is None:
            size = max((each.up_bytes for each in self.receipts[number].attempts), default=0)
            return Took(number, self.at(number), 0.0, up_bytes=size)
        return Took(number, self.at(number), 0.0, expected.latency_s, up_bytes=expected.up_bytes)

    def overhead_s(self, number: int, way: Way) -> float:
        """What a call takes beside its attempts, when it is answered by this way."""
        own = _beside_s(self.receipts[number])
        if way == way_of(self.receipts[number]):
            return own
        moments, costs = self._overheads.get(way) or self._overheads.get(way[-1:]) or ((), ())
        place = bisect_left(moments, number)
        around = costs[max(0, place - _AROUND) : place + _AROUND]
        return median(around) if around else own

    def round_trip_s(self, host: str, at: float) -> float | None:
        """The most that a probe of a host would take at this moment; None: it is not answered."""
        known = (model.evidence.get(host) for model in self.models.values())
        return max(filter(None, known), key=len).round_trip_s(at)

    def same_input(self, number: int) -> int | None:
        """Another call with the same input that the device answered; None: there is none."""
        return self._same.get(number)


_AROUND = 8


def process_of(receipt: Receipt) -> str:
    """The process that made a call."""
    return receipt.id.rpartition("-")[0]


def way_of(receipt: Receipt) -> Way:
    """The places that answered, in order; a host that was not reached is not among them."""
    return tuple(each.place for each in receipt.attempts if each.outcome == _ANSWERED)


def up_bytes_of(receipt: Receipt, attempt: AttemptRecord) -> int:
    """What travelled to a host, or was expected to where it was not counted."""
    if attempt.up_bytes or attempt.place == DEVICE or attempt.host not in receipt.expected:
        return attempt.up_bytes
    return receipt.expected[attempt.host].up_bytes


class _Reader:
    """Reads the records of one model."""

    def __init__(self, facts: Facts, records: Sequence[tuple[int, Record]]) -> None:
        self._facts = facts
        self._records = records

    def model(self, name: str) -> Model:
        places: dict[str, Place] = {}
        took: dict[str, list[Took]] = defaultdict(list)
        for number, record in self._records:
            if record.receipt.cache == "hit":
                continue
            for attempt in record.receipt.attempts:
                places[attempt.host] = attempt.place
                took[attempt.host].append(self._took(number, record.receipt, attempt))
        for host, place in places.items():
            if place != DEVICE:
                took[host].extend((*self._shut(host, took[host]), *self._slow(host)))
        hosts = sorted(places, key=lambda host: (places[host] != DEVICE, host))
        return Model(
            name,
            tuple(Candidate(host, places[host]) for host in hosts),
            {host: Evidence(took[host]) for host in hosts},
            reference=_commonest(record.reference for _, record in self._records),
            variant=_commonest(each.variant for each in took.get(DEVICE, ())),
            unasked=self._unasked(places),
        )

    def _took(self, number: int, receipt: Receipt, attempt: AttemptRecord) -> Took:
        expected = receipt.expected.get(attempt.host)
        gave = attempt.outcome == _ANSWERED and attempt.host == receipt.host
        failed = "" if attempt.outcome in (_ANSWERED, _GIVEN_UP) else attempt.outcome
        return Took(
            number,
            self._facts.at(number),
            attempt.elapsed_s,
            0.0 if expected is None else expected.latency_s,
            failed,
            censored=attempt.outcome in (_GIVEN_UP, _DEADLINE),
            up_bytes=up_bytes_of(receipt, attempt),
            down_bytes=attempt.down_bytes,
            queue_s=receipt.queue_s if gave else 0.0,
            compute_s=receipt.engine_s if gave else 0.0,
            confidence=attempt.confidence,
            variant=attempt.variant or (receipt.ran.variant if gave else ""),
        )

    def _unasked(self, asked: Collection[str]) -> tuple[str, ...]:
        known = {host for _, record in self._records for host in record.receipt.expected}
        return tuple(sorted(known.difference(asked)))

    def _shut(self, host: str, took: Sequence[Took]) -> list[Took]:
        """The calls during which a host was known not to answer: it fails as it did before."""
        failures = [each for each in took if each.error]
        moments = [each.at for each in failures]
        found: list[Took] = []
        for number, record in self._records:
            why = record.receipt.alternatives.get(host, "")
            at = self._facts.at(number)
            place = bisect_left(moments, at)
            if failures and why.startswith((BEING_PROBED, OFFLINE)):
                last = failures[max(0, place - 1)]
                found.append(last._replace(call=number, at=at, shut=True, censored=False))
        return found

    def _slow(self, host: str) -> Iterator[Took]:
        """The calls that left no time for the host: it takes what was expected of it then."""
        for number, record in self._records:
            receipt = record.receipt
            wanted = self._facts.wanted(number, host)
            if receipt.alternatives.get(host, "").startswith(_TOO_SLOW) and wanted.expected_s:
                yield wanted._replace(elapsed_s=wanted.expected_s)


def _commonest(words: Iterable[str]) -> str:
    return next((word for word, _ in Counter(filter(None, words)).most_common(1)), "")


def _one_by_one(receipts: Sequence[Receipt]) -> frozenset[str]:
    calls: Counter[str] = Counter()
    beside: Counter[str] = Counter()
    ends: dict[str, float] = {}
    for receipt in receipts:
        process = process_of(receipt)
        calls[process] += 1
        beside[process] += receipt.started_at < ends.get(process, 0.0) - _CLOCKS_S
        ends[process] = receipt.started_at + receipt.total_s
    return frozenset(
        process for process, made in calls.items() if beside[process] <= _AT_ONCE_SHARE * made
    )


def _beside_s(receipt: Receipt) -> float:
    """What a call took beside its attempts; those that answered followed each other."""
    took = [each.elapsed_s for each in receipt.attempts if each.outcome == _ANSWERED]
    if len(took) != len(receipt.attempts):
        return 0.0
    return max(0.0, receipt.total_s - sum(took))


def _overheads(receipts: Sequence[Receipt]) -> dict[Way, tuple[list[int], list[float]]]:
    found: dict[Way, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    for number, receipt in enumerate(receipts):
        way = way_of(receipt)
        if way and len(way) == len(receipt.attempts):
            found[way][0].append(number)
            found[way][1].append(_beside_s(receipt))
    return dict(found)


def _same_inputs(records: Sequence[Record]) -> dict[int, int]:
    """Of the calls that the device was not asked, another with the same input that it was."""
    asked: dict[tuple[str, str], int] = {}
    for number, record in enumerate(records):
        if DEVICE in way_of(record.receipt) and record.input_digest:
            asked.setdefault((record.receipt.ran.model, record.input_digest), number)
    return {
        number: asked[key]
        for number, record in enumerate(records)
        if (key := (record.receipt.ran.model, record.input_digest)) in asked
        and DEVICE not in way_of(record.receipt)
    }
