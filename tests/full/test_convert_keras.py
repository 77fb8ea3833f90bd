"""Keras models become packages, in ONNX and in TensorFlow Lite, that answer as Keras does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from sklearn.datasets import load_digits

from wherever_contracts.errors import ConversionError
from wherever_convert import convert
from wherever_convert.env import exporters
from wherever_convert.environments import python_for
from wherever_convert.model_file import read_model_file
from wherever_convert.running import open_model, run_model
from wherever_convert.sources.witnesses import compared, read_witness
from wherever_edge.packages.store import open_package

pytestmark = [pytest.mark.full, pytest.mark.environments("keras")]

MODELS = Path(__file__).parent / "keras_models"
EXPORTED = ["residual", "two_inputs", "Own", "attention", "words", "two_rows", "large"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with every model exported, and what the exporter said of them."""
    python = python_for("keras")
    folder = tmp_path_factory.mktemp("exported")
    package = folder / "scripts" / "wherever_convert"
    shutil.copytree(Path(exporters.__file__).parents[1], package / "env")
    (package / "__init__.py").touch()
    command = [str(python), str(MODELS / "export_all.py"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(folder / "scripts")}
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=300)
    return folder, json.loads((folder / "said.json").read_text())


@pytest.fixture(scope="module")
def digits():
    images, classes = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32).reshape(-1, 8, 8, 1), classes


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize("name", EXPORTED)
def test_a_file_answers_as_the_model_does(exported, name, kind):
    folder, said = exported
    assert said[name]["files"] == {"onnx": "float32", "tflite": "float32"}
    witness = read_witness(folder / name)
    file = read_model_file(folder / name / "model", kind, "float32")

    assert compared(witness, run_model(file, witness.inputs)).error <= 1e-5


def test_inputs_and_their_layout_stay(exported):
    folder, said = exported
    file = read_model_file(folder / "residual" / "model", "onnx", "float32")
    session = open_model(file, "the model")
    try:
        assert [(spec.name, spec.shape) for spec in session.inputs] == [("image", (-1, 16, 16, 3))]
    finally:
        session.close()
    assert not said["two_rows"]["batch"]
    assert said["large"]["batch"]


def test_what_tensorflow_lite_lacks_is_to_be_had_in_onnx(exported):
    folder, said = exported
    assert said["recurrent"]["files"] == {"onnx": "float32"}
    assert "TensorFlow Lite's converter cannot" in said["recurrent"]["also"]["tflite"]
    witness = read_witness(folder / "recurrent")
    file = read_model_file(folder / "recurrent" / "model", "onnx", "float32")
    assert compared(witness, run_model(file, witness.inputs)).error <= 1e-5


def test_a_keras_file_becomes_a_package_with_both_formats(exported, digits, tmp_path):
    images, classes = digits

    report = convert(
        exported[0] / "convolutions.keras",
        samples=(images[1200:], classes[1200:]),
        task="classify",
        targets=["litert"],
        output=tmp_path / "digits",
    )

    assert {row.target for row in report.rows} == {"fp32", "litert"}
    assert all(row.value > 0.9 and row.agreement == 1.0 for row in report.rows)
    assert report.source["parity"]["error"] <= 1e-5
    package = open_package(report.package)
    variant = package.manifest.variant(package.manifest.reference)
    session = ort.InferenceSession(package.read_path(variant.files[0].path))
    found = session.run(None, {session.get_inputs()[0].name: images})[0]
    np.testing.assert_allclose(found, np.load(exported[0] / "convolutions.npy"), atol=1e-5)


def test_the_model_that_a_file_makes_becomes_a_package(digits, tmp_path):
    images, classes = digits

    report = convert(
        f"{MODELS / 'models.py'}:convolutions",
        samples=(images[1200:], classes[1200:]),
        task="classify",
        output=tmp_path / "digits",
    )

    assert report.source["kind"] == "keras"
    assert report.source["tools"]["keras"]
    assert all(row.value > 0.9 for row in report.rows)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("with_a_lambda", "a Lambda layer"), ("with_an_own_layer", "the class mine>Twice")],
)
def test_a_file_that_needs_code_is_refused(exported, tmp_path, name, reason):
    with pytest.raises(ConversionError, match=f"{name}.keras has {reason}"):
        convert(
            exported[0] / f"{name}.keras",
            samples=np.zeros((8, 4), np.float32),
            task="tensors",
            output=tmp_path / "p",
        )


def test_rows_of_another_shape_are_refused(exported, tmp_path):
    with pytest.raises(ConversionError, match=r"takes rows of shape \[8, 8, 1\], the samples"):
        convert(
            exported[0] / "convolutions.keras",
            samples=np.zeros((8, 5), np.float32),
            task="tensors",
            output=tmp_path / "p",
        )
