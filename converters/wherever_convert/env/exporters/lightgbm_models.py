"""LightGBM models: objects, and the library's own text files, which are data."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from wherever_convert.env.exporters import Outcome, boosters, lightgbm_trees
from wherever_convert.env.exporters.trees import Array
from wherever_convert.env.script import RefusedError, first_words
from wherever_convert.env.tools import tool

_BEGINS = "tree\n"


def recognises(given: object) -> bool:
    """True for a Booster, and for what wraps one for scikit-learn."""
    lightgbm = sys.modules.get("lightgbm")
    kinds = [getattr(lightgbm, name, None) for name in ("Booster", "LGBMModel")]
    return isinstance(given, tuple(kind for kind in kinds if isinstance(kind, type)))


def load(path: Path) -> Any:
    """The Booster in a file."""
    lightgbm = tool("lightgbm", boosters.FEATURE)
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.startswith(_BEGINS):
        raise RefusedError(
            f"{path.name} is no LightGBM model: such a file begins with {_BEGINS.strip()!r}, this "
            f"one with {text[:20]!r}"
        )
    try:
        return lightgbm.Booster(model_str=text)
    except Exception as error:
        raise RefusedError(f"{path.name} is no LightGBM model: {first_words(error)}") from error


def export(given: Any, example: Array | None, formats: Collection[str], folder: Path) -> Outcome:
    """Write the trees as ONNX: scores alone, and of two classes a score each."""
    booster = _booster(given)
    read = boosters.Boosted(
        "lightgbm",
        type(given).__name__,
        lightgbm_trees.read(booster.dump_model()),
        booster.predict,
        getattr(given, "classes_", None),
    )
    return boosters.write(read, example, formats, folder)


def _booster(given: Any) -> Any:
    """The Booster in a wrapper, or the Booster itself."""
    if not hasattr(given.__class__, "booster_"):  # the object itself raises when it is not fitted
        return given
    try:
        return given.booster_
    except Exception as error:
        raise RefusedError(f"the {type(given).__name__} is not fitted") from error
