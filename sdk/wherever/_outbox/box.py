"""Calls and results in a directory: a file for each, safe across any crash.

    pending/ID.call      a call that waits; it was acknowledged when it and its name were synced
    results/ID.answer    what came of it; made once, never changed
    results/ID.told      its callback has returned
    damaged/             what could not be read, the first few of it

A call ends in this order: the result is written under a name of its own, synced, linked to its
final name, which fails when there is one; the directory is synced; then the call is removed. So a
crash at any moment leaves the call, or the result, or both, and where both are there the call is
over. Any number of processes may add; one at a time sends and cleans up.
"""

from __future__ import annotations

import errno
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from wherever._outbox.age import Ages, Stamp
from wherever._outbox.disk import Disk
from wherever._outbox.entry import (
    Entry,
    Letter,
    Result,
    check_id,
    pack_letter,
    pack_result,
    peek_entry,
    peek_recorded,
    unpack_letter,
    unpack_result,
)
from wherever_contracts.durations import duration
from wherever_contracts.errors import OutboxFullError
from wherever_contracts.frames import FrameError
from wherever_edge.counters import COUNTERS

T = TypeVar("T")

_CALL, _ANSWER, _TOLD = ".call", ".answer", ".told"
_PEEK_BYTES = 64 * 1024
_TRIES = 5
_DAMAGED_KEPT = 16
_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


class Bounds(NamedTuple):
    """How much the outbox may hold.

    Attributes:
        max_bytes: calls and results together.
        max_entries: calls that wait.
        keep_s: how long a result is kept.
    """

    max_bytes: int
    max_entries: int
    keep_s: float


class Waiting(NamedTuple):
    """A call that waits, and how many bytes it takes."""

    entry: Entry
    size: int


class _Kept(NamedTuple):
    recorded: Stamp
    size: int


class Box:
    """The outbox of one home. Safe to use from many threads and processes.

    Args:
        root: its directory; made when it is first written to.
        disk: what it lies on.
        now: the time.
        bounds: how much it may hold. Calls that are added at the very same moment may exceed it
            by their own size, and so may the one result that takes a call's place.
    """

    def __init__(self, root: Path, disk: Disk, now: Callable[[], Stamp], bounds: Bounds) -> None:
        self.root = root
        self._pending, self._results = root / "pending", root / "results"
        self._disk = disk
        self._now = now
        self._bounds = bounds
        self._ages = Ages()
        self._lock = threading.Lock()
        self._waiting: dict[str, Waiting] = {}
        self._kept: dict[str, _Kept] = {}
        self._made = False

    def add(self, letter: Letter) -> None:
        """Put a call in; once this returns, it has exactly one result to come, whatever happens.

        A call that is in already, or has its result, stays as it is.

        Raises:
            OutboxFullError: there is no room, here or on the disk.
            FrameError: the call cannot be written down.
            SettingsError: the directory is another user's.
            OSError: the disk fails; the call is not in, or not for certain.
        """
        id_ = check_id(letter.entry.id)
        data = pack_letter(letter)
        try:
            self._make()
            self._make_room(len(data))
            if not self._is_there(self._results / f"{id_}{_ANSWER}"):
                self._add(self._pending / f"{id_}{_CALL}", data)
        except OSError as error:
            if error.errno in _FULL:
                raise OutboxFullError(f"the disk of {self.root} is full") from error
            raise

    def waiting(self) -> list[Waiting]:
        """The calls that wait, in no order."""
        ids = self._ids(self._pending, _CALL)
        recorded = self._ids(self._results, _ANSWER)
        with self._lock:
            known = self._waiting
            read = {id_: known.get(id_) or self._peek(id_) for id_ in ids - recorded}
            self._waiting = {id_: found for id_, found in read.items() if found is not None}
            return list(self._waiting.values())

    def letter(self, id_: str) -> Letter | None:
        """A call that waits, whole; None when it waits no more, or is damaged."""
        path = self._pending / f"{check_id(id_)}{_CALL}"
        letter = self._read(path, unpack_letter)
        if letter is not None and letter.entry.id != id_:
            self._set_aside(path)
            return None
        return letter

    def record(self, result: Result) -> bool:
        """Write down what came of a call, and let it wait no more.

        Returns:
            False when there was a result before, which stays.

        Raises:
            FrameError: the answer cannot be written down.
            OSError: the disk fails; the call may wait still.
        """
        id_ = check_id(result.entry.id)
        self._make()
        fresh = self._publish(self._results / f"{id_}{_ANSWER}", pack_result(result))
        self._disk.sync_names(self._results)
        self._disk.unlink(self._pending / f"{id_}{_CALL}")
        return fresh

    def result(self, id_: str) -> Result | None:
        """What came of a call; None when there is nothing yet."""
        path = self._results / f"{check_id(id_)}{_ANSWER}"
        result = self._read(path, unpack_result)
        if result is None or result.entry.id != id_:
            return None
        if self.waits(id_):
            self._disk.sync_names(self._results)  # whoever wrote it has not come that far
        return result

    def waits(self, id_: str) -> bool:
        """Whether a call's file is there; its result may be, too."""
        return self._is_there(self._pending / f"{check_id(id_)}{_CALL}")

    def is_damaged(self, id_: str) -> bool:
        """Whether the call's file, or its result's, was set aside."""
        names = {f"{check_id(id_)}{_CALL}", f"{id_}{_ANSWER}"}
        return not names.isdisjoint(self._names(self.root / "damaged"))

    def told(self, id_: str) -> None:
        """Note that the callback for a result has returned.

        Raises:
            OSError: the disk fails; it may be called again.
        """
        with suppress(FileExistsError):
            self._disk.write_new(self._results / f"{check_id(id_)}{_TOLD}", b"")

    def over(self) -> set[str]:
        """Calls with a result."""
        return self._ids(self._results, _ANSWER)

    def untold(self) -> list[str]:
        """Calls with a result for which no callback has returned."""
        names = self._names(self._results)
        return sorted(_ids(names, _ANSWER) - _ids(names, _TOLD))

    def drop(self, result: Result) -> None:
        """Give a call up for the reason that `result` has, on a full disk without noting it.

        Raises:
            OSError: the disk fails.
        """
        try:
            self.record(result)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._disk.unlink(self._pending / f"{check_id(result.entry.id)}{_CALL}")
            self._disk.sync_names(self._pending)

    def recover(self) -> None:
        """Finish what a crash left half done; by one process at a time.

        Raises:
            OSError: the disk fails.
        """
        for directory in (self._pending, self._results):
            for name in self._names(directory):
                if name.startswith("."):
                    self._disk.unlink(directory / name)
        names = self._names(self._results)
        recorded = _ids(names, _ANSWER)
        over = recorded & self._ids(self._pending, _CALL)
        if over:
            self._disk.sync_names(self._results)
        for id_ in over:
            self._disk.unlink(self._pending / f"{id_}{_CALL}")
        for id_ in _ids(names, _TOLD) - recorded:
            self._disk.unlink(self._results / f"{id_}{_TOLD}")

    def age_s(self, since: Stamp) -> float:
        """How old something is; see `Ages.age_s`."""
        with self._lock:
            return self._ages.age_s(since, self._now())

    def expire(self) -> list[str]:
        """End the calls that have waited too long; their results say so.

        Raises:
            OSError: the disk fails.
        """
        ended: list[str] = []
        for entry, _ in self.waiting():
            age_s = self.age_s(entry.created)
            if age_s >= entry.ttl_s:
                self._end_expired(entry, age_s)
                ended.append(entry.id)
        return ended

    def prune(self, *, short_by: int = 0) -> None:
        """Forget results that were kept for long enough, and told ones while bytes are short.

        Args:
            short_by: bytes that are wanted.

        Raises:
            OSError: the disk fails.
        """
        kept = self._scan_results()
        told = self._ids(self._results, _TOLD)
        ages = {id_: self.age_s(each.recorded) for id_, each in kept.items()}
        gone: list[str] = []
        for id_ in sorted(kept, key=lambda id_: -ages[id_]):
            if ages[id_] >= self._bounds.keep_s or (short_by > 0 and id_ in told):
                gone.append(id_)
                short_by -= kept[id_].size
        self._forget(gone)

    def _add(self, target: Path, data: bytes) -> None:
        self._publish(target, data)
        try:
            self._disk.sync_names(self._pending)
        except OSError:
            with suppress(OSError):
                self._disk.unlink(target)
            raise

    def _publish(self, target: Path, data: bytes) -> bool:
        """Let a file appear whole; False when there is one of that name, which stays."""
        for tries_left in reversed(range(_TRIES)):
            fresh = target.with_name(f".{target.stem}.{secrets.token_hex(4)}")
            try:
                self._disk.write_new(fresh, data)
                self._disk.link(fresh, target)
            except FileExistsError:
                return False
            except FileNotFoundError:  # swept by who cleans up, or the directories were removed
                if not tries_left:
                    raise
                self._make(anew=True)
            else:
                return True
            finally:
                with suppress(OSError):  # who cleans up removes it
                    self._disk.unlink(fresh)
        raise AssertionError

    def _make(self, *, anew: bool = False) -> None:
        if anew or not self._made:
            for directory in (self.root, self._pending, self._results):
                self._disk.make_private(directory)
            with suppress(PermissionError):  # the home may be as new as what is in it
                self._disk.sync_names(self.root.parent.parent)
            self._made = True

    def _make_room(self, size: int) -> None:
        if not self._is_crowded() and self._short_by(size) <= 0:
            return
        self.expire()
        self.prune(short_by=self._short_by(size))
        if self._is_crowded() or self._short_by(size) > 0:
            waiting = self.waiting()
            taken = sum(each.size for each in waiting)
            raise OutboxFullError(
                f"the outbox in {self.root} holds {len(waiting)} calls of {taken} bytes, and may "
                f"hold {self._bounds.max_entries} and {self._bounds.max_bytes} bytes with their "
                f"results; this call has {size} (see 'wherever outbox list')"
            )

    def _is_crowded(self) -> bool:
        return len(self.waiting()) >= self._bounds.max_entries

    def _short_by(self, size: int) -> int:
        """Bytes that are wanted for one more call of this size; 0 or less: it fits."""
        held = sum(each.size for each in self.waiting())
        held += sum(each.size for each in self._scan_results().values())
        return held + size - self._bounds.max_bytes

    def _scan_results(self) -> dict[str, _Kept]:
        ids = self._ids(self._results, _ANSWER)
        with self._lock:
            known = self._kept
            read = {id_: known.get(id_) or self._peek_result(id_) for id_ in ids}
            self._kept = {id_: found for id_, found in read.items() if found is not None}
            return dict(self._kept)

    def _forget(self, ids: list[str]) -> None:
        waiting = self._ids(self._pending, _CALL)
        gone = [id_ for id_ in ids if id_ not in waiting]
        if gone:
            self._disk.sync_names(self._pending)  # or a call could come back without its result
        for id_ in gone:
            self._disk.unlink(self._results / f"{id_}{_ANSWER}")
            self._disk.unlink(self._results / f"{id_}{_TOLD}")

    def _end_expired(self, entry: Entry, age_s: float) -> None:
        why = (
            f"it waited for {duration(age_s)}, and was to wait for {duration(entry.ttl_s)} at most"
        )
        letter = self.letter(entry.id)
        if letter is not None:
            self.record(
                Result(entry, letter.signature, self._now(), None, kind="expired", error=why)
            )
            COUNTERS.add("wherever_outbox_ended_total", how="expired")

    def _peek(self, id_: str) -> Waiting | None:
        path = self._pending / f"{id_}{_CALL}"

        def peek(start: bytes) -> Waiting:
            return Waiting(peek_entry(start), self._disk.size(path))

        return self._read(path, peek, _PEEK_BYTES)

    def _peek_result(self, id_: str) -> _Kept | None:
        path = self._results / f"{id_}{_ANSWER}"

        def peek(start: bytes) -> _Kept:
            return _Kept(peek_recorded(start), self._disk.size(path))

        return self._read(path, peek, _PEEK_BYTES)

    def _is_there(self, path: Path) -> bool:
        try:
            self._disk.size(path)
        except FileNotFoundError:
            return False
        return True

    def _read(self, path: Path, unpack: Callable[[bytes], T], most: int = -1) -> T | None:
        """What a file says; None when it is gone, or was damaged and is set aside now."""
        try:
            return unpack(self._disk.read(path, most))
        except FileNotFoundError:
            return None
        except FrameError:
            self._set_aside(path)
            return None

    def _set_aside(self, path: Path) -> None:
        COUNTERS.add("wherever_outbox_damaged_total")
        damaged = self.root / "damaged"
        with suppress(OSError):  # another process was faster, or the disk fails
            self._disk.make_private(damaged)
            if len(self._names(damaged)) < _DAMAGED_KEPT:
                self._disk.rename(path, damaged / path.name)
            else:
                self._disk.unlink(path)

    def _ids(self, directory: Path, suffix: str) -> set[str]:
        return _ids(self._names(directory), suffix)

    def _names(self, directory: Path) -> list[str]:
        try:
            return self._disk.names(directory)
        except FileNotFoundError:
            return []


def _ids(names: list[str], suffix: str) -> set[str]:
    return set(_stems(names, suffix))


def _stems(names: list[str], suffix: str) -> Iterator[str]:
    for name in names:
        if name.endswith(suffix) and not name.startswith("."):
            yield name.removesuffix(suffix)
