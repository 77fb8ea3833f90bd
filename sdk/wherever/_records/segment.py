"""A file of lines that one process appends to."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from wherever_edge.durable import lock

_FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_FAR = 1 << 40


class Wrote(NamedTuple):
    """How many bytes of whole lines were written, and why not all; None: all were."""

    size: int
    error: OSError | None = None


class Segment:
    """A file of lines that this process alone appends to."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        """Open it, or make it when it is `fresh`.

        Raises:
            OSError: it cannot be; `BlockingIOError`: another process writes it.
        """
        self._descriptor = os.open(path, _FLAGS | (os.O_CREAT | os.O_EXCL if fresh else 0), 0o600)
        try:
            hold(self._descriptor)
            self._torn = not fresh and not self._ends_a_line()
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def is_there(self) -> bool:
        """Whether the file still has a name."""
        return os.fstat(self._descriptor).st_nlink > 0

    def append(self, lines: bytes) -> Wrote:
        """Write whole lines; one that the disk does not take is not there in part either."""
        before = b"\n" if self._torn else b""
        data = memoryview(before + lines)
        done = 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError as error:
            done = max(0, done - len(before))
            whole = lines.rfind(b"\n", 0, done) + 1
            self._take_back(done - whole)
            return Wrote(whole, error)
        self._torn = False
        return Wrote(len(lines))

    def sync(self) -> None:
        """Make certain what was written.

        Raises:
            OSError: the disk fails.
        """
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let others go on with it, or remove it."""
        os.close(self._descriptor)

    def _take_back(self, size: int) -> None:
        """Remove the beginning of a line from the end."""
        self._torn = True
        with suppress(OSError):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - size)
            self._torn = not self._ends_a_line()

    def _ends_a_line(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        os.lseek(self._descriptor, max(0, size - 1), os.SEEK_SET)
        return os.read(self._descriptor, 1) in (b"", b"\n")


def is_written(path: Path) -> bool:
    """Whether some process appends to a segment.

    Raises:
        OSError: it cannot be told.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        hold(descriptor)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def hold(descriptor: int) -> None:
    """Be the one that writes a segment, until it is closed.

    Raises:
        BlockingIOError: another process does, or this one by another descriptor.
    """
    os.lseek(descriptor, _FAR, os.SEEK_SET)  # Windows locks bytes: one that no reader comes to
    try:
        lock(descriptor, wait=False)
    except PermissionError as error:  # as Windows says it
        raise BlockingIOError(*error.args) from error
