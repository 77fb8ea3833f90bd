"""Recorded links: when a message that sets out now arrives. Pure: state and chance are passed in.

A direction of a link is a list of moments at which one packet may pass, which is what mahimahi
records (Netravali et al., USENIX ATC 2015). A message takes its packets' places in that list after
those of the messages sent before it, and TCP's first windows add their round trips (RFC 6928: ten
packets, then twice as many each round trip). A cut takes places away. What waits through a short
one leaves with TCP's next retransmission (RFC 6298: 0.2 s on Linux, doubling); a long one ends the
connection, and with it all that was under way.
"""

from __future__ import annotations

import csv
import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, TypeAlias

PACKET_BYTES = 1500
PAYLOAD_BYTES = 1448
FIRST_WINDOW = 10
RETRANSMIT_S = 0.2
# Our client pings a silent connection after 1 s and gives it up 0.5 s later.
SILENT_S = 1.5
# Mathis et al. 1997: the window that a given loss leaves to TCP, in packets, is 1.22 / sqrt(loss)
MATHIS = 1.22
# With fewer packets under way than this there are no three acknowledgements that tell of a loss.
TELLING_WINDOW = 4

Windows: TypeAlias = tuple[tuple[float, float], ...]
"""(from, to) in seconds."""
Chance: TypeAlias = Callable[[], float]
"""Numbers in [0, 1)."""


class Passage(NamedTuple):
    """How a message passed.

    Attributes:
        arrives: when its last byte is there, in seconds; infinity: not while the recording lasts.
        taken: the first place in the list that the next message may take.
    """

    arrives: float
    taken: int


@dataclass(frozen=True)
class Link:
    """A way to a gateway, in both directions.

    Attributes:
        name: which recording.
        up: moments, in seconds and ascending, at which a packet may pass to the gateway.
        down: the same, from the gateway.
        round_trips: (from when, the round trip in seconds without queue and transfer), ascending.
        length_s: how long the recording is.
        cuts: when nothing passes.
        loss: share of the packets that are lost, each way.
    """

    name: str
    up: Sequence[float]
    down: Sequence[float]
    round_trips: tuple[tuple[float, float], ...]
    length_s: float
    cuts: Windows = ()
    loss: float = 0.0

    def round_trip_s(self, at: float) -> float:
        """The round trip that a packet sent at `at` has when nothing is before it."""
        position = bisect_left(self.round_trips, (at, math.inf)) - 1
        return self.round_trips[max(position, 0)][1]

    def travel(
        self, way: Sequence[float], at: float, size: int, taken: int, chance: Chance
    ) -> Passage:
        """When a message of `size` bytes arrives that sets out at `at`.

        Args:
            way: `up` or `down`.
            at: when it sets out, in seconds.
            size: bytes.
            taken: the first place of `way` that no earlier message takes.
            chance: decides which packets are lost.
        """
        round_trip_s = self.round_trip_s(at)
        passage = self._pass(way, at, size, taken, round_trip_s, chance)
        arrives = self._after_cuts(at, passage.arrives + round_trip_s / 2)
        return Passage(arrives, taken if arrives == math.inf else passage.taken)

    def _after_cuts(self, at: float, arrives: float) -> float:
        """When a message arrives that would be on its way from `at` to `arrives`."""
        for begin, end in self.cuts:
            if at < end and arrives > begin:
                silent_from = max(at, begin)
                if end - silent_from > SILENT_S:
                    return math.inf
                tried, pause = silent_from, RETRANSMIT_S
                while tried < end:
                    tried, pause = tried + pause, 2 * pause
                arrives = max(arrives, tried + self.round_trip_s(tried) / 2)
        return arrives

    def _pass(
        self,
        way: Sequence[float],
        at: float,
        size: int,
        taken: int,
        round_trip_s: float,
        chance: Chance,
    ) -> Passage:
        left = max(1, math.ceil(size / PAYLOAD_BYTES))
        window = _first_window(self.loss)
        waited = RETRANSMIT_S + round_trip_s
        start = leaves = at
        while left:
            first = max(taken, bisect_left(way, start))
            burst = min(window, left)
            taken = first + burst
            if taken > len(way):
                return Passage(math.inf, len(way))
            leaves = way[taken - 1]
            lost = _lost(burst, self.loss, chance)
            left -= burst - lost
            start = max(way[first], leaves if lost else 0.0) + round_trip_s
            if lost and burst < TELLING_WINDOW:
                start = leaves + waited
                waited *= 2 if lost == burst else 1
            elif not self.loss:
                window *= 2
        return Passage(leaves, taken)


def cut(link: Link, cuts: Windows) -> Link:
    """The link with nothing passing during `cuts`."""
    return replace(
        link, up=_without(link.up, cuts), down=_without(link.down, cuts), cuts=link.cuts + cuts
    )


def clipped(link: Link, length_s: float) -> Link:
    """The beginning of a link, at most `length_s` of it."""
    ways = [way[: bisect_left(way, length_s)] for way in (link.up, link.down)]
    up, down = ways
    return replace(link, up=up, down=down, length_s=min(length_s, link.length_s))


def lossy(link: Link, loss: float) -> Link:
    """The link with a share of its packets lost each way."""
    return replace(link, name=f"{link.name}, {loss:.0%} loss", loss=loss)


def steady(name: str, length_s: float, *, up_bit_s: float, down_bit_s: float, rtt_s: float) -> Link:
    """A link of constant rates, in bits per second, and round trip."""
    up, down = (_at_rates([rate] * math.ceil(length_s)) for rate in (up_bit_s, down_bit_s))
    return Link(name, up, down, ((0.0, rtt_s),), length_s)


def read_mahimahi(up: Path, down: Path, *, rtt_s: float) -> Link:
    """A link from a pair of mahimahi's recordings; they have no delay of their own."""
    there, back = (
        array("d", (int(line) / 1e3 for line in path.read_text().split())) for path in (up, down)
    )
    return Link(up.stem, there, back, ((0.0, rtt_s),), min(there[-1], back[-1]))


def read_5g(path: Path, *, up_share: float, rtt_s: float, length_s: float = math.inf) -> Link:
    """A link from a production trace of the 5G dataset of UCC (Raca et al., MMSys 2020).

    Its rates are those of downloads, second by second; seconds without a download are left out. It
    says nothing of the uplink, which is taken to be `up_share` of the downlink, and of the round
    trip now and then: `rtt_s` until it does.
    """
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["State"] == "D"]
    rows = rows[: int(min(length_s, len(rows)))]
    rates = [float(row["DL_bitrate"]) * 1e3 for row in rows]
    pings = [
        (float(second), float(row["PINGAVG"]) / 1e3)
        for second, row in enumerate(rows)
        if row["PINGAVG"] not in ("-", "")
    ]
    up = _at_rates([up_share * rate for rate in rates])
    down = _at_rates(rates)
    return Link(f"5g {path.stem}", up, down, ((0.0, rtt_s), *pings), float(len(rates)))


def read_round_trips(name: str, paths: Sequence[Path], *, every_s: float, bit_s: float) -> Link:
    """A link from lists of round trips (MECPerf); each lasts `every_s`, at a constant rate."""
    texts = [item for path in paths for item in path.read_text().strip().split(",") if item]
    trips = [float(item.rsplit("_", 1)[1]) / 1e3 for item in texts]
    steps = tuple((every_s * number, trip) for number, trip in enumerate(trips))
    length_s = every_s * len(trips)
    way = _at_rates([bit_s] * math.ceil(length_s))
    return Link(name, way, way, steps, length_s)


def _at_rates(rates: Sequence[float]) -> array[float]:
    """When packets may pass, given the rate in bits per second of each second."""
    ends = list(accumulate(rate / 8 / PACKET_BYTES for rate in rates))
    moments = array("d")
    before, number = 0.0, 1
    for second, end in enumerate(ends):
        while number <= end:
            moments.append(second + (number - before) / (end - before))
            number += 1
        before = end
    return moments


def _without(way: Sequence[float], cuts: Windows) -> array[float]:
    """The moments outside the cuts, which are ascending."""
    kept, begin = array("d"), 0
    for start, end in cuts:
        kept.extend(way[begin : bisect_left(way, start)])
        begin = bisect_left(way, end)
    kept.extend(way[begin:])
    return kept


def _first_window(loss: float) -> int:
    return max(2, int(MATHIS / math.sqrt(loss))) if loss else FIRST_WINDOW


def _lost(packets: int, loss: float, chance: Chance) -> int:
    return sum(chance() < loss for _ in range(packets)) if loss else 0
