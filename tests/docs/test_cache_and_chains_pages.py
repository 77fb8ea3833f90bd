"""The programs on the pages about kept answers and chains run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
# one that needs a model which is not ours to give shows how it looks, and does not begin by import
PROGRAMS = [
    program
    for page in ("cache.md", "chains.md")
    for program in re.findall(r"```python\n(import .*?)```", (DOCS / page).read_text(), re.DOTALL)
]


def test_the_pages_have_programs():
    assert len(PROGRAMS) == 2


@pytest.mark.parametrize("program", PROGRAMS, ids=["cache", "chain"])
def test_a_program_on_the_pages_runs(program, capsys):
    exec(program, {"__name__": "page"})
    said = capsys.readouterr().out
    assert said
    for line in program.splitlines():
        expected = re.search(r"print\(.*\)\s+# (.+)", line)
        assert expected is None or expected[1] in said
