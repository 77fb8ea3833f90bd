"""What the exporters of boosted trees share: rows to ask about, and the files that they write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wherever_convert.env.exporters import Outcome
from wherever_convert.env.exporters.trees import Array, Ensemble, to_onnx
from wherever_convert.env.script import RefusedError
from wherever_convert.env.tools import versions
from wherever_convert.env.witness import write_witness

FEATURE = "converting boosted trees"
CATEGORIES = (
    "splits by categories, which no runtime here can: turn categorical features into numbers (one "
    "column for each category, for instance) and train again"
)
_OTHER_ROWS = 128
_MISSING_SHARE = 0.2
_NO_OTHER = "boosted trees are to be had in ONNX alone: no other runtime here knows trees"


class Boosted(NamedTuple):
    """A model that was read.

    Attributes:
        kind: the library.
        name: of the object's class.
        ensemble: its trees.
        ask: what the library itself answers to rows.
        classes: their names, where the model knows them.
    """

    kind: str
    name: str
    ensemble: Ensemble
    ask: Callable[[Array], Any]
    classes: Iterable[Any] | None


def write(
    boosted: Boosted, example: Array | None, formats: Collection[str], folder: Path
) -> Outcome:
    """Write the ONNX model, and what the library answers to the example's rows and others.

    Raises:
        RefusedError: the example has another number of features.
    """
    ensemble = boosted.ensemble
    rows = _rows(boosted, example)
    (folder / "model.onnx").write_bytes(to_onnx(ensemble))
    write_witness(folder, [rows], [_as_scores(ensemble, np.asarray(boosted.ask(rows)))])
    packages = ("xgboost", "xgboost-cpu", "lightgbm", "onnx", "numpy")
    return {
        "facts": {
            "kind": boosted.kind,
            "model": boosted.name,
            "trees": len(ensemble.trees),
            "tools": versions(*packages),
        },
        "labels": _labels(boosted),
        "batch": True,
        "files": {"onnx": "float32"},
        "also": {each: _NO_OTHER for each in sorted(formats) if each != "onnx"},
    }


def _rows(boosted: Boosted, example: Array | None) -> Array:
    """The example's rows, and others: drawn between its extremes, some with numbers missing."""
    count = boosted.ensemble.features
    random = np.random.default_rng(0)
    given = random.normal(size=(_OTHER_ROWS, count)) if example is None else example
    known = np.asarray(given, np.float32).reshape(len(given), -1)
    if known.shape[1] != count:
        raise RefusedError(
            f"the {boosted.name} takes {count} features, the samples have {known.shape[1]}"
        )
    present = np.nan_to_num(known)  # a column may be missing altogether
    spread = random.uniform(present.min(0), present.max(0), (_OTHER_ROWS, count))
    drawn = spread.astype(np.float32)
    missing = random.random(drawn.shape) < _MISSING_SHARE
    rows: Array = np.concatenate([known, drawn, np.where(missing, np.float32(np.nan), drawn)])
    return rows


def _as_scores(ensemble: Ensemble, answers: Array) -> Array:
    """What the library answered, in the shape of the ONNX model's output."""
    if ensemble.link == "pair":
        return np.stack([1 - answers, answers], axis=1)
    return answers.reshape(len(answers), -1)


def _labels(boosted: Boosted) -> list[str] | None:
    """The names of the classes, where there is one for each score."""
    if boosted.classes is None:
        return None
    names = [str(each) for each in boosted.classes]
    return names if len(names) == boosted.ensemble.columns else None
