"""A scikit-learn estimator, through skl2onnx."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import Format
from wherever_convert.frameworks import framework, versions
from wherever_convert.graphs import keep_outputs, limit_ir_version
from wherever_convert.model_file import ModelFile
from wherever_convert.sources import Request, Source, SourceModel, Witness

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

    def load(self, source: object, request: Request) -> SourceModel:
        """Convert, and ask the estimator about the example rows."""
        estimator: Any = source
        rows = _example(estimator, request.example)
        classifies = bool(framework("sklearn.base", _FEATURE).is_classifier(estimator))
        data = _scores_only(_converted(estimator, rows, classifies=classifies), classifies)
        name = type(estimator).__name__
        facts = {
            "kind": "scikit-learn",
            "estimator": name,
            "tools": versions("scikit-learn", "skl2onnx", "onnx"),
        }
        labels = _classes(estimator) if classifies else None
        witness = None if request.example is None else _witness(estimator, rows)
        files: dict[Format, ModelFile] = {"onnx": ModelFile("onnx", "float32", (data,))}
        return SourceModel(files, facts, labels, batch=True, witness=witness)


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


def _witness(estimator: Any, rows: Array) -> Witness | None:
    """What the estimator says of the rows, as its ONNX file says it."""
    for ask in ("predict_proba", "decision_function", "predict", "transform"):
        if hasattr(estimator, ask):
            return Witness((rows,), (np.asarray(getattr(estimator, ask)(rows)),))
    return None
