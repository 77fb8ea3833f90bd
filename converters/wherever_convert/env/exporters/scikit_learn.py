"""scikit-learn estimators, through skl2onnx."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_convert.env.exporters import Outcome
from wherever_convert.env.onnx_graphs import (
    cast_ends_to_float32,
    keep_outputs,
    limit_ir_version,
    spell_out_scalers,
    two_sided,
)
from wherever_convert.env.script import RefusedError, first_words
from wherever_convert.env.tools import tool, versions
from wherever_convert.env.witness import write_witness

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEATURE = "converting scikit-learn estimators"
_OPSETS = {"": 18, "ai.onnx.ml": 3}
_NO_OTHER = "scikit-learn's estimators are to be had in ONNX alone"
# Losses whose sums skl2onnx gives without the exponential that scikit-learn applies to them.
_LOSSES_WITH_LOG = frozenset({"poisson", "gamma"})
# Trees that skl2onnx can compute in float64.
_COMPARING = ("DecisionTree", "ExtraTree", "RandomForest", "GradientBoosting")
_BOOLEANS = frozenset({"bool", "bool_"})  # Python's and numpy's
# libsvm's two classes come in the other order.
_FIRST_IS_SECOND = frozenset({"SVC", "NuSVC"})


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
    _refuse(given, classifies=classifies)
    model = _converted(given, rows, classifies=classifies)
    if classifies:
        _keep_scores(model, given)
    spell_out_scalers(model)
    limit_ir_version(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    if example is not None:
        _write_answers(folder, given, rows, classifies=classifies)
    return {
        "facts": {
            "kind": "scikit-learn",
            "estimator": type(given).__name__,
            "tools": versions("scikit-learn", "skl2onnx", "onnx"),
        },
        "labels": [str(name) for name in given.classes_] if classifies else None,
        "batch": True,
        "files": {"onnx": "float32"},
        "also": {each: _NO_OTHER for each in sorted(formats) if each != "onnx"},
    }


def _example(estimator: Any, example: NDArray[Any] | None) -> NDArray[Any]:
    count = getattr(estimator, "n_features_in_", None)
    if count is None:
        raise RefusedError(
            f"the {type(estimator).__name__} is not fitted, or does not say how many features "
            f"it takes (n_features_in_)"
        )
    if example is None:
        return np.zeros((1, int(count)), np.float32)
    rows = example.reshape(len(example), -1).astype(np.float32)
    if rows.shape[1] != count:
        raise RefusedError(
            f"the {type(estimator).__name__} takes {count} features, "
            f"the samples have {rows.shape[1]}"
        )
    return rows


def _refuse(estimator: Any, *, classifies: bool) -> None:
    """Refuse what skl2onnx would convert to something else, without a word."""
    classes: Any = estimator.classes_ if classifies else ()
    if hasattr(classes, "append"):  # a list of arrays
        raise RefusedError(
            f"the {type(estimator).__name__} gives {len(classes)} labels at once; one "
            f"estimator for each label can be converted"
        )
    for step in _steps(estimator):
        name = type(step).__name__
        if not name.startswith("HistGradientBoosting"):
            continue
        if np.any(getattr(step, "is_categorical_", None)):
            raise RefusedError(
                f"the {name} splits by categories, which skl2onnx leaves out: encode them as "
                f"numbers (OrdinalEncoder, or one column for each), and fit it without "
                f"categorical_features"
            )
        if getattr(step, "loss", "") in _LOSSES_WITH_LOG:
            raise RefusedError(
                f"the {name} has the loss {step.loss!r}, whose exponential skl2onnx leaves out; "
                f"squared_error, absolute_error and quantile can be converted"
            )


def _steps(estimator: Any) -> list[Any]:
    """An estimator, or those of a pipeline."""
    return [step for _, step in getattr(estimator, "steps", [("", estimator)])]


def _converted(estimator: Any, rows: NDArray[Any], *, classifies: bool) -> Any:
    double = _compares_computed(estimator)
    one = rows[:1].astype(np.float64) if double else rows[:1]
    given = _for_float32(estimator)
    convert = partial(tool("skl2onnx", _FEATURE).to_onnx, given, one, target_opset=_OPSETS)
    try:
        with _booleans_as_integers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what skl2onnx reads may be deprecated meanwhile
            model = _first_that_works(convert, given, classifies=classifies)
    except Exception as error:
        version = versions("skl2onnx").get("skl2onnx", "")
        raise RefusedError(
            f"skl2onnx {version} cannot convert this {type(estimator).__name__}: "
            f"{first_words(error)}. Nothing was written; another kind of estimator may work (its "
            f"documentation lists those that it converts)"
        ) from error
    if double:
        cast_ends_to_float32(model)
    return model


def _first_that_works(convert: Callable[..., Any], estimator: Any, *, classifies: bool) -> Any:
    """Convert with the first options that a kind of estimator knows: scores shall be a tensor."""
    raw = {id(_steps(estimator)[-1]): {"raw_scores": True}}
    for options in ({"zipmap": False}, raw) if classifies else ():
        with suppress(Exception):
            return convert(options=options)
    return convert()


def _compares_computed(estimator: Any) -> bool:
    """Whether trees compare what earlier steps compute.

    In float32 those numbers are others than scikit-learn's, and some fall on the other side of a
    threshold; so such a pipeline is computed in float64, between float32 inputs and outputs.
    """
    *before, last = _steps(estimator)
    return bool(before) and type(last).__name__.startswith(_COMPARING)


def _for_float32(estimator: Any) -> Any:
    """The estimator, or a copy whose thresholds are the next float32 numbers that are not above.

    For inputs of float32, x <= threshold then holds where it held before; skl2onnx rounds the
    thresholds of scikit-learn's other trees so, but not those of HistGradientBoosting.
    """
    if not any(hasattr(step, "_predictors") for step in _steps(estimator)):
        return estimator
    changed = copy.deepcopy(estimator)
    for step in _steps(changed):
        for predictor in (each for trees in getattr(step, "_predictors", ()) for each in trees):
            predictor.nodes["num_threshold"] = _not_above(predictor.nodes["num_threshold"])
    return changed


def _not_above(numbers: NDArray[Any]) -> NDArray[Any]:
    rounded = numbers.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded > numbers, below, rounded)


@contextmanager
def _booleans_as_integers() -> Generator[None]:
    """Let skl2onnx 1.20 work with onnx 1.23, which takes no booleans among an attribute's numbers.

    It writes such for the ways that missing values take through HistGradientBoosting's trees.
    """
    container = tool("skl2onnx.common._container", _FEATURE).ModelComponentContainer
    original = container.add_node

    def add_node(self: Any, *arguments: Any, **attributes: Any) -> Any:
        return original(self, *arguments, **{n: _integers(v) for n, v in attributes.items()})

    container.add_node = add_node
    try:
        yield
    finally:
        container.add_node = original


def _integers(value: Any) -> Any:
    if not hasattr(value, "append"):  # only lists are looked through
        return value
    return [int(each) if type(each).__name__ in _BOOLEANS else each for each in value]


def _keep_scores(model: Any, estimator: Any) -> None:
    """Leave out the label, which may be text that no tensor of ours holds; a score for each class.

    Classifiers of two classes without probabilities have one score, or two in some order.
    """
    names = [output.name for output in model.graph.output]
    if len(names) > 1:
        keep_outputs(model, names[1:])
    if _is_two_sided(estimator):
        first = type(_steps(estimator)[-1]).__name__ in _FIRST_IS_SECOND
        two_sided(model, column=0 if first else -1)


def _is_two_sided(estimator: Any) -> bool:
    return len(estimator.classes_) == 2 and not hasattr(estimator, "predict_proba")


def _write_answers(folder: Path, estimator: Any, rows: NDArray[Any], *, classifies: bool) -> None:
    """Keep what the estimator says of the rows, as its ONNX file says it."""
    scores = ("predict_proba", "decision_function")
    for ask in scores if classifies else ("predict", "transform"):
        if hasattr(estimator, ask):
            answers = np.asarray(_asked(getattr(estimator, ask), rows))
            if classifies and _is_two_sided(estimator):
                answers = np.stack([-answers, answers], axis=1)
            write_witness(folder, [rows], [answers])
            return


def _asked(ask: Callable[[NDArray[Any]], Any], rows: NDArray[Any]) -> Any:
    try:
        return ask(rows)
    except ValueError:  # some take only what they were fitted with
        return ask(rows.astype(np.float64))
