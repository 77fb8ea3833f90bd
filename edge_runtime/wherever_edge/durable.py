"""Files that appear whole, and are still there after the power has gone."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def write_durably(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a crash at any moment leaves the old bytes or the new ones.

    Args:
        path: the file; its directory must be there.
        data: what it shall hold.
        mode: its permissions.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_synced(fresh, [data], mode=mode)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(path.parent)


def write_synced(path: Path, chunks: Iterable[bytes], *, mode: int = 0o644) -> None:
    """Write a new file through to the disk; its directory is the caller's to sync.

    Args:
        path: the file, which must not be there.
        chunks: what it shall hold.
        mode: its permissions.

    Raises:
        FileExistsError: there is one already.
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def lock(descriptor: int, *, wait: bool) -> None:
    """Lock an open file until it is closed, or until this process ends, however it ends.

    Args:
        descriptor: the file.
        wait: until nobody else holds it.

    Raises:
        OSError: somebody else holds it.
    """
    if os.name == "nt":
        import msvcrt  # noqa: PLC0415 (Windows alone has it)

        how = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK  # type: ignore[attr-defined,unused-ignore]
        msvcrt.locking(descriptor, how, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl  # noqa: PLC0415 (Windows has none)

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def sync_file(path: Path) -> None:
    """Make what a file holds durable.

    Raises:
        OSError: it cannot be.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable; Windows does so itself, and cannot open one."""
    if os.name != "nt":
        sync_file(path)


def sync_files(directory: Path) -> None:
    """Make durable what another library wrote into a directory, links aside."""
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            sync_file(path)
    for path in (directory, *directory.rglob("*")):
        if path.is_dir():
            sync_directory(path)


_BINARY = getattr(os, "O_BINARY", 0)
