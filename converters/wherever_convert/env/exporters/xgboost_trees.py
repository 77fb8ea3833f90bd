"""What XGBoost writes of a model, as trees."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from wherever_convert.env.exporters.boosters import CATEGORIES
from wherever_convert.env.exporters.trees import Array, Ensemble, Link, Tree
from wherever_convert.env.script import RefusedError


class _Objective(NamedTuple):
    """What an objective makes of the sums, and how its base score becomes one of them."""

    link: Link
    margin: Callable[[float], float]


def _same(score: float) -> float:
    return score


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


_PLAIN, _EXP = _Objective("as_is", _same), _Objective("exp", math.log)
_SOFTMAX = _Objective("softmax", _same)
_OBJECTIVES: Mapping[str, _Objective] = {
    "reg:squarederror": _PLAIN,
    "reg:squaredlogerror": _PLAIN,
    "reg:pseudohubererror": _PLAIN,
    "reg:absoluteerror": _PLAIN,
    "reg:quantileerror": _PLAIN,
    "rank:pairwise": _PLAIN,
    "rank:ndcg": _PLAIN,
    "rank:map": _PLAIN,
    "binary:logitraw": _PLAIN,
    "reg:logistic": _Objective("sigmoid", _logit),
    "binary:logistic": _Objective("pair", _logit),
    "multi:softmax": _SOFTMAX,
    "multi:softprob": _SOFTMAX,
    "count:poisson": _EXP,
    "reg:gamma": _EXP,
    "reg:tweedie": _EXP,
    "survival:cox": _EXP,
    "survival:aft": _EXP,
}


def read(document: Mapping[str, Any]) -> Ensemble:
    """The trees of a model.

    Args:
        document: what `Booster.save_raw("json")` holds.

    Raises:
        RefusedError: it is not made of trees over numbers, or its objective is not known.
    """
    learner = document["learner"]
    objective = _objective(learner["objective"]["name"])
    size = learner["learner_model_param"]
    count = max(int(size["num_class"]), int(size.get("num_target", 1)), 1)
    base = [objective.margin(score) for score in _scores(size["base_score"])]
    booster, factors = _booster(learner["gradient_booster"])
    model = booster["model"]
    trees = [
        _tree(tree, int(output), factor)
        for tree, output, factor in zip(
            model["trees"], model["tree_info"], factors or [1.0] * len(model["trees"]), strict=True
        )
    ]
    if not trees:
        raise RefusedError("the XGBoost model has no trees: it was not trained")
    link: Link = "sigmoid" if objective.link == "pair" and count > 1 else objective.link
    starts = base if len(base) == count else base * count
    return Ensemble(trees, int(size["num_feature"]), starts, below=True, link=link)


def _objective(name: str) -> _Objective:
    if name not in _OBJECTIVES:
        known = ", ".join(_OBJECTIVES)
        raise RefusedError(
            f"what XGBoost makes of its trees' sums for the objective {name!r} is not known here "
            f"(known are: {known})"
        )
    return _OBJECTIVES[name]


def _scores(text: str) -> list[float]:
    """The base score: one number, or since XGBoost 3 a list of them."""
    value: Any = json.loads(text)
    scores: list[float] = np.atleast_1d(np.asarray(value, np.float64)).tolist()
    return scores


def _booster(booster: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[float]]:
    """The trees' part, and what each tree's leaves are multiplied by."""
    name = booster["name"]
    if name == "dart":
        return booster["gbtree"], [float(each) for each in booster["weight_drop"]]
    if name != "gbtree":
        raise RefusedError(
            f"the XGBoost booster {name!r} has no trees: only gbtree and dart are converted"
        )
    return booster, []


def _tree(tree: Mapping[str, Any], output: int, factor: float) -> Tree:
    if any(tree["split_type"]):
        raise RefusedError(f"the XGBoost model {CATEGORIES}")
    return Tree(
        left=tree["left_children"],
        right=tree["right_children"],
        feature=tree["split_indices"],
        threshold=np.asarray(tree["split_conditions"], np.float32),
        missing_left=[bool(each) for each in tree["default_left"]],
        weights=_weights(tree) * np.float32(factor),
        output=output,
    )


def _weights(tree: Mapping[str, Any]) -> Array:
    """What each node adds, nodes x outputs; a node that is no leaf has a row, too."""
    size = int(tree["tree_param"]["size_leaf_vector"])
    if size <= 1:  # a leaf keeps its weight where other nodes have their threshold
        return np.asarray(tree["split_conditions"], np.float32)[:, None]
    leaves = np.asarray(tree["leaf_weights"], np.float32).reshape(-1, size)
    # a leaf has no right child: the number of its weights stands there
    rows = [n if left < 0 else 0 for left, n in zip(*_children(tree), strict=True)]
    weights: Array = leaves[rows]
    return weights


def _children(tree: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    return tree["left_children"], tree["right_children"]
