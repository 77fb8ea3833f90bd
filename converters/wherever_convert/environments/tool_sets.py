"""Which tools go together into an environment, and which of them a Python file needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToolSet:
    """Tools that fit beside each other; requirements/NAME.txt pins them.

    Attributes:
        name: of the set, and of its environment.
        title: what it is for, for people.
        needs: the modules without which it is of no use.
        frameworks: the frameworks that a user's file can import there.
        megabytes: what it takes on the disk, about.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    frameworks: frozenset[str]
    megabytes: int


# From the smallest to the largest: the first that has what is needed is taken.
TOOL_SETS: Mapping[str, ToolSet] = {
    each.name: each
    for each in (
        ToolSet(
            "litert-quantizer",
            "int8 LiteRT files",
            ("ai_edge_quantizer", "ai_edge_litert"),
            frozenset(),
            310,
        ),
        ToolSet("openvino", "OpenVINO IR", ("openvino",), frozenset(), 320),
        ToolSet(
            "scikit-learn",
            "scikit-learn estimators",
            ("sklearn", "skl2onnx", "onnx"),
            frozenset({"sklearn"}),
            350,
        ),
        ToolSet(
            "boosting",
            "XGBoost and LightGBM",
            ("xgboost", "lightgbm", "sklearn", "skl2onnx", "onnx"),
            frozenset({"sklearn", "xgboost", "lightgbm"}),
            400,
        ),
        ToolSet(
            "torch",
            "PyTorch modules",
            ("torch", "onnxscript", "onnx"),
            frozenset({"torch", "sklearn"}),
            1100,
        ),
        ToolSet(
            "keras",
            "Keras and TensorFlow",
            ("tensorflow", "keras", "tf2onnx", "onnx"),
            frozenset({"tensorflow", "keras", "sklearn"}),
            1600,
        ),
        ToolSet(
            "litert-torch",
            "PyTorch modules as LiteRT files",
            ("torch", "litert_torch"),
            frozenset(),
            2100,
        ),
        ToolSet("onnx2tf", "ONNX files as LiteRT files", ("onnx2tf",), frozenset(), 2600),
    )
}

# A framework -> what exporting its objects needs beside it.
FRAMEWORKS: Mapping[str, tuple[str, ...]] = {
    "sklearn": ("skl2onnx", "onnx"),
    "xgboost": ("onnx",),
    "lightgbm": ("onnx",),
    "torch": ("onnxscript", "onnx"),
    "keras": ("tensorflow", "tf2onnx", "onnx"),
    "tensorflow": ("keras", "tf2onnx", "onnx"),
}


def frameworks_in(modules: Collection[str]) -> frozenset[str]:
    """The frameworks among some modules."""
    return frozenset(modules) & FRAMEWORKS.keys()


def needed_for(frameworks: Collection[str]) -> frozenset[str]:
    """The modules that exporting objects of some frameworks needs."""
    return frozenset(frameworks).union(*(FRAMEWORKS[each] for each in frameworks))


def set_with(frameworks: Collection[str]) -> ToolSet | None:
    """The smallest set that has all of some frameworks; None when none has."""
    wanted = frozenset(frameworks)
    return next((each for each in TOOL_SETS.values() if wanted <= each.frameworks), None)
