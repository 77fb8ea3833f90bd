"""A photo in tiles: each goes through the engine, and what is found comes back in one picture."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as pillow

from wherever_contracts.errors import InputError
from wherever_contracts.receipts import Answer
from wherever_contracts.tensors import Array
from wherever_convert.builder import build_package
from wherever_edge.host import LoadedVariant, LocalHost
from wherever_edge.images import Image
from wherever_edge.packages.store import Store

SIDE = 32
NAMES = ("boxes", "scores", "classes")
ENGINES = ("onnxruntime", "openvino")


def brightness_detector(path: Path, rows: int | str) -> None:
    """A model that finds one thing in the middle of a picture, as surely as the picture is bright.

    Its rows are YOLOv5's: centre, size, objectness and the probability of the only label.
    """
    sure = np.array([0, 0, 0, 0, 1 / 255, 0], np.float32).reshape(1, 1, 6)
    there = np.array([SIDE / 2, SIDE / 2, 8, 4, 0, 1], np.float32).reshape(1, 1, 6)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("Squeeze", ["mean", "last"], ["bright"]),
            helper.make_node("Mul", ["bright", "sure"], ["scaled"]),
            helper.make_node("Add", ["scaled", "there"], ["y"]),
        ],
        "bright",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 1, 6])],
        [
            numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
            numpy_helper.from_array(np.array([3]), "last"),
            numpy_helper.from_array(sure, "sure"),
            numpy_helper.from_array(there, "there"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())


def variant(rows: int, engine: str) -> dict[str, Any]:
    """`tall` takes any number of rows, `flat` takes one."""
    name = "flat" if rows == 1 else "tall"
    return {
        "id": f"{name}-{engine}",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": f"{name}.onnx"}],
        "tensors": {
            "inputs": [{"name": "x", "dtype": "float32", "shape": [rows, 3, SIDE, SIDE]}],
            "outputs": [{"name": "y", "dtype": "float32", "shape": [rows, 1, 6]}],
            "batch": rows == -1,
        },
        "pipeline": {
            "pre": [
                {"op": "tiles", "name": "image", "size": [SIDE, SIDE], "overlap": 0.5, "most": 30},
                {"op": "image_tensor", "name": "image", "to": "x", "size": [SIDE, SIDE]},
            ],
            "post": [
                {"op": "yolov5_boxes", "name": "y"},
                {"op": "class_nms", "over": "smaller"},
                {"op": "best_detections"},
            ],
        },
        "needs": {"engines": [engine]},
    }


def manifest(variants: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
    return {
        "name": "tiled",
        "version": "1.0.0",
        "boundary": "device",
        "reference": variants[0]["id"],
        "signature": {
            "inputs": [{"name": "image", "kind": "image"}],
            "outputs": [
                {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
                {"name": "scores", "dtype": "float32", "shape": [-1]},
                {"name": "classes", "dtype": "int64", "shape": [-1]},
            ],
            "value": {"kind": "detections", "labels": labels, **{n: n for n in NAMES}},
            "options": [{"name": "min_score", "default": 0.5, "min": 0, "max": 1}],
        },
        "variants": variants,
    }


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    root = tmp_path_factory.mktemp("packages") / "tiled"
    root.mkdir()
    brightness_detector(root / "flat.onnx", 1)
    brightness_detector(root / "tall.onnx", "rows")
    variants = [variant(rows, engine) for rows in (1, -1) for engine in ENGINES]
    build_package(root, manifest(variants, ["light"]))
    with contextlib.closing(LocalHost(Store([root], builtin=False), distance="device")) as host:
        yield host


@pytest.fixture(params=[f"{name}-{engine}" for name in ("flat", "tall") for engine in ENGINES])
def loaded(request: pytest.FixtureRequest, host: LocalHost) -> LoadedVariant:
    return host.resolve("tiled", variant=request.param)


def ask(loaded: LoadedVariant, pixels: Array, min_score: float = 0.5) -> Answer:
    return loaded.answer({"image": Image.from_pixels(pixels, "image")}, {"min_score": min_score})


def dark(height: int = 64, width: int = 80) -> Array:
    return np.zeros((height, width, 3), np.uint8)


def test_what_lights_up_one_tile_is_found_in_its_middle(loaded: LoadedVariant) -> None:
    pixels = dark()
    pixels[32:64, 16:48] = 250
    found = ask(loaded, pixels, 0.9).outputs
    np.testing.assert_allclose(found["boxes"], [[28, 46, 36, 50]], atol=1e-3)
    np.testing.assert_allclose(found["scores"], [250 / 255], rtol=1e-5)


def test_all_tiles_and_the_whole_picture_are_looked_at(loaded: LoadedVariant) -> None:
    found = ask(loaded, dark() + 200).outputs
    tiles = [(left, top) for top in (0, 16, 32) for left in (0, 16, 32, 48)]
    expected = [[left + 12, top + 14, left + 20, top + 18] for left, top in tiles]
    boxes = found["boxes"].round(3).tolist()
    # the whole picture's box is larger, and comes first; it covers those in its middle
    assert boxes[0] == [30, 28, 50, 36]
    inside = [box for box in expected if box[0] >= 26 and box[2] <= 54 and 26 <= box[1] <= 34]
    assert sorted(boxes[1:]) == sorted(box for box in expected if box not in inside)


def test_the_time_in_the_engine_counts_every_tile(loaded: LoadedVariant) -> None:
    assert ask(loaded, dark()).engine_s > 0


def test_a_picture_of_one_tile_is_one_row(loaded: LoadedVariant) -> None:
    found = ask(loaded, dark(20, 20) + 255).outputs
    np.testing.assert_allclose(found["boxes"], [[7.5, 8.75, 12.5, 11.25]])


def test_a_picture_of_too_many_tiles_is_the_callers_mistake(loaded: LoadedVariant) -> None:
    with pytest.raises(InputError, match="at most 30 tiles"):
        ask(loaded, dark(320, 320))


def test_rows_of_pictures_that_are_asked_for_together_do_not_mix(loaded: LoadedVariant) -> None:
    lit = [dark(40 + 8 * n, 64) for n in range(4)]
    for n, pixels in enumerate(lit):
        pixels[:, :32] = 255 - n
    rows = [{"image": Image.from_pixels(pixels, "image")} for pixels in lit]
    together = loaded.answer_many(rows, {"min_score": 0.9})
    for pixels, answer in zip(lit, together, strict=True):
        alone = ask(loaded, pixels, 0.9)
        assert isinstance(answer, Answer)
        for name in NAMES:
            np.testing.assert_allclose(answer.outputs[name], alone.outputs[name], rtol=1e-6)


def test_calls_of_many_threads_with_tiles_each_do_not_mix(loaded: LoadedVariant) -> None:
    lit = [dark(40 + 8 * (n % 4), 64 + 16 * (n % 3)) for n in range(12)]
    for n, pixels in enumerate(lit):
        pixels[:, : 32 + n] = 255 - n
    alone = [ask(loaded, pixels).outputs for pixels in lit]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda pixels: ask(loaded, pixels).outputs, lit * 5))
    for one, other in zip(together, alone * 5, strict=True):
        for name in NAMES:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-4)


def test_four_photos_in_one_are_seen_as_each_of_them(test_data: Path, tmp_path: Path) -> None:
    """YOLOX takes one row at a time; tiles without an overlap are the photos themselves."""
    pre = {
        "op": "image_tensor",
        "name": "image",
        "to": "images",
        "size": [416, 416],
        "order": "bgr",
    }
    cut = {"op": "tiles", "name": "image", "size": [416, 416], "overlap": 0, "whole": False}
    post = [
        {"op": "yolox_boxes", "name": "output", "size": [416, 416]},
        {"op": "class_nms"},
        {"op": "best_detections"},
    ]
    tensors = {
        "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 416, 416]}],
        "outputs": [{"name": "output", "dtype": "float32", "shape": [1, 3549, 85]}],
    }
    (tmp_path / "y.onnx").write_bytes((test_data / "models" / "yolox_nano.onnx").read_bytes())
    variants = [
        {
            "id": name,
            "format": "onnx",
            "precision": "float32",
            "files": [{"path": "y.onnx"}],
            "tensors": tensors,
            "pipeline": {"pre": steps, "post": post},
        }
        for name, steps in (("whole", [pre]), ("tiled", [cut, pre]))
    ]
    build_package(tmp_path, manifest(variants, [str(number) for number in range(80)]))
    photos = [small(path) for path in sorted((test_data / "images/coco_val2017/images").iterdir())]
    mosaic = np.vstack([np.hstack(photos[:2]), np.hstack(photos[2:4])])
    with contextlib.closing(LocalHost(Store([tmp_path], builtin=False), distance="device")) as host:
        seen = ask(host.resolve("tiled", variant="tiled"), mosaic, 0.4).outputs
        alone = host.resolve("tiled", variant="whole")
        each = [ask(alone, photo, 0.4).outputs for photo in photos[:4]]
    corners = ((0, 0), (416, 0), (0, 416), (416, 416))
    expected = [
        (score, kind, np.add(box, corner * 2))
        for outputs, corner in zip(each, corners, strict=True)
        for score, kind, box in zip(
            *(outputs[n] for n in ("scores", "classes", "boxes")), strict=True
        )
    ]
    expected.sort(key=lambda row: -row[0])
    assert len(expected) > 5
    np.testing.assert_allclose(seen["scores"], [row[0] for row in expected], rtol=1e-4)
    np.testing.assert_array_equal(seen["classes"], [row[1] for row in expected])
    np.testing.assert_allclose(seen["boxes"], [row[2] for row in expected], atol=0.05)


def small(path: Path) -> Array:
    with pillow.open(path) as opened:
        return np.asarray(opened.convert("RGB").resize((416, 416)))
