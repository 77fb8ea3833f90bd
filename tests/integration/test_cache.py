"""The result cache on a real disk: what was kept comes back, and nothing planted there runs."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import pickle
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from wherever._cache import MIN_BYTES, ResultCache
from wherever._cache_age import Stamp
from wherever_contracts.errors import SettingsError
from wherever_contracts.receipts import Answer, Ran

SECRET = bytes(range(32))
RAN = Ran(
    model="digits",
    version="1.0.0",
    variant="mlp-int8",
    package_digest="p" * 64,
    variant_digest="v" * 64,
    trust="wheel",
    engine="onnxruntime",
    engine_version="1.20",
    provider="CPUExecutionProvider",
    precision="int8",
    threads=2,
)
SMALL, LARGE = 16, 20_000  # numbers: one lies in the database, the other in a file


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def cache(directory, clock):
    with closing(opened(directory, clock=clock)) as made:
        yield made


def opened(directory, max_bytes=2 * MIN_BYTES, **given):
    return ResultCache(directory, max_bytes=max_bytes, device_key=SECRET, **given)


def answer(size=SMALL, fill=0.5, **changes):
    outputs = {"scores": np.full(size, fill, np.float32)}
    return Answer(outputs, 0.75, RAN, 0.01, **changes)


def name(number=0):
    return hashlib.sha256(b"%d" % number).digest()


def edit(directory, statement, *values):
    with closing(sqlite3.connect(directory / "cache.db")) as database, database:
        assert database.execute(statement, values).rowcount


def row(directory, *columns):
    with closing(sqlite3.connect(directory / "cache.db")) as database:
        return database.execute(f"SELECT {', '.join(columns)} FROM Cache").fetchone()


def value_file(directory):
    return directory / row(directory, "filename")[0]


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
def test_an_answer_comes_back_marked_as_cached(cache, size):
    kept = Answer(
        {
            "scores": np.linspace(0, 1, size, dtype=np.float32),
            "ids": np.arange(6).reshape(2, 3),
            "names": np.array([b"one", b""], object),
        },
        0.75,
        RAN,
        0.01,
        protocol="grpc",
    )
    assert cache.get(name()) is None
    cache.put(name(), kept)
    found = cache.get(name())
    assert (found.confidence, found.ran, found.engine_s, found.cached) == (0.75, RAN, 0.0, True)
    assert found.protocol == ""
    assert list(found.outputs) == list(kept.outputs)
    for each, array in kept.outputs.items():
        assert found.outputs[each].dtype == array.dtype
        assert np.array_equal(found.outputs[each], array)


def test_an_answer_without_confidence_has_none(cache):
    cache.put(name(), answer()._replace(confidence=None))
    assert cache.get(name()).confidence is None
    cache.put(name(), answer()._replace(confidence=np.float32(0.25)))
    assert cache.get(name()).confidence == 0.25


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_whoever_changes_an_answer_changes_nobody_elses(cache, size):
    kept = answer(size)
    cache.put(name(), kept)
    kept.outputs["scores"][:] = 7
    first = cache.get(name())
    assert (first.outputs["scores"] == 0.5).all()
    first.outputs["scores"][:] = 8
    assert (cache.get(name()).outputs["scores"] == 0.5).all()


def test_an_answer_outlives_the_process(directory, cache):
    cache.put(name(), answer())
    cache.close()
    with closing(opened(directory)) as again:
        assert again.get(name()) is not None


def test_a_later_answer_replaces_an_earlier_one_and_its_file(directory, cache):
    cache.put(name(), answer(LARGE, fill=1))
    cache.put(name(), answer(LARGE, fill=2))
    assert cache.get(name()).outputs["scores"][0] == 2
    assert len(list(directory.rglob("*.val"))) == 1


def test_what_no_frame_can_hold_is_not_kept(cache):
    cache.put(name(), answer()._replace(confidence=float("nan")))
    cache.put(name(), answer()._replace(outputs={"x": np.zeros(2, np.complex64)}))
    assert cache.get(name()) is None
    assert cache.stats()["failures"] == 0


def test_an_answer_that_would_drive_out_the_others_is_not_kept(cache):
    cache.put(name(), answer(MIN_BYTES))
    assert cache.get(name()) is None


def test_clearing_forgets_everything(directory, cache):
    for number in range(5):
        cache.put(name(number), answer(LARGE))
    cache.clear()
    assert [cache.get(name(number)) for number in range(5)] == [None] * 5
    assert list(directory.rglob("*.val")) == []
    assert cache.stats()["entries"] == 0


def test_statistics_count_what_happened(cache):
    assert cache.stats() == {
        "entries": 0,
        "bytes": cache.stats()["bytes"],
        "hits": 0,
        "misses": 0,
        "damaged": 0,
        "failures": 0,
    }
    cache.put(name(), answer(LARGE))
    cache.get(name())
    cache.get(name(1))
    stats = cache.stats()
    assert (stats["entries"], stats["hits"], stats["misses"]) == (1, 1, 1)
    assert stats["bytes"] > 4 * LARGE


@pytest.mark.parametrize("size", [700, LARGE])
def test_a_thousand_answers_stay_within_the_bound_all_the_time(directory, size):
    with closing(opened(directory, max_bytes=MIN_BYTES)) as cache:
        for number in range(1000):
            cache.put(name(number), answer(size))
            if number % 20 == 0:
                assert taken(directory) <= MIN_BYTES
        assert taken(directory) <= MIN_BYTES
        assert cache.get(name(999)) is not None
        assert cache.get(name(0)) is None
        assert cache.stats()["entries"] > 20


def test_large_answers_among_small_ones_stay_within_the_bound(directory):
    with closing(opened(directory, max_bytes=MIN_BYTES)) as cache:
        for number in range(800):
            cache.put(name(number), answer(700))
        for number in range(800, 830):
            cache.put(name(number), answer(100_000))
            assert taken(directory) <= MIN_BYTES


def test_files_that_a_crash_left_behind_are_swept_away_once_a_day(directory, cache):
    cache.put(name(), answer(LARGE))
    old, fresh = (directory / "ab" / "cd" / f"{letter * 28}.val" for letter in "ef")
    old.parent.mkdir(parents=True, exist_ok=True)
    for path in (old, fresh, value_file(directory)):
        path.touch()
        if path != fresh:
            os.utime(path, (0, 0))
    cache.close()
    cache.get(name())
    assert old.exists()
    cache.close()
    edit(directory, "PRAGMA user_version=1")
    assert cache.get(name()) is not None
    assert (old.exists(), fresh.exists()) == (False, True)


@pytest.mark.parametrize("jump_s", [0.0, 1e9, -1e9])
def test_an_answer_that_is_too_old_is_a_miss_and_makes_room(directory, clock, jump_s):
    now = [Stamp("boot", 0.0, 1e9)]
    with closing(opened(directory, clock=clock, ttl_s=60.0, now=lambda: now[0])) as cache:
        cache.put(name(), answer(LARGE))
        now[0] = Stamp("boot", 60.0, 1e9 + jump_s)
        assert cache.get(name()) is not None
        now[0] = Stamp("boot", 61.0, 1e9 + jump_s)
        assert cache.get(name()) is None
        assert (cache.stats()["entries"], cache.stats()["damaged"]) == (0, 0)
        assert list(directory.rglob("*.val")) == []


def test_who_sets_no_age_is_given_answers_of_any(directory, cache):
    with closing(opened(directory, ttl_s=60.0, now=lambda: Stamp("old boot", 0.0, 0.0))) as old:
        old.put(name(), answer(), "gateway:8001")
    assert cache.find(name()).host == "gateway:8001"
    with closing(opened(directory, ttl_s=60.0)) as strict:
        assert strict.get(name()) is None


def taken(directory):
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


# What must not run, and must not be read.


class Trap:
    """Unpickling one makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "ran"


def test_the_trap_works(marker):
    pickle.loads(pickle.dumps(Trap(marker)))
    assert marker.exists()


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 4, 5, None, "4"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_planted_pickle_does_not_run(directory, cache, marker, mode, size):
    cache.put(name(), answer(size))
    planted = pickle.dumps(Trap(marker))
    edit(directory, "UPDATE Cache SET mode=?, value=?", mode, planted)
    if size == LARGE:
        value_file(directory).write_bytes(planted)
    assert cache.get(name()) is None
    assert cache.get(name()) is None
    assert not marker.exists()
    assert cache.stats()["damaged"] == 1
    assert cache.stats()["entries"] == 0


def test_a_planted_pickle_as_a_key_does_not_run(directory, cache, marker):
    from wherever._cache_disk import DamagedEntryError

    cache.put(name(), answer())
    edit(directory, "UPDATE Cache SET key=?, raw=0", pickle.dumps(Trap(marker)))
    assert cache.get(name()) is None
    with pytest.raises(DamagedEntryError):
        list(cache._entries._cache)
    assert not marker.exists()


def test_nothing_but_bytes_goes_in(cache):
    cache.put(name(), answer())
    database = cache._entries._cache
    for key, value in [(name(), {"a": 1}), (name(), "text"), ("text", b""), (("a", 1), b"")]:
        with pytest.raises(TypeError):
            database.set(key, value)
    with pytest.raises(TypeError):
        database.set(name(), sys.stdin, read=True)


@pytest.mark.parametrize(
    "planted",
    [
        "../../secret.val",
        "/etc/passwd",
        "ab/cd/../../../secret.val",
        "ab/cd/" + "e" * 28 + ".val/",
        "ab\\cd\\..\\..\\..\\secret.val",
        "cache.db",
        "",
        b"ab/cd/" + b"e" * 28 + b".val",
        5,
        None,
    ],
)
def test_a_planted_file_name_is_neither_read_nor_removed(directory, cache, tmp_path, planted):
    cache.put(name(), answer(LARGE))
    secret = tmp_path / "secret.val"
    secret.write_bytes(value_file(directory).read_bytes())
    edit(directory, "UPDATE Cache SET filename=?", planted)
    assert cache.get(name()) is None
    assert cache.stats()["damaged"] == 1
    assert cache.stats()["entries"] == 0
    assert secret.exists()
    assert (directory / "cache.db").exists()


@pytest.mark.skipif(os.name == "nt", reason="links and pipes need rights on Windows")
@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "directory"])
def test_what_is_no_plain_file_is_not_read(directory, cache, tmp_path, kind):
    cache.put(name(), answer(LARGE))
    path = value_file(directory)
    data = path.read_bytes()
    path.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder link":
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / path.name).write_bytes(data)
        path.parent.rmdir()
        path.parent.symlink_to(tmp_path / "folder")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert cache.get(name()) is None
    assert cache.stats()["damaged"] == 1
    assert cache.stats()["entries"] == 0
    assert kind != "link" or (tmp_path / "elsewhere").exists()
    assert kind != "folder link" or any((tmp_path / "folder").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_nothing_is_written_through_a_planted_link(directory, cache, tmp_path):
    cache.get(name())
    (tmp_path / "elsewhere").mkdir()
    for number in range(256):
        (directory / f"{number:02x}").symlink_to(tmp_path / "elsewhere")
    cache.put(name(), answer(LARGE))
    assert list((tmp_path / "elsewhere").rglob("*.val")) == []
    assert cache.get(name()) is None


# What is damaged.


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "header", "other key"])
def test_a_damaged_entry_is_a_miss_and_removed(directory, cache, size, damage):
    cache.put(name(), answer(size))
    in_file = size == LARGE
    data = value_file(directory).read_bytes() if in_file else row(directory, "value")[0]
    if damage == "other key":
        edit(directory, "UPDATE Cache SET key=?", name(1))
    else:
        harmed = {
            "cut": data[:-1],
            "flip": data[:50] + bytes([data[50] ^ 4]) + data[51:],
            "empty": b"",
            "header": data[:4] + struct.pack("<I", 2**32 - 1) + data[8:],
        }[damage]
        if in_file:
            value_file(directory).write_bytes(harmed)
        else:
            edit(directory, "UPDATE Cache SET value=?", harmed)
    asked = name(1) if damage == "other key" else name()
    assert cache.get(asked) is None
    stats = cache.stats()
    assert (stats["damaged"], stats["entries"], stats["failures"]) == (1, 0, 0)
    assert list(directory.rglob("*.val")) == []
    cache.put(name(), answer(size))
    assert cache.get(name()) is not None


def resealed(directory, change):
    """Change the facts of the only entry, and give it a right checksum again."""
    data = row(directory, "value")[0]
    (length,) = struct.unpack_from("<I", data, 4)
    header = json.loads(data[8 : 8 + length])
    change(header["meta"])
    text = json.dumps(header, separators=(",", ":")).encode()
    start = data[:4] + struct.pack("<I", len(text)) + text
    body = start + bytes(-len(start) % 16) + data[8 + length + -(8 + length) % 16 : -16]
    edit(directory, "UPDATE Cache SET value=?", body + hashlib.sha256(body).digest()[:16])


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        (lambda meta: None, True),
        (lambda meta: meta.update(confidence="high"), False),
        (lambda meta: meta.update(ran=None), False),
        (lambda meta: meta["ran"].update(more=1), False),
        (lambda meta: meta["ran"].update(threads="2"), False),
        (lambda meta: meta["ran"].update(engine=None), False),
        (lambda meta: meta.clear(), False),
    ],
)
def test_a_whole_frame_with_other_facts_is_a_miss(directory, cache, change, taken):
    cache.put(name(), answer())
    resealed(directory, change)
    assert (cache.get(name()) is not None) is taken
    assert cache.stats()["damaged"] == (not taken)


def test_a_file_that_was_evicted_meanwhile_is_a_plain_miss(directory, cache):
    cache.put(name(), answer(LARGE))
    value_file(directory).unlink()
    assert cache.get(name()) is None
    assert cache.stats()["damaged"] == 0


def test_a_file_that_grew_without_end_is_not_read_to_it(directory, cache):
    cache.put(name(), answer(LARGE))
    os.truncate(value_file(directory), 2**40)
    assert cache.get(name()) is None
    assert cache.stats()["damaged"] == 1


def test_a_row_that_grew_without_end_is_not_read_at_all(directory, cache):
    cache.put(name(), answer())
    edit(directory, "UPDATE Cache SET value=zeroblob(10000000)")
    assert cache.get(name()) is None
    assert cache.stats()["damaged"] == 1
    assert cache.stats()["entries"] == 0


def test_a_damaged_database_is_set_aside_and_a_new_one_made(directory, cache, clock, caplog):
    cache.put(name(), answer(LARGE))
    cache.close()
    (directory / "cache.db").write_bytes(b"no database" * 1000)
    with caplog.at_level(logging.WARNING):
        assert cache.get(name()) is None
        clock.now += 1
        cache.put(name(), answer(LARGE))
        assert cache.get(name()) is not None
    assert (directory / "cache.db.damaged").read_bytes().startswith(b"no database")
    assert len(list(directory.rglob("*.val"))) == 1
    assert cache.stats()["failures"] == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_damage_deep_in_an_open_database_is_found_too(directory, cache, clock):
    for number in range(200):
        cache.put(name(number), answer(1000))
    cache.close()
    with (directory / "cache.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * ((directory / "cache.db").stat().st_size - 4096))
    for number in range(200):
        assert cache.get(name(number)) is None
        clock.now += 1
    cache.put(name(), answer())
    assert cache.get(name()) is not None
    assert (directory / "cache.db.damaged").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE Cache",
        "DROP TABLE Settings",
        "INSERT INTO Settings VALUES ('sqlite_writable_schema', 1)",
        "INSERT INTO Settings VALUES ('disk_evil', 1)",
        "INSERT INTO Settings VALUES ('_directory', '/')",
        "UPDATE Settings SET value='many' WHERE key='size'",
        "UPDATE Settings SET value=-1000000000 WHERE key='size'",
        "DELETE FROM Settings WHERE key='count'",
        "UPDATE Settings SET value='none' WHERE key='eviction_policy'",
        "UPDATE Settings SET value=1 WHERE key='statistics'",
        "UPDATE Cache SET tag=x'80049500', expire_time='never', store_time=x'00'",
        "CREATE TRIGGER t AFTER INSERT ON Cache BEGIN SELECT RAISE(ABORT, 'no'); END",
    ],
)
def test_a_database_that_was_tampered_with_fails_no_call(directory, cache, clock, statement):
    cache.put(name(), answer())
    cache.close()
    with closing(sqlite3.connect(directory / "cache.db")) as database, database:
        database.execute(statement)
    for number in (1, 1, 1):
        cache.get(name(number))
        cache.put(name(number), answer())
        clock.now += 1
    assert cache.get(name(1)) is not None
    assert not hasattr(cache._entries._cache, "evil")


def test_a_database_that_was_removed_under_an_open_cache_is_made_again(directory, cache, clock):
    cache.put(name(), answer(LARGE))
    shutil.rmtree(directory)
    for _ in range(3):
        cache.get(name(1))
        cache.put(name(1), answer(LARGE))
        clock.now += 1
    assert cache.get(name(1)) is not None
    assert directory.stat().st_mode & 0o777 == 0o700


# Who may enter, and what a disk does.


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_only_this_user_may_enter(directory, cache):
    assert directory.stat().st_mode & 0o777 == 0o700
    directory.chmod(0o755)
    with closing(opened(directory)):
        assert directory.stat().st_mode & 0o777 == 0o700
    cache.put(name(), answer(LARGE))
    for path in directory.rglob("*"):
        if path.is_dir() or path.suffix == ".val":
            assert path.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
def test_a_directory_of_another_user_is_refused(directory):
    directory.mkdir()
    os.chown(directory, 12345, -1)
    with pytest.raises(SettingsError, match="user 12345 owns it"):
        opened(directory)


def test_a_place_that_cannot_be_the_directory_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match="no directory"):
        opened(tmp_path / "file")
    monkeypatch.setenv("SOMEWHERE", "elsewhere")
    with pytest.raises(SettingsError, match="names a variable"):
        opened(tmp_path / "$SOMEWHERE")
    with pytest.raises(SettingsError, match="needs 4194304 bytes, not 5"):
        opened(tmp_path / "cache", max_bytes=5)


def test_a_disk_that_cannot_be_had_is_a_miss(tmp_path, clock, caplog):
    (tmp_path / "file").write_bytes(b"")
    with (
        caplog.at_level(logging.WARNING),
        closing(opened(tmp_path / "file" / "cache", clock=clock)) as cache,
    ):
        for _ in range(3):
            assert cache.get(name()) is None
            cache.put(name(), answer())
            clock.now += 1
        assert cache.stats()["failures"] >= 2
    assert len(caplog.records) == 1


def test_the_cache_of_a_home_is_named_with_the_devices_key(tmp_path):
    with closing(ResultCache.in_home(tmp_path, max_bytes=MIN_BYTES)) as cache:
        cache.put(name(), answer())
        key = cache.key(cache.call_digest({}, {}, "s"), "v", "int8")
    with closing(ResultCache.in_home(tmp_path, max_bytes=MIN_BYTES)) as again:
        assert again.key(again.call_digest({}, {}, "s"), "v", "int8") == key
        assert again.get(name()) is not None
    (tmp_path / "device.key").write_bytes(b"short")
    with pytest.raises(SettingsError, match="remove it"):
        ResultCache.in_home(tmp_path, max_bytes=MIN_BYTES)


def test_a_home_that_cannot_be_had_fails_no_call(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with closing(ResultCache.in_home(tmp_path / "file" / "home", max_bytes=MIN_BYTES)) as cache:
        key = cache.key(cache.call_digest({}, {}, "s"), "v", "int8")
        cache.put(key, answer())
        assert cache.get(key) is None


def test_a_database_that_another_process_writes_to_is_left_alone(directory, cache, clock):
    cache.put(name(), answer())
    with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        cache.put(name(1), answer(LARGE))
        assert cache.get(name()) is not None
        assert cache.stats()["failures"] == 1
        cache.put(name(1), answer(LARGE))  # not even tried so soon after
        assert cache.stats()["failures"] == 1
        other.execute("ROLLBACK")
    assert list(directory.rglob("*.val")) == []
    clock.now += 1
    cache.put(name(1), answer(LARGE))
    assert cache.get(name(1)) is not None


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from wherever._cache import ResultCache
from wherever_contracts.receipts import Answer, Ran

ran = Ran("m", "1", "v", "d", "d", "local", "e", "1", "cpu", "int8", 1)
answer = lambda size: Answer({"x": np.zeros(size, np.float32)}, 0.5, ran, 0.0)
now, directory = [0.0], Path(sys.argv[1])
cache = ResultCache(
    directory, max_bytes=1 << 24, device_key=bytes(32), clock=lambda: now[0]
)
cache.put(bytes(32), answer(16))
assert cache.get(bytes(32)) is not None
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for number in range(1, 60):
    key = number.to_bytes(32, "big")
    cache.put(key, answer(30_000))
    cache.put(key, answer(1000))
    assert cache.get(bytes(32)) is not None
    now[0] += 1
assert cache.stats()["failures"] > 0, cache.stats()
assert not list(directory.rglob("*.val"))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
now[0] += 1
cache.put(bytes(32), answer(30_000))
assert cache.get(bytes(32)).outputs["x"].size == 30_000
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limits for files")
def test_files_that_cannot_grow_fail_no_call_and_leave_nothing_behind(directory):
    command = [sys.executable, "-c", FULL, str(directory)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Many at once.


def test_threads_share_one_cache(cache):
    def work(worker):
        for number in range(60):
            key = name(number % 20)
            found = cache.get(key)
            assert found is None or found.outputs["scores"][0] == number % 20
            cache.put(key, answer(SMALL if number % 2 else LARGE, fill=number % 20))
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert cache.stats()["failures"] == 0
    assert cache.stats()["damaged"] == 0


PROCESS = """
import sys
from pathlib import Path
import numpy as np
from wherever._cache import ResultCache
from wherever_contracts.receipts import Answer, Ran

ran = Ran("m", "1", "v", "d", "d", "local", "e", "1", "cpu", "int8", 1)
cache = ResultCache(Path(sys.argv[1]), max_bytes=1 << 23, device_key=bytes(32))
for turn in range(100):
    key = (turn % 20).to_bytes(32, "big")
    found = cache.get(key)
    assert found is None or found.outputs["x"][0] == turn % 20
    size = (16, 20_000)[turn % 2]
    cache.put(key, Answer({"x": np.full(size, turn % 20, np.float32)}, 0.5, ran, 0.0))
print(cache.stats()["damaged"], cache.stats()["hits"])
cache.close()
"""


def test_processes_share_one_directory(directory):
    command = [sys.executable, "-c", PROCESS, str(directory)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outcomes = [(each.communicate()[0].split(), each.returncode) for each in running]
    assert all(code == 0 and damaged == "0" for (damaged, _), code in outcomes)
    assert all(int(hits) > 0 for (_, hits), _ in outcomes)


def fork(function):
    """Run `function` in a forked child; True when it returned."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=function)
    child.start()
    child.join(30)
    return child.exitcode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_and_its_parent_both_go_on(directory, cache):
    cache.put(name(), answer())

    def child():
        assert cache.get(name()) is not None
        for number in range(1, 30):
            cache.put(name(number), answer(LARGE))
        assert cache.stats()["failures"] == 0

    assert fork(child)
    for number in range(30):
        assert cache.get(name(number)) is not None
    assert cache.stats()["failures"] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_whoever_is_inside(cache, clock):
    stop = threading.Event()

    def busy():
        number = 0
        while not stop.is_set():
            cache.put(name(number % 7), answer(LARGE))
            cache.get(name(number % 7))
            number += 1

    def child():
        while cache.get(name(8)) is None:  # the parent writes too, and may be faster
            cache.put(name(8), answer())
            clock.now += 1

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert all(fork(child) for _ in range(5))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert cache.stats()["damaged"] == 0
