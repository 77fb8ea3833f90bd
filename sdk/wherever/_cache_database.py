"""The result cache's database: diskcache's, held by one connection, and trusted in nothing.

diskcache runs a pragma for every setting that it finds in its database. Here a database with
settings that are not ours, like one that is damaged, is set aside, and a new one is made.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from wherever._cache_disk import DamagedEntryError, SafeDisk, remove_values

if TYPE_CHECKING:  # diskcache has no types; this is what is used of it
    DEFAULT_SETTINGS: Mapping[str, Any] = {}

    class Timeout(Exception):  # noqa: N818 (its name)
        """Another process writes for too long."""

    class Cache:
        """Rows in a database, and the files beside it."""

        directory: str
        disk: Any

        def __init__(self, directory: str, *, disk: type[SafeDisk], **settings: Any) -> None: ...
        def get(self, key: bytes) -> bytes | bytearray | None: ...
        def set(self, key: bytes, value: bytes) -> bool: ...
        def delete(self, key: bytes) -> bool: ...
        def clear(self) -> int: ...
        def cull(self) -> int: ...
        def volume(self) -> int: ...
        def __len__(self) -> int: ...
else:
    from diskcache import DEFAULT_SETTINGS, Cache, Timeout

DATABASE = "cache.db"

_IN_ROW_BYTES = 32 * 1024  # larger values lie in files
_LOCK_TIMEOUT_S = 0.1
_DAY_S = 24 * 3600
_PUT_S = 3600  # no put takes longer between its file and its row
_COUNTS = frozenset({"count", "size", "hits", "misses"})
_PRAGMAS = (
    "trusted_schema=0",
    "mmap_size=0",  # a file that shrinks under a map ends the process
    "auto_vacuum=1",
    "journal_mode=wal",
    "synchronous=1",
    "cache_size=-2048",  # KiB
    "wal_autocheckpoint=128",  # pages: 512 KiB
)
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


class DamagedDatabaseError(Exception):
    """The database cannot be read, or holds what this cache does not write."""


class NotKeptError(Exception):
    """The disk is full, locked or read-only now; what was kept before can still be read."""


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

    def sweep(self, now: float) -> None:
        """Once a day, remove the files of puts that a crash cut short: no row names them."""
        day = int(now // _DAY_S)
        if self._con.execute("PRAGMA user_version").fetchone()[0] == day:
            return
        self._con.execute(f"PRAGMA user_version={day}")
        rows = self._con.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL")
        named = {str(name).replace(os.sep, "/") for (name,) in rows}
        remove_values(Path(self.directory), named, older_than=now - _PUT_S)

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
        self._limit = max_bytes - max_bytes // 4  # the rest: the journal, and values on the way
        with _damage_set_aside(directory, _identity(directory)):
            self._cache = _Database(directory, **_settings(self._limit, max_bytes // 8))
        self._identity = _identity(directory)
        with self._guarded():
            self._cache.sweep(time())

    def read(self, key: bytes) -> bytes | bytearray | None:
        """The value, or None when there is none.

        Raises:
            DamagedEntryError: there is one that this cache did not write.
        """
        with self._guarded():
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
        with self._guarded():
            try:
                self._cache.set(key, value)
                disk.settle()
                if self._cache.volume() > self._limit:
                    self._cache.cull()
            except (OSError, sqlite3.Error, Timeout) as error:
                disk.discard()
                if not _passing(error):
                    raise
                if _identity(self._directory) != self._identity:
                    raise DamagedDatabaseError("the database has been removed") from error
                self._cache.roll_back()
                raise NotKeptError(f"{type(error).__name__}: {error}") from error

    def drop(self, key: bytes) -> None:
        """Remove an entry, if it is there."""
        with self._guarded():
            self._cache.delete(key)

    def clear(self) -> None:
        """Remove every entry, and files that no entry names."""
        with self._guarded():
            self._cache.clear()
            remove_values(self._directory, frozenset(), older_than=time() - _PUT_S)

    def size(self) -> tuple[int, int]:
        """Entries, and the bytes that they take."""
        with self._guarded():
            return len(self._cache), self._cache.volume()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        self._cache.close()

    @contextmanager
    def _guarded(self) -> Generator[None]:
        with _damage_set_aside(self._directory, self._identity, self._cache):
            yield


def _settings(limit: int, most: int) -> dict[str, int | str]:
    """What diskcache is told: how much it may hold, and of one value."""
    return {
        "size_limit": limit,
        "cull_limit": 0,  # `Entries.keep` culls until there is room, not ten at a time
        "statistics": 0,
        "tag_index": 0,
        "eviction_policy": "least-recently-stored",
        "disk_min_file_size": _IN_ROW_BYTES,
        "disk_max_value_bytes": most,
        "sqlite_mmap_size": 0,
    }


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
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 4 * _IN_ROW_BYTES)
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


@contextmanager
def _damage_set_aside(
    directory: Path, identity: tuple[int, int] | None, database: _Database | None = None
) -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, DamagedDatabaseError) as error:
        if _passing(error):
            raise
        if database is not None:
            database.close()
        _set_aside(directory, identity)
        raise DamagedDatabaseError(f"{type(error).__name__}: {error}") from error


def _identity(directory: Path) -> tuple[int, int] | None:
    """Which file the database is; None when there is none."""
    try:
        status = (directory / DATABASE).lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _set_aside(directory: Path, identity: tuple[int, int] | None) -> None:
    """Keep the last damaged database for a look, and remove the values that only it knew.

    Another process may have done so already; its new database stays.
    """
    if identity is None or _identity(directory) != identity:
        return
    with suppress(OSError):
        (directory / DATABASE).replace(directory / f"{DATABASE}.damaged")
    for ending in ("-wal", "-shm"):
        with suppress(OSError):
            (directory / f"{DATABASE}{ending}").unlink()
    remove_values(directory, frozenset(), older_than=inf)
