"""Making packages from what frameworks give.

    from wherever_convert import convert
    report = convert("model.onnx", samples="photos", task="classify", output="my-model")

The names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherever_convert.calibrating import calibrate
    from wherever_convert.calibration import Calibration
    from wherever_convert.conversion import convert
    from wherever_convert.enlarging import quantize
    from wherever_convert.proof.prove import prove
    from wherever_convert.proof.verdicts import Proof
    from wherever_convert.report import ConversionReport, Row
    from wherever_convert.samples import SampleOptions
    from wherever_edge.bare.manifest import Pixels

__all__ = [
    "Calibration",
    "ConversionReport",
    "Pixels",
    "Proof",
    "Row",
    "SampleOptions",
    "calibrate",
    "convert",
    "prove",
    "quantize",
]

_HOMES = {
    "Calibration": "wherever_convert.calibration",
    "ConversionReport": "wherever_convert.report",
    "Proof": "wherever_convert.proof.verdicts",
    "Pixels": "wherever_edge.bare.manifest",
    "Row": "wherever_convert.report",
    "SampleOptions": "wherever_convert.samples",
    "calibrate": "wherever_convert.calibrating",
    "convert": "wherever_convert.conversion",
    "prove": "wherever_convert.proof.prove",
    "quantize": "wherever_convert.enlarging",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
