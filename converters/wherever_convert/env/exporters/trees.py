"""Boosted trees as an ONNX model.

Written here, and not left to onnxmltools: its 1.16 answers otherwise than the library does, without
a word, for random forests, rankers, several outputs, several trees a round, a sigmoid's slope and
zeros that mean "missing".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Link: TypeAlias = Literal["as_is", "sigmoid", "pair", "softmax", "exp", "softplus", "signed_square"]

INPUT, OUTPUT = "features", "scores"
_OPSETS = {"": 17, "ai.onnx.ml": 3}
_IR_VERSION = 8
_SUMS = "sums"


@dataclass(frozen=True)
class Tree:
    """A tree, its nodes numbered from the root, which is 0.

    Attributes:
        left: where a node goes on when its test holds; negative for a leaf.
        right: where it goes on otherwise.
        feature: what a node looks at.
        threshold: what it compares that with (float32).
        missing_left: whether rows that lack the feature go left.
        weights: nodes x outputs; what a leaf adds to each output from `output` on.
        output: the first of the outputs that the tree adds to.
    """

    left: Sequence[int]
    right: Sequence[int]
    feature: Sequence[int]
    threshold: Array
    missing_left: Sequence[bool]
    weights: Array
    output: int = 0


@dataclass(frozen=True)
class Ensemble:
    """Trees whose leaves are summed.

    Attributes:
        trees: at least one.
        features: how many numbers a row has.
        base: what each output begins with.
        below: tests are `<`; otherwise `<=`.
        link: what is made of the sums; "pair" is 1 - p and p of a sigmoid.
        zero_is_missing: numbers nearer to zero than this count as missing; 0 where none do.
    """

    trees: Sequence[Tree]
    features: int
    base: Sequence[float]
    below: bool
    link: Link
    zero_is_missing: float = 0.0

    @property
    def columns(self) -> int:
        """How many scores a row gets."""
        return 2 if self.link == "pair" else len(self.base)


def to_onnx(ensemble: Ensemble) -> bytes:
    """The ONNX model: float32 rows `features` in, rows of `scores` out, any number of rows."""
    from onnx import TensorProto, helper  # noqa: PLC0415 (only where models are made)

    nodes, constants = _tidied(ensemble)
    seen = nodes[-1].output[0] if nodes else INPUT
    nodes.append(_forest(ensemble, seen))
    nodes += _LINKS[ensemble.link](helper.make_node)
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", ensemble.features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", ensemble.columns])],
        [*constants, *_constants(ensemble.link)],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
    model: Any = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    data: bytes = model.SerializeToString()
    return data


def floored(thresholds: Array) -> Array:
    """The largest float32 numbers that are not above float64 thresholds.

    A float32 number is at most such a threshold exactly when it is at most this; rounded to the
    nearest, the threshold may be above numbers that it was below.
    """
    with np.errstate(over="ignore"):  # beyond float32 is infinity, as it should be
        rounded = thresholds.astype(np.float32)
        lower = np.nextafter(rounded, np.float32(-np.inf))
    result: Array = np.where(rounded.astype(np.float64) > thresholds, lower, rounded)
    return result


def _tidied(ensemble: Ensemble) -> tuple[list[Any], list[Any]]:
    """Nodes, and their constants, that make what counts as missing not a number."""
    from onnx import helper, numpy_helper  # noqa: PLC0415 (only where models are made)

    if not ensemble.zero_is_missing:
        return [], []
    nodes = [
        helper.make_node("Abs", [INPUT], ["sizes"]),
        helper.make_node("LessOrEqual", ["sizes", "zero"], ["missing"]),
        helper.make_node("Where", ["missing", "nan", INPUT], ["seen"]),
    ]
    values = {"zero": np.float32(ensemble.zero_is_missing), "nan": np.float32(np.nan)}
    return nodes, [numpy_helper.from_array(np.asarray(v), name) for name, v in values.items()]


def _forest(ensemble: Ensemble, seen: str) -> Any:
    from onnx import helper  # noqa: PLC0415 (only where models are made)

    columns: dict[str, Any] = {}
    for number, tree in enumerate(ensemble.trees):
        for name, values in _attributes(tree, number, below=ensemble.below).items():
            columns.setdefault(name, []).extend(values)
    return helper.make_node(
        "TreeEnsembleRegressor",
        [seen],
        [_SUMS],
        domain="ai.onnx.ml",
        n_targets=len(ensemble.base),
        base_values=[float(np.float32(each)) for each in ensemble.base],
        aggregate_function="SUM",
        post_transform="NONE",
        **columns,
    )


def _attributes(tree: Tree, number: int, *, below: bool) -> Mapping[str, list[Any]]:
    """One tree's part of each of the operator's lists."""
    count, outputs = len(tree.left), tree.weights.shape[1]
    inner = [left >= 0 for left in tree.left]
    leaves = [node for node in range(count) if not inner[node]]
    test = "BRANCH_LT" if below else "BRANCH_LEQ"
    return {
        "nodes_treeids": [number] * count,
        "nodes_nodeids": list(range(count)),
        "nodes_featureids": [_if(inner[n], tree.feature[n]) for n in range(count)],
        "nodes_modes": [test if each else "LEAF" for each in inner],
        "nodes_values": [float(_if(inner[n], tree.threshold[n])) for n in range(count)],
        "nodes_truenodeids": [_if(inner[n], tree.left[n]) for n in range(count)],
        "nodes_falsenodeids": [_if(inner[n], tree.right[n]) for n in range(count)],
        "nodes_missing_value_tracks_true": [int(each) for each in tree.missing_left],
        "target_treeids": [number] * (len(leaves) * outputs),
        "target_nodeids": [node for node in leaves for _ in range(outputs)],
        "target_ids": [tree.output + k for _ in leaves for k in range(outputs)],
        "target_weights": [float(np.float32(each)) for each in tree.weights[leaves].ravel()],
    }


def _if(inner: bool, value: Any) -> Any:  # noqa: FBT001 (private)
    return value if inner else 0


_Nodes: TypeAlias = Callable[[Any], list[Any]]
_ONE = "one"


def _single(operator: str, **attributes: Any) -> _Nodes:
    return lambda node: [node(operator, [_SUMS], [OUTPUT], **attributes)]


def _pair(node: Any) -> list[Any]:
    return [
        node("Sigmoid", [_SUMS], ["chance"]),
        node("Sub", [_ONE, "chance"], ["rest"]),
        node("Concat", ["rest", "chance"], [OUTPUT], axis=1),
    ]


def _signed_square(node: Any) -> list[Any]:
    return [
        node("Abs", [_SUMS], ["amount"]),
        node("Mul", [_SUMS, "amount"], [OUTPUT]),
    ]


_LINKS: Mapping[Link, _Nodes] = {
    "as_is": _single("Identity"),
    "sigmoid": _single("Sigmoid"),
    "pair": _pair,
    "softmax": _single("Softmax", axis=1),
    "exp": _single("Exp"),
    "softplus": _single("Softplus"),
    "signed_square": _signed_square,
}


def _constants(link: Link) -> list[Any]:
    from onnx import numpy_helper  # noqa: PLC0415 (only where models are made)

    one = np.ones((1,), np.float32)
    return [numpy_helper.from_array(one, _ONE)] if link == "pair" else []
