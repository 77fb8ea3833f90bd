"""Output appears whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wherever_contracts.errors import ConversionError
from wherever_convert.staging import check_output, exchange, settle, staging


def folder(path, text):
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_what_is_made_stands_where_the_old_was_and_nothing_else_is_left(tmp_path):
    exchange(folder(tmp_path / "new", "new"), folder(tmp_path / "place", "old"))
    assert (tmp_path / "place" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_the_old_comes_back_when_the_new_cannot_be_put_there(tmp_path):
    place = folder(tmp_path / "place", "old")
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "none", place)
    assert (place / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_what_an_earlier_crash_left_beside_it_does_not_disturb(tmp_path):
    folder(tmp_path / ".place.old", "older")
    exchange(folder(tmp_path / "new", "new"), folder(tmp_path / "place", "old"))
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_scratch_is_gone_whatever_happens(tmp_path):
    with pytest.raises(FileNotFoundError), staging(tmp_path / "out") as scratch:
        folder(scratch / "large", "x").joinpath("none").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_no_place(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConversionError, match="exists already"):
        check_output(tmp_path / "link")
    check_output(tmp_path / "real")
    check_output(tmp_path / "new")
    (tmp_path / "real.wherever").mkdir()
    with pytest.raises(ConversionError, match="not empty"):
        check_output(tmp_path / "real.wherever")


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_is_in_use_is_not(tmp_path):
    code = """
import sys, time
from pathlib import Path
from wherever_convert.staging import staging
with staging(Path(sys.argv[1])) as scratch:
    print(scratch, flush=True)
    time.sleep(60)
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        left = other.stdout.readline().strip()
        with staging(tmp_path / "out") as scratch:
            assert sorted(str(path) for path in tmp_path.glob(".out.*/work")) == sorted(
                [left, str(scratch)]
            )
        other.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 1
    with staging(tmp_path / "out") as scratch:
        assert list(tmp_path.iterdir()) == [scratch.parent]
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_was_taken_meanwhile_is_left_as_it_is(tmp_path):
    with staging(tmp_path / "out") as scratch:
        package = folder(scratch / "package", "mine")
        folder(tmp_path / "out", "theirs")
        with pytest.raises(ConversionError, match="out was made by another process meanwhile"):
            settle(package, tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "theirs"


def test_where_nothing_can_be_written_is_said():
    with (
        pytest.raises(ConversionError, match=r"out: nothing can be written in /proc \("),
        staging(Path("/proc/out")),
    ):
        pass


def test_a_full_disk_is_said_with_its_place(tmp_path):
    with (
        pytest.raises(ConversionError, match=r"no space is left in .*/kept$"),
        staging(folder(tmp_path / "kept", "x") / "out"),
    ):
        Path("/dev/full").write_text("x")
