"""Boosted trees as ONNX, from what the libraries write of them; and `.keras` files looked into.

The libraries themselves are asked in tests/full.
"""

from __future__ import annotations

import copy
import json
import zipfile

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import ConversionError
from wherever_convert import convert
from wherever_convert.env.exporters import lightgbm_trees, xgboost_trees
from wherever_convert.env.exporters.trees import floored, to_onnx
from wherever_convert.env.script import RefusedError
from wherever_convert.sources.keras_archives import refusal_of

NAN = float("nan")
# x0 < 0.5 ? -1 : (x1 < 2 ? 1 : 3); what is missing goes left in the first test, right in the second
XGBOOST = {
    "learner": {
        "learner_model_param": {
            "base_score": "[5E-1]",
            "num_class": "0",
            "num_target": "1",
            "num_feature": "2",
        },
        "objective": {"name": "reg:squarederror"},
        "gradient_booster": {
            "name": "gbtree",
            "model": {
                "tree_info": [0],
                "trees": [
                    {
                        "left_children": [1, -1, 3, -1, -1],
                        "right_children": [2, -1, 4, -1, -1],
                        "split_indices": [0, 0, 1, 0, 0],
                        "split_conditions": [0.5, -1.0, 2.0, 1.0, 3.0],
                        "split_type": [0, 0, 0, 0, 0],
                        "default_left": [1, 0, 0, 0, 0],
                        "tree_param": {"size_leaf_vector": "1"},
                    }
                ],
            },
        },
    }
}


def leaf(value):
    return {"leaf_value": value}


def split(threshold, missing, left, right, *, feature=0, default_left=True, kind="<="):
    return {
        "split_feature": feature,
        "threshold": threshold,
        "decision_type": kind,
        "missing_type": missing,
        "default_left": default_left,
        "left_child": left,
        "right_child": right,
    }


def lightgbm(*trees, objective="regression", per_round=1, average=False):
    return {
        "objective": objective,
        "num_tree_per_iteration": per_round,
        "max_feature_idx": 1,
        "average_output": average,
        "tree_info": [{"tree_structure": tree} for tree in trees],
    }


def answers(ensemble, rows):
    session = ort.InferenceSession(to_onnx(ensemble))
    return session.run(None, {"features": np.asarray(rows, np.float32)})[0]


def xgboost(objective="reg:squarederror", **learner):
    document = copy.deepcopy(XGBOOST)
    document["learner"]["objective"]["name"] = objective
    document["learner"]["learner_model_param"] |= learner
    return document


def test_xgboosts_tests_are_below_and_missing_numbers_go_their_own_way():
    rows = [[0.4, 0], [0.5, 1.9], [0.5, 2], [NAN, 9], [0.5, NAN]]
    found = answers(xgboost_trees.read(xgboost()), rows)
    assert found.ravel().tolist() == [-0.5, 1.5, 3.5, -0.5, 3.5]


def test_xgboosts_base_score_becomes_a_sum_as_the_objective_has_it():
    row = [[0.4, 0]]
    two = answers(xgboost_trees.read(xgboost("binary:logistic", base_score="2E-1")), row)
    chance = 1 / (1 + np.exp(-(np.log(0.2 / 0.8) - 1)))
    np.testing.assert_allclose(two, [[1 - chance, chance]], rtol=1e-6)
    counts = answers(xgboost_trees.read(xgboost("count:poisson", base_score="[3E0]")), row)
    np.testing.assert_allclose(counts, [[3 * np.exp(-1)]], rtol=1e-6)


def test_each_of_xgboosts_classes_has_trees_and_a_base_score():
    document = xgboost("multi:softmax", num_class="3", base_score="[1E0,0E0,-1E0]")
    model = document["learner"]["gradient_booster"]["model"]
    model["trees"], model["tree_info"] = model["trees"] * 3, [0, 1, 2]
    sums = np.array([1, 0, -1]) + 3
    np.testing.assert_allclose(
        answers(xgboost_trees.read(document), [[9, 9]])[0],
        np.exp(sums) / np.exp(sums).sum(),
        rtol=1e-6,
    )


def test_what_dart_dropped_counts_less():
    document = xgboost()
    booster = document["learner"]["gradient_booster"]
    dart = {"name": "dart", "gbtree": booster, "weight_drop": [0.25]}
    document["learner"]["gradient_booster"] = dart
    assert answers(xgboost_trees.read(document), [[9, 9]]).item() == 1.25


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "gblinear"}, "booster 'gblinear' has no trees"),
        ({"model": {"trees": [], "tree_info": []}}, "was not trained"),
    ],
)
def test_an_xgboost_model_without_trees_is_refused(change, reason):
    document = xgboost()
    document["learner"]["gradient_booster"] |= change
    with pytest.raises(RefusedError, match=reason):
        xgboost_trees.read(document)


def test_xgboosts_unknown_objectives_and_categories_are_refused():
    with pytest.raises(RefusedError, match="the objective 'binary:hinge' is not known"):
        xgboost_trees.read(xgboost("binary:hinge"))
    document = xgboost()
    document["learner"]["gradient_booster"]["model"]["trees"][0]["split_type"][0] = 1
    with pytest.raises(RefusedError, match="splits by categories"):
        xgboost_trees.read(document)


def test_lightgbms_tests_are_at_most_and_of_64_bits():
    # the float32 number next to 0.1 is above it
    tree = split(0.1, "None", leaf(1.0), leaf(2.0))
    below = np.nextafter(np.float32(0.1), np.float32(0))
    found = answers(lightgbm_trees.read(lightgbm(tree)), [[0.1, 0], [below, 0]])
    assert found.ravel().tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("missing", "threshold", "default_left", "found"),
    [
        ("None", 0.5, False, [1.0, 1.0, 2.0]),  # counts as 0
        ("None", -0.5, True, [2.0, 2.0, 2.0]),
        ("NaN", 0.5, False, [2.0, 1.0, 2.0]),
        ("NaN", -0.5, True, [1.0, 2.0, 2.0]),
        ("Zero", 0.5, False, [2.0, 2.0, 2.0]),  # as zero is missing
        ("Zero", -0.5, True, [1.0, 1.0, 2.0]),
    ],
)
def test_what_lightgbm_takes_for_missing_goes_its_way(missing, threshold, default_left, found):
    tree = split(threshold, missing, leaf(1.0), leaf(2.0), default_left=default_left)
    rows = [[NAN, 0], [0, 0], [7, 0]]
    assert answers(lightgbm_trees.read(lightgbm(tree)), rows).ravel().tolist() == found


@pytest.mark.parametrize(
    ("objective", "answer"),
    [
        ("regression", -2.0),
        ("regression sqrt", -4.0),
        ("poisson", np.exp(-2)),
        ("cross_entropy", 1 / (1 + np.exp(2))),
        ("cross_entropy_lambda", np.log1p(np.exp(-2))),
        ("lambdarank", -2.0),
        (None, -2.0),
    ],
)
def test_lightgbms_objectives_make_their_own_of_the_sum(objective, answer):
    document = lightgbm(leaf(-0.5), leaf(-1.5), objective=objective)
    assert answers(lightgbm_trees.read(document), [[0, 0]]).item() == pytest.approx(answer)


def test_a_sigmoids_slope_and_a_forests_mean_count():
    document = lightgbm(leaf(-0.5), leaf(-1.5), objective="binary sigmoid:2", average=True)
    chance = 1 / (1 + np.exp(2))
    found = answers(lightgbm_trees.read(document), [[0, 0]])
    np.testing.assert_allclose(found, [[1 - chance, chance]], rtol=1e-6)


def test_lightgbms_deep_trees_are_read():
    tree = leaf(0.0)
    for depth in range(3000):
        tree = split(float(depth), "None", leaf(float(depth)), tree)
    found = answers(lightgbm_trees.read(lightgbm(tree)), [[2999, 0], [-1, 0]])
    assert found.ravel().tolist() == [2999.0, 2999.0]


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (split("1||3", "None", leaf(1), leaf(2), kind="=="), "splits by categories"),
        (split(1.0, "None", {**leaf(1), "leaf_coeff": [2.0]}, leaf(2)), "lines in its leaves"),
        (
            split(1.0, "NaN", leaf(1), split(2.0, "Zero", leaf(1), leaf(2))),
            "zeros for missing in some splits alone",
        ),
    ],
)
def test_what_trees_in_onnx_cannot_do_is_refused(tree, reason):
    with pytest.raises(RefusedError, match=reason):
        lightgbm_trees.read(lightgbm(tree))


@given(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.floats(allow_nan=False),
)
def test_a_floored_threshold_parts_float32_numbers_as_the_float64_one(number, threshold):
    lowered = floored(np.asarray([threshold, float(number)]))
    assert (np.float32(number) <= lowered[0]) == (number <= threshold)
    assert lowered[1] == np.float32(number)


def keras_file(path, config):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
    return path


def layers_of(*layers):
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": list(layers)}}


DENSE = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {"activation": "relu", "kernel_initializer": {"module": None, "config": {}}},
    "registered_name": None,
}


def test_keras_own_layers_pass(tmp_path):
    operation = {"module": "keras.src.ops.numpy", "class_name": "Add", "registered_name": "Add"}
    path = keras_file(tmp_path / "m.keras", layers_of(DENSE, operation))
    assert refusal_of(path) == ""


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ({"module": "keras.layers", "class_name": "Lambda"}, "a Lambda layer"),
        ({"class_name": "__lambda__", "config": {"value": "x"}}, "a Lambda layer"),
        ({"module": "os", "class_name": "system", "registered_name": "system"}, "module os"),
        ({"module": "keras.utils", "class_name": "get_file"}, "module keras.utils"),
        ({"module": "keras.src.utils.file_utils", "class_name": "get_file"}, "file_utils"),
        ({"module": "keras_hub.models", "class_name": "Bert"}, "module keras_hub.models"),
        (
            {"module": None, "class_name": "Mine", "registered_name": "my>Mine"},
            r"the class my>Mine",
        ),
    ],
)
def test_a_keras_file_that_names_code_is_refused_before_any_framework_is_there(
    tmp_path, layer, named
):
    path = keras_file(tmp_path / "m.keras", layers_of(DENSE, {"config": {"inner": [layer]}}))
    rows = np.zeros((8, 4), np.float32)
    with pytest.raises(ConversionError, match=f"m.keras has .*{named}"):
        convert(path, samples=rows, task="tensors", output=tmp_path / "package")


@pytest.mark.parametrize("content", ["[", "[" * 100_000])
def test_a_keras_file_that_is_damaged_is_refused(tmp_path, content):
    path = keras_file(tmp_path / "m.keras", content)
    assert refusal_of(path).startswith("m.keras is no .keras file of Keras 3")
    path.write_bytes(b"\x89HDF\r\n")
    assert refusal_of(path).startswith("m.keras is no .keras file of Keras 3")


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("a.ubj", "int8", "boosted trees have no weights that could be smaller"),
        ("a.txt", "ir", "no other runtime here knows trees"),
        ("a.tflite", "fp16", "nothing here makes ONNX of TensorFlow Lite"),
        ("a.xml", "litert", "nothing here makes ONNX of OpenVINO IR"),
    ],
)
def test_a_form_that_is_not_to_be_had_is_refused_before_any_work(tmp_path, name, target, reason):
    (tmp_path / name).touch()
    with pytest.raises(ConversionError, match=reason):
        convert(
            tmp_path / name, samples="x", task="tensors", targets=[target], output=tmp_path / "p"
        )
