"""What a journal's directory says; on any machine."""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from wherever._records.inputs import unpack_inputs
from wherever._records.layout import Kind, begun_at
from wherever._records.record import Judgement, Record, unpack_judgement, unpack_record
from wherever._records.store import FOLDER, FRAME, INPUTS
from wherever_contracts.frames import FrameError
from wherever_edge.counters import COUNTERS

T = TypeVar("T")

# Called with a file and why a line of it is left out.
Damaged: TypeAlias = Callable[[Path, str], object]

# So many records may be written before one that began earlier than they did.
_LATE = 4096
_DIGEST = re.compile(r"[0-9a-f]{32,64}")


def read_records(
    source: str | os.PathLike[str], damaged: Damaged | None = None
) -> Iterator[Record]:
    """Every record of a journal, in the order in which the calls began; one at a time in memory.

    Where more than 4,096 others were written before a call that had begun earlier, it comes late.

    Args:
        source: a journal's directory, the home that it lies in, or one file of records.
        damaged: called for each line that cannot be read and is left out, as the last one of a
            process that was killed may be. They are counted as `wherever_records_damaged_total`.

    Raises:
        OSError: there is no such directory or file, or it cannot be read.
    """
    waiting: list[tuple[float, int, Record]] = []
    lines = _in_order(source, "receipts", unpack_record, _ended_at, damaged)
    for number, record in enumerate(lines):
        entry = (record.receipt.started_at, number, record)
        if len(waiting) < _LATE:
            heapq.heappush(waiting, entry)
        else:
            yield heapq.heappushpop(waiting, entry)[2]
    yield from (heapq.heappop(waiting)[2] for _ in range(len(waiting)))


def read_feedback(
    source: str | os.PathLike[str], damaged: Damaged | None = None
) -> Iterator[Judgement]:
    """What was said of answers later, in the order in which it was; see `read_records`.

    Raises:
        OSError: there is no such directory or file, or it cannot be read.
    """
    return _in_order(source, "feedback", unpack_judgement, lambda said: said.at, damaged)


def read_inputs(source: str | os.PathLike[str], digest: str) -> dict[str, Any] | None:
    """The inputs that a record names, as a call takes them.

    Args:
        source: a journal's directory, or the home that it lies in.
        digest: the record's `input_digest`.

    Returns:
        The inputs by name; None when they were not kept, made room for others, or are damaged.

    Raises:
        OSError: they cannot be read.
    """
    if not _DIGEST.fullmatch(digest):
        return None
    try:
        return unpack_inputs((_directory(Path(source)) / INPUTS / f"{digest}{FRAME}").read_bytes())
    except (FileNotFoundError, FrameError):
        return None


def find_record(source: str | os.PathLike[str], id_: str) -> Record | None:
    """The record of a call, the latest files first; None when there is none.

    Raises:
        OSError: there is no such directory, or it cannot be read.
    """
    for path in reversed(_files(source, "receipts")):
        for line in _lines_with(path, id_.encode()):
            record = _unpacked(line, path, unpack_record, None)
            if record is not None and record.receipt.id == id_:
                return record
    return None


def _ended_at(record: Record) -> float:
    return record.receipt.started_at + record.receipt.total_s


def _in_order(
    source: str | os.PathLike[str],
    kind: Kind,
    unpack: Callable[[bytes], T],
    time_of: Callable[[T], float],
    damaged: Damaged | None,
) -> Iterator[T]:
    """What the lines of all files say, merged by time; a file is open while its time has come."""
    unopened = [(begun_at(path.name) or 0.0, path) for path in reversed(_files(source, kind))]
    heads: list[tuple[float, int, T, Iterator[T]]] = []
    serial = count()

    def advance(rest: Iterator[T]) -> None:
        for head in rest:
            heapq.heappush(heads, (time_of(head), next(serial), head, rest))
            break

    while unopened or heads:
        if unopened and (not heads or unopened[-1][0] <= heads[0][0]):
            advance(_read(unopened.pop()[1], unpack, damaged))
        else:
            _, _, head, rest = heapq.heappop(heads)
            yield head
            advance(rest)


def _read(path: Path, unpack: Callable[[bytes], T], damaged: Damaged | None) -> Iterator[T]:
    for line in _lines(path):
        found = _unpacked(line, path, unpack, damaged)
        if found is not None:
            yield found


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that hold something; none when it made room for others."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        yield from (line for line in file if line != b"\n")


def _lines_with(path: Path, mark: bytes) -> Iterator[bytes]:
    """The lines of a file in which some bytes occur; none when it made room for others."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        if not mark or not os.fstat(file.fileno()).st_size:
            return
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            at = data.find(mark)
            while at >= 0:
                end = data.find(b"\n", at)
                end = len(data) if end < 0 else end
                yield data[data.rfind(b"\n", 0, at) + 1 : end]
                at = data.find(mark, end)


def _unpacked(
    line: bytes, path: Path, unpack: Callable[[bytes], T], damaged: Damaged | None
) -> T | None:
    try:
        return unpack(line)
    except (ValueError, RecursionError) as error:
        COUNTERS.add("wherever_records_damaged_total")
        if damaged is not None:
            damaged(path, str(error))
        return None


def _files(source: str | os.PathLike[str], kind: Kind) -> list[Path]:
    """The segments of a kind, the earliest first; or the one file that is meant."""
    path = Path(source)
    if not path.is_dir():
        path.stat()  # or say that there is none
        return [path]
    names = os.listdir(_directory(path))  # noqa: PTH208 (names, not paths)
    return [_directory(path) / name for name in sorted(names) if begun_at(name, kind) is not None]


def _directory(path: Path) -> Path:
    inner = path / FOLDER
    return inner if inner.is_dir() else path
