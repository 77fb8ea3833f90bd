"""The page on steps: it is made of the docstrings, and these say what they must."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from wherever_edge.pipelines.pipeline import known_steps

DOCS = Path(__file__).resolve().parents[2] / "docs"
OURS = {
    op: factory
    for op, factory in known_steps().by_name.items()
    if factory.__module__.startswith("wherever_edge.")
}


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_steps", DOCS / "make_steps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(maker: ModuleType) -> None:
    # `python docs/make_steps.py` writes it
    assert (DOCS / "steps.md").read_text() == maker.page()


@pytest.mark.parametrize("op", OURS)
def test_every_step_states_its_formula_and_its_cost(op: str) -> None:
    text = inspect.getdoc(OURS[op]) or ""
    for section in ("Formula", "Cost"):
        assert re.search(rf"^{section}:\n    \S", text, re.MULTILINE), section
    cost = text.split("\nCost:\n", 1)[1].split("\n\n", 1)[0]
    assert re.search(r"\d (us|ms)\b", cost)


@pytest.mark.parametrize("op", OURS)
def test_every_parameter_of_a_step_with_several_is_described(op: str) -> None:
    names = list(inspect.signature(OURS[op]).parameters)[1:]
    text = inspect.getdoc(OURS[op]) or ""
    if "\nArgs:\n" in text:
        assert [
            name for name in names if not re.search(rf"^    {name}: ", text, re.MULTILINE)
        ] == []


def test_the_example_names_steps_and_parameters_that_there_are() -> None:
    example = re.search(r"```json\n(.*?)```", (DOCS / "steps.md").read_text(), re.DOTALL)
    assert example is not None
    pipeline = json.loads(example[1])
    for entry in [*pipeline["pre"], *pipeline["post"]]:
        given = {name: value for name, value in entry.items() if name != "op"}
        inspect.signature(OURS[entry["op"]]).bind(None, **given)
