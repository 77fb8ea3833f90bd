"""The database of a gateway: SQLite in its home, or whatever SQLAlchemy has a URL for."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from wherever_contracts.errors import SettingsError
from wherever_gateway.state.schema import HEAD, VERSION_TABLE

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

_SQLITE = "sqlite"
_WRITES = "wherever_writes"  # a transaction's option: it will write
_GIVE_UP_S = 2
_LIBPQ = {
    "connect_timeout": _GIVE_UP_S,
    "tcp_user_timeout": _GIVE_UP_S * 1000,
    "options": f"-c statement_timeout={_GIVE_UP_S}s",
}
# what makes a driver give up a database that is locked or does not answer
_TIMEOUTS: dict[str, dict[str, Any]] = {
    "pysqlite": {"timeout": _GIVE_UP_S},
    "psycopg": _LIBPQ,
    "psycopg2": _LIBPQ,
    "pymysql": dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), _GIVE_UP_S),
}
# a number that other programs on the same server hardly lock
_POSTGRESQL_LOCK = 0x7768_6572_6576_6572
_MIGRATIONS = Path(__file__).parent / "migrations"

# alembic keeps the connection of the migration that runs in its modules
_migrating = threading.Lock()


class Database:
    """One database. Safe to use from many threads; connects when it is used.

    Args:
        url: as SQLAlchemy writes it, "sqlite:///FILE" or "postgresql+psycopg://...".

    Raises:
        SettingsError: the URL is none, or its driver is not installed.

    Attributes:
        name: the URL, without its password.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            self._engine = _engine(parsed)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise SettingsError(
                f"the state's URL cannot be used ({type(error).__name__}: {_first_line(error)}); "
                'expected one like "sqlite:////var/lib/wherever/state.db" or '
                '"postgresql+psycopg://user:password@host/database", its driver installed'
            ) from None
        self.name = parsed.render_as_string(hide_password=True)
        self._file = _file_of(parsed)
        self._opened: tuple[int, int] | None = None

    def open(self) -> None:
        """Make the database what this version needs: the file, and the newest tables.

        Several gateways may do so at once.

        Raises:
            SQLAlchemyError: it is away, or does not let this happen.
            OSError: its directory cannot be made.
            CommandError: a newer version of this program made its tables (alembic's error).
        """
        self.close()
        if self._file is not None:
            _make_private(self._file)
        with self.writing() as connection:
            if _revision(connection) != HEAD:
                _migrate(connection)
        self._opened = _identity(self._file)

    def is_there(self) -> bool:
        """False when it is a file that does not exist; whether another answers, use shows."""
        return self._file is None or self._file.exists()

    def same(self) -> bool:
        """False when the file that was opened was deleted or replaced."""
        return self._opened == _identity(self._file)

    def close(self) -> None:
        """Let go of every connection; later uses connect again."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A connection, for reading.

        Raises:
            SQLAlchemyError: the database is away.
        """
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """A connection in a transaction, which is committed when the block ends without an error.

        Raises:
            SQLAlchemyError: the database is away, full or locked; nothing was written.
        """
        writer = self._engine.execution_options(**{_WRITES: True})
        with writer.begin() as connection:
            yield connection


def _engine(url: URL) -> Engine:
    sqlite = url.get_backend_name() == _SQLITE
    # parameters of statements are answers and names, which do not belong into a log
    engine = create_engine(
        url,
        connect_args=dict(_TIMEOUTS.get(url.get_driver_name(), {})),
        hide_parameters=True,
        pool_pre_ping=not sqlite,
        pool_timeout=_GIVE_UP_S,
    )
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Settings of one connection; `Any` is the driver's."""
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: Connection) -> None:
    # 0.5 s, and only where tables are not yet what they are to be
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    if connection.dialect.name == "postgresql":  # SQLite's transaction has its lock already
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _POSTGRESQL_LOCK})
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS))
    with _migrating:
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 (our own name)
    return found


def _file_of(url: URL) -> Path | None:
    if url.get_backend_name() != _SQLITE or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def _make_private(file: Path) -> None:
    """The file, readable by its owner alone; SQLite gives its companions the same mode."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))


def _identity(file: Path | None) -> tuple[int, int] | None:
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
