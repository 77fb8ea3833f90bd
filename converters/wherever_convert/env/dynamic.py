"""Quantize the weights of a model's matrix products, with onnxruntime's quantizer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from wherever_convert.env.onnx_graphs import limit_ir_version
from wherever_convert.env.quantize import name_nodes, prepared
from wherever_convert.env.script import main
from wherever_convert.frameworks import framework

onnx = framework("onnx", "quantizing")
quantization = framework("onnxruntime.quantization", "quantizing")
onnx_model = framework("onnxruntime.quantization.onnx_model", "quantizing")

_PRODUCTS = frozenset({"Gemm", "MatMul"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def quantize(job: dict[str, Any]) -> dict[str, Any]:
    """Quantize a model's weights.

    Args:
        job: `model` and `output`, paths of ONNX files.

    Returns:
        `refused`: why it was not done, or ""; `layers`: how many were quantized.
    """
    logging.disable(logging.WARNING)
    model = with_plain_products(prepared(onnx.load(job["model"])))
    names, why = worth(model)
    if why:
        return {"refused": why}
    # exporters say the shapes of weights, too, some of which the quantizer turns; it infers others
    del model.graph.value_info[:]
    path = Path(job["output"])
    # a copy of its own: the quantizer works on a file
    onnx.save(model, str(path))
    quantization.quantize_dynamic(
        str(path),
        str(path),
        op_types_to_quantize=sorted(_PRODUCTS),
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_quantize=names,
    )
    made = onnx.load(str(path))
    limit_ir_version(made)
    path.write_bytes(made.SerializeToString(deterministic=True))
    return {"refused": "", "layers": len(names)}


def with_plain_products(model: Any) -> Any:
    """The model with a product and a sum for each Gemm, which the quantizer passes over."""
    graph = onnx_model.ONNXModel(model)
    graph.replace_gemm_with_matmul()
    return name_nodes(graph.model)


def worth(model: Any) -> tuple[list[str], str]:
    """The nodes to quantize, or why it is not worth it."""
    sizes = {tensor.name: prod(tensor.dims) for tensor in model.graph.initializer}
    products = _weighted(model, _PRODUCTS, sizes)
    in_products = _count(products, sizes)
    in_convolutions = _count(_weighted(model, _CONVOLUTIONS, sizes), sizes)
    if not products:
        return [], "nothing in it has weights that dynamic int8 could hold (no matrix product)"
    if in_convolutions > in_products:
        return [], (
            f"{in_convolutions} of its weights are in convolutions and {in_products} in matrix "
            f"products: dynamic int8 would make it slower; int8 with ranges is for such models"
        )
    return [node.name for node in products], ""


def _weighted(model: Any, operators: frozenset[str], sizes: dict[str, int]) -> list[Any]:
    nodes = [node for node in model.graph.node if node.op_type in operators]
    return [node for node in nodes if any(name in sizes for name in node.input[:2])]


def _count(nodes: Sequence[Any], sizes: dict[str, int]) -> int:
    names = {name for node in nodes for name in node.input[:2] if name in sizes}
    return sum(sizes[name] for name in names)


if __name__ == "__main__":
    main(quantize)
