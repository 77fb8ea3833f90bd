"""A folder as Hugging Face's tools write it: config.json, tokenizer.json, and an ONNX file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from wherever_contracts.errors import ConversionError
from wherever_convert.design import Design
from wherever_convert.hugging import Folder, Promise
from wherever_convert.hugging.choosing import (
    IMAGE_CLASSIFIER,
    IMAGE_EMBEDDER,
    TEXT_CLASSIFIER,
    TEXT_EMBEDDER,
    Kind,
    choose_onnx,
    kind_of,
)
from wherever_convert.hugging.images import classifier_of_images, embedder_of_images
from wherever_convert.hugging.said import Said, labels_of
from wherever_convert.hugging.texts import TOKENIZER, classifier_of_texts, embedder_of_texts
from wherever_convert.running import open_model
from wherever_convert.sources import Request, Source, SourceModel, as_path
from wherever_convert.sources.onnx_file import read_float_onnx
from wherever_edge.pipelines.tokens import read_tokenizer

if TYPE_CHECKING:
    from wherever_contracts.tensors import TensorSpec

_CONFIG = "config.json"
_MAX_JSON_BYTES = 64 * 1024 * 1024
_MOST_FILES = 10_000

_Design: TypeAlias = "Callable[[Folder, Sequence[TensorSpec], Sequence[TensorSpec]], Promise]"
_DESIGNS: Mapping[Kind, _Design] = {
    TEXT_CLASSIFIER: classifier_of_texts,
    TEXT_EMBEDDER: embedder_of_texts,
    IMAGE_CLASSIFIER: classifier_of_images,
    IMAGE_EMBEDDER: embedder_of_images,
}


class HuggingFaceFolder(Source):
    """Takes the folder's float ONNX file, and its tokenizer or its way to prepare images.

    Nothing is fetched, and code that a config.json names (auto_map) is never looked at.
    """

    title = "a Hugging Face folder (config.json with an ONNX file)"

    def recognises(self, source: object) -> bool:
        """True for a directory with a config.json."""
        path = as_path(source)
        return path is not None and (path / _CONFIG).is_file()

    def load(self, source: object, request: Request) -> SourceModel:
        """Read the folder, and translate its settings into a signature and steps."""
        path = as_path(source)
        if path is None:
            raise ConversionError(f"{source!r} is no path")
        folder = read_folder(path)
        kind = kind_of(folder)
        if request.task != kind.task:
            raise ConversionError(
                f"{folder.name} holds a model that takes {kind.takes}, for the task {kind.task!r} "
                f"(--task {kind.task}), not for {request.task!r}"
            )
        chosen = choose_onnx(folder)
        file = read_float_onnx(path / chosen.path)
        session = open_model(file, chosen.path)
        promise = _DESIGNS[kind](folder, session.inputs, session.outputs)
        session.close()
        if chosen.passed_over:
            request.tell(f"{chosen.path} is taken, {', '.join(chosen.passed_over)} not")
        return SourceModel(
            {"onnx": file},
            _facts(path, folder, chosen.path),
            labels_of(folder.config) if kind.task == "classify" else None,
            design=Design(promise.signature, promise.pipeline),
            assets=_tokenizer(path) if kind.takes == "text" else {},
        )


def read_folder(path: Path) -> Folder:
    """What a folder says of its model.

    Raises:
        ConversionError: a file of it is no JSON, or says something else than it should.
    """
    return Folder(
        name=path.resolve().name,
        files=_files(path),
        config=_said(path, _CONFIG),
        tokenizer=_said(path, "tokenizer_config.json"),
        images=_said(path, "preprocessor_config.json"),
        sentences=_said(path, "sentence_bert_config.json"),
        prompts=_said(path, "config_sentence_transformers.json"),
        words=_said(path, TOKENIZER),
        pooling=_said(path, "1_Pooling/config.json"),
        modules=_modules(path),
    )


def _files(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for depth in ("*", "*/*"):
        for each in path.glob(depth):
            if each.is_file():
                found.add(each.relative_to(path).as_posix())
            if len(found) > _MOST_FILES:
                raise ConversionError(f"{path} holds more than {_MOST_FILES} files")
    return frozenset(found)


def _modules(path: Path) -> tuple[str, ...]:
    """The types of a sentence embedder's steps, without the modules that they are in."""
    found = _json(path, "modules.json")
    if not isinstance(found, list):
        return ()
    said = [_object("modules.json", each) for each in cast("list[object]", found)]
    return tuple(PurePosixPath(each.text("type").replace(".", "/")).name for each in said)


def _said(path: Path, name: str) -> Said:
    found = _json(path, name)
    return Said(name, {}) if found is None else _object(name, found)


def _object(name: str, found: object) -> Said:
    if not isinstance(found, dict):
        raise ConversionError(f"{name} must hold an object, not {type(found).__name__}")
    return Said(name, cast("dict[str, Any]", found))


def _json(path: Path, name: str) -> Any:
    """What a JSON file holds; None when there is none."""
    file = path / name
    if not file.is_file():
        return None
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise ConversionError(f"{file} has more than {_MAX_JSON_BYTES} bytes")
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{file} is no JSON: {error}") from error


def _tokenizer(path: Path) -> dict[str, bytes]:
    data = (path / TOKENIZER).read_bytes()
    read_tokenizer(data, TOKENIZER)
    return {TOKENIZER: data}


def _facts(path: Path, folder: Folder, chosen: str) -> dict[str, Any]:
    data = (path / chosen).read_bytes()
    return {
        "kind": "hugging-face",
        "folder": folder.name,
        "model_type": folder.config.text("model_type"),
        "architectures": list(folder.config.texts("architectures")),
        "file": chosen,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
