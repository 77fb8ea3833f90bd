"""XGBoost models: objects, and the library's own files (`.json` and `.ubj`), which are data."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from wherever_convert.env.exporters import Outcome, boosters, xgboost_trees
from wherever_convert.env.exporters.trees import Array
from wherever_convert.env.script import RefusedError, first_words
from wherever_convert.env.tools import tool


def recognises(given: object) -> bool:
    """True for a Booster, and for what wraps one for scikit-learn."""
    xgboost = sys.modules.get("xgboost")
    kinds = [getattr(xgboost, name, None) for name in ("Booster", "XGBModel")]
    return isinstance(given, tuple(kind for kind in kinds if isinstance(kind, type)))


def load(path: Path) -> Any:
    """The Booster in a file."""
    booster = tool("xgboost", boosters.FEATURE).Booster()
    try:
        booster.load_model(path)
    except Exception as error:
        said = first_words(error).partition(" Stack trace")[0]  # what follows is C++
        raise RefusedError(f"{path.name} is no XGBoost model: {said}") from error
    return booster


def export(given: Any, example: Array | None, formats: Collection[str], folder: Path) -> Outcome:
    """Write the trees as ONNX: scores alone, and of two classes a score each."""
    xgboost = tool("xgboost", boosters.FEATURE)
    _refuse_missing(getattr(given, "missing", math.nan))
    inner = _booster(given)
    booster = _used(inner, wrapped=inner is not given)
    ensemble = xgboost_trees.read(json.loads(bytes(booster.save_raw("json"))))
    booster.feature_names = booster.feature_types = None  # rows of numbers have none
    if ensemble.link == "softmax":
        booster.set_param({"objective": "multi:softprob"})  # it may give the class alone

    def ask(rows: Array) -> Any:
        return booster.predict(xgboost.DMatrix(rows))

    classes = getattr(given, "classes_", None)
    read = boosters.Boosted("xgboost", type(given).__name__, ensemble, ask, classes)
    return boosters.write(read, example, formats, folder)


def _refuse_missing(missing: float | None) -> None:
    if missing is not None and not math.isnan(missing):
        raise RefusedError(
            f"the XGBoost model takes {missing} for missing: train it with missing=nan, and give "
            f"it nan where a number is missing"
        )


def _booster(given: Any) -> Any:
    """The Booster in a wrapper, or the Booster itself."""
    if not hasattr(given, "get_booster"):
        return given
    try:
        return given.get_booster()
    except Exception as error:
        raise RefusedError(f"the {type(given).__name__} is not fitted") from error


def _used(booster: Any, *, wrapped: bool) -> Any:
    """A copy with the rounds that the library itself would use after early stopping.

    The wrappers predict with the best ones, also from a file that one wrote; a Booster of
    `xgboost.train` predicts with all.
    """
    best = booster.attr("best_iteration")
    if best is None or not (wrapped or booster.attr("scikit_learn")):
        return booster.copy()
    return booster[: int(best) + 1]
