"""TensorFlow Lite files get other names and layouts at their borders, and compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_convert.env import flatbuffer
from wherever_convert.model_file import ModelFile
from wherever_convert.running import run_model
from wherever_convert.targets.litert_int8 import noise
from wherever_convert.workbench import Trial
from wherever_edge.builtin import PACKAGES, digits_test_split

DATA = (PACKAGES / "digits" / "mlp-litert.tflite").read_bytes()


@pytest.fixture
def model():
    """A file's tables, with a signature."""
    model = flatbuffer.read(DATA)
    flatbuffer.sign(model)
    return model


@pytest.fixture
def row():
    return digits_test_split()[0][:1].astype(np.float32).reshape(1, 64)


def answers(data, row):
    (found,) = run_model(ModelFile("tflite", "float32", (data,)), [row])
    return found


def test_a_file_that_is_read_and_written_computes_the_same(model, row):
    assert np.array_equal(answers(flatbuffer.packed(model), row), answers(DATA, row))
    assert flatbuffer.packed(flatbuffer.read(DATA)) == flatbuffer.packed(flatbuffer.read(DATA))


def test_an_output_is_turned_and_gets_the_name_of_the_signature(model, row):
    taken, given = flatbuffer.borders(model)
    flatbuffer.rename_outputs(model, dict.fromkeys(given, "turned"))
    flatbuffer.turn_outputs(model, {"turned": (1, 0)})
    flatbuffer.call_by_signature(model, list(taken), ["turned"])
    (end,) = model.subgraphs[0].outputs
    assert flatbuffer.name_of(model, end) == "turned"
    assert np.array_equal(answers(flatbuffer.packed(model), row), answers(DATA, row).T)


def test_an_output_that_lies_right_is_not_touched(model):
    _, given = flatbuffer.borders(model)
    before = len(model.subgraphs[0].operators)
    flatbuffer.turn_outputs(model, dict.fromkeys(given, (0, 1)))
    assert len(model.subgraphs[0].operators) == before


def test_arrays_are_laid_out_as_an_input_takes_them():
    image = np.arange(24, dtype=np.float64).reshape(1, 3, 2, 4)
    detail = {"name": "in", "shape": (1, 2, 4, 3), "dtype": np.float32}
    laid = flatbuffer.laid_out(image, detail)
    assert laid.dtype == np.float32
    assert np.array_equal(laid, image.transpose(0, 2, 3, 1))
    with pytest.raises(ValueError, match=r"in takes \(1, 9\), not \(1, 3, 2, 4\)"):
        flatbuffer.laid_out(image, {**detail, "shape": (1, 9)})


def test_chance_moves_a_drop_less_on_more_samples():
    assert noise(Trial(0.9, 0.0, 1.0, 100)) == 0
    assert noise(Trial(0.9, 0.0, 0.96, 100)) == pytest.approx(0.04)
    assert noise(Trial(0.9, 0.0, 0.96, 400)) == pytest.approx(0.02)
