"""The documents tell the truth: links lead somewhere, tests that are named exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(document):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
    broken = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert broken == []


def test_every_test_that_a_promise_names_exists():
    promises = (ROOT / "docs" / "promises.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", promises)
    assert named
    assert [name for name in named if f"def {name}(" not in sources] == []


def test_every_promise_of_the_design_is_on_the_page():
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "promises.md").read_text(), re.MULTILINE)
    assert rows == [str(number) for number in range(1, 10)]
