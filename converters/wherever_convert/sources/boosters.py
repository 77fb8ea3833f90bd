"""Boosted trees of XGBoost and LightGBM."""

from __future__ import annotations

from wherever_convert.sources.objects import ObjectSource

_LIMIT = (
    "boosted trees have no weights that could be smaller, and no other runtime here knows trees: "
    "they stay ONNX, float32"
)


class XGBoost(ObjectSource):
    """Writes the trees as ONNX; a classifier gives its scores alone."""

    title = "an XGBoost model (the object, FILE.py:NAME, or its .json or .ubj file)"
    exporter = "wherever_convert.env.exporters.xgboost_models"
    tools = "boosting"
    suffixes = frozenset({".json", ".ubj"})
    limit = _LIMIT


class LightGBM(ObjectSource):
    """Writes the trees as ONNX; a classifier gives its scores alone."""

    title = "a LightGBM model (the object, FILE.py:NAME, or its .txt file)"
    exporter = "wherever_convert.env.exporters.lightgbm_models"
    tools = "boosting"
    suffixes = frozenset({".txt"})
    limit = _LIMIT
