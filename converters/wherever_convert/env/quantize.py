"""Make a static int8 model of a float one: QDQ, per channel, with onnxruntime's quantizer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_convert.env.onnx_graphs import limit_ir_version
from wherever_convert.env.script import main
from wherever_convert.frameworks import framework

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

onnx = framework("onnx", "quantizing")
version_converter = framework("onnx.version_converter", "quantizing")
quantization = framework("onnxruntime.quantization", "quantizing")
shape_inference = framework("onnxruntime.quantization.shape_inference", "quantizing")

# The operators whose weights int8 makes smaller and faster.
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Scales for each channel need opset 13.
_OPSET = 17
_OLDEST_OPSET = 13

_METHODS: dict[str, Any] = {
    "minmax": quantization.CalibrationMethod.MinMax,
    "entropy": quantization.CalibrationMethod.Entropy,
    "percentile": quantization.CalibrationMethod.Percentile,
}


class _Samples:
    """Hands out one sample after the other; only one is in memory."""

    def __init__(self, folder: Path) -> None:
        self._paths: Iterator[Path] = iter(sorted(folder.glob("*.npz")))

    def get_next(self) -> dict[str, Array] | None:
        path = next(self._paths, None)
        if path is None:
            return None
        with np.load(path, allow_pickle=False) as tensors:
            return {name: tensors[name] for name in tensors.files}


def quantize(job: dict[str, Any]) -> dict[str, Any]:
    """Quantize a model.

    Args:
        job: `model` and `output`, paths of ONNX files; `samples`, a directory of .npz files with
            the model's inputs; `method`, how ranges are found.

    Returns:
        `quantized`: how many nodes of each operator were, empty when there are none to quantize
        (nothing is then written).
    """
    logging.disable(logging.WARNING)
    model, output = Path(job["model"]), Path(job["output"])
    prepared = output.with_name("prepared.onnx")
    _prepare(model, prepared)
    counts = weighted_nodes(onnx.load(str(prepared)))
    if not counts:
        return {"quantized": {}}
    quantization.quantize_static(
        str(prepared),
        str(output),
        _Samples(Path(job["samples"])),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=_METHODS[job["method"]],
    )
    made = onnx.load(str(output))
    limit_ir_version(made)
    output.write_bytes(made.SerializeToString())
    return {"quantized": counts}


def weighted_nodes(model: Any) -> dict[str, int]:
    """How many nodes of each weighted operator have constant weights."""
    constants = {tensor.name for tensor in model.graph.initializer}
    counts: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in WEIGHTED and not constants.isdisjoint(node.input[:2]):
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def _prepare(model: Path, prepared: Path) -> None:
    """Bring the opset up to date, fold constants and batch norms, and infer shapes."""
    raised = onnx.load(str(model))
    opsets = [each.version for each in raised.opset_import if each.domain in {"", "ai.onnx"}]
    if min(opsets, default=_OPSET) < _OLDEST_OPSET:
        raised = version_converter.convert_version(raised, _OPSET)
    raised.ir_version = max(raised.ir_version, 4)  # weights need not be inputs from 4 on
    onnx.save(raised, str(prepared))
    shape_inference.quant_pre_process(str(prepared), str(prepared), skip_symbolic_shape=True)


if __name__ == "__main__":
    main(quantize)
