"""OpenVINO's own format: float32, float16 weights, and int8 as it stands in a quantized ONNX file.

A machine that is served by OpenVINO alone needs no reader of ONNX then, and starts sooner.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import ConversionError
from wherever_convert.children import run_child
from wherever_convert.environments import python_for
from wherever_convert.model_file import read_model_file
from wherever_convert.targets import CannotMakeError, Job, Made
from wherever_convert.targets.likeness import refuse_unlike

if TYPE_CHECKING:
    from wherever_convert.environments import Tell


def make(job: Job) -> Made:
    """Convert a float or a quantized model."""
    output = job.scratch / "ir.xml"
    orders = {
        "model": str(job.of.write(job.scratch, "model")[0]),
        "output": str(output),
        "half": job.target.precision == "float16",
    }
    try:
        made = run_child(
            "ir", orders, job.scratch, "writing OpenVINO IR", python=_interpreter(job.tell)
        )
    except ConversionError as error:
        raise CannotMakeError(str(error)) from error
    file = read_model_file(output, "openvino", job.target.precision)
    facts: dict[str, Any] = {"tool": f"openvino {made['version'].partition('-')[0]}"}
    if job.target.precision != "int8":  # which is measured by the metric
        facts["error"] = refuse_unlike(job, file)
    return Made(file, facts)


def _interpreter(tell: Tell) -> Path:
    """This one where OpenVINO is installed."""
    return Path(sys.executable) if find_spec("openvino") else python_for("openvino", tell)
