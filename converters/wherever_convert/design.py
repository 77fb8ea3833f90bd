"""What a converted model promises, and the steps around its file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wherever_contracts.errors import ConversionError, InputError, PackageError
from wherever_convert.adapting import adapted_variant
from wherever_convert.samples.sample import Form
from wherever_edge.bare.manifest import BareFile, Pixels, Task, bare_manifest
from wherever_edge.packages.store import Store, open_package

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_contracts.tensors import TensorSpec
    from wherever_edge.packages.package import Package

_STEPS = frozenset({"pre", "post", "signature"})
_KINDS = {"images": "image", "texts": "text", "files": "bytes"}
_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Design:
    """The signature and the variant's pipeline, as plain data."""

    signature: dict[str, Any]
    pipeline: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for.

    Attributes:
        task: what the model does.
        labels: the names of the classes, when they were given.
        usual_labels: those that the source or the samples know.
        pixels: how images become tensors.
        like: a package whose signature and pipeline are taken, and the variant.
        steps: a pipeline in plain data, perhaps with a signature beside it.
    """

    task: Task
    labels: tuple[str, ...] | None = None
    usual_labels: tuple[str, ...] | None = None
    pixels: Pixels = field(default_factory=Pixels)
    like: tuple[Package, Variant] | None = None
    steps: dict[str, Any] | None = None


def design(
    wanted: Wanted, form: Form, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Design:
    """Decide what the model promises, and the steps before and after its engine.

    Args:
        wanted: what was asked for.
        form: what the samples are.
        inputs: what the file takes.
        outputs: what it gives.

    Raises:
        ConversionError: the file does not fit what was asked for, or it is not clear how.
    """
    made = _ready_made(wanted, inputs, outputs) or _usual(wanted, form, inputs, outputs)
    if not _suits(form, made.signature["inputs"]):
        takes = ", ".join(f"{spec.name} {spec}" for spec in inputs)
        raise ConversionError(f"the samples are {form}, and the model takes {takes}")
    return made


def _suits(form: Form, inputs: Sequence[dict[str, Any]]) -> bool:
    """Whether inputs take such samples; an image may also be taken as bare numbers."""
    images = [entry for entry in inputs if entry["kind"] == "image"]
    kind = _KINDS.get(form)
    if kind is not None:
        return any(entry["kind"] == kind for entry in inputs)
    return all(entry.get("numbers") for entry in images)


def read_steps(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A pipeline from a JSON file: `pre`, `post`, and perhaps `signature`.

    Raises:
        ConversionError: it is not such a file.
    """
    file = Path(path)
    if not file.is_file() or file.stat().st_size > _MAX_BYTES:
        raise ConversionError(f"pipeline: {file} is no file of at most {_MAX_BYTES} bytes")
    try:
        data: Any = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"pipeline: {file} is no JSON: {error}") from error
    if not isinstance(data, dict) or not _STEPS.issuperset(cast("dict[str, Any]", data)):
        raise ConversionError(f"pipeline: {file} must be an object with pre, post and signature")
    return cast("dict[str, Any]", data)


def precedent(like: str | os.PathLike[str]) -> tuple[Package, Variant]:
    """The package and the variant that PACKAGE or PACKAGE:VARIANT names.

    PACKAGE is a directory, or the name of a package in the wheel; the reference is the variant
    when none is named.

    Raises:
        ConversionError: there is no such variant.
        PackageError: the package is refused.
        ModelNotFoundError: there is no such package.
    """
    text = os.fspath(like)
    name, separator, variant_id = text.rpartition(":")
    if not separator or Path(text).exists():
        name, variant_id = text, ""
    package = open_package(Path(name)) if Path(name).exists() else Store().get(name)
    wanted = variant_id or package.manifest.reference
    try:
        return package, package.manifest.variant(wanted)
    except KeyError:
        known = ", ".join(variant.id for variant in package.manifest.variants)
        raise ConversionError(
            f"package {package.name!r} has no variant {wanted!r} (it has: {known})"
        ) from None


def _ready_made(
    wanted: Wanted, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Design | None:
    """What a package or a file says, when it says all."""
    steps = wanted.steps or {}
    pipeline = {side: steps.get(side, []) for side in ("pre", "post")}
    if wanted.like is not None:
        package, variant = wanted.like
        signature = package.manifest.signature.model_dump(mode="json", exclude_unset=True)
        if not wanted.steps:
            pipeline = adapted_variant(variant, inputs, outputs)
        return Design(_relabelled(signature, wanted.labels), pipeline)
    if "signature" in steps:
        return Design(_relabelled(steps["signature"], wanted.labels), pipeline)
    return None


def _relabelled(signature: dict[str, Any], labels: tuple[str, ...] | None) -> dict[str, Any]:
    if labels is None:
        return signature
    return {**signature, "value": {**signature["value"], "labels": list(labels)}}


def _usual(
    wanted: Wanted, form: Form, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Design:
    """What is usual for the task, with the steps replaced by those that were given."""
    if wanted.task == "tensors":
        made = _row_tensors(inputs, outputs)
        if form == "images":  # prepared as they are for a model that embeds
            image = _from_file(replace(wanted, task="embed"), inputs, outputs)
            signature = {**made.signature, "inputs": image.signature["inputs"]}
            made = Design(signature, {**made.pipeline, "pre": image.pipeline["pre"]})
    else:
        made = _from_file(wanted, inputs, outputs)
        if form == "rows":
            entries, pre = _row_inputs(inputs)
            signature = {**made.signature, "inputs": entries}
            made = Design(signature, {**made.pipeline, "pre": pre})
    return Design(made.signature, {**made.pipeline, **(wanted.steps or {})})


def _from_file(
    wanted: Wanted, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Design:
    """As `wherever.open` would have it."""
    file = BareFile("model", "the model", "onnx", "float32", (), tuple(inputs), tuple(outputs))
    labels = wanted.labels
    if labels is None and wanted.task in ("classify", "detect"):
        labels = _fitting(wanted, file)
    try:
        data = bare_manifest(file, wanted.task, labels, wanted.pixels, "anywhere")
    except (InputError, PackageError) as error:
        raise ConversionError(
            f"{error}; or say how it is done with --like PACKAGE:VARIANT or --pipeline FILE"
        ) from error
    return Design(data["signature"], data["variants"][0]["pipeline"])


def _fitting(wanted: Wanted, file: BareFile) -> tuple[str, ...] | None:
    """The usual labels, when there are as many as the file has classes; else numbers are."""
    usual = wanted.usual_labels
    if usual is None:
        return None
    try:
        bare_manifest(file, wanted.task, usual, wanted.pixels, "anywhere")
    except (InputError, PackageError):
        return None
    return usual


def _row_inputs(
    inputs: Sequence[TensorSpec],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Arrays without the axis that counts rows, and the steps that put it back."""
    entries: list[dict[str, Any]] = []
    pre: list[dict[str, Any]] = []
    for spec in inputs:
        row = _row("input", spec)
        if row.count(-1) > 1:
            raise ConversionError(
                f"input {spec.name!r} is {spec}: several of its lengths may be anything; "
                f"say how it is made with --pipeline FILE"
            )
        entries.append({"name": spec.name, "kind": "tensor", "dtype": spec.dtype, "shape": row})
        pre.append({"op": "reshape", "name": spec.name, "shape": [1, *row]})
    return entries, pre


def _row_tensors(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Design:
    entries, pre = _row_inputs(inputs)
    promised = [
        {"name": spec.name, "dtype": spec.dtype, "shape": _row("output", spec)} for spec in outputs
    ]
    post = [{"op": "first_row", "name": spec.name} for spec in outputs if len(spec.shape) > 1]
    signature = {"inputs": entries, "outputs": promised, "value": {"kind": "tensors"}}
    return Design(signature, {"pre": pre, "post": post})


def _row(side: str, spec: TensorSpec) -> list[int]:
    """The shape of one row; a list of numbers stays one of any length."""
    if not spec.shape or spec.shape[0] not in (-1, 1):
        raise ConversionError(
            f"{side} {spec.name!r} is {spec}; its first length must count rows (any, or 1)"
        )
    if len(spec.shape) > 1 or side == "input":
        return list(spec.shape[1:])
    return list(spec.shape)
