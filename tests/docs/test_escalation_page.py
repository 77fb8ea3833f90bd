"""The page on escalation: its programs print what it says, and its names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wherever._escalation.facts import Facts
from wherever._escalation.gauges import gauges_of
from wherever._ledger import MAX_BYTES
from wherever._settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "escalation.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_programs():
    assert len(PROGRAMS) == 2


@pytest.mark.parametrize("program", PROGRAMS, ids=["promise", "feedback"])
def test_a_program_on_the_page_prints_what_it_says(program, capsys):
    exec(program, {"__name__": "page"})
    said = capsys.readouterr().out
    expected = re.findall(r"(?m)^print\(.*\)\s+# (.+)", program)
    assert expected
    assert [words for words in expected if words not in said] == []


def test_settings_and_gauges_that_the_page_names_are_there():
    for name in ("max_disagreement", "confidence", "min_confidence", "audit_share", "cost_per_gb"):
        assert f"`{name}`" in PAGE
        assert name in Settings.model_fields
    assert Settings.model_fields["audit_share"].default == 0.05
    assert f"exceeds {MAX_BYTES // 2**20} MiB" in PAGE
    gauges = gauges_of([Facts("m", "1.0.0", "v", "", 0.5)])
    for name in re.findall(r"`(wherever_(?:promise|evidence)_\w+)`", PAGE):
        assert any(series.startswith(f"{name}{{") for series in gauges)
