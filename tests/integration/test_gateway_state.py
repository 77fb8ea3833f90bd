"""The state of a gateway in a real database: its tables, restarts, and all that can go wrong."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, inspect
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from wherever.cli import main
from wherever_contracts.errors import SettingsError
from wherever_contracts.wire.tensors import InferResponse
from wherever_edge.counters import COUNTERS
from wherever_edge.oip.admission import Served
from wherever_gateway.state import database as database_module
from wherever_gateway.state import ledger as ledger_module
from wherever_gateway.state.database import Database
from wherever_gateway.state.kept import Kept
from wherever_gateway.state.location import default_url, sqlite_url
from wherever_gateway.state.schema import HEAD, METADATA
from wherever_gateway.state.state import FAILURES, LOST, USAGE_DAYS, State
from wherever_gateway.state.tables import find_answer, give_up_answers, keep_answers, read_usage

SERVED = Served("m", "1.0.0", engine_s=0.5, rows=2)
ANSWER = InferResponse("m", "1.0.0", "", {}, ())
NEVER_S = 3600.0


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "gateway" / "state.db"


@pytest.fixture
def state(file) -> Iterator[State]:
    with closing(State(sqlite_url(file), every_s=NEVER_S)) as state:
        state.start()
        yield state


def calls_in(file: Path) -> int:
    with Database(sqlite_url(file)).reading() as connection:
        return sum(usage.calls for _, usage in read_usage(connection, 0, None))


def call(state: State, times: int = 1) -> None:
    for _ in range(times):
        state.usage.answered("ann", SERVED, 10, ANSWER)


def failures() -> int:
    return COUNTERS.snapshot().get(FAILURES, 0)


@contextmanager
def held_locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def every_connection(state: State, pragma: str) -> None:
    """Settle something for the connections that the state makes from now on."""

    def settle(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA {pragma}").fetchall()

    state._database.close()
    event.listen(state._database._engine, "connect", settle)


def wait_until(wanted: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not wanted():
        assert time.monotonic() < until
        time.sleep(0.01)


# --- the tables ---


def tables_of(connection: Any) -> dict[str, Any]:
    found = inspect(connection)
    return {
        name: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)],
            found.get_pk_constraint(name)["constrained_columns"],
            sorted((i["name"], tuple(i["column_names"])) for i in found.get_indexes(name)),
        )
        for name in found.get_table_names()
        if name != "gateway_alembic_version"
    }


def revisions() -> list[str]:
    """From the first to the newest."""
    config = Config()
    config.set_main_option("script_location", str(database_module._MIGRATIONS))
    found = ScriptDirectory.from_config(config).walk_revisions()
    return [script.revision for script in found][::-1]


def test_migrations_lead_to_the_tables_that_the_program_knows(file, tmp_path):
    Database(sqlite_url(file)).open()
    with Database(sqlite_url(file)).reading() as connection:
        migrated = tables_of(connection)
    plain = create_engine(f"sqlite:///{tmp_path / 'plain.db'}")
    with plain.begin() as connection:
        METADATA.create_all(connection)
        assert tables_of(connection) == migrated
    plain.dispose()
    assert revisions()[-1] == HEAD


@pytest.mark.parametrize("other", [postgresql, mysql], ids=["postgresql", "mysql"])
def test_the_tables_can_be_made_in_other_databases(other):
    said = [CreateTable(table) for table in METADATA.tables.values()]
    said += [CreateIndex(index) for table in METADATA.tables.values() for index in table.indexes]
    for statement in said:
        assert str(statement.compile(dialect=other.dialect())).split()[0] == "CREATE"


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_every_older_revision_becomes_the_newest_and_keeps_what_it_has(file, revision):
    assert set(revisions()) == {"0001", "0002"}
    file.parent.mkdir()
    upgrade_to(file, revision)
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute("INSERT INTO gateway_usage VALUES ('ann', 'm', 3600, 7, 0, 0, 0, 1, 2, 0.5, 0)")
    Database(sqlite_url(file)).open()
    assert calls_in(file) == 7
    with Database(sqlite_url(file)).reading() as connection:
        assert find_answer(connection, "none") is None


def upgrade_to(file: Path, revision: str) -> None:
    """The tables as an older version of the program left them."""
    config = Config()
    config.set_main_option("script_location", str(database_module._MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    engine = create_engine(sqlite_url(file))
    with engine.begin() as connection:
        options = {
            "version_table": "gateway_alembic_version",
            "fn": lambda at, _context: scripts._upgrade_revs(revision, at),
        }
        context = MigrationContext.configure(connection, opts=options)
        with Operations.context(context):
            context.run_migrations()
    engine.dispose()


def test_tables_of_a_newer_program_are_left_alone_and_calls_go_on(file, caplog):
    Database(sqlite_url(file)).open()
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute("UPDATE gateway_alembic_version SET version_num = '9999'")
    state = State(sqlite_url(file))
    state.start()
    call(state)
    assert "9999" in state.away
    assert not state.close()
    with closing(sqlite3.connect(file)) as raw:
        [(version,)] = raw.execute("SELECT version_num FROM gateway_alembic_version").fetchall()
    assert version == "9999"


def test_two_that_start_at_once_share_one_file(file):
    states = [State(sqlite_url(file), every_s=NEVER_S) for _ in range(2)]
    together = threading.Barrier(2)

    def work(state: State) -> None:
        together.wait()
        state.start()
        assert not state.away
        for _ in range(10):
            call(state)
            wait_until(state.write)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, states))
    assert all(state.close() for state in states)
    assert calls_in(file) == 20


def test_the_file_is_readable_by_its_owner_alone(state, file):
    assert file.parent.stat().st_mode & 0o777 == 0o700
    for each in file.parent.iterdir():
        assert each.stat().st_mode & 0o777 == 0o600, each


# --- usage ---


def test_usage_adds_up_across_restarts(file):
    for times in (2, 3):
        state = State(sqlite_url(file))
        state.start()
        call(state, times)
        state.usage.failed("ann", "m")
        assert state.close()
    with Database(sqlite_url(file)).reading() as connection:
        [(cell, usage)] = read_usage(connection, 0, "ann")
        assert read_usage(connection, cell.hour + 3600, None) == []
        assert read_usage(connection, 0, "bob") == []
    assert (cell.tenant, cell.model, cell.hour % 3600) == ("ann", "m", 0)
    assert (usage.calls, usage.failed, usage.bytes_in) == (5, 2, 50)
    assert usage.engine_s == pytest.approx(5 * 0.5 / 2)


def test_usage_has_a_line_for_each_row_however_narrow_the_terminal_is(
    own_home, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "40")
    tenant = "a-shop-with-a-long-name-in-a-street-with-a-long-name"
    with closing(State(default_url(own_home), every_s=NEVER_S)) as state:
        state.start()
        state.usage.answered(tenant, SERVED, 10, ANSWER)
    with pytest.raises(SystemExit, match="0"):
        main(["gateway", "usage"])
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["tenant", "model", "calls"]
    assert row.split()[:3] == [tenant, "m", "1"]


def test_usage_of_long_ago_is_given_up(file):
    now = [1_800_000_000.0]
    with closing(State(sqlite_url(file), every_s=NEVER_S, clock=lambda: now[0])) as state:
        state.start()
        call(state)
        assert state.write()
        now[0] += USAGE_DAYS * 86_400 + 3600
        call(state)
        assert state.write()
        assert calls_in(file) == 1


def test_usage_is_written_every_so_often(file):
    with closing(State(sqlite_url(file), every_s=0.02)) as state:
        state.start()
        call(state)
        wait_until(lambda: calls_in(file) == 1)


def test_a_state_without_a_database_keeps_everything_in_memory():
    state = State(None)
    state.start()
    call(state)
    state.kept.keep("id", "inputs", b"answer")
    assert state.write()
    assert state.kept.find("id").answer == b"answer"
    assert state.close()


# --- answers ---


def test_answers_are_found_by_another_gateway_once_they_are_written(state, file):
    state.kept.keep("id", "inputs", b"answer")
    with closing(State(sqlite_url(file), every_s=NEVER_S)) as other:
        other.start()
        wait_until(lambda: other.kept.find("id") is not None)
        assert other.kept.find("id").answer == b"answer"
        assert other.kept.find("another") is None


def test_the_first_of_two_answers_stays(file):
    database = Database(sqlite_url(file))
    database.open()
    with database.writing() as connection:
        keep_answers(connection, {"id": Kept("one", b"1", 100.0)}, 0.0)
        keep_answers(connection, {"id": Kept("two", b"2", 200.0)}, 0.0)
        assert find_answer(connection, "id").inputs == "one"
        keep_answers(connection, {"id": Kept("three", b"3", 300.0)}, 150.0)
        assert find_answer(connection, "id").inputs == "three"


def test_answers_that_are_too_old_or_too_many_are_given_up(file):
    database = Database(sqlite_url(file))
    database.open()
    answers = {str(at): Kept("", bytes(100), float(at)) for at in range(250)}
    with database.writing() as connection:
        keep_answers(connection, answers, 0.0)
        assert give_up_answers(connection, 50.0, 10**6) == 50
        assert give_up_answers(connection, 50.0, 10_000) == 100
        assert find_answer(connection, "149") is None
        assert find_answer(connection, "150").answer == bytes(100)
        assert give_up_answers(connection, 0.0, 99) == 100


def test_old_answers_are_given_up_while_it_runs(file):
    now = [1000.0]
    with closing(
        State(sqlite_url(file), every_s=NEVER_S, kept_s=100, clock=lambda: now[0])
    ) as state:
        state.start()
        state.kept.keep("id", "inputs", b"answer")
        assert state.write()
        now[0] += 50
        assert state.kept.find("id") is not None
        now[0] += 600
        assert state.kept.find("id") is None
        assert state.write()
        with Database(sqlite_url(file)).reading() as connection:
            assert find_answer(connection, "id") is None


# --- what can go wrong ---


def test_a_url_that_is_none_is_refused_with_an_example(tmp_path):
    for url in ("nonsense", "nosuch://host/db", "postgresql+nosuch://host/db"):
        with pytest.raises(SettingsError, match="expected one like"):
            State(url)


def test_a_database_that_is_locked_delays_what_is_written_and_loses_nothing(state, file, caplog):
    before = failures()
    every_connection(state, "busy_timeout=50")
    call(state, 3)
    with held_locked(file):
        assert not state.write()
        call(state)
        state.kept.keep("id", "inputs", b"answer")
        assert state.kept.find("id").answer == b"answer"
        assert state.kept.find("another") is None
    assert "locked" in state.away
    assert state.write()
    assert (state.away, calls_in(file)) == ("", 4)
    assert failures() > before
    assert [r.levelname for r in caplog.records] == ["ERROR", "WARNING"]


def test_a_database_that_was_deleted_is_made_anew(state, file, caplog):
    call(state)
    assert state.write()
    for each in file.parent.iterdir():
        each.unlink()
    call(state, 2)
    assert state.write()
    assert calls_in(file) == 2


def test_a_file_that_is_no_database_changes_nothing_for_calls(file, caplog):
    file.parent.mkdir()
    file.write_bytes(b"something else entirely" * 100)
    with closing(State(sqlite_url(file), every_s=NEVER_S)) as state:
        state.start()
        for _ in range(5):
            call(state)
            assert not state.write()
        assert "not a database" in state.away
    said = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(said) == 1
    assert "calls go on" in said[0].getMessage()
    assert file.read_bytes().startswith(b"something else")


def test_an_address_that_nobody_answers_at_changes_nothing_for_calls(tmp_path, caplog):
    nowhere = f"sqlite:///{tmp_path / 'file'}/below/state.db"
    (tmp_path / "file").touch()
    before = failures()
    state = State(nowhere, every_s=NEVER_S)
    state.start()
    call(state)
    state.kept.keep("id", "inputs", b"answer")
    assert state.kept.find("id") is not None
    assert state.kept.find("another") is None
    assert state.away
    assert not state.close()
    assert failures() >= before + 2


def test_a_full_disk_changes_nothing_for_calls(state, file, caplog):
    every_connection(state, "max_page_count=1")
    call(state, 2)
    state.kept.keep("id", "inputs", bytes(500_000))
    wait_until(lambda: "full" in state.away)
    assert state.kept.find("id").answer == bytes(500_000)
    call(state)
    every_connection(state, "max_page_count=1000000")
    wait_until(state.write)
    assert calls_in(file) == 3
    with closing(State(sqlite_url(file))) as other:
        other.start()
        assert other.kept.find("id").answer == bytes(500_000)


def test_a_look_up_that_fails_finds_nothing_and_is_told_once(state, file, caplog):
    rename(file, "gateway_kept_answers", "elsewhere")
    assert state.kept.find("id") is None
    assert "gateway_kept_answers" in state.away
    assert state.kept.find("id") is None
    rename(file, "elsewhere", "gateway_kept_answers")
    assert state.write()
    assert state.away == ""
    assert [r.levelname for r in caplog.records] == ["ERROR", "WARNING"]


def rename(file: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_hours_that_are_given_up_while_the_database_is_away_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_CELLS", 1)
    (tmp_path / "file").touch()
    state = State(f"sqlite:///{tmp_path / 'file'}/below/state.db")
    before = COUNTERS.snapshot().get(LOST, 0)
    call(state)
    for tenant in ("bob", "zoe"):
        state.usage.failed(tenant, "m")
    assert not state.write()
    assert COUNTERS.snapshot()[LOST] == before + 2
    assert len(state.usage.take()) == 1


def test_usage_without_a_database_takes_bounded_room_and_one_line_says_so(monkeypatch, caplog):
    monkeypatch.setattr(ledger_module, "MAX_CELLS", 10)
    state, before = State(None), COUNTERS.snapshot().get(LOST, 0)
    for number in range(100):
        state.usage.failed(f"tenant-{number}", "m")
    state.close()
    assert COUNTERS.snapshot()[LOST] == before + 90
    assert len(state.usage.take()) == 10
    (record,) = caplog.records
    assert "the oldest are given up" in record.getMessage()
