"""The journal of calls on a disk that is really full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from wherever._records.journal import Journal
from wherever._records.reading import read_inputs, read_records
from wherever._records.record import Record
from wherever_contracts.receipts import Ran, Receipt
from wherever_edge.counters import COUNTERS

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts a tmpfs"
    ),
]
MIB = 1024 * 1024
RAN = Ran("m", "1.0.0", "v", "d", "d", "local", "onnxruntime", "1", "cpu", "int8", 1)
LOST = 'wherever_records_lost_total{what="records"}'


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def record_of(number, digest=""):
    receipt = Receipt(
        *(f"p-{number}", RAN, "device", "device", "it is the only one", False, "auto", "device"),
        *(None, (), {}, 0.001, 0.001, float(number)),
    )
    return Record(receipt, {}, 0.5, {"label": "a"}, digest, "", "v")


def lost():
    return COUNTERS.snapshot().get(LOST, 0)


def fill(disk: Path) -> None:
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))


def test_a_full_disk_fails_no_call_and_every_record_is_kept_or_counted(small_disk):
    before, calls = lost(), 6000
    with closing(Journal(small_disk / "home", max_bytes=64 * MIB)) as journal:
        for number in range(calls):
            journal.put(record_of(number))
        journal.flush()
        assert journal.problem.endswith(": No space left on device")
    damaged = []
    kept = [
        each.receipt.id
        for each in read_records(small_disk / "home", lambda *said: damaged.append(said))
    ]
    assert set(Counter(kept).values()) == {1}
    assert not damaged
    assert len(kept) > 1000
    assert len(kept) + lost() - before == calls


def test_records_are_kept_again_once_there_is_room(small_disk):
    with closing(Journal(small_disk / "home", max_bytes=64 * MIB)) as journal:
        journal.put(record_of(0))
        journal.flush()
        fill(small_disk)
        for number in range(1, 50):
            inputs = {"x": np.full(100, number)}
            journal.put(record_of(number, journal.input_digest(inputs)), inputs)
        journal.flush()
        assert "No space left on device" in journal.problem
        (small_disk / "filler").unlink()
        inputs = {"x": np.zeros(100)}
        digest = journal.input_digest(inputs)
        journal.put(record_of(50, digest), inputs)
        journal.flush()
        assert journal.problem == ""
    kept = [each.receipt.id for each in read_records(small_disk / "home")]
    assert kept[0] == "p-0"
    assert kept[-1] == "p-50"
    assert read_inputs(small_disk / "home", digest) is not None


def test_a_disk_that_is_full_from_the_start_fails_no_call(small_disk):
    fill(small_disk)
    before = lost()
    with closing(Journal(small_disk / "home", max_bytes=64 * MIB)) as journal:
        journal.put(record_of(0))
        journal.feedback("p-0", accepted=True)
        journal.flush()
        assert lost() - before == 2
        (small_disk / "filler").unlink()
        journal.put(record_of(1))
        journal.flush()
        assert [each.receipt.id for each in read_records(small_disk / "home")] == ["p-1"]


def test_a_disk_that_may_not_be_written_any_more_fails_no_call(small_disk):
    before = lost()
    with closing(Journal(small_disk / "home", max_bytes=64 * MIB)) as journal:
        journal.put(record_of(0))
        journal.close()
        remount = ["mount", "-o", "remount,{}", str(small_disk)]
        subprocess.run([part.format("ro") for part in remount], check=True)
        journal.put(record_of(1))
        journal.flush()
        assert journal.problem.endswith(": Read-only file system")
        assert lost() - before == 1
        assert journal.find("p-0") is not None
        subprocess.run([part.format("rw") for part in remount], check=True)
        journal.put(record_of(2))
        journal.flush()
        assert journal.problem == ""
    assert [each.receipt.id for each in read_records(small_disk / "home")] == ["p-0", "p-2"]
