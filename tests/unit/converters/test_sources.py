"""What cannot be converted is refused before any work, with what can be."""

from __future__ import annotations

import pytest

from wherever_contracts.errors import ConversionError
from wherever_convert.sources import find_source
from wherever_convert.sources.onnx_file import OnnxFile
from wherever_convert.sources.reference import PythonReference


@pytest.mark.parametrize("name", ["model.pkl", "m.pickle", "a/b.joblib", "net.pt", "net.PTH"])
def test_pickles_are_refused_with_the_reason(name):
    with pytest.raises(ConversionError, match="pickles can run code"):
        find_source(name)


def test_what_is_not_supported_is_refused_with_what_is(tmp_path):
    (tmp_path / "model.xyz").touch()
    for source in (tmp_path / "model.xyz", object(), 3):
        with pytest.raises(ConversionError, match=r"cannot convert .* supported are: .*\.onnx"):
            find_source(source)
    with pytest.raises(ConversionError, match=r"an object of type builtins\.int"):
        find_source(3)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.safetensors", "weights without a model"),
        ("a.gguf", "a language model for llama.cpp"),
        ("a.engine", "built by TensorRT for one kind of graphics card"),
        ("a.pb", "tf2onnx"),
        ("a.mlmodel", "Core ML's format"),
        ("a.caffemodel", "Caffe's format"),
        ("a.wherever", "a package already"),
        ("train.py", "after a colon"),
        ("train.py:my-model", "'my-model' is no name of an object"),
        ("nothing", "there is no such file"),
    ],
)
def test_near_misses_say_what_to_do(name, advice):
    with pytest.raises(ConversionError, match="cannot convert") as caught:
        find_source(name)
    assert advice in str(caught.value)


def test_openvinos_weights_lead_to_the_file_beside_them():
    with pytest.raises(ConversionError, match=r"OpenVINO's: give the \.xml beside them"):
        find_source("model.bin")


@pytest.mark.parametrize(
    ("file", "advice"),
    [
        ("model.json", "a package already"),
        ("small.onnx", r"a folder with small\.onnx: name the file itself"),
        ("notes.txt", "a folder of no known kind"),
    ],
)
def test_a_folder_is_told_by_what_is_in_it(tmp_path, file, advice):
    (tmp_path / file).touch()
    with pytest.raises(ConversionError, match=advice):
        find_source(tmp_path)


def test_files_and_references_are_recognised(tmp_path):
    for name in ("model.onnx", "M.ONNX", "train.py"):
        (tmp_path / name).touch()
    assert isinstance(find_source(str(tmp_path / "model.onnx")), OnnxFile)
    assert isinstance(find_source(tmp_path / "M.ONNX"), OnnxFile)
    assert isinstance(find_source(f"{tmp_path}/train.py:model"), PythonReference)


@pytest.mark.parametrize("source", ["none.onnx", "none.tflite", "none.xml", "none.py:model"])
def test_a_file_that_is_not_there_is_said_before_any_work(source):
    with pytest.raises(ConversionError, match="there is no such file"):
        find_source(source)
