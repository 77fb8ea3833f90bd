"""What the steps of pipelines cost; the figures stand in their docstrings, and in docs/steps.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from harness import Row, table

from wherever_contracts.manifest import Signature, StepEntry, Variant
from wherever_contracts.tensors import Array
from wherever_edge.images import Image
from wherever_edge.pipelines.pipeline import Step, StepContext, compile_steps
from wherever_edge.pipelines.placement import PLACEMENT, Placement

ROUNDS = 15
ROUND_S = 0.01
LABELS = [f"label {number}" for number in range(80)]
RANDOM = np.random.default_rng(0)
NAMES = ("boxes", "scores", "classes")


def rows() -> list[Row]:
    """One line for each step and size."""
    return [
        Row(f"step {entry['op']}: {what}", _in_words(_seconds(entry, state, shapes)), "", "", None)
        for what, entry, state, shapes in [*_images(), *_numbers(), *_detectors(), *_found()]
    ]


# what, the step, the state before it, and the shapes of the variant's outputs
_Case = tuple[str, dict[str, Any], dict[str, Any], dict[str, Sequence[int]]]


def _images() -> list[_Case]:
    photo = RANDOM.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    digit = RANDOM.integers(0, 256, (280, 280, 3), dtype=np.uint8)
    tensor = {"op": "image_tensor", "name": "x", "to": "y"}
    ways: list[tuple[str, dict[str, Any]]] = [
        ("416x416", {"size": [416, 416]}),
        ("416x416, normalised", {"size": [416, 416], "mean": [9, 9, 9], "std": [2, 2, 2]}),
        ("416x416, letterboxed", {"size": [416, 416], "fit": "letterbox"}),
        ("224x224, nhwc", {"size": [224, 224], "layout": "nhwc"}),
        ("224x224, grey", {"size": [224, 224], "order": "grey"}),
        *(
            (f"416x416, {name}", {"size": [416, 416], "resize": name})
            for name in ("nearest", "cubic", "area", "antialias", "antialias_cubic", "lanczos")
        ),
    ]
    cases: list[_Case] = [
        (f"1280x720 to {what}", {**tensor, **more}, {"x": _image(photo)}, {}) for what, more in ways
    ]
    return [
        *cases,
        (
            "of 1280x720",
            {"op": "crop", "name": "x", "box": [9, 9, 99, 99]},
            {"x": _image(photo)},
            {},
        ),
        ("1280x720, 7", {"op": "tiles", "name": "x", "size": [480, 480]}, {"x": _image(photo)}, {}),
        ("280x280", {"op": "ink_numbers", "name": "x"}, {"x": _image(digit)}, {}),
    ]


def _numbers() -> list[_Case]:
    thousand = RANDOM.normal(0, 1, (1, 1000)).astype(np.float32)
    pixels = RANDOM.normal(0, 1, (1, 224, 224, 3)).astype(np.float32)
    byte = RANDOM.integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    plain: list[tuple[str, dict[str, Any]]] = [
        ("reshape", {"shape": [1000]}),
        ("first_row", {}),
        ("columns", {"start": 1}),
        ("rename", {}),
        ("softmax", {}),
        ("sigmoid", {}),
        ("probabilities", {}),
        ("max_confidence", {}),
        ("top_k", {"k": 5}),
    ]
    cases: list[_Case] = [
        ("1000 numbers", _onto(op, more), {"x": thousand}, {}) for op, more in plain
    ]
    large: list[tuple[str, dict[str, Any], Array]] = [
        ("scale", {"by": 0.5}, pixels),
        ("cast", {"dtype": "uint8"}, pixels),
        ("quantize", {"step": 0.02}, pixels),
        ("dequantize", {"step": 0.02}, byte),
    ]
    return [
        *cases,
        *[("224x224x3 numbers", _onto(op, more), {"x": array}, {}) for op, more, array in large],
        ("100 letters", _onto("utf8_bytes", {"length": 512}), {"x": "letter " * 14}, {}),
    ]


def _onto(op: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """A step from x to y."""
    given = {"op": op, "name": "x", **more}
    return given if op in ("max_confidence", "top_k") else {**given, "to": "y"}


def _detectors() -> list[_Case]:
    """Tensors of the sizes of real models, of which one candidate in fifty is of any worth."""
    scores, sides = [f"s{n}" for n in range(4)], [f"d{n}" for n in range(4)]
    cells = (2704, 676, 169, 49)
    pico = {name: _rare(1, n, 80) for name, n in zip(scores, cells, strict=True)}
    pico |= {
        name: RANDOM.normal(0, 1, (1, n, 32)).astype(np.float32)
        for name, n in zip(sides, cells, strict=True)
    }
    ssd = {"b": _rare(1, 10, 4), "c": np.zeros((1, 10)), "s": _rare(1, 10), "n": np.array([10])}
    named = {"boxes": "b", "classes": "c", "scores": "s", "count": "n"}
    size = [416, 416]
    made: list[tuple[str, dict[str, Any], dict[str, Array]]] = [
        ("22x22 cells", {"op": "fastestdet_boxes", "name": "x"}, {"x": _rare(1, 85, 22, 22)}),
        ("3549 cells", {"op": "yolox_boxes", "name": "x", "size": size}, {"x": _rare(1, 3549, 85)}),
        ("8400 cells", {"op": "yolov8_boxes", "name": "x"}, {"x": _rare(1, 84, 8400)}),
        ("25200 rows", {"op": "yolov5_boxes", "name": "x"}, {"x": _rare(1, 25200, 85)}),
        (
            "3598 cells",
            {"op": "picodet_boxes", "scores": scores, "sides": sides, "size": size},
            pico,
        ),
        ("10 rows", {"op": "ssd_boxes", "size": [300, 300], **named}, ssd),
        (
            "4420 boxes",
            {"op": "fraction_boxes", "boxes": "b", "scores": "s", "size": [240, 320]},
            {"b": _rare(1, 4420, 4), "s": _rare(1, 4420, 80)},
        ),
    ]
    return [
        (what, entry, {**state, **_call()}, {name: a.shape for name, a in state.items()})
        for what, entry, state in made
    ]


def _found() -> list[_Case]:
    steps: list[dict[str, Any]] = [
        {"op": "class_nms"},
        {"op": "class_nms", "over": "smaller"},
        {"op": "detection_confidence"},
        {"op": "best_detections"},
    ]
    return [
        (
            f"{count} candidates" + (", over the smaller" if "over" in step else ""),
            step,
            {**_candidates(count), **_call()},
            {},
        )
        for step in steps
        for count in ((100, 1000) if step["op"] == "class_nms" else (100,))
    ]


def _candidates(count: int) -> dict[str, Array]:
    corners = RANDOM.uniform(0, 400, (count, 2))
    boxes = np.hstack([corners, corners + RANDOM.uniform(5, 100, (count, 2))])
    return {
        "boxes": boxes.astype(np.float32),
        "scores": RANDOM.random(count).astype(np.float32),
        "classes": RANDOM.integers(0, 80, count),
    }


def _call() -> dict[str, Any]:
    placement = Placement(1280, 720, 416 / 1280, 416 / 720)
    return {"options": {"min_score": 0.3}, PLACEMENT: (placement,)}


def _rare(*shape: int) -> Array:
    """Numbers of 0 to 1 of which few are large."""
    return (RANDOM.random(shape) ** 200).astype(np.float32)


def _image(pixels: Array) -> Image:
    return Image.from_pixels(pixels, "x")


def _seconds(
    entry: dict[str, Any], state: dict[str, Any], shapes: Mapping[str, Sequence[int]]
) -> float:
    """The least time of a step over the rounds, on a fresh copy of the state each time."""
    (step,) = compile_steps([StepEntry(**entry)], _context(shapes), "pre")
    for _ in range(3):
        step(dict(state))
    calls = max(1, int(ROUND_S / _once(step, state, 1)))
    return min(_once(step, state, calls) for _ in range(ROUNDS))


def _once(step: Step, state: dict[str, Any], calls: int) -> float:
    states = [dict(state) for _ in range(calls)]
    started = perf_counter()
    for each in states:
        step(each)
    return (perf_counter() - started) / calls


def _context(shapes: Mapping[str, Sequence[int]]) -> StepContext:
    tensor = {"name": "y", "dtype": "float32", "shape": [-1, -1, -1, -1]}
    outputs = [{"name": n, "dtype": "float32", "shape": list(s)} for n, s in shapes.items()]
    signature = {
        "inputs": [{"name": "x", "kind": "image"}],
        "outputs": [{"name": name, "dtype": "float32", "shape": [-1]} for name in NAMES],
        "value": {"kind": "detections", "labels": LABELS, **{name: name for name in NAMES}},
        "options": [{"name": "min_score", "default": 0.3, "min": 0, "max": 1}],
    }
    variant = {
        "id": "v",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "v.onnx", "sha256": "0" * 64, "bytes": 0}],
        "tensors": {"inputs": [tensor], "outputs": outputs or [tensor]},
    }
    return StepContext(
        Signature.model_validate(signature), Variant.model_validate(variant), _no_file
    )


def _no_file(path: str) -> bytes:
    raise KeyError(path)


def _in_words(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.1f} us"


if __name__ == "__main__":
    print(table(rows()))
