"""The few operations on files that the outbox is made of, so that each can be made to fail.

What they leave after a power cut is what POSIX promises and no more: the content of a file is
certain once it was synced, a name once its directory was.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Protocol

from wherever_contracts.errors import SettingsError
from wherever_edge.durable import sync_directory, write_synced

_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class Disk(Protocol):
    """Files in directories; every operation may raise `OSError`."""

    def make_private(self, directory: Path) -> None:
        """Make a directory that its owner alone may enter, and make its name certain."""
        ...

    def names(self, directory: Path) -> list[str]:
        """The names in a directory, in no order."""
        ...

    def size(self, path: Path) -> int:
        """How many bytes a file has."""
        ...

    def read(self, path: Path, most: int = -1) -> bytes:
        """What a plain file holds, or the first `most` bytes of it."""
        ...

    def write_new(self, path: Path, data: bytes) -> None:
        """Write a file that is not there yet, and make its content certain; its name is not."""
        ...

    def link(self, source: Path, target: Path) -> None:
        """Give a file another name; `FileExistsError` when there is one of that name."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name in place of the one that it has."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name, if it is there."""
        ...

    def sync_names(self, directory: Path) -> None:
        """Make the names in a directory certain."""
        ...


class RealDisk:
    """The disk of this machine."""

    def make_private(self, directory: Path) -> None:
        """See `Disk`.

        Raises:
            SettingsError: another user owns the directory, and could read what waits in it.
        """
        made = [parent.parent for parent in directory.parents if not parent.exists()]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name != "nt":
            status = directory.stat()
            if status.st_uid != os.geteuid():
                raise SettingsError(
                    f"the outbox cannot lie in {directory}: user {status.st_uid} owns it, and "
                    "could read what waits; name another home, or change its owner"
                )
            if stat.S_IMODE(status.st_mode) & 0o077:
                directory.chmod(0o700)
        for parent in (directory.parent, *made):
            sync_directory(parent)

    def names(self, directory: Path) -> list[str]:
        """See `Disk`."""
        return os.listdir(directory)  # noqa: PTH208 (names, not paths)

    def size(self, path: Path) -> int:
        """See `Disk`."""
        return path.lstat().st_size

    def read(self, path: Path, most: int = -1) -> bytes:
        """See `Disk`."""
        descriptor = os.open(path, os.O_RDONLY | _CAREFUL)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a plain file", str(path))
            return file.read(most)

    def write_new(self, path: Path, data: bytes) -> None:
        """See `Disk`."""
        write_synced(path, [data], mode=0o600)

    def link(self, source: Path, target: Path) -> None:
        """See `Disk`. Where a file can have one name only, one at a time may do this."""
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if target.exists():
                raise FileExistsError(errno.EEXIST, "it is there already", str(target)) from error
            source.rename(target)

    def rename(self, source: Path, target: Path) -> None:
        """See `Disk`."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """See `Disk`."""
        path.unlink(missing_ok=True)

    def sync_names(self, directory: Path) -> None:
        """See `Disk`."""
        sync_directory(directory)
