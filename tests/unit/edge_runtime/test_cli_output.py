"""What commands print for programs."""

from __future__ import annotations

import io
import json
import math
import sys

import pytest
from rich.table import Table

from wherever_edge.cli import Output, byte_progress, human_size, run


def test_numbers_that_json_cannot_say_are_null(capsys):
    Output(json=True).emit({"a": [1.5, math.nan, -math.inf], "b": "NaN"}, "")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    printed = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert printed == {"a": [1.5, None, None], "b": "NaN"}


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (98_496, "98 kB"), (3_610_798, "3.6 MB")],
)
def test_sizes_are_said_for_people(size, words):
    assert human_size(size) == words


def test_what_looks_like_markup_is_printed_as_it_is(capsys):
    table = Table("install")
    table.add_row("pip install 'wherever[litert]' :warning:")
    Output().emit({}, lambda: table)
    assert "pip install 'wherever[litert]' :warning:" in capsys.readouterr().out


def test_nobody_sees_bytes_where_there_is_no_terminal(capsys):
    with byte_progress("fetching") as tell:
        tell(1, 10)
        tell(10, None)
    assert capsys.readouterr() == ("", "")


def test_bytes_are_shown_on_a_terminal(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    with byte_progress("fetching") as tell:
        tell(0, None)
        tell(2_000_000, 2_000_000)
    assert "fetching" in shown.getvalue()
    assert "2.0/2.0 MB" in shown.getvalue()


def test_a_home_that_cannot_be_used_is_named_with_the_setting(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    monkeypatch.setenv("WHEREVER_HOME", str(home))
    with pytest.raises(SystemExit):
        run(lambda: (home / "models").mkdir(parents=True))()
    assert "WHEREVER_HOME names another directory" in capsys.readouterr().err


def test_a_file_elsewhere_is_no_matter_of_the_home(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run((tmp_path / "nothing").read_bytes)()
    assert capsys.readouterr().err == f"error: {tmp_path / 'nothing'}: No such file or directory\n"
