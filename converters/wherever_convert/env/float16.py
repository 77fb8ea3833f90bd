"""Make a float16 model of a float one, with onnxruntime's converter."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from wherever_convert.env.onnx_graphs import limit_ir_version
from wherever_convert.env.quantize import name_nodes
from wherever_convert.env.ranges import Ranges, find_ranges
from wherever_convert.env.script import main
from wherever_convert.frameworks import framework

onnx = framework("onnx", "converting to float16")
shapes = framework("onnx.shape_inference", "converting to float16")
converter = framework("onnxruntime.transformers.float16", "converting to float16")

# float16 ends at 65504; samples that nobody has seen may lie a little beyond those that were.
_LARGEST = 65504 / 4


def half(job: dict[str, Any]) -> dict[str, Any]:
    """Convert a model.

    Args:
        job: `model` and `output`, paths of ONNX files; `samples`, a directory of .npz files with
            the model's inputs.

    Returns:
        `floats`: the nodes that stay float32, as float16 cannot hold their numbers.
    """
    logging.disable(logging.WARNING)
    model = name_nodes(shapes.infer_shapes(onnx.load(job["model"])))
    floats = too_large(model, find_ranges(model, Path(job["samples"]), "minmax"))
    made = converter.convert_float_to_float16(model, keep_io_types=True, node_block_list=floats)
    limit_ir_version(made)
    Path(job["output"]).write_bytes(made.SerializeToString(deterministic=True))
    return {"floats": floats}


def too_large(model: Any, ranges: Ranges) -> list[str]:
    """The names of the nodes that take or give numbers that float16 cannot hold."""
    large = {name for name, (low, high) in ranges.items() if max(-low, high) > _LARGEST}
    return [node.name for node in model.graph.node if not large.isdisjoint(_tensors(node))]


def _tensors(node: Any) -> set[str]:
    return {*node.input, *node.output}


if __name__ == "__main__":
    main(half)
