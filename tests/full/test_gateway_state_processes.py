"""A gateway's state in processes: across SIGKILL at any moment, and two that start at once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from wherever_gateway.state.database import Database
from wherever_gateway.state.location import sqlite_url
from wherever_gateway.state.state import State
from wherever_gateway.state.tables import read_usage

pytestmark = pytest.mark.full

KILLS = 8
PROGRAM = """
import itertools, sys
from wherever_contracts.wire.tensors import InferResponse
from wherever_edge.oip.admission import Served
from wherever_gateway.state.state import State
life = sys.argv[2]
state = State(sys.argv[1], every_s=3600)
state.start()
answer = InferResponse('m', '1', '', {}, ())
for number in itertools.count(1):
    state.usage.answered('ann', Served('m', '1'), 1, answer)
    state.kept.keep(f'{life}-{number}', 'inputs', life.encode())
    assert state.write(), state.away
    print(number, flush=True)
"""


def live(file: Path, life: int, patience_s: float) -> int:
    """Let a gateway write until it is killed; how much it said that it had written."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, sqlite_url(file), str(life)],
        stdout=subprocess.PIPE,
        text=True,
    )
    said = 0
    killing: threading.Timer | None = None
    for line in lines_of(process):
        if killing is None:
            killing = threading.Timer(patience_s, process.kill)
            killing.start()
        said = int(line)
    process.wait(30)
    return said


def calls_in(file: Path) -> int:
    with Database(sqlite_url(file)).reading() as connection:
        return sum(usage.calls for _, usage in read_usage(connection, 0, None))


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    with process.stdout:
        # the last one may be cut off
        yield from (line for line in process.stdout if line.endswith("\n"))


def test_what_was_written_is_there_once_however_often_the_gateway_is_killed(tmp_path):
    file = tmp_path / "gateway" / "state.db"
    chance = random.Random(8)
    written: list[int] = []
    for life in range(KILLS):
        written.append(live(file, life, chance.uniform(0.0, 0.3)))
        with closing(State(sqlite_url(file))) as state:
            state.start()
            kept = [state.kept.find(f"{life}-{number}") for number in range(1, written[-1] + 1)]
        assert [each.answer for each in kept] == [str(life).encode()] * written[-1]
    counted = calls_in(file)
    # the write under way when it was killed may have been done, and not said yet
    assert sum(written) <= counted <= sum(written) + KILLS
    assert sum(written) > KILLS


def test_two_gateways_that_start_at_once_share_one_file(tmp_path):
    file = tmp_path / "gateway" / "state.db"
    script = (
        "import sys\n"
        "from wherever_gateway.state.state import State\n"
        "from wherever_edge.oip.admission import Served\n"
        "from wherever_contracts.wire.tensors import InferResponse\n"
        "state = State(sys.argv[1], every_s=0.01)\n"
        "sys.stdin.readline()\n"
        "state.start()\n"
        "assert not state.away, state.away\n"
        "for _ in range(20):\n"
        "    answer = InferResponse('m', '1', '', {}, ())\n"
        "    state.usage.answered('ann', Served('m', '1'), 1, answer)\n"
        "    state.write()\n"
        "sys.exit(not state.close())\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, sqlite_url(file)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "Traceback" not in said
    assert calls_in(file) == 40
