"""Evidence survives processes, crashes, full disks and damage, and stays within its bounds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wherever._escalation.events import Alarmed, Paired, pack_event
from wherever._ledger import Key, Ledger
from wherever_edge.counters import COUNTERS

KEY = Key("digits", "0123456789abcdef" * 4, "small-int8")
SHORT = "0123456789ab"
AT = 1_700_000_000.0

APPENDS = """
import sys
from pathlib import Path
from wherever._escalation.events import Alarmed
from wherever._ledger import Key, Ledger

ledger, key = Ledger(Path(sys.argv[1])), Key("digits", "0123456789abcdef", "small-int8")
print("open", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    ledger.add(key, Alarmed(sys.argv[2], str(number), 0.0))
    if number % 50 == 0:
        ledger.flush()
        print(number, flush=True)
"""


def pair(number: int) -> Paired:
    return Paired(number, 0.5, 0.0, 1.0, number, AT)


def files(home: Path) -> list[Path]:
    return sorted((home / "evidence").rglob("*.jsonl"))


def start(home: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", APPENDS, str(home), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def lost() -> int:
    return COUNTERS.snapshot().get('wherever_evidence_lost_total{model="digits"}', 0)


def test_what_was_added_is_read_in_order_here_and_by_another_process(tmp_path):
    with_events = Ledger(tmp_path)
    added = [Alarmed("noise", "of 3", AT), *map(pair, range(20)), Alarmed("shift", "p = 0.001", AT)]
    for event in added:
        with_events.add(KEY, event)
    assert with_events.events(KEY) == added
    assert Ledger(tmp_path).events(KEY) == added
    assert with_events.keys() == [KEY._replace(digest=SHORT)]
    assert with_events.problems == ()
    with_events.close()


def test_evidence_is_on_the_disk_soon_without_anybody_asking(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.add(KEY, pair(1))
    (writer,) = (each for each in threading.enumerate() if each.name == "wherever-evidence")
    writer.join(10)
    assert files(tmp_path)[0].read_bytes() == b"\n" + pack_event(pair(1))
    ledger.close()


def test_variants_and_packages_are_told_apart(tmp_path):
    ledger = Ledger(tmp_path)
    keys = [
        KEY,
        KEY._replace(variant="small"),
        KEY._replace(variant="small-int8-000001"),
        KEY._replace(digest="f" * 64),
        KEY._replace(model="people"),
    ]
    for number, key in enumerate(keys):
        ledger.add(key, pair(number))
    assert [ledger.events(key) for key in keys] == [[pair(number)] for number in range(5)]
    assert sorted(ledger.keys()) == sorted(key.short() for key in keys)
    ledger.close()


@pytest.mark.skipif(os.name == "nt", reason="permissions are of POSIX")
def test_evidence_is_for_its_owner_alone(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.add(KEY, pair(1))
    ledger.close()
    (file,) = files(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.parent.parent.stat().st_mode & 0o777 == 0o700


def test_after_closing_events_are_written_at_once(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.close()
    ledger.add(KEY, pair(1))
    assert Ledger(tmp_path).events(KEY) == [pair(1)]


def test_two_processes_at_once_lose_and_mix_nothing_and_a_killed_one_its_last_second(tmp_path):
    survivors = [start(tmp_path, name, 2000) for name in ("one", "two")]
    victim = start(tmp_path, "victim", 10**9)
    for process in (*survivors, victim):
        assert process.stdout.readline() == "open\n"
    for process in (*survivors, victim):
        process.stdin.write("\n")
        process.stdin.flush()
    flushed = 0
    while flushed < 500:
        flushed = int(victim.stdout.readline())
    os.kill(victim.pid, signal.SIGKILL)
    for process in (victim, *survivors):
        process.communicate(timeout=60)
    assert [process.returncode for process in survivors] == [0, 0]

    ledger = Ledger(tmp_path)
    found: dict[str, list[int]] = {"one": [], "two": [], "victim": []}
    for event in ledger.events(KEY):
        found[event.kind].append(int(event.why))
    assert found["one"] == found["two"] == list(range(2000))
    assert found["victim"] == list(range(len(found["victim"])))
    assert len(found["victim"]) > flushed
    assert ledger.problems == ()


def test_a_torn_line_and_damaged_ones_are_left_out_and_counted_once(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.add(KEY, pair(1))
    ledger.flush()
    (file,) = files(tmp_path)
    with file.open("ab") as raw:
        raw.write(
            b'\x00\x00\xff\n{"event":"passed","calls":-1,"at":1}\n' + pack_event(pair(2))[:20]
        )
    ledger.add(KEY, pair(3))
    assert ledger.events(KEY) == ledger.events(KEY) == [pair(1), pair(3)]
    (problem,) = ledger.problems
    assert problem.startswith("damaged lines of evidence")
    assert problem.endswith(": 3")
    assert COUNTERS.snapshot()['wherever_evidence_damaged_total{model="digits"}'] == 3
    ledger.close()


def test_the_oldest_evidence_makes_room_and_the_newest_never_goes(tmp_path):
    most = 64 * 1024
    ledger = Ledger(tmp_path, max_bytes=most)
    for number in range(3000):
        ledger.add(KEY, pair(number))
        if number % 20 == 0:
            ledger.flush()
            assert sum(file.stat().st_size for file in files(tmp_path)) <= most
    kept = [event.category for event in ledger.events(KEY)]
    assert kept == list(range(kept[0], 3000))
    assert len(kept) * len(pack_event(pair(1))) > most / 2
    assert ledger.problems == ()
    ledger.close()


def test_an_alarm_outlives_the_part_of_the_evidence_that_it_came_with(tmp_path):
    ledger = Ledger(tmp_path, max_bytes=64 * 1024)
    shift, noise = Alarmed("shift", "as never before", AT), Alarmed("noise", "no better", AT)
    for event in (pair(0), Alarmed("broken", "more differ", AT), shift, noise):
        ledger.add(KEY, event)
    for number in range(1200):
        ledger.add(KEY, pair(number))
        if number % 20 == 0:
            ledger.flush()
    first, *rest = ledger.events(KEY)
    assert first == shift
    assert rest == [pair(number) for number in range(rest[0].category, 1200)]
    assert rest[0].category > 0
    for number in range(1200):
        ledger.add(KEY._replace(variant="other"), pair(number))
        if number % 20 == 0:
            ledger.flush()
    assert ledger.events(KEY) == []
    ledger.close()


def test_evidence_of_an_old_package_makes_room_for_that_of_the_new_one(tmp_path):
    ledger = Ledger(tmp_path, max_bytes=64 * 1024)
    old = KEY._replace(digest="a" * 64)
    ledger.add(old, pair(1))
    for number in range(1200):
        ledger.add(KEY, pair(number))
        if number % 20 == 0:
            ledger.flush()
    assert ledger.events(old) == []
    assert ledger.events(KEY)
    ledger.close()


def test_where_nothing_can_be_kept_nothing_fails_and_it_is_said(tmp_path):
    (tmp_path / "evidence").write_text("in the way")
    ledger, before = Ledger(tmp_path), lost()
    for number in range(5):
        ledger.add(KEY, pair(number))
    assert ledger.events(KEY) == []
    assert ledger.keys() == []
    (problem,) = ledger.problems
    assert problem.startswith("evidence was not kept (5 events)")
    assert lost() - before == 5
    ledger.close()


def test_a_name_that_leads_elsewhere_is_not_followed(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.add(Key("../elsewhere", "ab", "v"), pair(1))
    ledger.flush()
    assert files(tmp_path) == []
    assert "is no name of a file" in ledger.problems[0]
    ledger.close()


@pytest.mark.skipif(os.name == "nt", reason="RLIMIT_FSIZE is of POSIX")
def test_a_disk_that_fills_up_costs_the_events_that_do_not_fit_alone(tmp_path):
    import resource

    ledger, before = Ledger(tmp_path), lost()
    size = len(pack_event(pair(1)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 + 2 * size + size // 2, limits[1]))
        for number in range(1, 6):
            ledger.add(KEY, pair(number))
        ledger.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert lost() - before == 3
    assert ledger.problems == (
        f"evidence was not kept (3 events) in {tmp_path / 'evidence'}: the disk is full",
    )
    ledger.add(KEY, pair(6))
    assert ledger.events(KEY) == [pair(1), pair(2), pair(6)]
    ledger.close()


def test_what_waits_is_bounded(tmp_path):
    ledger, before = Ledger(tmp_path), lost()
    writing = ledger._writing
    with writing:  # as if the disk were slow
        for number in range(10_050):
            ledger.add(KEY, pair(number))
    assert lost() - before == 50
    assert len(ledger.events(KEY)) == 10_000
    ledger.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_after_a_fork_writes_its_own_events_and_not_its_parents_again(tmp_path):
    code = f"""
import os
from pathlib import Path
from wherever._escalation.events import Alarmed
from wherever._ledger import Key, Ledger
ledger = Ledger(Path({str(tmp_path)!r}))
ledger.add(Key("digits", {SHORT!r}, "small-int8"), Alarmed("noise", "1", 0.0))
child = os.fork()
if child:
    os.waitpid(child, 0)
else:
    ledger.add(Key("digits", {SHORT!r}, "of-a-child"), Alarmed("noise", "2", 0.0))
    ledger.flush()
    os._exit(0)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
    assert Ledger(tmp_path).events(KEY) == [Alarmed("noise", "1", 0.0)]
    assert Ledger(tmp_path).events(KEY._replace(variant="of-a-child")) == [
        Alarmed("noise", "2", 0.0)
    ]
