"""The programs on the page about calibration run, and its figures are those of today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wherever_edge.certification.bounds import fewest_pairs
from wherever_edge.certification.words import CALIBRATION_SHARE, CONFIDENCE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "calibration.md").read_text()
CALIBRATES, PREDICTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(SHOWN,) = re.findall(r"```\n(mlp-int8 against .*?)```", PAGE, re.DOTALL)
NUMBER = re.compile(r"\d+\.\d+|\d+")


@pytest.fixture(autouse=True)
def quiet_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_the_page_shows_is_what_the_program_prints(capsys):
    exec(CALIBRATES, {"__name__": "page"})
    said = capsys.readouterr().out.strip()
    assert NUMBER.sub("#", said) == NUMBER.sub("#", SHOWN.strip())
    # processors of another kind may round a digit's scores to another label
    pairs = zip(NUMBER.findall(said), NUMBER.findall(SHOWN), strict=True)
    assert [(a, b) for a, b in pairs if abs(float(a) - float(b)) > 0.6] == []


def test_a_promise_can_be_asked_for_at_once(capsys):
    exec(PREDICTS, {"__name__": "page"})
    assert re.fullmatch(r"\d device\n", capsys.readouterr().out)


def test_the_least_pairs_are_those_that_are_certified():
    rows = re.findall(r"^\| (\d+) % \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    error = CALIBRATION_SHARE * (1 - CONFIDENCE)
    assert [level for level, *_ in rows] == ["1", "2", "5", "10"]
    for level, labels, others in rows:
        needed = [fewest_pairs(int(level) / 100, error, whole=whole) for whole in (True, False)]
        assert needed == [int(labels), int(others)]
