"""XGBoost and LightGBM models become packages that answer as the libraries do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from wherever_contracts.errors import ConversionError
from wherever_convert import convert
from wherever_convert.env import exporters
from wherever_convert.environments import python_for
from wherever_convert.sources.witnesses import compared, read_witness
from wherever_edge.packages.store import open_package

pytestmark = [pytest.mark.full, pytest.mark.environments("boosting")]

XGBOOST = (
    "two_classes ten_classes three_classes missing base_score numbers counts gamma shares "
    "quantiles two_outputs leaves_of_two forest several_trees_a_round dart early ranks "
    "class_alone logits constant"
)
LIGHTGBM = (
    "two_classes ten_classes missing zero_is_missing nothing_is_missing one_against_all forest "
    "dart steep numbers counts roots shares intensity early ranks own_objective no_split"
)
EVERY = [f"xgboost/{name}" for name in XGBOOST.split()]
EVERY += [f"lightgbm/{name}" for name in LIGHTGBM.split()]
REASONS = {
    "xgboost_categories": "XGBoost model splits by categories",
    "xgboost_lines": "booster 'gblinear' has no trees",
    "xgboost_hinge": "objective 'binary:hinge' is not known",
    "xgboost_zero_missing": "takes 0.0 for missing",
    "xgboost_not_fitted": "XGBClassifier is not fitted",
    "lightgbm_categories": "LightGBM model splits by categories",
    "lightgbm_lines": "lines in its leaves",
    "lightgbm_not_fitted": "LGBMClassifier is not fitted",
}
BOOSTERS = Path(__file__).parent / "boosters"


@pytest.fixture(scope="module")
def python():
    return python_for("boosting")


@pytest.fixture(scope="module")
def exported(python, tmp_path_factory):
    """A folder with every model exported, and what the exporters said of them."""
    folder = tmp_path_factory.mktemp("exported")
    package = folder / "scripts" / "wherever_convert"
    shutil.copytree(Path(exporters.__file__).parents[1], package / "env")
    (package / "__init__.py").touch()
    command = [str(python), str(BOOSTERS / "export_all.py"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(folder / "scripts")}
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=300)
    return folder, json.loads((folder / "said.json").read_text())


@pytest.mark.parametrize("name", EVERY)
def test_a_models_trees_answer_as_the_library_does(exported, name):
    folder, said = exported
    witness = read_witness(folder / name)
    session = ort.InferenceSession(folder / name / "model.onnx")

    found = session.run(None, {"features": witness.inputs[0]})

    assert np.isnan(witness.inputs[0]).any()  # rows with numbers missing are among them
    assert compared(witness, tuple(found)).error <= 1e-5
    own = folder / name / "own.npy"
    if own.is_file():  # a Booster has nothing around it
        answers = np.load(own)
        np.testing.assert_allclose(
            found[0][: len(answers)].reshape(answers.shape), answers, 1e-4, 1e-6
        )
    assert said[name]["batch"]
    assert "tflite" in said[name]["also"]


@pytest.mark.parametrize("name", REASONS)
def test_what_is_no_sum_of_trees_over_numbers_is_refused(exported, name):
    assert REASONS[name] in exported[1][name]


@pytest.mark.parametrize(
    ("name", "rounds"), [("early.ubj", "best"), ("booster.json", "everything")]
)
def test_after_early_stopping_a_file_answers_as_what_wrote_it(exported, name, rounds, tmp_path):
    # a classifier predicts with its best rounds, a Booster with all
    folder, said = exported
    x, y = load_breast_cancer(return_X_y=True)
    rows = x.astype(np.float32)

    report = convert(folder / name, samples=(rows, y), task="classify", output=tmp_path / "p")

    fewest = said["xgboost/early"]["facts"]["trees"]
    assert (report.source["trees"] == fewest) == (rounds == "best")
    assert report.source["parity"]["error"] <= 1e-5
    assert report.rows[0].value > 0.95
    found = onnx_answers(report.package, rows)[:, 1]
    np.testing.assert_allclose(found, np.load(folder / "early.npz")[rounds], atol=1e-5)


def test_a_lightgbm_file_becomes_a_package(exported, tmp_path):
    x, y = load_digits(return_X_y=True)
    samples = (x.astype(np.float32), y)

    report = convert(
        exported[0] / "digits.txt", samples=samples, task="classify", output=tmp_path / "p"
    )

    assert report.source["kind"] == "lightgbm"
    assert report.rows[0].value > 0.9
    assert "int8" in report.left_out


def test_the_object_that_a_file_makes_brings_the_names_of_its_classes(tmp_path):
    x, y = load_breast_cancer(return_X_y=True)
    names = np.where(y, "benign", "malignant")

    report = convert(
        f"{BOOSTERS / 'models.py'}:named",
        samples=(x[300:].astype(np.float32), names[300:]),
        task="classify",
        output=tmp_path / "p",
    )

    signature = open_package(report.package).manifest.signature
    assert signature.value.labels == ("benign", "malignant")
    assert report.rows[0].value > 0.9


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("some.json", '{"a": 1}', "some.json is no XGBoost model"),
        ("empty.ubj", "", "empty.ubj is no XGBoost model"),
        ("notes.txt", "hello", "begins with 'tree', this one with 'hello'"),
        ("cut.txt", "tree\nversion=v4\n", "cut.txt is no LightGBM model"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_a_sentence(tmp_path, name, content, reason):
    (tmp_path / name).write_text(content)
    rows = np.zeros((8, 3), np.float32)

    with pytest.raises(ConversionError, match=reason) as caught:
        convert(tmp_path / name, samples=rows, task="tensors", output=tmp_path / "p")

    assert "Stack trace" not in str(caught.value)


def test_rows_with_another_number_of_features_are_refused(exported, tmp_path):
    rows = np.zeros((8, 3), np.float32)

    with pytest.raises(ConversionError, match="takes 30 features, the samples have 3"):
        convert(exported[0] / "early.ubj", samples=rows, task="tensors", output=tmp_path / "p")


def onnx_answers(package, rows):
    opened = open_package(package)
    variant = opened.manifest.variant(opened.manifest.reference)
    session = ort.InferenceSession(opened.read_path(variant.files[0].path))
    return session.run(None, {"features": rows})[0]
