"""Small files that only their owner may read, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from wherever_edge.durable import lock, write_durably, write_synced

_LOCK_NAME = ".lock"
_OWNER_ALONE = 0o600


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Let one process or thread at a time write in a directory, which is made if need be.

    Readers need no lock: what `write_private` writes is there whole or not at all.

    Raises:
        OSError: the directory cannot be made or written to.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        lock(handle, wait=True)
        yield
    finally:
        os.close(handle)  # which gives the lock back


def write_private(file: Path, content: bytes) -> None:
    """Put a file in place in one step, readable by its owner alone, and kept across a power cut.

    Raises:
        OSError: it cannot be written.
    """
    write_durably(file, content, mode=_OWNER_ALONE)


def create_private(file: Path, content: bytes) -> None:
    """Write a new file, readable by its owner alone.

    Raises:
        FileExistsError: there is one already.
        OSError: it cannot be written.
    """
    write_synced(file, [content], mode=_OWNER_ALONE)
