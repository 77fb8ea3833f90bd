"""Static int8 models of a float one: QDQ, a scale for each channel, with onnxruntime's quantizer.

A model is studied once: prepared, its ranges found, and what int8 does to each of its parts alone.
Any number of files with different parts left in float are then made of what was found.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_convert.env.onnx_graphs import limit_ir_version
from wherever_convert.env.ranges import Ranges, find_ranges, open_samples, open_session
from wherever_convert.env.script import main
from wherever_convert.env.sensitivity import output_error, rounded
from wherever_convert.frameworks import framework
from wherever_convert.quantization.parts import OPERATORS, Node, Part, parts_of

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_convert.quantization.search import Breadth

onnx = framework("onnx", "quantizing")
version_converter = framework("onnx.version_converter", "quantizing")
quantization = framework("onnxruntime.quantization", "quantizing")
calibrate = framework("onnxruntime.quantization.calibrate", "quantizing")
shape_inference = framework("onnxruntime.quantization.shape_inference", "quantizing")

# Scales for each channel need opset 13.
_OPSET = 17
_OLDEST_OPSET = 13
# What int8 does to one part alone shows on few samples.
_FEEDS = 2


def work(job: dict[str, Any]) -> dict[str, Any]:
    """Study a model, or make a file of one that was studied: what `job["do"]` says."""
    logging.disable(logging.WARNING)
    return study(job) if job["do"] == "study" else make(job)


def study(job: dict[str, Any]) -> dict[str, Any]:
    """Prepare a model, and see what int8 does to each of its parts.

    Args:
        job: `model`, the path of an ONNX file; `samples`, a directory of .npz files with its
            inputs; `folder`, where to keep what is found; `method`, how ranges are found.

    Returns:
        `parts`: name, op and error of each, in the order in which they are better left in float:
        the last layers, then the others, the most sensitive first. Empty when nothing has weights
        that int8 could hold.
    """
    folder = Path(job["folder"])
    model = prepared(onnx.load(job["model"]))
    onnx.save(model, str(_prepared_path(folder)))
    parts = _parts(model)
    if not any(part.is_layer for part in parts):
        return {"parts": []}
    ranges = _ranges(folder, model, job)
    errors = dict(zip(parts, _errors(model, parts, ranges, job), strict=True))
    return {
        "parts": [
            {"name": part.name, "op": part.op, "layer": part.is_layer, "error": errors[part]}
            for part in sorted(parts, key=lambda each: (not each.is_last, -errors[each]))
        ]
    }


def make(job: dict[str, Any]) -> dict[str, Any]:
    """Make an int8 file.

    Args:
        job: `folder`, where the model was studied; `samples` and `method`, as there; `breadth`,
            which operators become int8; `floats`, the names of the parts that stay float; `output`,
            the file.
    """
    folder = Path(job["folder"])
    model = onnx.load(str(_prepared_path(folder)))
    floats = set(job["floats"])
    parts = [part for part in _parts(model) if part.name not in floats]
    made = quantized(model, parts, job["breadth"], _ranges(folder, model, job))
    Path(job["output"]).write_bytes(made.SerializeToString(deterministic=True))
    return {}


def quantized(model: Any, parts: Sequence[Part], breadth: Breadth, ranges: Ranges) -> Any:
    """A copy of a prepared model whose `parts` are int8."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    quantizer = quantization.QDQQuantizer(
        copied,
        True,  # noqa: FBT003 (a scale for each channel)
        False,  # noqa: FBT003 (all eight bits)
        quantization.QuantType.QInt8,
        quantization.QuantType.QUInt8,
        _tensor_data(ranges),
        [name for part in parts for name in part.quantizable(breadth)],
        [],
        sorted(OPERATORS[breadth]),
        {},
    )
    quantizer.quantize_model()
    made = quantizer.model.model
    limit_ir_version(made)
    return made


def prepared(model: Any) -> Any:
    """The model with constants folded, shapes inferred, and a name of its own for each node."""
    opsets = [each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}]
    if min(opsets, default=_OPSET) < _OLDEST_OPSET:
        model = version_converter.convert_version(model, _OPSET)
    model.ir_version = max(model.ir_version, 4)  # weights need not be inputs from 4 on
    return name_nodes(with_flat_biases(_processed(model)))


def with_flat_biases(model: Any) -> Any:
    """The model with biases [n] where Gemm had [1, n], which the quantizer stumbles over."""
    products = [node for node in model.graph.node if node.op_type == "Gemm"]
    biases = {node.input[2] for node in products if node.input[2:]}
    for tensor in model.graph.initializer:
        if tensor.name in biases and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            del tensor.dims[0]
    return model


def name_nodes(model: Any) -> Any:
    """Name the nodes that have no name, or that of another one, by their place in the graph."""
    taken: set[str] = set()
    names = {node.name for node in model.graph.node}
    for position, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            name = f"{node.op_type}_{position}"
            while name in names:
                name += "_"
            node.name = name
            names.add(name)
        taken.add(node.name)
    return model


def _processed(model: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prepared.onnx"
        onnx.save(model, str(path))
        shape_inference.quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
        return onnx.load(str(path))


def _parts(model: Any) -> tuple[Part, ...]:
    graph = model.graph
    nodes = [Node(n.name, n.op_type, tuple(n.input), tuple(n.output)) for n in graph.node]
    return parts_of(nodes, {tensor.name for tensor in graph.initializer})


def _errors(
    model: Any, parts: Sequence[Part], ranges: Ranges, job: Mapping[str, Any]
) -> list[float]:
    """The error of the outputs when each part alone is int8."""
    feeds = list(open_samples(Path(job["samples"]), _FEEDS))
    expected = _answers(model, feeds)
    errors: list[float] = []
    for part in parts:
        found = _answers(quantized(model, [part], "everything", ranges), feeds)
        each = [output_error(own, other) for own, other in zip(found, expected, strict=True)]
        errors.append(rounded(float(np.mean(each))))
    return errors


def _answers(model: Any, feeds: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
    session = open_session(model)
    return [session.run(None, feed) for feed in feeds]


def _ranges(folder: Path, model: Any, job: Mapping[str, Any]) -> Ranges:
    """The ranges by a method: those that were found before, if there are."""
    path = folder / f"ranges-{job['method']}.json"
    if not path.is_file():
        path.write_text(json.dumps(find_ranges(model, Path(job["samples"]), job["method"])))
    found: dict[str, list[float]] = json.loads(path.read_text())
    return {name: (low, high) for name, (low, high) in found.items()}


def _tensor_data(ranges: Ranges) -> Any:
    data = {name: (_number(low), _number(high)) for name, (low, high) in ranges.items()}
    return calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, data)


def _number(value: float) -> Array:
    return np.array([value], np.float32)


def _prepared_path(folder: Path) -> Path:
    return folder / "prepared.onnx"


if __name__ == "__main__":
    main(work)
