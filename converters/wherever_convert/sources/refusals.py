"""Why something cannot be converted, and what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath

# FILE.py:NAME, as it is meant.
REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
_NEARLY = re.compile(r"(?P<file>.+\.py)(?::(?P<name>.*))?")

_PICKLE = (
    "pickles can run code. Write a FILE.py that makes the model and loads its weights, and convert "
    "FILE.py:NAME, or give the object in Python"
)
_KERAS = (
    "write a FILE.py that loads it with keras.saving.load_model, and convert FILE.py:NAME, or "
    "export it: model.export('model.onnx', format='onnx')"
)
_ONNX_FIRST = "convert the .onnx file, or the model, that it was made of"

# What Python's pickle reads, and what torch.save and joblib write.
PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".dill", ".bin"})

_BY_SUFFIX: Mapping[str, str] = {
    **dict.fromkeys(PICKLES, _PICKLE),
    ".bin": f"weights without a model. OpenVINO's: give the .xml beside them. Else perhaps a "
    f"pickle, and {_PICKLE}",
    ".h5": f"a Keras file of the old kind: {_KERAS}",
    ".hdf5": f"a Keras file of the old kind: {_KERAS}",
    ".pb": "a TensorFlow graph: python -m tf2onnx.convert --saved-model FOLDER --output "
    "model.onnx, and convert that",
    ".mlmodel": f"Core ML's format, which runs on Apple's systems alone: {_ONNX_FIRST}",
    ".mlpackage": f"Core ML's format, which runs on Apple's systems alone: {_ONNX_FIRST}",
    ".caffemodel": "Caffe's format: export the model to ONNX with the tools of Caffe's days, or "
    "give an .onnx file of the same network",
    ".prototxt": "Caffe's format: give an .onnx file of the same network",
    ".safetensors": "weights without a model: give the folder with its config.json and an ONNX "
    "file, or write a FILE.py that makes the model and loads them, and convert FILE.py:NAME",
    ".gguf": "a language model for llama.cpp, which no engine here runs",
    ".engine": f"built by TensorRT for one kind of graphics card: {_ONNX_FIRST}",
    ".plan": f"built by TensorRT for one kind of graphics card: {_ONNX_FIRST}",
    ".trt": f"built by TensorRT for one kind of graphics card: {_ONNX_FIRST}",
    ".ort": f"ONNX Runtime's own format: {_ONNX_FIRST}",
    ".pdmodel": "a Paddle model: paddle2onnx writes an .onnx file of it; convert that",
    ".wherever": "a package already: `wherever inspect` shows what is in it, and `wherever pack "
    "add` joins a variant to it",
    ".py": "a Python file: name the object in it, or the function that returns it, after a colon "
    "(FILE.py:NAME)",
}


def advice(path: PurePath) -> str:
    """What a file of this name is and what to do about it; "" when nothing is known of it."""
    return _BY_SUFFIX.get(path.suffix.lower(), "")


def misspelt(text: str) -> str:
    """Why something like FILE.py:NAME is none; "" when it is nothing like it."""
    nearly = _NEARLY.fullmatch(text)
    if nearly is None or REFERENCE.fullmatch(text) or not nearly["name"]:
        return ""
    return (
        f"{nearly['name']!r} is no name of an object in a Python file; it takes FILE.py:NAME with "
        f"one plain name"
    )


def folder_advice(names: frozenset[str]) -> str:
    """What a folder with files of these names is; "" when nothing is known of it."""
    if "saved_model.pb" in names:
        return "a TensorFlow SavedModel: " + _BY_SUFFIX[".pb"].removeprefix("a TensorFlow graph: ")
    if "model.json" in names:
        return _BY_SUFFIX[".wherever"]
    weights = sorted(name for name in names if name.lower().endswith((".onnx", ".tflite", ".xml")))
    if weights:
        return f"a folder with {', '.join(weights[:3])}: name the file itself"
    return ""
