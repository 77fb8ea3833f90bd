"""The files of a journal: their names, and which of them go when there is no room. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["receipts", "feedback"]

# What the time of a last use may lose where it is kept.
SLACK_S = 0.01

_BLOCK = 4096
_NAME = re.compile(r"(receipts|feedback)-(\d{8}T\d{6}\.\d{6})Z-\d+(?:-\d+)?\.jsonl")
_TIME = "%Y%m%dT%H%M%S.%f"


class Held(NamedTuple):
    """A file of a journal.

    Attributes:
        name: below the journal's directory.
        size: bytes that it takes on the disk.
        since_s: when a segment was begun, or an input was last referred to; Unix time.
        written: whether some process is writing it.
    """

    name: str
    size: int
    since_s: float
    written: bool = False


def segment_name(kind: Kind, at_s: float, pid: int, number: int = 0) -> str:
    """The name of a segment that is begun at a moment; names of a kind sort by it."""
    at = datetime.fromtimestamp(at_s, UTC).strftime(_TIME)
    more = f"-{number}" if number else ""
    return f"{kind}-{at}Z-{pid}{more}.jsonl"


def begun_at(name: str, kind: Kind | None = None) -> float | None:
    """When the segment of that name was begun, as Unix time; None: it is no segment's."""
    found = _NAME.fullmatch(name)
    if found is None or kind not in (None, found[1]):
        return None
    try:
        return datetime.strptime(found[2], _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def on_disk(size: int) -> int:
    """What a file of so many bytes takes there."""
    return -(-size // _BLOCK) * _BLOCK


def surplus(segments: Iterable[Held], inputs: Iterable[Held], most_bytes: int) -> list[Held]:
    """What must go so that no more than `most_bytes` remain.

    The oldest segments go first, and with each the inputs that no later one refers to. Segments
    that are written stay. When that is not enough, the inputs go that were used least recently.
    """
    kept = deque(sorted(segments, key=lambda each: each.since_s))
    pinned = min((each.since_s for each in kept if each.written), default=float("inf"))
    closed = deque(each for each in kept if not each.written)
    unused = deque(sorted(inputs, key=lambda each: each.since_s))
    short_by = sum(each.size for each in (*kept, *unused)) - most_bytes
    going: list[Held] = []
    while short_by > 0 and (unused or closed):
        oldest = min(closed[0].since_s if closed else float("inf"), pinned)
        orphan = bool(unused) and (not closed or unused[0].since_s < oldest - SLACK_S)
        going.append(unused.popleft() if orphan else closed.popleft())
        short_by -= going[-1].size
    return going


def adoptable(
    segments: Iterable[Held], inputs: Iterable[Held], kind: Kind, most_bytes: int
) -> Held | None:
    """The segment that a new process goes on with instead of beginning another small one.

    It is the latest of its kind, if nobody writes it and it has come to less than `most_bytes`
    with the inputs that were used since it was begun.
    """
    of_kind = (each for each in segments if begun_at(each.name, kind) is not None)
    latest = max(of_kind, key=lambda each: each.since_s, default=None)
    if latest is None or latest.written:
        return None
    recent = sum(each.size for each in inputs if each.since_s >= latest.since_s - SLACK_S)
    return latest if latest.size + recent < most_bytes else None
