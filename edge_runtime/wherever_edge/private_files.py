"""Small files that only their owner may read, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_LOCK_NAME = ".lock"


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
        _wait_for(handle)
        yield
    finally:
        os.close(handle)  # which gives the lock back


def write_private(file: Path, content: bytes) -> None:
    """Put a file in place in one step, readable by its owner alone, and kept across a power cut.

    Raises:
        OSError: it cannot be written.
    """
    draft = file.with_name(f".{file.name}.{os.urandom(4).hex()}")
    try:
        create_private(draft, content)
        draft.replace(file)
        _sync_directory(file.parent)
    finally:
        draft.unlink(missing_ok=True)


def create_private(file: Path, content: bytes) -> None:
    """Write a new file, readable by its owner alone.

    Raises:
        FileExistsError: there is one already.
        OSError: it cannot be written.
    """
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _wait_for(handle: int) -> None:
    try:
        import fcntl  # noqa: PLC0415 (not on Windows)
    except ImportError:
        import msvcrt  # noqa: PLC0415 (only on Windows)

        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX)


def _sync_directory(directory: Path) -> None:
    if os.name == "posix":  # elsewhere directories cannot be opened
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
