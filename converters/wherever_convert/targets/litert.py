"""LiteRT, float32, of an ONNX model: onnx2tf in an environment of its own.

Sources that can give TensorFlow Lite files themselves never come here. A row at a time is what
such a file takes; images may be laid out with the channels last, which is what LiteRT is fast with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.adapting import laying_out
from wherever_convert.children import run_child
from wherever_convert.environments import python_for
from wherever_convert.model_file import read_model_file
from wherever_convert.running import open_model
from wherever_convert.targets import CannotMakeError, Job, Made
from wherever_convert.targets.likeness import answers, refuse_unlike

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.engines.engine import Session

_TIMEOUT_S = 1200


def make(job: Job) -> Made:
    """Convert a float model."""
    session = open_model(job.of, "the model")
    try:
        orders = _orders(job, session)
    finally:
        session.close()
    python = python_for("onnx2tf", job.tell)
    job.tell("converting with onnx2tf (some minutes for a large graph)")
    try:
        made = run_child(
            "onnx_to_tflite",
            orders,
            job.scratch,
            "converting to LiteRT",
            python=python,
            timeout_s=_TIMEOUT_S,
        )
    except ConversionError as error:
        raise CannotMakeError(str(error)) from error
    file = read_model_file(job.scratch / "made.tflite", "tflite", "float32")
    facts = {"tool": f"onnx2tf {made['version']}", "error": refuse_unlike(job, file)}
    return Made(file, facts)


def _orders(job: Job, session: Session) -> dict[str, Any]:
    """What the script is told: the file, its tensors, and one run of it."""
    reference = job.bench.draft.variant(job.bench.reference)
    feeds = job.bench.feeds(1)
    first = {spec.name: spec for spec in reference.inputs}
    if first.keys() != {spec.name for spec in session.inputs}:
        raise CannotMakeError("its ONNX file has other tensors than the reference")
    wanted = answers(session, reference.inputs, feeds)
    _save(job, "feed", feeds[0])
    _save(job, "wanted", wanted[0])
    return {
        "model": str(job.of.write(job.scratch, "model")[0]),
        "output": str(job.scratch / "made.tflite"),
        "inputs": [spec.name for spec in session.inputs],
        "outputs": [spec.name for spec in session.outputs],
        "free": sorted(laying_out(reference.pipeline)),
        "feed": str(job.scratch / "feed.npz"),
        "wanted": str(job.scratch / "wanted.npz"),
    }


def _save(job: Job, stem: str, arrays: dict[str, Array]) -> None:
    plain: dict[str, Any] = dict(arrays)
    np.savez(job.scratch / f"{stem}.npz", **plain)
