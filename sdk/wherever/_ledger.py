"""Evidence on disk: what became known of variants' answers, kept across processes and restarts.

Of each package and variant there are numbered files of lines in `home/evidence/<model>/`. Every
process appends whole lines to the newest one with a single write each second at most, so that
nothing is mixed whoever else writes, and a process that is killed leaves one torn line at worst.
"""

from __future__ import annotations

import atexit
import os
import re
import stat
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from wherever._escalation.events import VOIDING, Alarmed, Event, pack_event, unpack_event
from wherever_edge.counters import COUNTERS

MAX_BYTES = 8 * 1024 * 1024

_FOLDER = "evidence"
_WRITE_EVERY_S = 1.0
# more than a busy second brings; what comes beyond it, when the disk is that slow, is lost
_MOST_WAITING = 10_000
# the oldest part is dropped a piece at a time
_SEGMENTS = 16
# the number of the file that keeps alarms of parts that were dropped; it is read first
_ALARMS = 0
_DIGITS = 12
_NAME = re.compile(r"(?P<digest>[0-9a-f]{1,12})-(?P<variant>.+)-(?P<number>[0-9]{6,})\.jsonl")
_SAFE = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Key(NamedTuple):
    """What evidence is about.

    Attributes:
        model: the model's name.
        digest: of its package, in hex; twelve digits of it are told apart.
        variant: the variant that answers first.
    """

    model: str
    digest: str
    variant: str

    def short(self) -> Key:
        """The same with as much of the digest as is told apart."""
        return self._replace(digest=self.digest[:_DIGITS])


class Ledger:
    """Evidence of variants, appended by any number of processes; safe to use from many threads.

    Nothing here fails a call: what cannot be kept is counted
    (`wherever_evidence_lost_total`) and said in `problems`.

    Args:
        home: the directory of all state.
        max_bytes: what all evidence may take; the oldest goes first.
    """

    def __init__(self, home: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = home / _FOLDER
        self._max_bytes = max_bytes
        self._closed = False
        self._lost = 0
        self._trouble = ""
        self._damaged = 0
        self._counted: dict[Path, int] = {}  # how far damage was looked for
        self.begin()
        self._at_exit = _flush_at_exit(self)
        _ledgers.add(self)

    def begin(self) -> None:
        """Have nothing waiting; again in a child that was forked, as its parent writes the rest."""
        self._waiting: list[tuple[Key, bytes]] = []
        self._lock = threading.Lock()  # of what waits
        self._writing = threading.Lock()
        self._hurry = threading.Event()
        self._writer_runs = False

    def add(self, key: Key, event: Event) -> None:
        """Keep an event; it is on the disk within about a second."""
        line = pack_event(event)
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                self._lose(key, 1, "the disk is too slow")
                return
            self._waiting.append((key.short(), line))
            starts = not self._writer_runs and not self._closed
            self._writer_runs = self._writer_runs or starts
        if self._closed or (starts and not self._start_writer()):
            self.flush()

    def events(self, key: Key) -> list[Event]:
        """All that is kept of a variant, as it was written; damaged lines are left out."""
        return self.news(key, {})

    def news(self, key: Key, seen: dict[str, int]) -> list[Event]:
        """What is kept of a variant beyond what was seen before.

        Args:
            key: the variant.
            seen: how far each file was read; it is brought up to date.
        """
        self.flush()
        try:
            segments = self._segments(key.short())
        except OSError:
            return []
        return [event for path in segments for event in self._read(key, path, seen)]

    def keys(self) -> list[Key]:
        """What there is evidence of; each digest has twelve digits at most."""
        self.flush()
        found: dict[Key, None] = {}
        for path in _files(self._folder):
            segment = _segment_of(path)
            if segment is not None:
                found[segment.key] = None
        return list(found)

    def flush(self) -> None:
        """Write what waits now."""
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, []
            lines: dict[Key, list[bytes]] = {}
            for key, line in waiting:
                lines.setdefault(key, []).append(line)
            for key, batch in lines.items():
                self._append(key, batch)

    def close(self) -> None:
        """Write what waits; events that come later are written at once."""
        self._closed = True
        self._hurry.set()
        self.flush()
        atexit.unregister(self._at_exit)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong with keeping evidence, in words."""
        events = "1 event" if self._lost == 1 else f"{self._lost} events"
        lost = f"evidence was not kept ({events}) in {self._folder}: {self._trouble}"
        damaged = f"damaged lines of evidence in {self._folder} are left out: {self._damaged}"
        return (*((lost,) if self._lost else ()), *((damaged,) if self._damaged else ()))

    def _start_writer(self) -> bool:
        thread = threading.Thread(target=self._write_soon, name="wherever-evidence", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending, or the machine has no more threads
            self._writer_runs = False
            return False
        return True

    def _write_soon(self) -> None:
        """Wait for others to come, write, and end when none came; in a thread of its own."""
        self._hurry.wait(_WRITE_EVERY_S)
        with self._lock:
            self._writer_runs = False
        self.flush()

    def _append(self, key: Key, lines: list[bytes]) -> None:
        # the first end of line keeps what a torn line before left apart from these
        data = b"\n" + b"".join(lines)
        written = 0
        try:
            path = self._current(key)
            self._make_room(path, len(data))
            written = _append(path, data)
            if written == len(data):
                return
            why = "the disk is full"
        except OSError as error:
            why = error.strerror or str(error)
        kept = max(data.count(b"\n", 0, written) - 1, 0)
        with self._lock:
            self._lose(key, len(lines) - kept, why)

    def _lose(self, key: Key, events: int, why: str) -> None:
        self._lost += events
        self._trouble = why
        COUNTERS.add("wherever_evidence_lost_total", events, model=key.model)

    def _current(self, key: Key) -> Path:
        """The file to append to."""
        newest = next(reversed(self._segments(key)), None)
        if newest is None or _number(newest) == _ALARMS:
            return self._path(key, 1)
        status = _status(newest)
        if status is not None and status.st_size < self._max_bytes // _SEGMENTS:
            return newest
        return self._path(key, _number(newest) + 1)

    def _path(self, key: Key, number: int) -> Path:
        _make_private(self._folder)
        folder = self._folder / key.model
        _make_private(folder)
        return folder / f"{key.digest}-{key.variant}-{number:06}.jsonl"

    def _segments(self, key: Key) -> list[Path]:
        """The files of a variant, the oldest first."""
        unsafe = [part for part in key if not _SAFE.fullmatch(part)]
        if unsafe:
            raise OSError(f"{unsafe[0]!r:.80} is no name of a file")
        name = re.compile(rf"{re.escape(f'{key.digest}-{key.variant}')}-[0-9]{{6,}}\.jsonl")
        found = _files(self._folder, key.model)
        return sorted((path for path in found if name.fullmatch(path.name)), key=_number)

    def _make_room(self, current: Path, size: int) -> None:
        """Drop files that were written to the longest ago, until `size` more bytes fit."""
        kept = {path: info for path in _files(self._folder) if (info := _status(path)) is not None}
        total = size + sum(info.st_size for info in kept.values())
        kept.pop(current, None)
        for path in sorted(kept, key=lambda each: kept[each].st_mtime_ns):
            if total <= self._max_bytes:
                return
            if not _holds_alarms_of_others(path, (*kept, current)):
                total += self._drop(path) - kept[path].st_size

    def _drop(self, path: Path) -> int:
        """Drop a file but for the last alarm in it, and say how many bytes that takes.

        What an alarm made void must not be valid again for who reads what is left.
        """
        segment = _segment_of(path)
        void = [line for line in _whole_lines(path, 0) if _makes_void(line)]
        path.unlink(missing_ok=True)
        COUNTERS.add("wherever_evidence_dropped_total", model=path.parent.name)
        if not void or segment is None or segment.number == _ALARMS:
            return 0
        return _append(self._path(segment.key, _ALARMS), b"\n" + void[-1])

    def _read(self, key: Key, path: Path, seen: dict[str, int]) -> Iterator[Event]:
        start = seen.get(path.name, 0)
        counted = self._counted.get(path, 0)
        damaged = 0
        for line in _whole_lines(path, start):
            start += len(line)
            try:
                if line.strip():
                    yield unpack_event(line)
            except ValueError:
                damaged += start > counted
        seen[path.name] = start
        self._counted[path] = max(counted, start)
        if damaged:
            self._damaged += damaged
            COUNTERS.add("wherever_evidence_damaged_total", damaged, model=key.model)


def _flush_at_exit(ledger: Ledger) -> Callable[[], None]:
    """Have a ledger that nobody closed written when the process ends; it may be collected."""
    alive = weakref.ref(ledger)

    def flush() -> None:
        found = alive()
        if found is not None:
            found.flush()

    atexit.register(flush)
    return flush


_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for ledger in list(_ledgers):
        ledger.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _append(path: Path, data: bytes) -> int:
    """Append with a single write, so that no other process's lines come between."""
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | careful, 0o600)
    try:
        return os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _whole_lines(path: Path, start: int) -> list[bytes]:
    """The lines from a position on, each with its end; none when it is gone, or no file of ours."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return []
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
    except OSError:
        return []
    *lines, _ = data.split(b"\n")  # the last one has no end yet, or is nothing
    return [line + b"\n" for line in lines]


def _files(folder: Path, model: str = "*") -> list[Path]:
    try:
        return list(folder.glob(f"{model}/*.jsonl"))
    except OSError:
        return []


def _make_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


class _Segment(NamedTuple):
    """What the name of a file says."""

    key: Key
    number: int


def _segment_of(path: Path) -> _Segment | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    return _Segment(Key(path.parent.name, match["digest"], match["variant"]), int(match["number"]))


def _holds_alarms_of_others(path: Path, files: Iterable[Path]) -> bool:
    """Whether a file keeps the alarms of evidence of which other parts are there still."""
    segment = _segment_of(path)
    if segment is None or segment.number != _ALARMS:
        return False
    others = (_segment_of(each) for each in files if each != path)
    return any(other is not None and other.key == segment.key for other in others)


def _makes_void(line: bytes) -> bool:
    """Whether a line is that of an alarm after which calibrations say nothing any more."""
    if b"alarmed" not in line:
        return False
    try:
        event = unpack_event(line)
    except ValueError:
        return False
    return isinstance(event, Alarmed) and event.kind in VOIDING


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
