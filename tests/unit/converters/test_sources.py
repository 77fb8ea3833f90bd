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


def test_what_is_not_supported_is_refused_with_what_is():
    for source in ("model.h5", object(), 3):
        with pytest.raises(ConversionError, match=r"cannot convert .* supported are: .*\.onnx"):
            find_source(source)
    with pytest.raises(ConversionError, match=r"an object of type builtins\.int"):
        find_source(3)


def test_files_and_references_are_recognised(tmp_path):
    assert isinstance(find_source("a/model.onnx"), OnnxFile)
    assert isinstance(find_source(tmp_path / "M.ONNX"), OnnxFile)
    assert isinstance(find_source("train.py:model"), PythonReference)


@pytest.mark.parametrize("source", ["none.onnx", "none.py:model"])
def test_a_file_that_is_not_there_is_said(source):
    with pytest.raises(ConversionError, match="there is no such file"):
        find_source(source).to_onnx(source, None)


def test_what_is_no_onnx_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(ConversionError, match=r"a\.onnx is no ONNX file that can be read"):
        OnnxFile().to_onnx(tmp_path / "a.onnx", None)
