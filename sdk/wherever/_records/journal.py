"""The journal of a home: calls and what was said of them, written beside the calls.

A thread writes, in batches. Whoever puts in more than it can write waits, so that nothing is left
out in silence; when the disk fails, what cannot be written is counted, and no call fails.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever._device_key import key_for_now
from wherever._records.inputs import content_digest, pack_inputs
from wherever._records.queue import Queue
from wherever._records.reading import find_record, read_feedback, read_inputs, read_records
from wherever._records.record import Judgement, Record, pack_judgement, pack_record
from wherever._records.store import FOLDER, Item, Lost, Store
from wherever_contracts.errors import SettingsError, WhereverError
from wherever_contracts.frames import FrameError
from wherever_edge.counters import COUNTERS

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

__all__ = ["Journal", "read_feedback", "read_inputs", "read_records"]

MIN_BYTES = 1024 * 1024

# One call's inputs may take this share of all that is kept; larger ones are left out.
_INPUTS_SHARE = 16
_MOST_WAITING = 16 * 1024 * 1024
_EXIT_PATIENCE_S = 10.0


class Journal:
    """Records of calls on this device. Threads, processes and forked children may share a home.

    Nothing is made before the first use. `close` when done; what is put in later opens it again.
    What was put in when the interpreter exits is written.

    Args:
        home: the state directory; the journal lies in `receipts` below it.
        max_bytes: how much records and inputs may take on the disk together, 1 MiB or more; the
            oldest make room. More than 16 processes that write at the same time may exceed it.
        now: Unix time.

    Raises:
        SettingsError: `max_bytes` is too small, or what lies in the home is not a device's key.
    """

    def __init__(self, home: Path, *, max_bytes: int, now: Callable[[], float] = time.time) -> None:
        if max_bytes < MIN_BYTES:
            raise SettingsError(f"receipts need {MIN_BYTES} bytes or more, not {max_bytes}")
        self.directory: Path = home.absolute() / FOLDER
        self._key = key_for_now(home)
        self._max_bytes = max_bytes
        self._now = now
        self._begin()
        _journals.add(self)

    @property
    def problem(self) -> str:
        """Why records are lost now, in words; "" when the last ones were written."""
        return self._writer.problem

    def input_digest(self, inputs: Mapping[str, Any]) -> str:
        """What tells checked inputs from others on this device; see `content_digest`."""
        return content_digest(self._key, inputs)

    def answer_digest(self, outputs: Mapping[str, Array]) -> str:
        """What tells output tensors from others on this device; see `content_digest`."""
        return content_digest(self._key, outputs)

    def put(self, record: Record, inputs: Mapping[str, Any] | None = None) -> None:
        """Have a call written down; waits only while more waits than the disk has taken so far.

        Args:
            record: what is known of it.
            inputs: its checked inputs, to be kept under the record's `input_digest`; they may be
                changed once this has returned. None: they are not kept.
        """
        digest = record.input_digest
        frame = b"" if inputs is None or not digest else self._packed(inputs)
        # in the caller's thread: another's would take the interpreter from calls for milliseconds
        self._put(lambda: Item("receipts", pack_record(record), digest, frame))

    def feedback(
        self,
        id_: str,
        *,
        label: Any = None,
        accepted: bool | None = None,
        at: float | None = None,
    ) -> None:
        """Have it written down what somebody says of an answer; the call may be long ago.

        Args:
            id_: of the call.
            label: what would have been right.
            accepted: whether the answer was taken as it was.
            at: when that was said, as Unix time; None: now.
        """
        judgement = Judgement(id_, self._now() if at is None else at, label, accepted)
        self._put(lambda: Item("feedback", pack_judgement(judgement)))

    def find(self, id_: str) -> Record | None:
        """The record of a call, of this process or another; None when there is none."""
        self._queue.settle(synced=False)
        try:
            return find_record(self.directory, id_)
        except OSError:
            return None

    def flush(self) -> None:
        """Wait until all that was put in so far is on the disk, or is lost and counted."""
        self._queue.settle(synced=True)

    def close(self) -> None:
        """The same, and give the files back."""
        self._queue.end()

    def after_fork(self) -> None:
        """In a child: what waits is the parent's to write, and so are the files."""
        self._end()
        self._begin()

    def _begin(self) -> None:
        self._writer = _Writer(Store(self.directory, self._max_bytes, self._now))
        most = min(_MOST_WAITING, self._max_bytes // _INPUTS_SHARE)
        self._queue: Queue[Item] = Queue(self._writer, most)
        # also when the interpreter exits
        self._end = weakref.finalize(self, _end, self._queue, self._writer, os.getpid())

    def _put(self, make: Callable[[], Item]) -> None:
        """Have a line written; one that cannot be made is counted."""
        try:
            item = make()
        except ValueError as error:
            self._writer.lost(Lost(lines=1, why=str(error)))
        else:
            self._queue.put(item, item.size)

    def _packed(self, inputs: Mapping[str, Any]) -> bytes:
        """The inputs as a frame; empty when they cannot be kept, which is counted."""
        try:
            frame = pack_inputs(inputs)
        except (FrameError, WhereverError) as error:
            self._writer.lost(Lost(inputs=1, why=f"inputs cannot be written down: {error}"))
            return b""
        most = self._max_bytes // _INPUTS_SHARE
        if len(frame) > most:
            why = f"inputs of {len(frame)} bytes are more than the {most} that one call may keep"
            self._writer.lost(Lost(inputs=1, why=why))
            return b""
        return frame


class _Writer:
    """What the thread of a journal does; it never raises.

    Attributes:
        problem: why something was lost the last time that anything was written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.problem: str = ""

    def write(self, items: list[Item]) -> None:
        """Write lines."""
        try:
            lost = self._store.write(items)
        except Exception as error:  # noqa: BLE001 (or whoever waits would wait for ever)
            lost = Lost(len(items), 0, f"{type(error).__name__}: {error}")
        self.problem = ""
        self.lost(lost)

    def sync(self) -> None:
        """Make certain what was written."""
        try:
            why = self._store.sync()
        except Exception as error:  # noqa: BLE001 (likewise)
            why = f"{type(error).__name__}: {error}"
        if why:
            self.problem = self._said(why)

    def close(self) -> None:
        """Give the files back."""
        self._store.close()

    def lost(self, lost: Lost) -> None:
        """Count what was not written, and say why."""
        for what, number in (("records", lost.lines), ("inputs", lost.inputs)):
            if number:
                COUNTERS.add("wherever_records_lost_total", number, what=what)
        if lost.why:
            self.problem = self._said(lost.why)

    def _said(self, why: str) -> str:
        return f"receipts are not kept in {self._store.root}: {why}"


def _end(queue: Queue[Item], writer: _Writer, pid: int) -> None:
    """Write what waits; in a child that was forked since, give the files to the parent alone."""
    if os.getpid() == pid:
        queue.end(_EXIT_PATIENCE_S)
    else:
        writer.close()


_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for journal in list(_journals):
        journal.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
