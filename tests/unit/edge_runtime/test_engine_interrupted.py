"""Ctrl-C while a runtime is imported: what pybind11 makes of it is undone."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

from wherever_contracts.errors import EngineError
from wherever_devices.plans import RunPlan
from wherever_edge.engines.engine import Engine, Session
from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine
from wherever_edge.engines.openvino import OpenVinoEngine

PLAN = RunPlan("onnxruntime", "cpu", "float32", 1)


def broken_off(cause: BaseException) -> ImportError:
    error = ImportError("initialization failed")
    error.__cause__ = cause
    return error


class Interrupted:
    """A finder of modules for which Ctrl-C is pressed while one of them is imported."""

    def __init__(self, module: str, cause: BaseException) -> None:
        self.module = module
        self.cause = cause

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name == self.module:
            raise broken_off(self.cause)
        return None


class Unready(Engine):
    """One whose runtime is imported when a model is opened."""

    name = "unready"
    formats = frozenset({"onnx"})
    cause: BaseException = KeyboardInterrupt()

    def missing(self) -> str:
        return ""

    def _open(self, *_: Any, **__: Any) -> Session:
        raise broken_off(self.cause)


@pytest.mark.parametrize(
    ("module", "engine", "cause", "raised"),
    [
        ("onnxruntime", OnnxRuntimeEngine, KeyboardInterrupt(), KeyboardInterrupt),
        ("onnxruntime", OnnxRuntimeEngine, OSError("no"), EngineError),
        ("openvino", OpenVinoEngine, KeyboardInterrupt(), KeyboardInterrupt),
        ("openvino", OpenVinoEngine, OSError("no"), ImportError),
    ],
)
def test_no_runtime_is_missing_because_ctrl_c_was_pressed(
    monkeypatch, module, engine, cause, raised
):
    for name in [each for each in sys.modules if each.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(module, cause), *sys.meta_path])
    with pytest.raises(raised):
        engine().devices()


@pytest.mark.parametrize(
    ("cause", "raised"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError("no"), EngineError)]
)
def test_no_engine_is_unable_to_load_because_ctrl_c_was_pressed(monkeypatch, cause, raised):
    monkeypatch.setattr(Unready, "cause", cause)
    with pytest.raises(raised):
        Unready().open([b""], file_format="onnx", plan=PLAN)
