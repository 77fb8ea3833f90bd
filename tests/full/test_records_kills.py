"""Processes of one home that are killed while they write records down, at random moments."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from wherever._records.journal import Journal
from wherever._records.reading import read_inputs, read_records
from wherever._records.record import Record
from wherever_contracts.receipts import Ran, Receipt
from wherever_edge.private_files import locked

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
KILLS = 30
BOUND = 1 << 20
RAN = Ran("m", "1.0.0", "v", "d", "d", "local", "onnxruntime", "1", "cpu", "int8", 1)


def record_of(id_, digest):
    receipt = Receipt(
        *(id_, RAN, "device", "device", "it is the only one", False, "auto", "device"),
        *(None, (), {}, 0.001, 0.001, time.time()),
    )
    return Record(receipt, {}, 0.5, {"label": "a"}, digest, "", "v")


def live(home: Path, report: int, name: int) -> None:
    """Write records with inputs down until killed, and say which are on the disk."""
    journal = Journal(home, max_bytes=64 << 20)
    number = 0
    while True:
        for _ in range(random.randint(1, 40)):
            inputs = {"x": np.full(20, number % 50, np.float32)}
            journal.put(record_of(f"{name}-{number}", journal.input_digest(inputs)), inputs)
            number += 1
        journal.flush()
        os.write(report, f"{name}-{number - 1}\n".encode())  # less than PIPE_BUF: in one piece


def start(home: Path, report: int, name: int) -> int:
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            live(home, report, name)
        os._exit(1)
    return child


def test_kills_lose_nothing_that_was_flushed_and_double_nothing(tmp_path):
    chance = random.Random(7)
    reading, report = os.pipe()
    living = {start(tmp_path, report, name) for name in range(3)}
    for name in range(3, KILLS):
        time.sleep(chance.uniform(0.05, 0.4))
        victim = chance.choice(sorted(living))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        living.remove(victim)
        living.add(start(tmp_path, report, name))
    for victim in living:
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
    os.close(report)
    with os.fdopen(reading) as said:
        flushed = [line.split("-") for line in said.read().split()]
    damaged = []
    records = list(read_records(tmp_path, lambda *each: damaged.append(each)))
    ids = Counter(each.receipt.id for each in records)
    assert set(ids.values()) == {1}
    assert len(flushed) > KILLS
    last = {int(name): int(number) for name, number in flushed}
    missing = [f"{name}-{n}" for name, upto in last.items() for n in range(upto + 1)]
    assert not set(missing) - set(ids)
    assert len(damaged) <= KILLS
    assert all(read_inputs(tmp_path, each.input_digest) is not None for each in records)
    assert len(list((tmp_path / "receipts/inputs").glob("*.frame"))) == 50


def test_processes_that_write_at_once_stay_below_the_bound(tmp_path):
    living = set()
    for name in range(4):
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                write_many(tmp_path, name, 1250)
                os._exit(0)
            os._exit(1)
        living.add(child)
    largest, ended = 0, []
    while living:
        with locked(tmp_path / "receipts"):  # nothing is removed while it is counted
            largest = max(largest, size_of(tmp_path / "receipts"))
        time.sleep(0.05)
        # each by its number: others may be children of this process, too
        done = [os.waitpid(child, os.WNOHANG) for child in living]
        ended += [status for child, status in done if child]
        living -= {child for child, _ in done}
    assert ended == [0] * 4
    assert BOUND // 2 < max(largest, size_of(tmp_path / "receipts")) <= BOUND
    last = {each.receipt.id.split("-")[0] for each in read_records(tmp_path)}
    assert len(last) > 1


def write_many(home: Path, name: int, calls: int) -> None:
    journal = Journal(home, max_bytes=BOUND)
    for number in range(calls):
        inputs = {"x": np.full(20, 10_000 * name + number)} if number % 5 == 0 else None
        digest = "" if inputs is None else journal.input_digest(inputs)
        journal.put(record_of(f"{name}-{number}", digest), inputs)
    journal.close()


def size_of(directory: Path) -> int:
    """What the files take on a disk of blocks of 4 KiB."""
    size = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # it made room for others
            size += -(-path.stat().st_size // 4096) * 4096 if path.is_file() else 0
    return size
