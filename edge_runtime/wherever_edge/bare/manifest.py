"""The manifest of a model file that came without one. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from wherever_contracts.errors import InputError
from wherever_contracts.places import Boundary
from wherever_contracts.tensors import TensorSpec
from wherever_edge.bare.heads import find_head

Task: TypeAlias = Literal["classify", "detect", "embed", "tensors"]

TASKS: tuple[Task, ...] = ("classify", "detect", "embed", "tensors")

ENGINES_OF = {
    "onnx": ["onnxruntime", "openvino"],
    "tflite": ["litert", "openvino"],
    "openvino": ["openvino"],
}
_MIN_SCORE = {
    "name": "min_score",
    "default": 0.3,
    "min": 0.0,
    "max": 1.0,
    "help": "leave out what scores less than this",
}


@dataclass(frozen=True, slots=True)
class Pixels:
    """How an image becomes the model's tensor: a value v becomes (v * scale - mean) / std.

    What is None is taken from the kind of model, and is at last 0 to 1, RGB, stretched.

    Attributes:
        size: height and width; needed where the model leaves them open.
        scale: see above; 1/255 makes 0 to 1.
        mean: one number, or one for each channel.
        std: likewise.
        colour: order of the channels: "rgb", "bgr" or "grey".
        fit: "stretch", "letterbox" or "letterbox_top_left".
        resize: "linear", "antialias", "area", ...: see the step `image_tensor`.
        keep: the share of the image's middle that is used, 0 to 1.
    """

    size: tuple[int, int] | None = None
    scale: float | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    colour: str | None = None
    fit: str | None = None
    resize: str | None = None
    keep: float | None = None

    def given(self) -> dict[str, Any]:
        """What was said, as parameters of the step `image_tensor`."""
        said = {
            "scale": self.scale,
            "mean": None if self.mean is None else list(self.mean),
            "std": None if self.std is None else list(self.std),
            "order": self.colour,
            "fit": self.fit,
            "resize": self.resize,
            "keep": self.keep,
        }
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True)
class BareFile:
    """A model file, as an engine has read it.

    Attributes:
        name: what to call the model.
        source: where it was found, for people.
        file_format: "onnx", "tflite" or "openvino".
        precision: what it computes in.
        files: path, sha256 and bytes of each file, the model first.
        inputs: its tensors.
        outputs: likewise.
        ranges: input -> the numbers that 0 and 255 stand for, where the file says so.
    """

    name: str
    source: str
    file_format: str
    precision: str
    files: tuple[dict[str, Any], ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, Any])


def check_task(task: str) -> None:
    """Refuse a task that does not exist.

    Raises:
        InputError: with those that do.
    """
    if task not in TASKS:
        raise _wrong("task", f"one of {', '.join(TASKS)}", repr(task))


def bare_manifest(
    file: BareFile, task: Task, labels: Sequence[str] | None, pixels: Pixels, boundary: Boundary
) -> dict[str, Any]:
    """The fields of `model.json` for a file, as plain data.

    Args:
        file: what is known of it.
        task: what its answer is.
        labels: for "classify" and "detect"; numbers by default.
        pixels: how images are prepared.
        boundary: how far the data may travel.

    Raises:
        InputError: the task does not fit the file's tensors; it says what would.
    """
    check_task(task)
    makers = {"classify": _classify, "detect": _detect, "embed": _embed, "tensors": _tensors}
    signature, pipeline = makers[task](file, labels, pixels)
    return {
        "schema": "1.1",
        "name": file.name,
        "version": "0.0.0",
        "summary": f"{file.source}, opened without a package",
        "boundary": boundary,
        "reference": "file",
        "signature": signature,
        "variants": [
            {
                "id": "file",
                "format": file.file_format,
                "precision": file.precision,
                "files": list(file.files),
                "tensors": {"inputs": _entries(file.inputs), "outputs": _entries(file.outputs)},
                "pipeline": pipeline,
                "needs": {"engines": ENGINES_OF[file.file_format]},
            }
        ],
    }


def model_name(stem: str) -> str:
    """A model's name made of a file's: lower case, with dashes for what a name may not have."""
    name = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9._-]+", "-", stem.lower())).strip("-._")
    return name[:63] or "model"


def _classify(
    file: BareFile, labels: Sequence[str] | None, pixels: Pixels
) -> tuple[dict[str, Any], dict[str, Any]]:
    entry, pre = _input(file, pixels, {})
    output = _only_output(file, "classify")
    count = output.shape[-1]
    if output.dtype != "float32" or count < 2 or any(n not in (1, -1) for n in output.shape[:-1]):
        raise _misfit("classify", "one output of float32 [1, number of labels]", file.outputs)
    names = _labels(labels, count)
    signature = {
        "inputs": [entry],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [count]}],
        "value": {"kind": "label", "scores": "scores", "labels": names},
    }
    post = [
        {"op": "reshape", "name": output.name, "to": "scores", "shape": [count]},
        {"op": "probabilities", "name": "scores"},
        {"op": "max_confidence", "name": "scores"},
    ]
    return signature, {"pre": pre, "post": post}


def _detect(
    file: BareFile, labels: Sequence[str] | None, pixels: Pixels
) -> tuple[dict[str, Any], dict[str, Any]]:
    size = _size(file, pixels)
    head = find_head(file.outputs, size) if size else None
    if head is None:
        known = (
            "the outputs of YOLOX, YOLOv5, YOLOv8, PicoDet, FastestDet or TFLite's detection "
            "post-processing"
        )
        raise _misfit("detect", known, file.outputs)
    entry, pre = _input(file, pixels, head.image)
    if head.labels is None and labels is None:
        raise _wrong("labels", "the names of the classes (this model does not count them)", "none")
    names = _labels(labels, head.labels or len(labels or ()))
    signature = {
        "inputs": [entry],
        "outputs": [
            {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
            {"name": "scores", "dtype": "float32", "shape": [-1]},
            {"name": "classes", "dtype": "int64", "shape": [-1]},
        ],
        "value": {
            "kind": "detections",
            "boxes": "boxes",
            "scores": "scores",
            "classes": "classes",
            "labels": names,
        },
        "options": [_MIN_SCORE],
    }
    post = [head.decode, {"op": "class_nms"}, {"op": "best_detections"}]
    return signature, {"pre": pre, "post": post}


def _embed(
    file: BareFile, labels: Sequence[str] | None, pixels: Pixels
) -> tuple[dict[str, Any], dict[str, Any]]:
    _refuse_labels("embed", labels)
    entry, pre = _input(file, pixels, {})
    output = file.outputs[0]
    if output.dtype != "float32":
        raise _misfit("embed", "a first output of float32", file.outputs)
    length = -1 if -1 in output.shape[1:] else _product(output.shape[1:] or output.shape)
    signature = {
        "inputs": [entry],
        "outputs": [{"name": "embedding", "dtype": "float32", "shape": [length]}],
        "value": {"kind": "embedding", "vector": "embedding"},
    }
    post = [{"op": "reshape", "name": output.name, "to": "embedding", "shape": [-1]}]
    return signature, {"pre": pre, "post": post}


def _tensors(
    file: BareFile, labels: Sequence[str] | None, _pixels: Pixels
) -> tuple[dict[str, Any], dict[str, Any]]:
    _refuse_labels("tensors", labels)
    signature = {
        # a file says what it takes; whether NaN is among it is the caller's business
        "inputs": [{**entry, "kind": "tensor", "finite": False} for entry in _entries(file.inputs)],
        "outputs": _entries(file.outputs),
        "value": {"kind": "tensors"},
    }
    return signature, {}


def _input(
    file: BareFile, pixels: Pixels, usual: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The signature's input and the steps that prepare it: an image, or one row of numbers."""
    if len(file.inputs) != 1:
        raise _misfit("tensors", "one input (several go with the task 'tensors')", file.inputs)
    spec = file.inputs[0]
    size = _size(file, pixels)
    if size is not None:
        return {"name": "image", "kind": "image"}, _image_steps(spec, size, file, pixels, usual)
    if pixels.given() or pixels.size:
        raise _misfit("classify", "an image input, for pixels to be prepared", file.inputs)
    if len(spec.shape) < 2 or spec.shape[0] not in (1, -1):
        raise _misfit("classify", "an input whose first length is 1", file.inputs)
    row = [*spec.shape[1:]]
    entry = {"name": spec.name, "kind": "tensor", "dtype": spec.dtype, "shape": row}
    if row.count(-1) > 1:
        raise _misfit("classify", "an input with one open length at most", file.inputs)
    return entry, [{"op": "reshape", "name": spec.name, "shape": [1, *row]}]


def _image_steps(
    spec: TensorSpec,
    size: tuple[int, int],
    file: BareFile,
    pixels: Pixels,
    usual: Mapping[str, Any],
) -> list[dict[str, Any]]:
    first = _channels_first(spec)
    channels = spec.shape[1] if first else spec.shape[3]
    step = {
        "op": "image_tensor",
        "name": "image",
        "to": spec.name,
        "size": list(size),
        "scale": 1.0 if spec.dtype == "uint8" else 1 / 255,
        **({"order": "grey"} if channels == 1 else {}),
        **usual,
        **_ranged(file.ranges.get(spec.name)),
        **pixels.given(),
        "layout": "nchw" if first else "nhwc",
    }
    return [step, {"op": "cast", "name": spec.name, "dtype": spec.dtype}][
        : 1 if spec.dtype == "float32" else 2
    ]


def _ranged(range_: tuple[float, float] | None) -> dict[str, Any]:
    """Parameters that spread 0 to 255 over the numbers that a quantized file says it takes."""
    if range_ is None:
        return {}
    low, high = range_
    return {"scale": (high - low) / 255, "mean": [-low]}


def _size(file: BareFile, pixels: Pixels) -> tuple[int, int] | None:
    """Height and width when the first input is an image; None when it is not."""
    spec = file.inputs[0]
    if len(file.inputs) != 1 or len(spec.shape) != 4 or spec.dtype not in ("float32", "uint8"):
        return None
    if not (_channels_first(spec) or spec.shape[3] in (1, 3)):
        return None
    height, width = spec.shape[2:] if _channels_first(spec) else spec.shape[1:3]
    wanted = pixels.size
    if wanted is None and (height < 1 or width < 1):
        raise _wrong("size", "height and width, which the file leaves open", "none")
    fixed = wanted is not None and ((height, width), wanted)
    if fixed and any(n > 0 and n != m for n, m in zip(*fixed, strict=True)):
        raise _wrong("size", f"{height} x {width}, as the file has it", f"{wanted}")
    return wanted or (height, width)


def _channels_first(spec: TensorSpec) -> bool:
    return spec.shape[1] in (1, 3) and spec.shape[3] not in (1, 3)


def _labels(given: Sequence[str] | None, count: int) -> list[str]:
    names = [str(position) for position in range(count)] if given is None else [*given]
    if len(names) != count:
        what = f"{count} labels, one for each score that the file gives"
        raise _wrong("labels", what, f"{len(names)}")
    return names


def _refuse_labels(task: str, labels: Sequence[str] | None) -> None:
    if labels is not None:
        raise _wrong("labels", f"none for the task {task!r}", f"{len(labels)} labels")


def _only_output(file: BareFile, task: str) -> TensorSpec:
    if len(file.outputs) == 1 and file.outputs[0].shape:
        return file.outputs[0]
    raise _misfit(task, "one output", file.outputs)


def _entries(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": s.name, "dtype": s.dtype, "shape": list(s.shape)} for s in specs]


def _product(lengths: Sequence[int]) -> int:
    product = 1
    for length in lengths:
        product *= length
    return abs(product)


def _misfit(task: str, expected: str, found: Sequence[TensorSpec]) -> InputError:
    tensors = ", ".join(f"{spec.name} {spec}" for spec in found)
    return InputError(
        "task", f"for {task!r} {expected}", f"{tensors}; task='tensors' always fits", "argument"
    )


def _wrong(name: str, expected: str, found: str) -> InputError:
    return InputError(name, expected, found, kind="argument")
