"""What is called, by whom, over which link: measured figures put together, nothing drawn here.

`measured.json` beside this file has, for each cascade, what `measure.py` measured of it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from routing.links import (
    Link,
    Windows,
    clipped,
    cut,
    lossy,
    read_5g,
    read_mahimahi,
    read_round_trips,
)
from wherever_contracts.places import Mode, Place

MEASURED = Path(__file__).with_name("measured.json")

# Assumed, because the recordings do not have them: mahimahi has no delay, MECPerf no rate, and the
# 5G dataset no uplink.
BASE_ROUND_TRIP_S = 0.05
LTE_BIT_S, WIFI_BIT_S = 10e6, 40e6
UPLINK_SHARE = 0.25
# Of long recordings the beginning is taken; 10 cuts fit into it.
LONGEST_S = 300.0
# The device is this machine, the gateway another like it with other callers.
DEVICE_SPREAD, GATEWAY_SPREAD = 0.1, 0.15
GATEWAY_QUEUE_S = 0.002
HEADER_BYTES = 300


class Row(NamedTuple):
    """One input: its size as sent, how sure the small variant is of it, and who is right."""

    size: int
    confidence: float
    small_right: bool
    large_right: bool


@dataclass(frozen=True)
class Cascade:
    """A small variant on the device, a large one at the gateway.

    Attributes:
        rows: what was measured of each input.
        threshold: the confidence under which the small variant's answer is taken further; 0: never.
        small_s: what the small variant takes; large_s: what the large one takes.
        answer_bytes: what the answer takes on its way back.
    """

    name: str
    rows: Sequence[Row]
    threshold: float
    small_s: float
    large_s: float
    answer_bytes: int


@dataclass(frozen=True)
class Host:
    """A remote host: where it is, the link to it, and when it hangs."""

    name: str
    place: Place
    link: Link
    hung: Windows = ()
    queue_s: float = GATEWAY_QUEUE_S


@dataclass(frozen=True)
class Scenario:
    """Calls of one cascade, one every `period_s`, for as long as the link is recorded.

    Attributes:
        one_by_one: a call is not made before the one before it has ended.
    """

    name: str
    cascade: Cascade
    hosts: tuple[Host, ...]
    deadline_s: float | None
    period_s: float
    mode: Mode = "auto"
    length_s: float = 60.0
    one_by_one: bool = False

    @property
    def calls(self) -> int:
        """How many there are; none begins so late that the recording ends before it."""
        return int((self.length_s - TAIL_S) / self.period_s)


# No call begins in the last seconds of a recording.
TAIL_S = 5.0


def data_folder() -> Path:
    """The recordings.

    Raises:
        SystemExit: WHEREVER_TEST_DATA does not lead to them.
    """
    folder = Path(os.environ.get("WHEREVER_TEST_DATA", "")) / "traces"
    if not folder.is_dir():
        raise SystemExit(
            f"no recorded links at {folder}: set WHEREVER_TEST_DATA to the folder of the test data"
        )
    return folder


def recorded(folder: Path) -> Iterator[Link]:
    """Every recording of a folder as a link, at most `LONGEST_S` of it."""
    for up in sorted((folder / "mahimahi").glob("*.up")):
        link = read_mahimahi(up, up.with_suffix(".down"), rtt_s=BASE_ROUND_TRIP_S)
        yield clipped(link, LONGEST_S)
    for path in sorted((folder / "5g_ucc").glob("*.csv")):
        yield read_5g(path, up_share=UPLINK_SHARE, rtt_s=BASE_ROUND_TRIP_S, length_s=LONGEST_S)
    for setup, bit_s in _MECPERF:
        paths = sorted((folder / "mecperf_rtt").glob(f"{setup}_trace*.txt"))
        yield clipped(read_round_trips(setup, paths, every_s=0.4, bit_s=bit_s), LONGEST_S)


_MECPERF = tuple(
    (f"{access}-TCPRTT-noise{noise}_Client_{where}", bit_s)
    for access, bit_s in (("lte", LTE_BIT_S), ("wifi", WIFI_BIT_S))
    for noise in ("0M", "50M")
    for where in ("cloud", "edge")
)


@lru_cache
def cascade(name: str) -> Cascade:
    """`digits` or `imagenet`, as measured."""
    measured: dict[str, Any] = json.loads(MEASURED.read_text())[name]
    threshold, answer_bytes = _SETTINGS[name]
    rows = tuple(Row(int(size), sure, bool(a), bool(b)) for size, sure, a, b in measured["rows"])
    return Cascade(name, rows, threshold, measured["small_s"], measured["large_s"], answer_bytes)


# threshold: the manifest's for digits; for ImageNet the one that keeps 97 % of what the large one
# gains over the small. Answers: scores of 10 or 1000 classes as float32.
_SETTINGS = {"digits": (0.88, 40), "imagenet": (0.8, 4000)}


def same_everywhere(device_s: float, large_s: float) -> Cascade:
    """A model whose one variant runs here in `device_s` and at the gateway in `large_s`.

    Inputs are ImageNet's pictures. Whoever answers first answers as well.
    """
    pictures = cascade("imagenet")
    rows = tuple(row._replace(small_right=row.large_right) for row in pictures.rows)
    return replace(
        pictures, name="same", rows=rows, threshold=0.0, small_s=device_s, large_s=large_s
    )


def ten_cuts(length_s: float, each_s: float = 3.0) -> Windows:
    """Ten cuts, evenly over the length."""
    apart = length_s / 11
    return tuple((apart * number, apart * number + each_s) for number in range(1, 11))


def gateway(link: Link, *, hung: Windows = ()) -> Host:
    """The one gateway behind a link."""
    return Host("gateway", "cloud", link, hung)


def troubled(link: Link) -> Iterator[tuple[str, Host]]:
    """A gateway behind a link in each kind of trouble, by name."""
    yield "as recorded", gateway(link)
    yield "10 cuts", gateway(cut(link, ten_cuts(link.length_s)))
    third = link.length_s / 3
    yield "gateway hung", gateway(link, hung=((third, 2 * third),))
    yield "30 % loss", gateway(lossy(link, 0.3))


def calls_of(name: str, what: Cascade, host: Host, **options: Any) -> Scenario:
    """A scenario with one gateway that lasts as long as its link is recorded."""
    return Scenario(name, what, (host,), length_s=math.floor(host.link.length_s), **options)
