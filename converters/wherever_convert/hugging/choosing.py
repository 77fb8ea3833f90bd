"""Which model a folder holds, and which of its ONNX files is the float one."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from wherever_contracts.errors import ConversionError
from wherever_convert.hugging import Folder
from wherever_edge.bare.manifest import Task

# What exporters add to the name of a file that is not the plain float32 one.
_VARIANT = re.compile(
    r"_(quantized|int8|uint8|q4|q4f16|q8|bnb4|fp16|bf16|qint8.*|quint8.*|O[1-4]|dynamic.*|static.*)$",
    re.IGNORECASE,
)
_WEIGHTS = (".safetensors", ".bin", ".h5", ".msgpack", ".pt", ".pth", ".gguf")
SUPPORTED = (
    "text classification (...ForSequenceClassification), sentence embedding (a base model with a "
    "tokenizer), image classification (...ForImageClassification) and image embedding (a base "
    "model with a preprocessor_config.json)"
)


class Kind(NamedTuple):
    """What a model does: the task, and what it looks at."""

    task: Task
    takes: str


TEXT_CLASSIFIER = Kind("classify", "text")
TEXT_EMBEDDER = Kind("embed", "text")
IMAGE_CLASSIFIER = Kind("classify", "images")
IMAGE_EMBEDDER = Kind("embed", "images")


class Choice(NamedTuple):
    """The ONNX file to take, and those that were passed over."""

    path: str
    passed_over: tuple[str, ...]


def choose_onnx(folder: Folder) -> Choice:
    """The float32 ONNX file of a folder.

    Raises:
        ConversionError: there is none, or several; the message says what to do.
    """
    found = sorted(path for path in folder.files if _is_model(path))
    plain = [path for path in found if not _VARIANT.search(PurePosixPath(path).stem)]
    if not found:
        raise ConversionError(_no_onnx(folder))
    if not plain:
        raise ConversionError(
            f"{folder.name} holds no float32 ONNX file, only {', '.join(found)}: convert the one "
            f"that they were made of"
        )
    usual = [path for path in ("onnx/model.onnx", "model.onnx") if path in plain] or plain
    if len(usual) > 1 and usual == plain and "model.onnx" not in plain:
        raise ConversionError(
            f"{folder.name} holds several ONNX files ({', '.join(plain)}); models in several parts "
            f"are not supported"
        )
    return Choice(usual[0], tuple(path for path in found if path != usual[0]))


def kind_of(folder: Folder) -> Kind:
    """What the model of a folder does.

    Raises:
        ConversionError: nothing that is supported.
    """
    names = folder.config.texts("architectures")
    architecture = names[0] if names else ""
    if architecture.endswith("ForSequenceClassification"):
        return TEXT_CLASSIFIER
    if architecture.endswith("ForImageClassification"):
        return IMAGE_CLASSIFIER
    if folder.modules or _is_base(architecture):
        return _embedder(folder, architecture)
    said = architecture or folder.config.text("model_type") or "no architecture"
    raise ConversionError(f"{folder.name}: {said} is not supported; supported are {SUPPORTED}")


def _embedder(folder: Folder, architecture: str) -> Kind:
    texts = "tokenizer.json" in folder.files or bool(folder.modules)
    if texts and folder.images:
        raise ConversionError(
            f"{folder.name}: {architecture} takes both texts and images, which is not supported; "
            f"export one half of it (CLIPVisionModelWithProjection, for one)"
        )
    return IMAGE_EMBEDDER if folder.images else TEXT_EMBEDDER


def _is_base(architecture: str) -> bool:
    """A model without a head for a task, or with a mere projection."""
    return architecture.endswith(("Model", "ModelWithProjection", "ForMaskedLM", "Backbone"))


def _is_model(path: str) -> bool:
    return path.endswith(".onnx") and path.count("/") <= 1


def _no_onnx(folder: Folder) -> str:
    weights = sorted(path for path in folder.files if path.endswith(_WEIGHTS))
    if not weights:
        return f"{folder.name} has a config.json, and no ONNX file and no weights"
    return (
        f"{folder.name} holds weights ({weights[0]}) and no ONNX file: export one with "
        f"pip install 'optimum-onnx[onnxruntime]' && optimum-cli export onnx --model {folder.name} "
        f"{folder.name}-onnx, and convert {folder.name}-onnx"
    )
