"""Model files as sources, and graphs that are cleaned: kept as they are, or refused in words."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wherever_contracts.errors import ConversionError
from wherever_convert.cleaning import clean
from wherever_convert.env.clean import clean as clean_here
from wherever_convert.model_file import ModelFile
from wherever_convert.running import run_model
from wherever_convert.sources import Request, find_source
from wherever_edge.builtin import PACKAGES

DIGITS = PACKAGES / "digits"
FLOAT = TensorProto.FLOAT


def load(path, scratch, task="classify"):
    return find_source(path).load(path, Request(None, task, frozenset(), scratch))


def saved(path, nodes, inputs, outputs, constants=(), opset=17, domains=(), gives=FLOAT, **fields):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, gives, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(graph, **{"ir_version": 9, "opset_imports": opsets, **fields})
    path.write_bytes(model.SerializeToString())
    return path


def foldable(path, last=()):
    """A graph of one row with things to fold, and a shape that names the one row."""
    weights = np.random.default_rng(0).random((12, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Identity", ["x"], ["x1"]),
        helper.make_node("Reshape", ["x1", "flat"], ["x2"]),
        helper.make_node("MatMul", ["x2", "w"], ["h"]),
        helper.make_node("Add", ["b1", "b2"], ["b"]),
        helper.make_node("Add", ["h", "b"], ["s"]),
        helper.make_node("Reshape", ["s", "pairs"], ["y"]),
        *last,
    ]
    constants = [
        ("flat", np.array([1, 12], np.int64)),
        ("w", weights),
        ("b1", np.ones(6, np.float32)),
        ("b2", np.ones(6, np.float32)),
        ("pairs", np.array([1, 3, 2], np.int64)),
    ]
    return saved(path, nodes, [("x", FLOAT, [1, 3, 4])], [("y", [1, 3, 2])], constants)


def cleaned(path, tmp_path):
    """What the script makes of a file, in this process."""
    output = tmp_path / "cleaned.onnx"
    return clean_here({"model": str(path), "output": str(output)}), output


def test_a_graph_becomes_smaller_takes_many_rows_and_answers_the_same(tmp_path):
    given = ModelFile("onnx", "float32", (foldable(tmp_path / "a.onnx").read_bytes(),))
    made = clean(given, tmp_path)
    assert made.notes == ()
    assert made.batch
    assert made.facts["nodes"][1] < made.facts["nodes"][0]
    assert "onnxslim" in made.facts["tools"]
    rows = np.random.default_rng(1).random((5, 3, 4)).astype(np.float32)
    alone = [run_model(given, [row[None]])[0] for row in rows]
    np.testing.assert_allclose(run_model(made.file, [rows])[0], np.concatenate(alone), rtol=1e-5)


def test_the_same_file_gives_the_same_bytes_in_every_process(tmp_path):
    path = foldable(tmp_path / "a.onnx")
    made = []
    for seed in ("1", "2"):
        job, output = tmp_path / f"job{seed}.json", tmp_path / f"{seed}.onnx"
        job.write_text(f'{{"model": "{path}", "output": "{output}"}}')
        command = [sys.executable, "-m", "wherever_convert.env.clean", job, tmp_path / "result"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, env=environment, check=True, timeout=60)
        made.append(output.read_bytes())
    assert made[0] == made[1]


def test_rows_that_look_at_each_other_stay_alone(tmp_path):
    mean = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["d"]),
        helper.make_node("Add", ["d", "x"], ["y"]),
    ]
    path = saved(tmp_path / "a.onnx", mean, [("x", FLOAT, [1, 3])], [("y", [1, 3])])
    found, _ = cleaned(path, tmp_path)
    assert not found["batch"]
    assert found["notes"] == [
        "it takes one row at a time: in a batch of 3 the rows of 'y' are not what each is alone"
    ]


def test_an_operator_that_takes_one_row_only_is_named(tmp_path):
    state = np.zeros((1, 3), np.float32)
    joined = [helper.make_node("Concat", ["x", "state"], ["y"], axis=1, name="joined")]
    path = saved(
        tmp_path / "a.onnx", joined, [("x", FLOAT, [1, 3])], [("y", [1, 6])], [("state", state)]
    )
    found, output = cleaned(path, tmp_path)
    assert (found["changed"], output.exists()) == (False, False)
    assert found["notes"] == ["it takes one row at a time: with 3 rows Concat 'joined' fails"]


def test_rows_that_are_folded_into_another_axis_for_a_while_are_followed(tmp_path):
    nodes = [
        helper.make_node("Reshape", ["x", "folded"], ["f"]),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["t", "back"], ["y"]),
    ]
    constants = [
        ("folded", np.array([4, 2, 3], np.int64)),
        ("back", np.array([1, 4, 6], np.int64)),
    ]
    path = saved(
        tmp_path / "a.onnx", nodes, [("x", FLOAT, [1, 4, 6])], [("y", [1, 4, 6])], constants
    )
    found, _ = cleaned(path, tmp_path)
    assert (found["batch"], found["notes"]) == (True, [])


def test_a_graph_that_takes_texts_is_left_as_it_is(tmp_path):
    nodes = [helper.make_node("StringNormalizer", ["x"], ["y"])]
    text = TensorProto.STRING
    path = saved(tmp_path / "a.onnx", nodes, [("x", text, [1])], [("y", [1])], gives=text)
    found, _ = cleaned(path, tmp_path)
    assert (found["changed"], found["batch"]) == (False, False)
    assert "input 'x' takes tensor(string), which cannot be made up" in " ".join(found["notes"])


def test_what_breaks_the_tools_comes_back_with_a_note(tmp_path):
    broken = ModelFile("onnx", "float32", (b"no model",))
    made = clean(broken, tmp_path)
    assert made.file is broken
    assert "the graph was left as it is" in made.notes[0]


def test_only_float_onnx_is_cleaned(tmp_path):
    file = ModelFile("onnx", "int8", ((DIGITS / "mlp-int8.onnx").read_bytes(),))
    assert clean(file, tmp_path).file is file


def test_an_onnx_file_keeps_its_bytes(tmp_path):
    found = load(DIGITS / "cnn.onnx", tmp_path)
    assert found.files["onnx"].contents == ((DIGITS / "cnn.onnx").read_bytes(),)
    assert found.facts["file"] == "cnn.onnx"


def test_a_file_of_a_newer_ir_is_lowered_to_what_older_runtimes_read(tmp_path):
    path = saved(
        tmp_path / "a.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [("x", FLOAT, [1, 3])],
        [("y", [1, 3])],
        ir_version=11,
    )
    assert onnx.load_from_string(load(path, tmp_path).files["onnx"].contents[0]).ir_version == 10


def relu(path, **fields):
    nodes = [helper.make_node("Relu", ["x"], ["y"], domain=fields.pop("domain", ""))]
    return saved(path, nodes, [("x", FLOAT, [1, 3])], [("y", [1, 3])], **fields)


def test_what_no_engine_knows_is_refused_with_the_operator(tmp_path):
    path = relu(tmp_path / "a.onnx", domain="org.example", domains=["org.example"])
    with pytest.raises(ConversionError, match=r"no engine here knows \(org\.example\.Relu\)"):
        load(path, tmp_path)


def test_an_opset_of_the_future_is_refused(tmp_path):
    with pytest.raises(ConversionError, match=r"a\.onnx is of opset 99, and at most \d+ is known"):
        load(relu(tmp_path / "a.onnx", opset=99), tmp_path)


def test_old_opsets_are_taken(tmp_path):
    assert load(relu(tmp_path / "a.onnx", opset=7), tmp_path).files["onnx"].size_bytes


def test_lengths_that_are_open_stay_open(tmp_path):
    path = saved(
        tmp_path / "a.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [("x", FLOAT, ["rows", 3, "height", "width"])],
        [("y", ["rows", 3, "height", "width"])],
    )
    file = load(path, tmp_path).files["onnx"]
    image = np.ones((2, 3, 5, 7), np.float32)
    assert run_model(file, [image])[0].shape == (2, 3, 5, 7)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has 0 bytes"),
        (b"no protobuf at all", "no ONNX file that can be read"),
        (b"\x08\x09", "it holds no graph with operators"),
    ],
)
def test_what_is_no_onnx_is_refused(tmp_path, content, words):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ConversionError, match=words):
        load(tmp_path / "a.onnx", tmp_path)


def test_a_finished_file_is_refused_with_where_it_belongs(tmp_path):
    with pytest.raises(ConversionError, match=r"is int8 already.*wherever pack add PACKAGE mlp-"):
        load(DIGITS / "mlp-int8.onnx", tmp_path)


def test_half_precision_is_refused_with_what_to_convert(tmp_path):
    weights = [("w", np.eye(8, dtype=np.float16))]
    half = TensorProto.FLOAT16
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = saved(
        tmp_path / "a.onnx", nodes, [("x", half, [1, 8])], [("y", [1, 8])], weights, gives=half
    )
    with pytest.raises(ConversionError, match=r"is float16 already: convert the float32 model"):
        load(path, tmp_path)


def external(path, location):
    weights = [("w", np.eye(64, dtype=np.float32))]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    saved(path, nodes, [("x", FLOAT, [1, 64])], [("y", [1, 64])], weights)
    model = onnx.load(str(path))
    onnx.save(model, str(path), save_as_external_data=True, location=location, size_threshold=0)
    return path


def test_weights_beside_the_file_are_taken_in(tmp_path):
    path = external(tmp_path / "a.onnx", "a.weights")
    file = load(path, tmp_path, "embed").files["onnx"]
    (tmp_path / "a.weights").unlink()
    row = np.arange(64, dtype=np.float32)[None]
    np.testing.assert_array_equal(run_model(file, [row])[0], row)


def test_weights_that_are_not_there_are_said(tmp_path):
    path = external(tmp_path / "a.onnx", "a.weights")
    (tmp_path / "a.weights").unlink()
    with pytest.raises(ConversionError, match="keeps weights in files beside it"):
        load(path, tmp_path)


def test_weights_outside_of_the_folder_are_not_read(tmp_path):
    (tmp_path / "inner").mkdir()
    path = external(tmp_path / "inner" / "a.onnx", "a.weights")
    (tmp_path / "inner" / "a.weights").rename(tmp_path / "secret")
    data = path.read_bytes().replace(b"a.weights", b"../secret")
    path.write_bytes(data)
    with pytest.raises(ConversionError, match="keeps weights in files beside it"):
        load(path, tmp_path)


def test_a_tflite_file_brings_its_labels_and_the_scale_of_its_pixels(test_data, tmp_path):
    found = load(test_data / "models" / "mobilenet_v1_0.25_224_quant.tflite", tmp_path)
    assert found.files["tflite"].precision == "int8"
    assert found.labels[:2] == ("background", "tench")
    assert found.pixels.given() == {"scale": 1.0, "mean": [127.5], "std": [127.5]}


def test_a_tflite_file_that_no_engine_opens_is_refused_with_the_reason(test_data, tmp_path):
    with pytest.raises(ConversionError, match="quantized_dimension must be in range"):
        load(test_data / "models" / "person_detect.tflite", tmp_path)


def test_an_openvino_model_without_its_weights_is_refused(tmp_path):
    (tmp_path / "a.xml").write_bytes((DIGITS / "mlp-openvino.xml").read_bytes())
    with pytest.raises(ConversionError, match=r"a\.xml needs a\.bin beside it"):
        load(tmp_path / "a.xml", tmp_path)


@pytest.mark.parametrize("name", ["a.tflite", "a.xml"])
def test_noise_is_refused_in_words(tmp_path, name):
    (tmp_path / "a.bin").touch()
    (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0 a photo")
    with pytest.raises(ConversionError, match=r"is no (\.tflite file|OpenVINO model): it"):
        load(tmp_path / name, tmp_path)
