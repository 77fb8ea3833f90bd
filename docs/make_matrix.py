"""Write docs/conversion-matrix.md of the sources and targets there are: python docs/make_matrix.py."""  # noqa: INP001, E501

from __future__ import annotations

from pathlib import Path

from wherever_convert.matrix import Cell, cell
from wherever_convert.sources import Source, all_sources
from wherever_convert.sources.reference import PythonReference
from wherever_convert.targets import TARGETS

PAGE = Path(__file__).with_name("conversion-matrix.md")
HEAD = """# What can be converted to what

Made by `python docs/make_matrix.py` of the sources and targets that the code has; do not edit.

`wherever convert SOURCE --target NAME` makes one form, `--for PROFILE` those that suit a kind of
device. **given**: the source gives it, and every other variant is compared with it. **made**: it is
made of what the source gives, tried on the samples, and kept where `--max-drop` holds. A number: it
is not possible, and refused before any work, for the reason below.

Each cell that is possible is converted by a test (`tests/full/test_matrix.py`) from a real small
model, and matched with what the source itself answers: float32 to 1e-4 of the largest number that
it answers, float16 to 1e-2, int8 by the metric on the samples. That a form is possible does not say
that every model has it: a graph may hold an operation that another format lacks, int8 may lose more
than is allowed, dynamic int8 is for matrix products and not for convolutions, and the trees of
scikit-learn have no weights that could be smaller, either. The command says so, and leaves that
form out; when it was named by `--target`, nothing is written.

Forms: """
PICKLES = """

## What is not a source

Pickles (`.pkl`, `.joblib`, `.pt`, `.pth`, `.ckpt`) are never read: they can run code. Write a
`FILE.py` that makes the model and loads its weights, and convert `FILE.py:NAME`; its interpreter is
yours (`--python`), or an environment of wherever's own. The same goes for Keras files with a
`Lambda` layer or layers of your own. Trees that split by categories and LightGBM's `linear_tree`
are refused: no runtime here knows them.
"""


def page() -> str:
    """The whole of docs/conversion-matrix.md."""
    sources = [each for each in all_sources() if not isinstance(each, PythonReference)]
    reasons: list[str] = []
    rows = [_row(source, reasons) for source in sorted(sources, key=_place)]
    heads = ["source", *(f"`{name}`" for name in TARGETS)]
    table = [_line(heads), _line(["---", *([":-:"] * len(TARGETS))]), *rows]
    forms = "; ".join(f"`{name}` {target.title}" for name, target in TARGETS.items())
    notes = [f"{number}. {reason}." for number, reason in enumerate(reasons, 1)]
    return f"{HEAD}{forms}.\n\n" + "\n".join(table) + "\n\n" + "\n".join(notes) + PICKLES


def _place(source: Source) -> tuple[int, str]:
    """Frameworks before files: those give ONNX, of which most is made."""
    return (source.formats != ("onnx",) and "onnx" not in source.formats, type(source).__name__)


def _row(source: Source, reasons: list[str]) -> str:
    return _line([_upper(source.title), *(_cell(cell(source, name), reasons) for name in TARGETS)])


def _cell(found: Cell, reasons: list[str]) -> str:
    if found.kind != "no":
        return f"**{found.kind}**" if found.kind == "given" else found.kind
    if found.reason not in reasons:
        reasons.append(found.reason)
    return f"{reasons.index(found.reason) + 1}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _upper(text: str) -> str:
    return text.removeprefix("an ").removeprefix("a ")


if __name__ == "__main__":
    PAGE.write_text(page())
