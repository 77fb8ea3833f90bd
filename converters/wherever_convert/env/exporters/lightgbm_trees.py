"""What LightGBM tells of a model, as trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wherever_convert.env.exporters.boosters import CATEGORIES
from wherever_convert.env.exporters.trees import Ensemble, Link, Tree, floored
from wherever_convert.env.script import RefusedError

_ZERO = float(np.float32(1e-35))  # what LightGBM takes for zero
_LINKS: Mapping[str, Link] = {
    "binary": "pair",
    "multiclass": "softmax",
    "multiclassova": "sigmoid",
    "cross_entropy": "sigmoid",
    "cross_entropy_lambda": "softplus",
    "poisson": "exp",
    "gamma": "exp",
    "tweedie": "exp",
    "regression": "as_is",
    "regression_l1": "as_is",
    "huber": "as_is",
    "fair": "as_is",
    "quantile": "as_is",
    "mape": "as_is",
    "lambdarank": "as_is",
    "rank_xendcg": "as_is",
    "custom": "as_is",
    "none": "as_is",
}


def read(document: Mapping[str, Any]) -> Ensemble:
    """The trees of a model.

    Args:
        document: what `Booster.dump_model()` returns.

    Raises:
        RefusedError: it splits by categories or fits lines in its leaves, or its objective is not
            known.
    """
    link, slope = _objective(document.get("objective") or "none")
    count = int(document["num_tree_per_iteration"])
    flat = [_flat(each["tree_structure"]) for each in document["tree_info"]]
    if not flat:
        raise RefusedError("the LightGBM model has no trees: it was not trained")
    rounds = len(flat) // count if document["average_output"] else 1
    return Ensemble(
        [_tree(nodes, n % count, slope / rounds) for n, nodes in enumerate(flat)],
        int(document["max_feature_idx"]) + 1,
        [0.0] * count,
        below=False,
        link=link,
        zero_is_missing=_zero(node for nodes in flat for node in nodes),
    )


def _objective(text: str) -> tuple[Link, float]:
    """What is made of the sums, and what they are multiplied by before."""
    name, *words = text.split()
    if name not in _LINKS:
        raise RefusedError(
            f"what LightGBM makes of its trees' sums for the objective {name!r} is not known here "
            f"(known are: {', '.join(_LINKS)})"
        )
    options = {key: value for key, _, value in (word.partition(":") for word in words)}
    link: Link = "signed_square" if "sqrt" in options else _LINKS[name]
    return link, float(options.get("sigmoid") or 1.0)


def _flat(root: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The nodes in order, the root first, each with the numbers of its children."""
    nodes: list[dict[str, Any]] = []
    waiting: list[tuple[Mapping[str, Any], int, str]] = [(root, -1, "")]
    while waiting:  # leaf-wise trees may be deeper than Python's stack
        node, parent, side = waiting.pop()
        if parent >= 0:
            nodes[parent][side] = len(nodes)
        nodes.append({**node, "left": -1, "right": -1})
        if "split_feature" in node:
            waiting.append((node["right_child"], len(nodes) - 1, "right"))
            waiting.append((node["left_child"], len(nodes) - 1, "left"))
    return nodes


def _tree(nodes: Sequence[Mapping[str, Any]], output: int, factor: float) -> Tree:
    for node in nodes:
        _refuse(node)
    thresholds = np.asarray([node.get("threshold", 0.0) for node in nodes], np.float64)
    weights = np.asarray([node.get("leaf_value", 0.0) for node in nodes], np.float64)
    return Tree(
        left=[node["left"] for node in nodes],
        right=[node["right"] for node in nodes],
        feature=[node.get("split_feature", 0) for node in nodes],
        threshold=floored(thresholds),
        missing_left=[_missing_left(node) for node in nodes],
        weights=(weights * factor)[:, None],
        output=output,
    )


def _missing_left(node: Mapping[str, Any]) -> bool:
    if "threshold" not in node:
        return False
    if node["missing_type"] == "None":  # what is missing counts as 0
        return bool(node["threshold"] >= 0)
    return bool(node["default_left"])


def _refuse(node: Mapping[str, Any]) -> None:
    if node.get("decision_type", "<=") != "<=":
        raise RefusedError(f"the LightGBM model {CATEGORIES}")
    if node.get("leaf_coeff"):
        raise RefusedError(
            "the LightGBM model has lines in its leaves (linear_tree), which no runtime here can "
            "follow: train again without"
        )


def _zero(nodes: Any) -> float:
    kinds = {node["missing_type"] for node in nodes if "missing_type" in node}
    if {"Zero", "NaN"} <= kinds:
        raise RefusedError("the LightGBM model takes zeros for missing in some splits alone")
    return _ZERO if "Zero" in kinds else 0.0
