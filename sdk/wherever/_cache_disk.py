"""The result cache on disk: diskcache, told to keep bytes, and to trust nothing that it finds.

diskcache pickles what it does not know and unpickles what a row calls a pickle, opens and removes
whatever file a row names, and runs a pragma for every setting in its database. Whoever can write
into the cache's directory could so run code (CVE-2025-69872). Here nothing is pickled or
unpickled, only plain files of the cache's own form are touched, and a database with settings that
are not ours is set aside.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # diskcache has no types; this is what is used of it
    MODE_RAW, MODE_BINARY = 1, 2
    DEFAULT_SETTINGS: Mapping[str, Any] = {}

    class Timeout(Exception):  # noqa: N818 (its name)
        """Another process writes for too long."""

    class Disk:
        """Keys and values, to and from rows."""

        min_file_size: int
        _directory: str

        def __init__(self, directory: str, **settings: Any) -> None: ...
        def filename(self) -> tuple[str, str]: ...

    class Cache:
        """Rows in a database, and the files beside it."""

        directory: str
        disk: Any

        def __init__(self, directory: str, *, disk: type[Disk], **settings: Any) -> None: ...
        def get(self, key: bytes) -> bytes | None: ...
        def set(self, key: bytes, value: bytes) -> bool: ...
        def delete(self, key: bytes) -> bool: ...
        def clear(self) -> int: ...
        def cull(self) -> int: ...
        def volume(self) -> int: ...
        def __len__(self) -> int: ...
else:
    from diskcache import DEFAULT_SETTINGS, Cache, Disk, Timeout
    from diskcache.core import MODE_BINARY, MODE_RAW

DATABASE = "cache.db"

KEY_SIZE = 32
MIN_FILE_BYTES = 32 * 1024  # smaller values lie in the database itself
_LOCK_TIMEOUT_S = 0.1
_TRIES = 3
_FOLDER = re.compile(r"[0-9a-f]{2}")
_VALUE = re.compile(r"[0-9a-f]{28}\.val")
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_COUNTS = frozenset({"count", "size", "hits", "misses"})
# Results of SQLite that mean "another time": the database itself may be whole.
_PASSING = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


class DamagedEntryError(Exception):
    """An entry is not one that this cache writes."""


class DamagedDatabaseError(Exception):
    """The database cannot be read, or holds what this cache does not write."""


class NotKeptError(Exception):
    """The disk is full, locked or read-only now; what was kept before can still be read."""


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

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> bytes:
        """The value of a row.

        Raises:
            DamagedEntryError: a row that this cache does not write: a pickle, text, a file
                elsewhere, a link, a pipe.
            FileNotFoundError: the file has been evicted.
        """
        if mode == MODE_RAW and type(value) is bytes and filename is None:
            return value
        if mode != MODE_BINARY or read:
            raise DamagedEntryError(f"a row of mode {mode!r}")
        with os.fdopen(self._open_value(filename, os.O_RDONLY), "rb") as file:
            data = file.read(self.max_value_bytes + 1)
        if len(data) > self.max_value_bytes:
            raise DamagedEntryError(f"a file of more than {self.max_value_bytes} bytes")
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


class _Database(Cache):
    """diskcache with one connection for all threads, of which only one may be inside at a time.

    diskcache itself opens a connection in each thread, which nobody else can close: not before a
    fork, and not at the end.
    """

    _connection: sqlite3.Connection | None = None

    def __init__(self, directory: Path, **settings: Any) -> None:
        try:
            super().__init__(str(directory), disk=SafeDisk, **settings)
        except BaseException:
            self.close()
            raise

    @property
    def _con(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _connect(Path(self.directory))
        return self._connection

    @property
    def _sql_retry(self) -> Callable[..., sqlite3.Cursor]:
        """Not for a minute, as diskcache would: a result cache has no such time."""
        return self._con.execute

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def roll_back(self) -> None:
        """End a transaction that could not be committed."""
        if self._connection is not None:
            self._connection.rollback()


class Entries:
    """What the cache keeps: bytes by key, the oldest making room for new ones.

    One thread at a time may be inside.

    Args:
        directory: an existing directory that only this user may enter.
        max_bytes: how much the directory may hold.

    Raises:
        DamagedDatabaseError: the database was damaged; it has been set aside, so that opening
            again makes a new one.
        sqlite3.Error: the database is locked, or cannot be opened now.
        OSError: likewise.
    """

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self._directory = directory
        self._identity: tuple[int, int] | None = None
        self._limit = max_bytes - max_bytes // 4  # the rest: the journal, and values on the way
        with self._damage_set_aside():
            self._cache = _Database(directory, **_settings(self._limit, max_bytes // 8))
            self._identity = _identity(directory / DATABASE)

    def read(self, key: bytes) -> bytes | None:
        """The value, or None when there is none.

        Raises:
            DamagedEntryError: there is one that this cache did not write.
        """
        with self._damage_set_aside():
            try:
                return self._cache.get(key)
            except sqlite3.DataError as error:  # longer than `_prepare` lets in
                raise DamagedEntryError(f"{error}") from error

    def keep(self, key: bytes, value: bytes) -> None:
        """Keep a value of at most an eighth of the room, and let the oldest go when it is short.

        Raises:
            NotKeptError: the disk cannot be written now.
        """
        disk: SafeDisk = self._cache.disk
        with self._damage_set_aside():
            try:
                self._cache.set(key, value)
                disk.settle()
                if self._cache.volume() > self._limit:
                    self._cache.cull()
            except (OSError, sqlite3.Error, Timeout) as error:
                disk.discard()
                if not _passing(error):
                    raise
                if _identity(self._directory / DATABASE) != self._identity:
                    raise DamagedDatabaseError("the database has been removed") from error
                self._cache.roll_back()
                raise NotKeptError(f"{type(error).__name__}: {error}") from error

    def drop(self, key: bytes) -> None:
        """Remove an entry, if it is there."""
        with self._damage_set_aside():
            self._cache.delete(key)

    def clear(self) -> None:
        """Remove every entry, and files that no entry names."""
        with self._damage_set_aside():
            self._cache.clear()
            _remove_values(self._directory)

    def size(self) -> tuple[int, int]:
        """Entries, and the bytes that they take."""
        with self._damage_set_aside():
            return len(self._cache), self._cache.volume()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        self._cache.close()

    @contextmanager
    def _damage_set_aside(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, DamagedDatabaseError) as error:
            if _passing(error):
                raise
            if self._identity is not None:
                self._cache.close()
            _set_aside(self._directory, self._identity)
            raise DamagedDatabaseError(f"{type(error).__name__}: {error}") from error


def _settings(limit: int, most: int) -> dict[str, int | str]:
    """What diskcache is told: how much it may hold, and of one value."""
    return {
        "size_limit": limit,
        "cull_limit": 0,  # `Entries.keep` culls until there is room, not ten at a time
        "statistics": 0,
        "tag_index": 0,
        "eviction_policy": "least-recently-stored",
        "disk_min_file_size": MIN_FILE_BYTES,
        "disk_max_value_bytes": most,
        "sqlite_mmap_size": 0,
    }


_PRAGMAS = (
    "trusted_schema=0",
    "mmap_size=0",  # a file that shrinks under a map ends the process
    "auto_vacuum=1",
    "journal_mode=wal",
    "synchronous=1",
    "cache_size=-2048",  # KiB
    "wal_autocheckpoint=128",  # pages: 512 KiB
)
_KNOWN = frozenset(_settings(0, 0)) | DEFAULT_SETTINGS.keys() | _COUNTS


def _connect(directory: Path) -> sqlite3.Connection:
    path = directory / DATABASE
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise DamagedDatabaseError(f"{path} is not a plain file")
    connection = sqlite3.connect(
        path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """What belongs to a connection, and a look at the settings before diskcache obeys them."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 4 * MIN_FILE_BYTES)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").fetchall()
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name='Settings'").fetchone():
        for key, value in connection.execute("SELECT key, value FROM Settings"):
            if key not in _KNOWN or (key in _COUNTS and not (type(value) is int and value >= 0)):
                raise DamagedDatabaseError(f"a setting that is not ours: {key!r:.50}={value!r:.50}")


def _passing(error: Exception) -> bool:
    """True when the same may work another time; False when the database is no good."""
    if isinstance(error, DamagedDatabaseError):
        return False
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _PASSING


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _set_aside(directory: Path, identity: tuple[int, int] | None) -> None:
    """Keep the last damaged database for a look, and remove the values that only it knew.

    Another process may have done so already; its new database stays.
    """
    database = directory / DATABASE
    if identity is not None and _identity(database) != identity:
        return
    with suppress(OSError):
        database.replace(directory / f"{DATABASE}.damaged")
    for ending in ("-wal", "-shm"):
        with suppress(OSError):
            (directory / f"{DATABASE}{ending}").unlink()
    _remove_values(directory)


def _remove_values(directory: Path) -> None:
    for path in directory.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*.val"):
        with suppress(OSError):
            if path.resolve().is_relative_to(directory.resolve()):
                path.unlink()
