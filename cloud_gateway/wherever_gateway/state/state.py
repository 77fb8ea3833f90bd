"""The state of a gateway: counted and kept in memory, and written down by a thread of its own.

No call fails because the database is away: what was counted stays in memory, bounded, until it is
back. Only a call with an idempotency key that is not known here asks it, for a quarter of a second
at most, and not while it is away.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import time
from typing import TYPE_CHECKING

from wherever_edge.counters import COUNTERS
from wherever_gateway.state.kept import MAX_MEMORY_BYTES, TTL_S, Kept, KeptAnswers
from wherever_gateway.state.ledger import MAX_CELLS, Ledger

if TYPE_CHECKING:
    from wherever_gateway.state.database import Database

EVERY_S = 5.0
MAX_KEPT_BYTES = 256 * 1024 * 1024
USAGE_DAYS = 400
FAILURES = "wherever_gateway_state_failures_total"
LOST = "wherever_gateway_usage_lost_total"

# answers are written this long after the first of them, so that several go together
_GATHER_S = 0.02
_CLOSE_S = 10.0
# a call asks the database for an answer that was kept for this long at most
_LOOK_UP_S = 0.25
_READERS = 2
_GIVE_UP_EVERY_S = 600.0

_LOG = logging.getLogger(__name__)


class State:
    """What a gateway keeps. Safe to use from many threads.

    Args:
        url: its database, as SQLAlchemy writes it; None keeps everything in memory alone.
        every_s: how often usage is written.
        kept_s: how long answers are kept for calls that come again.
        max_kept_bytes: how much of them the database holds.
        clock: seconds since 1970.

    Raises:
        SettingsError: the URL is none, or its driver is not installed.

    Attributes:
        usage: counts what tenants use.
        kept: the answers of calls with an idempotency key.
        away: why the database cannot be used now; "" when it can, or there is none.
    """

    def __init__(
        self,
        url: str | None,
        *,
        every_s: float = EVERY_S,
        kept_s: float = TTL_S,
        max_kept_bytes: int = MAX_KEPT_BYTES,
        clock: Callable[[], float] = time,
    ) -> None:
        self.usage = Ledger(clock, self._note_lost)
        self._told_lost = False
        self.kept = KeptAnswers(
            self._look_up,
            self._wake,
            ttl_s=kept_s,
            max_bytes=min(max_kept_bytes, MAX_MEMORY_BYTES),
            clock=clock,
        )
        self.away = ""
        self._clock = clock
        self._every_s = every_s
        self._max_kept_bytes = max_kept_bytes
        self._database = None if url is None else _database(url)
        self._open = False
        self._given_up_at = 0.0
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="wherever-state-read")
        self._writing = threading.Lock()
        self._something = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wherever-state", daemon=True)

    def start(self) -> None:
        """Make the database ready if it is there, and write from now on."""
        if self._database is not None:
            self.write()
            self._thread.start()

    def write(self) -> bool:
        """Write down what is only in memory; True when all of it was, or there is no database."""
        if self._database is None:
            return True
        with self._writing:
            try:
                self._write(self._database)
            except Exception as error:  # noqa: BLE001 (the boundary: drivers raise what they like)
                self._note_away(self._database, error)
                return False
            self._note_back(self._database)
        return True

    def close(self) -> bool:
        """Write down what is left, and stop; True when all of it was written.

        One that was not started writes nothing.
        """
        if self._thread.ident is None:
            return True
        self._ended.set()
        self._something.set()
        self._thread.join(_CLOSE_S)
        done = not self._thread.is_alive() and self.write()
        self._open = False
        self._readers.shutdown(wait=False)
        if self._database is not None:
            self._database.close()
        return done

    def _run(self) -> None:
        while not self._ended.is_set():
            woken = self._something.wait(self._every_s)
            if woken:
                self._ended.wait(_GATHER_S if not self.away else self._every_s)
            self._something.clear()
            if not self._ended.is_set():
                self.write()

    def _write(self, database: Database) -> None:
        if not self._open or not database.same():
            self._open = False
            database.open()
            self._open = True
        self._write_usage(database)
        self._write_answers(database)

    def _write_usage(self, database: Database) -> None:
        from wherever_gateway.state.tables import add_usage  # noqa: PLC0415 (with SQLAlchemy)

        cells = self.usage.take()
        if not cells:
            return
        try:
            with database.writing() as connection:
                add_usage(connection, cells)
        except BaseException:
            self.usage.put_back(cells)
            raise

    def _write_answers(self, database: Database) -> None:
        from wherever_gateway.state.tables import (  # noqa: PLC0415 (with SQLAlchemy)
            give_up_answers,
            give_up_usage,
            keep_answers,
        )

        answers, now_s = self.kept.unwritten(), self._clock()
        overdue = now_s - self._given_up_at >= _GIVE_UP_EVERY_S
        if not answers and not overdue:
            return
        with database.writing() as connection:
            keep_answers(connection, answers, now_s - self.kept.ttl_s)
            if overdue:
                give_up_answers(connection, now_s - self.kept.ttl_s, self._max_kept_bytes)
                give_up_usage(connection, int(now_s) - USAGE_DAYS * 86_400)
        self.kept.written(answers)
        if overdue:
            self._given_up_at = now_s

    def _look_up(self, id_: str) -> Kept | None:
        if self._database is None or not self._open:
            return None
        from wherever_gateway.state.tables import find_answer  # noqa: PLC0415 (with SQLAlchemy)

        database = self._database

        def look() -> Kept | None:
            with database.reading() as connection:
                return find_answer(connection, id_)

        try:
            return self._readers.submit(look).result(_LOOK_UP_S)
        except Exception as error:  # noqa: BLE001 (the boundary: drivers raise what they like)
            self._note_away(self._database, error)
            return None

    def _wake(self) -> None:
        self._something.set()

    def _note_away(self, database: Database, error: BaseException) -> None:
        COUNTERS.add(FAILURES)
        self._open = False
        words = f"{type(error).__name__}: {error}".partition("\n")[0]
        if not self.away:
            _LOG.error(
                "the state in %s cannot be used (%s); calls go on, and what they use is counted "
                "in memory until it can",
                database.name,
                words,
            )
        self.away = words

    def _note_lost(self, cells: int) -> None:
        """Count what the usage gave up, and say so once for each time that nothing is written."""
        COUNTERS.add(LOST, cells)
        if not self._told_lost:
            self._told_lost = True
            _LOG.warning(
                "usage is kept for %d hours of tenants and models until it is written, and these "
                "are too many: the oldest are given up (%s counts them); see to its database",
                MAX_CELLS,
                LOST,
            )

    def _note_back(self, database: Database) -> None:
        if self.away:
            _LOG.warning("the state in %s can be used again", database.name)
        self.away = ""
        self._told_lost = False


def _database(url: str) -> Database:
    from wherever_contracts.errors import missing_extra  # noqa: PLC0415 (only for an error)

    try:
        from wherever_gateway.state.database import Database  # noqa: PLC0415 (with SQLAlchemy)
    except ImportError as error:
        raise missing_extra("keeping usage and answers", "gateway") from error
    return Database(url)
