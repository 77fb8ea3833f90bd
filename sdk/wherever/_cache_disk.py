"""What the result cache writes and reads: bytes, in rows and plain files of its own form.

diskcache pickles what it does not know and unpickles what a row calls a pickle, and it opens and
removes whatever file a row names. Whoever can write into the cache's directory could so run code
(CVE-2025-69872). Here nothing is pickled or unpickled, and no file is touched that does not look
like one of ours.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # diskcache has no types; this is what is used of it
    MODE_RAW, MODE_BINARY = 1, 2

    class Disk:
        """Keys and values, to and from rows."""

        min_file_size: int
        _directory: str

        def __init__(self, directory: str, **settings: Any) -> None: ...
        def filename(self) -> tuple[str, str]: ...
else:
    from diskcache import Disk
    from diskcache.core import MODE_BINARY, MODE_RAW

KEY_SIZE = 32

_TRIES = 3
_FOLDER = re.compile(r"[0-9a-f]{2}")
_VALUE = re.compile(r"[0-9a-f]{28}\.val")
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class DamagedEntryError(Exception):
    """An entry is not one that this cache writes."""


class SafeDisk(Disk):
    """Keys of 32 bytes and values of bytes, in rows and plain files; nothing else, either way."""

    max_value_bytes: int
    _unsettled: str | None = None

    def __init__(self, directory: str, *, max_value_bytes: int, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.max_value_bytes = max_value_bytes

    def put(self, key: Any) -> tuple[memoryview, bool]:
        """A key as it lies in a row."""
        if type(key) is not bytes or len(key) != KEY_SIZE:
            raise TypeError(f"a key is {KEY_SIZE} bytes, not {type(key).__name__}")
        return memoryview(key), True

    def get(self, key: Any, raw: Any) -> bytes:
        """A key out of a row.

        Raises:
            DamagedEntryError: a key that this cache does not write, such as a pickle.
        """
        if raw != 1 or type(key) is not bytes or len(key) != KEY_SIZE:
            raise DamagedEntryError("a key that is not 32 bytes")
        return key

    def store(
        self, value: Any, read: Any, key: Any = None
    ) -> tuple[int, int, str | None, bytes | None]:
        """Size beside the database, mode, file and content of a value's row.

        Raises:
            TypeError: the value is not `bytes`.
            OSError: the file cannot be written; nothing is left of it.
        """
        if type(value) is not bytes or read:
            raise TypeError(f"a value is bytes, not {type(value).__name__}")
        if len(value) < self.min_file_size:
            return 0, MODE_RAW, None, value
        name, _ = self.filename()
        self._unsettled = name
        self._write_value(name, value)
        return len(value), MODE_BINARY, name, None

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> bytes | bytearray:
        """The value of a row; one that lay in a file is the caller's to write into.

        Raises:
            DamagedEntryError: a row that this cache does not write: a pickle, text, a file
                elsewhere, a link, a pipe.
            FileNotFoundError: the file has been evicted.
        """
        if mode == MODE_RAW and type(value) is bytes and filename is None:
            return value
        if mode != MODE_BINARY or read:
            raise DamagedEntryError(f"a row of mode {mode!r}")
        with os.fdopen(self._open_value(filename, os.O_RDONLY), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > self.max_value_bytes:
                raise DamagedEntryError(f"a file of more than {self.max_value_bytes} bytes")
            data = bytearray(size)
            if file.readinto(data) != size:
                raise DamagedEntryError(f"a file that is no longer of {size} bytes")
        return data

    def remove(self, file_path: Any) -> None:
        """Remove a value's file; a row that names anything else has no say."""
        with suppress(OSError, DamagedEntryError):
            path = self._value_path(file_path)
            path.unlink()
            path.parent.rmdir()
            path.parent.parent.rmdir()

    def settle(self) -> None:
        """What was stored last has its row."""
        self._unsettled = None

    def discard(self) -> None:
        """Remove what was stored last and got no row."""
        if self._unsettled is not None:
            self.remove(self._unsettled)
            self._unsettled = None

    def _write_value(self, name: str, value: bytes) -> None:
        path = self._root / name
        descriptor = self._create(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(value)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def _create(self, path: Path) -> int:
        """Make the file and its two folders, which another process may just be removing."""
        for tries_left in reversed(range(_TRIES)):
            with suppress(FileExistsError):
                path.parent.parent.mkdir(mode=0o700)
            with suppress(FileExistsError, FileNotFoundError):
                path.parent.mkdir(mode=0o700)
            try:
                name = path.relative_to(self._root).as_posix()
                return self._open_value(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            except FileNotFoundError:
                if not tries_left:
                    raise
        raise AssertionError

    def _open_value(self, name: Any, flags: int) -> int:
        descriptor = os.open(self._value_path(name), flags | _CAREFUL, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DamagedEntryError(f"{name} is not a plain file")
        return descriptor

    def _value_path(self, name: Any) -> Path:
        """The path that a row's file name means, when it has our form and no link is on the way."""
        parts = name.replace(os.sep, "/").split("/") if type(name) is str else []
        fits = len(parts) == 3 and _FOLDER.fullmatch(parts[0]) and _FOLDER.fullmatch(parts[1])
        if not fits or not _VALUE.fullmatch(parts[2]):
            raise DamagedEntryError(f"a file named {name!r:.100}")
        path = self._root.joinpath(*parts)
        for each in (path.parent.parent, path.parent, path):
            if each.is_symlink():
                raise DamagedEntryError(f"{name} lies behind a link")
        return path

    @property
    def _root(self) -> Path:
        return Path(self._directory)


def remove_values(directory: Path, keep: Collection[str], *, older_than: float) -> None:
    """Remove the files of values but for those to keep, following no link."""
    real = directory.resolve()
    for path in real.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*.val"):
        with suppress(OSError):
            plain = path.resolve() == path and path.lstat().st_mtime < older_than
            if plain and path.relative_to(real).as_posix() not in keep:
                path.unlink()
