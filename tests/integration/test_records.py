"""The journal of calls, with real threads, processes and disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import wherever
from wherever._records.journal import Journal
from wherever._records.reading import read_feedback, read_inputs, read_records
from wherever._records.record import Record, pack_record
from wherever_contracts.receipts import AttemptRecord, Ran, Receipt
from wherever_edge.counters import COUNTERS

MIB = 1024 * 1024
DIGEST = "0123456789abcdef" * 4
RAN = Ran("digits", "1.0.0", "float32", DIGEST, DIGEST, "wheel", "onnxruntime", "1", "cpu", "i8", 1)
LOST = 'wherever_records_lost_total{what="records"}'
LOST_INPUTS = 'wherever_records_lost_total{what="inputs"}'
DAMAGED = "wherever_records_damaged_total"

WRITER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_records import Journal, record_of
name, calls, at_once = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
journal = Journal(Path(sys.argv[1]), max_bytes=64 << 20)
for number in range(calls):
    journal.put(record_of(f"{name}-{number:x}", float(number)))
    if number % at_once == at_once - 1:
        journal.flush()
        os.write(1, f"{number + 1}\\n".encode())
"""


def record_of(id_, started_at=0.0, **changes):
    receipt = Receipt(
        id=id_,
        ran=RAN,
        place="device",
        host="device",
        reason="the device answered with confidence 0.97 (0.80 is enough)",
        degraded=False,
        mode="auto",
        boundary="anywhere",
        deadline_s=None,
        attempts=(AttemptRecord("device", "device", "answered", 0.000231),),
        alternatives={},
        total_s=0.000312,
        engine_s=0.000112,
        started_at=started_at,
    )
    record = Record(receipt, {}, 0.97, {"label": "8", "score": 0.97}, "", "", "float32")
    return replace(record, **changes)


def ids_in(source):
    return [record.receipt.id for record in read_records(source)]


def writer(home, name, calls, at_once):
    given = [str(home), str(Path(__file__).parent), name, str(calls), str(at_once)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *given], stdout=subprocess.PIPE)


def size_of(directory):
    """What the files take on a disk of blocks of 4 KiB."""
    sizes = [path.stat().st_size for path in directory.rglob("*") if path.is_file()]
    return sum(-(-size // 4096) * 4096 for size in sizes)


def counted(name):
    return COUNTERS.snapshot().get(name, 0)


@pytest.fixture
def journal(own_home):
    with closing(Journal(own_home, max_bytes=64 * MIB)) as opened:
        yield opened


def test_records_are_read_in_the_order_of_time_and_by_their_ids(journal, own_home):
    times = np.random.default_rng(0).permutation(200)
    for at in times:
        journal.put(record_of(f"p-{at:x}", float(at)))
    assert journal.find("p-7").receipt.started_at == 7.0
    assert journal.find("p-") is None
    assert journal.find("") is None
    journal.flush()
    expected = [f"p-{at:x}" for at in range(200)]
    files = list((own_home / "receipts").glob("*.jsonl"))
    assert len(files) == 1
    for source in (own_home, own_home / "receipts", str(files[0])):
        assert ids_in(source) == expected
    assert journal.problem == ""


def test_what_was_put_in_is_written_within_a_moment_unasked(journal, own_home):
    journal.put(record_of("p-1"))
    grown = threading.Event()
    while not list((own_home / "receipts").glob("*.jsonl")):
        grown.wait(0.01)
    while not ids_in(own_home):
        grown.wait(0.01)
    assert ids_in(own_home) == ["p-1"]


def test_the_directory_is_its_owner_s_alone(journal, own_home):
    inputs = {"x": np.zeros(3)}
    journal.put(record_of("p-1", input_digest=journal.input_digest(inputs)), inputs)
    journal.feedback("p-1", accepted=True)
    journal.flush()
    root = own_home / "receipts"
    assert [path.stat().st_mode & 0o777 for path in (root, root / "inputs")] == [0o700] * 2
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_equal_inputs_are_kept_once_and_found_by_their_digest(journal, own_home):
    for number in range(6):
        inputs = {"x": np.full(3, number % 2, np.float32), "text": "héllo"}
        digest = journal.input_digest(inputs)
        journal.put(record_of(f"p-{number}", number, input_digest=digest), inputs)
        inputs["x"][:] = 9  # its owner's again
    journal.flush()
    records = list(read_records(own_home))
    assert len({record.input_digest for record in records}) == 2
    assert len(list((own_home / "receipts/inputs").iterdir())) == 2
    found = read_inputs(own_home, records[3].input_digest)
    assert found["text"] == "héllo"
    assert np.array_equal(found["x"], np.full(3, 1, np.float32))
    assert journal.input_digest(found) == records[3].input_digest


def test_inputs_that_are_not_there_are_none(journal, own_home):
    inputs = {"x": np.zeros(3)}
    digest = journal.input_digest(inputs)
    assert read_inputs(own_home, digest) is None
    journal.put(record_of("p-1", input_digest=digest), inputs)
    journal.flush()
    path = own_home / "receipts/inputs" / f"{digest}.frame"
    path.write_bytes(path.read_bytes()[:-1])
    assert read_inputs(own_home, digest) is None
    assert read_inputs(own_home, "../device.key") is None
    journal.put(record_of("p-2", input_digest=digest), inputs)  # what was damaged is made good
    journal.flush()
    assert read_inputs(own_home, digest) is not None


def test_feedback_is_read_in_the_order_of_time(journal, own_home):
    journal.feedback("p-2", label="8", at=20.0)
    journal.feedback("p-1", accepted=False, at=10.0)
    journal.flush()
    said = [(each.id, each.label, each.accepted) for each in read_feedback(own_home)]
    assert sorted(said) == [("p-1", None, False), ("p-2", "8", None)]
    assert ids_in(own_home) == []


def test_everything_stays_below_its_bound_and_the_latest_is_kept(own_home):
    largest = 0
    for life in range(3):
        with closing(Journal(own_home, max_bytes=MIB)) as journal:
            for number in range(life * 500, life * 500 + 500):
                inputs = {"x": np.full(64, number, np.float32)} if number % 25 == 0 else None
                digest = "" if inputs is None else journal.input_digest(inputs)
                journal.put(record_of(f"p-{number:x}", number, input_digest=digest), inputs)
                if number % 100 == 0:
                    largest = max(largest, size_of(own_home / "receipts"))
    assert MIB // 2 < largest <= MIB
    records = list(read_records(own_home))
    numbers = [int(record.receipt.started_at) for record in records]
    assert numbers == list(range(numbers[0], 1500))
    assert len(numbers) > 100
    kept = [read_inputs(own_home, each.input_digest) for each in records if each.input_digest]
    assert all(found is not None for found in kept)
    frames = len(list((own_home / "receipts/inputs").iterdir()))
    assert len(kept) <= frames <= 2 * len(kept)


def test_processes_that_write_at_once_and_end_do_not_disturb_each_other(own_home):
    writers = [writer(own_home, name, 250, 100) for name in ("a", "b")]
    assert [each.wait() for each in writers] == [0, 0]
    for each in writers:
        each.stdout.close()
    ids = ids_in(own_home)
    assert Counter(ids) == Counter(f"{n}-{i:x}" for n in "ab" for i in range(250))
    times = [record.receipt.started_at for record in read_records(own_home)]
    assert all(one <= other for one, other in pairwise(times))


def test_a_process_that_is_killed_loses_nothing_that_was_flushed(own_home):
    before = counted(DAMAGED)
    flushed = 0
    with writer(own_home, "a", 1_000_000, 40) as process:
        for line in process.stdout:
            flushed = int(line)
            if flushed >= 400:
                os.kill(process.pid, signal.SIGKILL)
    ids = Counter(ids_in(own_home))
    assert set(ids.values()) == {1}
    assert {f"a-{i:x}" for i in range(flushed)} <= set(ids)
    assert counted(DAMAGED) - before <= 1


def test_a_line_that_was_cut_off_is_left_out_and_the_next_process_goes_on(own_home):
    for life in range(3):
        with closing(Journal(own_home, max_bytes=4 * MIB)) as journal:
            journal.put(record_of(f"p-{life}", life))
        segments = sorted((own_home / "receipts").glob("receipts-*.jsonl"))
        with segments[-1].open("ab") as file:
            file.write(b'{"schema":1,"rec')
    assert len(segments) == 1
    before, found = counted(DAMAGED), []
    seen = [each.receipt.id for each in read_records(own_home, lambda *said: found.append(said))]
    assert seen == ["p-0", "p-1", "p-2"]
    assert [path for path, _ in found] == segments * 3
    assert counted(DAMAGED) - before == 3
    assert Journal(own_home, max_bytes=4 * MIB).find("p-1").receipt.started_at == 1.0


def test_lines_of_anything_else_are_left_out(tmp_path):
    path = tmp_path / "receipts.jsonl"
    odd = [b"", b"null", b"{}", b'{"schema":2}', b"\xff\x00", b"[" * 200_000]
    path.write_bytes(
        b"\n".join([pack_record(record_of("p-1")), *odd, pack_record(record_of("p-2"))])
    )
    found = []
    ids = [each.receipt.id for each in read_records(path, lambda _, why: found.append(why))]
    assert ids == ["p-1", "p-2"]
    assert len(found) == len(odd) - 1  # an empty line is nothing


def test_where_there_is_nothing_to_read_it_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read_records(tmp_path / "receipts"))
    assert list(read_records(tmp_path)) == list(read_feedback(tmp_path)) == []


def test_parent_and_children_write_what_is_theirs_once_and_before_they_end(own_home):
    program = WRITER.split("journal =", maxsplit=1)[0] + (
        "import multiprocessing\n"
        "journal = Journal(Path(sys.argv[1]), max_bytes=64 << 20)\n"
        "def put(who):\n"
        "    for number in range(100): journal.put(record_of(f'{who}-{number}', number))\n"
        "put('before')\n"
        "child = os.fork()\n"
        "put('parent' if child else 'child')\n"
        "if not child: sys.exit()\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "worker = multiprocessing.get_context('fork').Process(target=put, args=('worker',))\n"
        "worker.start(); worker.join()\n"
        "put('after')\n"
    )
    given = [str(own_home), str(Path(__file__).parent), "", "0", "0"]
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, *given], check=True)
    every = ("before", "parent", "child", "worker", "after")
    assert Counter(ids_in(own_home)) == Counter(f"{who}-{n}" for who in every for n in range(100))


def test_a_directory_that_is_removed_is_made_again(journal, own_home):
    import shutil

    journal.put(record_of("p-1"))
    journal.flush()
    shutil.rmtree(own_home / "receipts")
    journal.put(record_of("p-2"))
    journal.flush()
    assert ids_in(own_home) == ["p-2"]
    assert journal.problem == ""


def test_where_nothing_can_be_written_it_is_counted_and_said(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "receipts").write_text("in the way")
    before = counted(LOST)
    with closing(Journal(home, max_bytes=MIB)) as journal:
        for number in range(10):
            journal.put(record_of(f"p-{number}"))
        assert journal.find("p-1") is None
        journal.flush()
        assert counted(LOST) - before == 10
        assert journal.problem == f"receipts are not kept in {home / 'receipts'}: File exists"
        (home / "receipts").unlink()
        journal.put(record_of("p-10"))
        journal.flush()
        assert journal.problem == ""
        assert ids_in(home) == ["p-10"]


def test_inputs_that_are_too_large_are_counted_and_the_record_is_kept(journal, own_home):
    inputs = {"x": np.zeros(MIB)}
    before = counted(LOST_INPUTS)
    journal.put(record_of("p-1", input_digest=journal.input_digest(inputs)), inputs)
    assert "are more than the 4194304 that one call may keep" in journal.problem
    journal.flush()
    assert counted(LOST_INPUTS) - before == 1
    assert ids_in(own_home) == ["p-1"]


def test_what_cannot_be_written_down_is_counted(journal, own_home):
    before = counted(LOST)
    journal.put(record_of("p-1", summary={"labels": {1, 2}}))
    journal.put(record_of("p-2"))
    journal.flush()
    assert counted(LOST) - before == 1
    assert ids_in(own_home) == ["p-2"]


def test_calls_wait_while_the_disk_is_slower_than_they_are(own_home):
    """The disk stands still while another process holds the lock of the directory."""
    from wherever_edge.private_files import locked

    with closing(Journal(own_home, max_bytes=MIB)) as journal:
        put = 0

        def put_many():
            nonlocal put
            for number in range(200):
                journal.put(record_of(f"p-{number:x}", number))
                put = number + 1

        with locked(own_home / "receipts"):
            calls = threading.Thread(target=put_many)
            calls.start()
            calls.join(0.5)
            held_up, at = calls.is_alive(), put
        calls.join()
        journal.flush()
        assert held_up
        assert 0 < at < 200
        assert len(ids_in(own_home)) == 200


def test_a_journal_that_nobody_holds_any_more_writes_what_waits(own_home):
    before = set(threading.enumerate())  # journals of other tests may have a writer yet
    journal = Journal(own_home, max_bytes=MIB)
    journal.put(record_of("p-1"))
    del journal
    assert ids_in(own_home) == ["p-1"]
    made = set(threading.enumerate()) - before
    assert not [each for each in made if each.name == "wherever-records"]


def test_a_bound_that_is_too_small_is_refused(own_home):
    with pytest.raises(wherever.SettingsError, match="1048576 bytes or more, not 1000"):
        Journal(own_home, max_bytes=1000)
