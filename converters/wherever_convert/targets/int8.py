"""Static int8 in ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherever_convert.quantizing import quantized

if TYPE_CHECKING:
    from wherever_convert.targets import Job, Made


def make(job: Job) -> Made:
    """Quantize the float model, with what it takes left in float."""
    return quantized(job)
