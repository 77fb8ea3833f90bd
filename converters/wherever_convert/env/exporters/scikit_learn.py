"""scikit-learn estimators, through skl2onnx."""

from __future__ import annotations

import sys
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_convert.env.exporters import Outcome
from wherever_convert.env.onnx_graphs import keep_outputs, limit_ir_version
from wherever_convert.env.script import RefusedError, first_words
from wherever_convert.env.tools import tool, versions
from wherever_convert.env.witness import write_witness

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEATURE = "converting scikit-learn estimators"
_OPSET = 18


def recognises(given: object) -> bool:
    """True for a BaseEstimator."""
    base = sys.modules.get("sklearn.base")
    return base is not None and isinstance(given, base.BaseEstimator)


def export(
    given: Any, example: NDArray[Any] | None, formats: Collection[str], folder: Path
) -> Outcome:
    """Convert a fitted estimator or pipeline; a classifier gives its scores alone."""
    rows = _example(given, example)
    classifies = bool(tool("sklearn.base", _FEATURE).is_classifier(given))
    data = _scores_only(_converted(given, rows, classifies=classifies), classifies=classifies)
    (folder / "model.onnx").write_bytes(data)
    if example is not None:
        _write_answers(folder, given, rows)
    return {
        "facts": {
            "kind": "scikit-learn",
            "estimator": type(given).__name__,
            "tools": versions("scikit-learn", "skl2onnx", "onnx"),
        },
        "labels": [str(name) for name in given.classes_] if classifies else None,
        "batch": True,
        "files": {"onnx": "float32"},
        "also": {},
    }


def _example(estimator: Any, example: NDArray[Any] | None) -> NDArray[Any]:
    count = getattr(estimator, "n_features_in_", None)
    if example is not None:
        rows = example.reshape(len(example), -1).astype(np.float32)
        if count is not None and rows.shape[1] != count:
            raise RefusedError(
                f"the {type(estimator).__name__} takes {count} features, "
                f"the samples have {rows.shape[1]}"
            )
        return rows
    if count is None:
        raise RefusedError(
            f"the {type(estimator).__name__} is not fitted, or does not say how many features "
            f"it takes (n_features_in_)"
        )
    return np.zeros((1, int(count)), np.float32)


def _converted(estimator: Any, rows: NDArray[Any], *, classifies: bool) -> Any:
    skl2onnx = tool("skl2onnx", _FEATURE)
    convert = partial(skl2onnx.to_onnx, estimator, rows[:1], target_opset=_OPSET)
    try:
        # without zipmap scores are a tensor; classifiers without probabilities have no such option
        with suppress(NameError):
            return convert(options={"zipmap": False} if classifies else None)
        return convert()
    except Exception as error:
        version = versions("skl2onnx").get("skl2onnx", "")
        raise RefusedError(
            f"skl2onnx {version} cannot convert this {type(estimator).__name__}: "
            f"{first_words(error)}. Nothing was written; another kind of estimator may work (its "
            f"documentation lists those that it converts)"
        ) from error


def _scores_only(model: Any, *, classifies: bool) -> bytes:
    """Leave out the label, which may be text that no tensor of ours holds."""
    names = [output.name for output in model.graph.output]
    if classifies and len(names) > 1:
        keep_outputs(model, names[1:])
    limit_ir_version(model)
    data: bytes = model.SerializeToString()
    return data


def _write_answers(folder: Path, estimator: Any, rows: NDArray[Any]) -> None:
    """Keep what the estimator says of the rows, as its ONNX file says it."""
    for ask in ("predict_proba", "decision_function", "predict", "transform"):
        if hasattr(estimator, ask):
            write_witness(folder, [rows], [np.asarray(getattr(estimator, ask)(rows))])
            return
