"""A scikit-learn estimator, through skl2onnx."""

from __future__ import annotations

from wherever_convert.sources.objects import ObjectSource


class ScikitLearn(ObjectSource):
    """Converts a fitted estimator or pipeline; a classifier gives its scores alone."""

    title = "a scikit-learn estimator (the object, or FILE.py:NAME)"
    exporter = "wherever_convert.env.exporters.scikit_learn"
    tools = "boosting"
