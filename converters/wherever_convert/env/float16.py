"""Make a float16 model of a float one, with onnxruntime's converter."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from wherever_convert.env.onnx_graphs import keep_outputs, limit_ir_version
from wherever_convert.env.quantize import name_nodes
from wherever_convert.env.ranges import Ranges, find_ranges, open_samples, open_session
from wherever_convert.env.script import main
from wherever_convert.env.sensitivity import WORST, rounded
from wherever_convert.frameworks import framework
from wherever_convert.graphs import inputs_of

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

onnx = framework("onnx", "converting to float16")
shapes = framework("onnx.shape_inference", "converting to float16")
onnx_model = framework("onnxruntime.quantization.onnx_model", "converting to float16")
converter = framework("onnxruntime.transformers.float16", "converting to float16")

Feeds: TypeAlias = "Sequence[Mapping[str, Array]]"

# What an operator may add, and all of them together, as a share of the outputs' size.
_MOST_ALONE = 1e-3
_MOST = 8e-3
_FEEDS = 16
_FLOAT16, _FLOAT32 = int(onnx.TensorProto.FLOAT16), int(onnx.TensorProto.FLOAT)
# float16 ends at 65504; samples that nobody has seen may lie a little beyond those that were.
_LARGEST = 65504 / 4


def half(job: dict[str, Any]) -> dict[str, Any]:
    """Convert a model.

    Operators that float16 spoils stay float32: such as sums of many squares.

    Args:
        job: `model` and `output`, paths of ONNX files; `samples`, a directory of .npz files with
            the model's inputs.

    Returns:
        `floats`: the nodes that stay float32, as float16 cannot hold their numbers; `spoiled`: the
        operators that do, and the error of the outputs when they alone are float16.
    """
    logging.disable(logging.WARNING)
    model = name_nodes(shapes.infer_shapes(onnx.load(job["model"])))
    _keep_real_inputs(model)
    floats = too_large(model, find_ranges(model, Path(job["samples"]), "minmax"))
    feeds = list(open_samples(Path(job["samples"]), _FEEDS))
    made, spoiled = halved(model, floats), dict[str, float]()
    if _error(made, model, feeds) > _MOST:
        spoiled = _spoiled(model, floats, feeds)
        made = halved(model, [*floats, *_of(model, spoiled)])
    Path(job["output"]).write_bytes(made.SerializeToString(deterministic=True))
    return {"floats": floats, "spoiled": spoiled}


def halved(model: Any, floats: Sequence[str]) -> Any:
    """A copy of a model in float16, but for the nodes in `floats`, the inputs and the outputs."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    made = converter.convert_float_to_float16(
        copied, keep_io_types=True, node_block_list=list(floats)
    )
    limit_ir_version(made)
    _drop_repeated_casts(made)
    _join_casts(made)
    onnx_model.ONNXModel(made).topological_sort()
    keep_outputs(made, [output.name for output in made.graph.output])
    return name_nodes(made)


def _keep_real_inputs(model: Any) -> None:
    """Old files list their weights as inputs, too, and those would stay float32."""
    real = inputs_of(model)
    del model.graph.input[:]
    model.graph.input.extend(real)


def _drop_repeated_casts(model: Any) -> None:
    """The converter adds a cast for each node that takes a tensor, all of one name."""
    seen: set[str] = set()
    for node in list(model.graph.node):
        if not seen.isdisjoint(node.output):
            model.graph.node.remove(node)
        seen.update(node.output)


def _join_casts(model: Any) -> None:
    """Between two nodes that stay float32 there is no way through float16, and back."""
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    halved_of = {n.output[0]: n.input[0] for n in casts if n.attribute[0].i == _FLOAT16}
    back = {
        n.output[0]: halved_of[n.input[0]]
        for n in casts
        if n.attribute[0].i == _FLOAT32 and n.input[0] in halved_of
    }
    for node in model.graph.node:
        names = [back.get(name, name) for name in node.input]
        del node.input[:]
        node.input.extend(names)


def too_large(model: Any, ranges: Ranges) -> list[str]:
    """The names of the nodes that take or give numbers that float16 cannot hold."""
    large = {name for name, (low, high) in ranges.items() if max(-low, high) > _LARGEST}
    return [node.name for node in model.graph.node if not large.isdisjoint(_tensors(node))]


def _spoiled(model: Any, floats: Sequence[str], feeds: Feeds) -> dict[str, float]:
    """The operators that bring errors when they alone are float16, and how large these are."""
    operators = sorted({node.op_type for node in model.graph.node})
    errors: dict[str, float] = {}
    for operator in operators:
        others = _of(model, [each for each in operators if each != operator])
        errors[operator] = _error(halved(model, [*floats, *others]), model, feeds)
    worst = sorted(errors.items(), key=lambda item: -item[1])
    return {operator: error for operator, error in worst if error > _MOST_ALONE}


def _of(model: Any, operators: Collection[str]) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type in operators]


def _error(made: Any, model: Any, feeds: Feeds) -> float:
    """The error of the worst output, as a share of its numbers' size; WORST for what fails."""
    try:
        pairs = zip(_answers(made, feeds), _answers(model, feeds), strict=True)
        return rounded(max(_share(found, wanted) for found, wanted in pairs))
    except Exception:  # noqa: BLE001 (onnxruntime's errors have no class of their own)
        return WORST


def _answers(model: Any, feeds: Feeds) -> list[Array]:
    """The float outputs over all feeds, each in one row."""
    session = open_session(model)
    outputs = zip(*(session.run(None, feed) for feed in feeds), strict=True)
    rows = [np.concatenate([array.ravel() for array in arrays]) for arrays in outputs]
    return [row.astype(np.float64) for row in rows if row.dtype.kind == "f"]


def _share(found: Array, wanted: Array) -> float:
    share = float(np.linalg.norm(found - wanted)) / (float(np.linalg.norm(wanted)) or 1.0)
    return share if np.isfinite(share) else WORST


def _tensors(node: Any) -> set[str]:
    return {*node.input, *node.output}


if __name__ == "__main__":
    main(half)
