"""A scikit-learn estimator, through skl2onnx."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.frameworks import framework, versions
from wherever_convert.graphs import keep_outputs, limit_ir_version
from wherever_convert.running import run_onnx
from wherever_convert.sources import OnnxModel, Source

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

_FEATURE = "converting scikit-learn estimators"
_OPSET = 18


class ScikitLearn(Source):
    """Converts a fitted estimator or pipeline; a classifier gives its scores alone."""

    title = "a scikit-learn estimator (the object, or FILE.py:NAME)"

    def recognises(self, source: object) -> bool:
        """True for a BaseEstimator."""
        base = sys.modules.get("sklearn.base")
        return base is not None and isinstance(source, base.BaseEstimator)

    def to_onnx(self, source: object, example: Array | None) -> OnnxModel:
        """Convert, and compare the answers of both on the example rows."""
        estimator: Any = source
        rows = _example(estimator, example)
        classifies = bool(framework("sklearn.base", _FEATURE).is_classifier(estimator))
        data = _scores_only(_converted(estimator, rows, classifies=classifies), classifies)
        name = type(estimator).__name__
        facts = {
            "kind": "scikit-learn",
            "estimator": name,
            "tools": versions("scikit-learn", "skl2onnx", "onnx"),
        }
        labels = _classes(estimator) if classifies else None
        agreement = None if example is None else _agreement(estimator, data, rows, labels)
        return OnnxModel(data, facts, labels, batch=True, agreement=agreement)


def _example(estimator: Any, example: Array | None) -> Array:
    count = getattr(estimator, "n_features_in_", None)
    if example is not None:
        rows = example.reshape(len(example), -1).astype(np.float32)
        if count is not None and rows.shape[1] != count:
            raise ConversionError(
                f"the {type(estimator).__name__} takes {count} features, "
                f"the samples have {rows.shape[1]}"
            )
        return rows
    if count is None:
        raise ConversionError(
            f"the {type(estimator).__name__} is not fitted, or does not say how many features "
            f"it takes (n_features_in_)"
        )
    return np.zeros((1, int(count)), np.float32)


def _converted(estimator: Any, rows: Array, *, classifies: bool) -> Any:
    skl2onnx = framework("skl2onnx", _FEATURE)
    convert = partial(skl2onnx.to_onnx, estimator, rows[:1], target_opset=_OPSET)
    try:
        # without zipmap scores are a tensor; classifiers without probabilities have no such option
        with suppress(NameError):
            return convert(options={"zipmap": False} if classifies else None)
        return convert()
    except Exception as error:
        tool = versions("skl2onnx").get("skl2onnx", "")
        what = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConversionError(
            f"skl2onnx {tool} cannot convert this {type(estimator).__name__}: {what}. "
            f"Nothing was written; another kind of estimator may work (its documentation lists "
            f"those that it converts)"
        ) from error


def _scores_only(model: Any, classifies: bool) -> bytes:  # noqa: FBT001 (private, one caller)
    """Leave out the label, which may be text that no tensor of ours holds."""
    names = [output.name for output in model.graph.output]
    if classifies and len(names) > 1:
        keep_outputs(model, names[1:])
    limit_ir_version(model)
    data: bytes = model.SerializeToString()
    return data


def _classes(estimator: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in estimator.classes_)


def _agreement(
    estimator: Any, data: bytes, rows: Array, labels: tuple[str, ...] | None
) -> float | None:
    """Share of rows on which the ONNX file answers as the estimator does."""
    if not hasattr(estimator, "predict"):
        return None
    expected = np.asarray(estimator.predict(rows))
    (found,) = run_onnx(data, rows)[:1]
    if labels is not None:
        return float(np.mean([labels[i] for i in _best(found)] == expected.astype(str)))
    close = np.isclose(found.reshape(expected.shape), expected, rtol=1e-3, atol=1e-5)
    return float(close.mean())


def _best(scores: Array) -> list[int]:
    """The class of each row; a single score is that of the second of two classes."""
    if scores.ndim == 1 or scores.shape[1] == 1:
        return [int(score > 0) for score in scores.ravel()]
    return [int(best) for best in scores.argmax(axis=1)]
