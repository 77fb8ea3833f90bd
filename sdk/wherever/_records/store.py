"""The directory of a journal, as one process writes it.

    receipts-UTC-PID.jsonl   records, a line each; its writer holds a lock on it
    feedback-UTC-PID.jsonl   what was said of answers later
    inputs/DIGEST.frame      the inputs of calls, each once

A process takes room for what it is going to write, under a lock of the directory, and makes the
oldest files go for it. So the directory is listed once for many records, and all processes
together stay within the bound.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from wherever._outbox.disk import RealDisk
from wherever._records.layout import (
    Held,
    Kind,
    adoptable,
    begun_at,
    on_disk,
    segment_name,
    surplus,
)
from wherever._records.segment import Segment, is_written
from wherever_contracts.errors import SettingsError
from wherever_edge.durable import sync_directory, sync_file
from wherever_edge.forking import loading
from wherever_edge.private_files import locked

FOLDER = "receipts"
INPUTS = "inputs"
FRAME = ".frame"

_MOST_ROOM = 8 * 1024 * 1024
# A process takes this share of the bound at once; as many as a quarter of it has shares may be
# about to use theirs without exceeding it.
_SHARES = 64
_AHEAD = 4
# So many files may be uncertain until somebody asks for certainty.
_MOST_UNSYNCED = 1024
KINDS: tuple[Kind, ...] = ("receipts", "feedback")


class Item(NamedTuple):
    """A line to be written.

    Attributes:
        kind: to which segments it belongs.
        line: its bytes.
        digest: of the inputs that it refers to.
        frame: those inputs; empty when they are not kept.
    """

    kind: Kind
    line: bytes
    digest: str = ""
    frame: bytes = b""

    @property
    def size(self) -> int:
        """How many bytes it comes to, at most."""
        return len(self.line) + (on_disk(len(self.frame)) if self.frame else 0)


class Lost(NamedTuple):
    """What could not be written: how many lines and inputs, and why, in words."""

    lines: int = 0
    inputs: int = 0
    why: str = ""


class Store:
    """What one process writes of a journal; one thread at a time may use it.

    Args:
        root: the directory.
        max_bytes: how much all files in it may take together.
        now: Unix time.
    """

    def __init__(self, root: Path, max_bytes: int, now: Callable[[], float]) -> None:
        self.root = root
        self._inputs = root / INPUTS
        self._max_bytes = max_bytes
        self._room = min(max_bytes // _SHARES, _MOST_ROOM)
        self._now = now
        self._left = 0
        self._segments: dict[Kind, Segment] = {}
        self._unsynced: list[Path] = []
        self._serial = 0
        self._made = False

    def write(self, items: Sequence[Item]) -> Lost:
        """Write lines, and before them the inputs that they refer to; whatever the disk does."""
        lost = Lost()
        for part in _parts(items, self._room):
            try:
                lost = _both(lost, self._write(part))
            except (OSError, SettingsError) as error:
                lost = _both(lost, Lost(len(part), 0, _words(error)))
        if len(self._unsynced) > _MOST_UNSYNCED:
            lost = _both(lost, Lost(why=self.sync()))
        return lost

    def sync(self) -> str:
        """Make certain what was written; "" or why that is not so."""
        try:
            self._sync_files()
            for segment in self._segments.values():
                segment.sync()
        except OSError as error:
            return _words(error)
        return ""

    def close(self) -> None:
        """Give the files back; writing again takes new ones."""
        segments, self._segments = self._segments, {}
        for segment in segments.values():
            segment.close()
        self._left = 0

    def _write(self, items: Sequence[Item]) -> Lost:
        """Write what fits into the room of a process, or one thing that is larger.

        Raises:
            OSError: the disk fails, and nothing was written.
            SettingsError: another user owns the directory.
        """
        kinds: list[Kind] = [kind for kind in KINDS if any(item.kind == kind for item in items)]
        with self._taken(sum(item.size for item in items), kinds):
            lost = self._keep_all(items)
            for kind in kinds:
                lost = _both(lost, self._append(kind, [i.line for i in items if i.kind == kind]))
        return lost

    @contextmanager
    def _taken(self, need: int, kinds: Iterable[Kind]) -> Generator[None]:
        """Have room for so many bytes, and segments of these kinds."""
        if not all(segment.is_there for segment in self._segments.values()):
            self.close()
        wanted: set[Kind] = {*kinds, *self._segments}
        rolls = need > self._left
        if rolls:
            self.close()
        with ExitStack() as held:
            if wanted != self._segments.keys():
                held.enter_context(loading())  # or a child that is forked now inherits the lock
                self._make()
                held.enter_context(locked(self.root))
                self._open(wanted, need if rolls else 0)
            if need <= self._room:  # else others must not count before it is written
                held.close()
            yield
        self._left -= need

    def _make(self) -> None:
        if not self._made or not self._inputs.is_dir():
            disk = RealDisk()
            disk.make_private(self.root)
            disk.make_private(self._inputs)
            self._made = True

    def _open(self, kinds: set[Kind], need: int) -> None:
        """Make room for so many bytes, if any, and open segments; under the directory's lock."""
        segments, inputs = list(self._listed_segments()), list(self._listed_inputs())
        if need:
            room = max(self._room, need)
            # each other process may be about to use all that it took
            taken = sum(max(0, self._room - each.size) for each in segments if each.written)
            ahead = room + min(taken, self._max_bytes // _AHEAD) + len(kinds) * on_disk(1)
            going = set(surplus(segments, inputs, self._max_bytes - ahead))
            for each in going:
                (self.root / each.name).unlink(missing_ok=True)
            segments = [each for each in segments if each not in going]
            self._left = room
        for kind in kinds - self._segments.keys():
            latest = adoptable(segments, inputs, kind, self._room // 2)
            path = self._begun(kind) if latest is None else self.root / latest.name
            self._segments[kind] = Segment(path, fresh=latest is None)
            self._unsynced.append(path)

    def _begun(self, kind: Kind) -> Path:
        self._serial += 1
        return self.root / segment_name(kind, self._now(), os.getpid(), self._serial)

    def _append(self, kind: Kind, lines: Sequence[bytes]) -> Lost:
        data = b"".join(lines)
        size, error = self._segments[kind].append(data)
        return Lost(data.count(b"\n", size), 0, "" if error is None else _words(error))

    def _keep_all(self, items: Iterable[Item]) -> Lost:
        lost = Lost()
        for item in items:
            if item.frame:
                try:
                    self._keep(item)
                except OSError as error:
                    lost = _both(lost, Lost(0, 1, _words(error)))
        return lost

    def _keep(self, item: Item) -> None:
        """Keep inputs, unless they are there, and note that they were referred to now.

        Raises:
            OSError: the disk fails.
        """
        path = self._inputs / f"{item.digest}{FRAME}"
        if _size(path) != len(item.frame):  # what a power cut left is of another size
            fresh = self._inputs / f".{item.digest}.{secrets.token_hex(4)}"
            try:
                _write(fresh, item.frame)
                fresh.replace(path)
            finally:
                fresh.unlink(missing_ok=True)
            self._unsynced.append(path)
        now = self._now()
        os.utime(path, (now, now))

    def _sync_files(self) -> None:
        """Make certain the inputs and segments that were made since the last time."""
        unsynced, self._unsynced = self._unsynced, []
        for path in unsynced:
            with suppress(FileNotFoundError):  # it made room for others
                sync_file(path)
        for directory in {path.parent for path in unsynced}:
            with suppress(FileNotFoundError):
                sync_directory(directory)

    def _listed_segments(self) -> Iterator[Held]:
        for entry in os.scandir(self.root):
            since_s = begun_at(entry.name)
            if since_s is not None:
                size = on_disk(entry.stat(follow_symlinks=False).st_size)
                yield Held(entry.name, size, since_s, is_written(self.root / entry.name))

    def _listed_inputs(self) -> Iterator[Held]:
        for entry in os.scandir(self._inputs):
            with suppress(FileNotFoundError):  # the name that it had while it was written
                status = entry.stat(follow_symlinks=False)
                yield Held(f"{INPUTS}/{entry.name}", on_disk(status.st_size), status.st_mtime)


def _parts(items: Sequence[Item], most_bytes: int) -> Iterator[list[Item]]:
    """The items in order, as many at a time as come to no more than `most_bytes`, or one."""
    part: list[Item] = []
    size = 0
    for item in items:
        if part and size + item.size > most_bytes:
            yield part
            part, size = [], 0
        part.append(item)
        size += item.size
    if part:
        yield part


def _both(one: Lost, other: Lost) -> Lost:
    return Lost(one.lines + other.lines, one.inputs + other.inputs, other.why or one.why)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return -1


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb", opener=_owner_alone) as file:
        file.write(data)


def _owner_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
