"""The page on what can be converted to what is made of the sources and targets in the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_current() -> None:
    # `python docs/make_matrix.py` writes it
    spec = importlib.util.spec_from_file_location("make_matrix", DOCS / "make_matrix.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)

    assert (DOCS / "conversion-matrix.md").read_text() == maker.page()
