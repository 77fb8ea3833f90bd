"""Output appears whole or not at all."""

from __future__ import annotations

import pytest

from wherever_contracts.errors import ConversionError
from wherever_convert.staging import check_output, exchange, staging


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
