"""Static int8 in ONNX."""

from __future__ import annotations

from wherever_convert.quantizing import NOTHING, quantized
from wherever_convert.targets import CannotMakeError, Job, Made


def make(job: Job) -> Made:
    """Quantize the float model."""
    made = quantized(job)
    if made is None:
        raise CannotMakeError(NOTHING)
    return made
