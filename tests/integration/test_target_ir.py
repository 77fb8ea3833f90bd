"""OpenVINO's own files are made of others, answer as those do, and are the same each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from wherever_convert.design import Wanted, design
from wherever_convert.draft import Draft, header
from wherever_convert.model_file import ModelFile
from wherever_convert.running import open_model, run_model
from wherever_convert.samples import SampleOptions, read_samples
from wherever_convert.samples.split import split
from wherever_convert.targets import TARGETS, CannotMakeError, Job, make
from wherever_convert.targets.likeness import refuse_unlike, typical_gap, worst_gap
from wherever_convert.workbench import Workbench
from wherever_edge.bare.manifest import Pixels
from wherever_edge.builtin import PACKAGES, digits_test_split

DIGITS = PACKAGES / "digits"
FILES = {
    "onnx": ModelFile("onnx", "float32", ((DIGITS / "cnn.onnx").read_bytes(),)),
    "tflite": ModelFile("tflite", "float32", ((DIGITS / "mlp-litert.tflite").read_bytes(),)),
}
INT8 = ModelFile("onnx", "int8", ((DIGITS / "mlp-int8.onnx").read_bytes(),))


@pytest.fixture
def job(tmp_path):
    """Makes a job for a target, of a file whose samples are digits."""

    def get(of: ModelFile, target: str) -> Job:
        session = open_model(of, "the model")
        shape = [max(n, 1) for n in session.inputs[0].shape]
        rows = digits_test_split()[0][:20].astype(np.float32).reshape(20, *shape[1:])
        data = read_samples(rows, SampleOptions())
        wanted = Wanted("tensors", None, data.labels, Pixels(), None, None)
        made = design(wanted, data.form, session.inputs, session.outputs)
        session.close()
        place = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        (place / "package").mkdir(parents=True)
        (place / "made").mkdir()
        draft = Draft(place / "package", header("x", "1.0.0", "anywhere", "", ""), made)
        draft.add("reference", of)
        bench = Workbench(draft, split(data.items), place, lambda: None)
        return Job(TARGETS[target], of, bench, "minmax", 0.01, 0, place / "made", lambda _: None)

    return get


@pytest.mark.parametrize("of", FILES)
def test_float32_answers_as_its_source_and_is_the_same_each_time(job, of):
    first, second = make(job(FILES[of], "ir")), make(job(FILES[of], "ir"))
    assert first.file == second.file
    assert first.facts["error"] <= 1e-4
    assert first.facts["tool"].startswith("openvino 20")
    for word in (b"rt_info", b"conversion_parameters", b"/made/"):
        assert word not in first.file.contents[0]


def test_float16_halves_the_weights_and_is_the_same_of_onnx_and_of_ir(job):
    whole = make(job(FILES["onnx"], "ir")).file
    half = make(job(FILES["onnx"], "ir-fp16"))
    of_ir = make(job(whole, "ir-fp16"))
    assert half.file.contents[1] == of_ir.file.contents[1]
    assert len(half.file.contents[1]) < 0.6 * len(whole.contents[1])
    assert 0 < half.facts["error"] <= 1e-2


def test_a_quantized_onnx_file_stays_int8(job):
    asked = job(INT8, "ir-int8")
    made = make(asked)
    assert "error" not in made.facts  # its metric says what it is worth
    rows = digits_test_split()[0][:50].astype(np.float32).reshape(50, -1)
    given = run_model(made.file, [rows])[0]
    wanted = open_model(INT8, "the model", "openvino").run(
        {asked.bench.draft.variants[0].inputs[0].name: rows}
    )
    assert np.allclose(given, *wanted.values(), atol=1e-5)
    assert len(made.file.contents[1]) < INT8.size_bytes  # its weights have eight bits


def test_what_openvino_cannot_read_is_refused_with_its_reason(job):
    asked = replace(job(FILES["onnx"], "ir"), of=ModelFile("onnx", "float32", (b"nothing",)))
    with pytest.raises(CannotMakeError, match="writing OpenVINO IR failed: "):
        make(asked)


def test_a_file_that_answers_otherwise_is_refused(job):
    model = onnx.load_from_string(FILES["onnx"].contents[0])
    weights = next(each for each in model.graph.initializer if each.data_type == 1)
    numbers = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(numbers * np.float32(1.01), weights.name))
    other = ModelFile("onnx", "float32", (model.SerializeToString(),))
    with pytest.raises(CannotMakeError, match=r"off by .* of the largest one, at most 1e-04"):
        refuse_unlike(job(FILES["onnx"], "ir"), other)


def test_gaps_are_shares_of_what_was_wanted():
    wanted, given = np.array([4.0, 0.0, 0.0, 0.0]), np.array([4.0, 0.0, 2.0, 0.0])
    assert worst_gap(wanted, given) == 0.5
    assert typical_gap(wanted, given) == 0.5
    assert worst_gap(wanted, given[:3]) == float("inf")
    assert worst_gap(wanted, np.array([np.nan, 0, 0, 0])) == float("inf")
