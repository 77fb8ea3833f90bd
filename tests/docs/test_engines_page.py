"""The programs on the page about engines run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "engines.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_has_programs():
    assert len(PROGRAMS) == 2


@pytest.mark.full
@pytest.mark.parametrize("program", PROGRAMS, ids=["receipt", "another-engine"])
def test_a_program_on_the_page_runs(program, capsys):
    exec(program, {"__name__": "page"})
    assert capsys.readouterr().out
