"""`wherever inspect`: what is in a thing, and what opens it; nonsense is said in one sentence."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wherever_convert.inspecting import inspect
from wherever_edge.builtin import PACKAGES
from wherever_edge.packages.archive import write_archive
from wherever_edge.packages.store import open_package

DIGITS = PACKAGES / "digits"


def test_a_model_file_is_tried_in_every_engine_that_reads_it(answered):
    found = answered("inspect", DIGITS / "mlp-int8.onnx")
    assert (found["kind"], found["format"], found["precision"]) == ("model", "onnx", "int8")
    assert found["engines"] == {"onnxruntime": "", "openvino": ""}
    assert found["any_rows"]
    assert found["operators"]["DequantizeLinear"] > 2
    assert found["bytes"] == (DIGITS / "mlp-int8.onnx").stat().st_size


def test_an_engine_that_refuses_says_why(test_data):
    found = inspect(test_data / "models" / "person_detect.tflite").to_dict()
    assert "quantized_dimension must be in range" in found["engines"]["litert"]
    assert found["engines"]["openvino"]


def test_weights_beside_a_file_are_found_and_said(tmp_path):
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
            [numpy_helper.from_array(np.eye(64, dtype=np.float32), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    path = tmp_path / "a.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    found = inspect(path).to_dict()
    assert found["notes"] == ["keeps weights beside it, in w.bin"]
    assert found["engines"]["onnxruntime"] == ""
    assert found["weights"]["float32"]["numbers"] == 64 * 64


def test_a_package_and_its_archive_are_shown_alike(tmp_path, answered, capsys):
    archive = tmp_path / "digits.wherever"
    write_archive(open_package(DIGITS), archive)
    directory, packed = answered("inspect", DIGITS), answered("inspect", archive)
    assert {**packed, "path": ""} == {**directory, "path": ""}
    assert directory["kind"] == "package"
    assert directory["golden"] == 4
    assert [each["id"] for each in directory["variants"]][-1] == directory["reference"]
    assert directory["variants"][0]["quality"][0]["n"] > 100


def test_a_package_with_a_changed_file_is_refused(tmp_path, answered):
    changed = tmp_path / "digits"
    shutil.copytree(DIGITS, changed)
    data = (changed / "cnn.onnx").read_bytes()
    (changed / "cnn.onnx").write_bytes(data[:-1] + b"?")
    assert "cnn.onnx" in answered("inspect", changed, code=1)["error"]["message"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.onnx", b"", "has 0 bytes"),
        ("a.tflite", b"", "it does not begin as .tflite files do"),
        ("a.xml", b"", "it is no XML"),
        ("photo.onnx", b"\xff\xd8\xff\xe0JFIF" * 40, "is no ONNX file that can be read"),
        ("photo.tflite", b"\xff\xd8\xff\xe0JFIF" * 40, "is no model file"),
        ("photo.xml", b"\xff\xd8\xff\xe0JFIF" * 40, "is no model file"),
        ("a.wherever", b"\xff\xd8\xff\xe0JFIF" * 40, "expected a zip file"),
        ("a.xml", b"<net version='11'><layers/></net>", "it holds no OpenVINO model"),
        ("a.safetensors", b"\0" * 40, "weights without a model"),
    ],
)
def test_nonsense_is_said_in_one_sentence(tmp_path, answered, name, content, words):
    (tmp_path / name).write_bytes(content)
    message = answered("inspect", tmp_path / name, code=1)["error"]["message"]
    assert words in message
    assert "\n" not in message


def test_a_hugging_face_folder_that_cannot_be_converted_says_why(tmp_path, answered):
    config = {"architectures": ["LlamaForCausalLM"], "auto_map": {"AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = answered("inspect", tmp_path)
    assert (found["kind"], found["model"], found["names_code"]) == ("hugging-face", None, True)
    assert "LlamaForCausalLM is not supported" in found["refusal"]
    text = inspect(tmp_path).text(80)
    assert "names Python code, which is never run" in text
