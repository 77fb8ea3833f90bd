"""What detectors find on 64 photos, measured by a program that shares no line with the packages.

Pillow decodes, NumPy resizes and decodes in float64, the bare runtime runs, pycocotools weighs. The
figures are those that the packages must reach (`tests/integration/test_detection_accuracy.py`).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as pillow

pytestmark = pytest.mark.full

EVERYTHING = 0.001
OVERLAP = 0.45
MOST = 100
FIGURES = {
    "FastestDet.onnx": 0.2238,
    "yolox_nano.onnx": 0.3332,
    "picodet_s_416_coco.onnx": 0.3603,
    "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite": 0.2239,
}

Array: TypeAlias = npt.NDArray[Any]


class Photo(NamedTuple):
    """An image file, and what is in it: rows of class, centre x and y, width, height (shares)."""

    path: Path
    truth: Array


@pytest.fixture(scope="module")
def photos(test_data: Path) -> list[Photo]:
    folder = test_data / "images" / "coco_val2017"
    return [
        Photo(path, np.loadtxt(folder / "labels" / f"{path.stem}.txt", ndmin=2))
        for path in sorted((folder / "images").glob("*.jpg"))
    ]


@pytest.mark.parametrize("file", FIGURES)
def test_a_plain_program_finds_what_the_packages_are_held_to(
    photos: list[Photo], test_data: Path, file: str
) -> None:
    run = bare_runtime(test_data / "models" / file)
    found = [plain_detections(file, run, photo.path) for photo in photos]
    rows = [
        (image, kind, score, box) for image, each in enumerate(found) for kind, score, box in each
    ]
    assert coco_map(photos, rows) == pytest.approx(FIGURES[file], abs=0.001)


def bare_runtime(path: Path) -> Any:
    """A function of one array that gives the outputs in the file's order."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options)
        only = session.get_inputs()[0].name
        return lambda array: session.run(None, {only: array})
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=2)
    interpreter.allocate_tensors()

    def run(array: Array) -> list[Array]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]

    return run


def bilinear(pixels: Array, width: int, height: int) -> Array:
    """Pixels [rows, columns, 3] weighted by nearness of their centres, and rounded."""
    top, bottom, down = neighbours(pixels.shape[0], height)
    left, right, across = neighbours(pixels.shape[1], width)
    lines = pixels[top] * (1 - down)[:, None, None] + pixels[bottom] * down[:, None, None]
    return np.rint(lines[:, left] * (1 - across)[:, None] + lines[:, right] * across[:, None])


def neighbours(length: int, wanted: int) -> tuple[Array, Array, Array]:
    """For each wanted pixel the two around its centre, and the weight of the second."""
    centre = ((np.arange(wanted) + 0.5) * length / wanted - 0.5).clip(0, length - 1)
    first = centre.astype(int)
    return first, np.minimum(first + 1, length - 1), centre - first


def plain_detections(file: str, run: Any, path: Path) -> list[tuple[int, float, list[float]]]:
    """Class, score and box (x, y, width, height) of the detections in a file."""
    with pillow.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    decoder = {"F": fastestdet, "y": yolox, "p": picodet, "c": ssd}[file[0]]
    rows = [row for row in decoder(run, pixels) if row[1] >= EVERYTHING]
    kept: list[tuple[int, float, list[float]]] = []
    for kind, score, corners in sorted(rows, key=lambda row: -row[1]):
        left, right = (min(max(x, 0), pixels.shape[1]) for x in corners[::2])
        top, bottom = (min(max(y, 0), pixels.shape[0]) for y in corners[1::2])
        box = [left, top, right - left, bottom - top]
        seen = any(k == kind and overlap(b, box) > OVERLAP for k, _, b in kept)
        if box[2] > 0 and box[3] > 0 and not seen and len(kept) < MOST:
            kept.append((kind, score, box))
    return kept


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def planes(pixels: Array) -> Array:
    """Float32 [1, 3, height, width] in BGR."""
    return np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1)[None], np.float32)


def fastestdet(run: Any, pixels: Array) -> list[tuple[int, float, Any]]:
    raw = run(planes(bilinear(pixels, 352, 352) / 255))[0][0].astype(np.float64)
    rows = []
    for y in range(22):
        for x in range(22):
            cell = raw[:, y, x]
            kind = int(cell[5:].argmax())
            centre = (np.tanh(cell[1]) + x) / 22, (np.tanh(cell[2]) + y) / 22
            width, height = 1 / (1 + np.exp(-cell[3:5]))
            score = cell[0] ** 0.6 * cell[5 + kind] ** 0.4
            rows.append((kind, score, box_of(*centre, width, height, *pixels.shape[1::-1])))
    return rows


def yolox(run: Any, pixels: Array) -> list[tuple[int, float, Any]]:
    ratio = min(416 / pixels.shape[0], 416 / pixels.shape[1])
    height, width = int(pixels.shape[0] * ratio), int(pixels.shape[1] * ratio)
    canvas = np.full((416, 416, 3), 114.0)
    canvas[:height, :width] = bilinear(pixels, width, height)
    raw = run(planes(canvas))[0][0].astype(np.float64)
    rows, row = [], 0
    for stride in (8, 16, 32):
        for y in range(416 // stride):
            for x in range(416 // stride):
                cell, row = raw[row], row + 1
                kind = int(cell[5:].argmax())
                centre = (cell[0] + x) * stride / ratio, (cell[1] + y) * stride / ratio
                size = np.exp(cell[2:4]) * stride / ratio
                rows.append((kind, cell[4] * cell[5 + kind], box_of(*centre, *size, 1, 1)))
    return rows


def picodet(run: Any, pixels: Array) -> list[tuple[int, float, Any]]:
    mean, std = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]
    outputs = run(planes((bilinear(pixels, 416, 416) - mean[::-1]) / std[::-1]))
    scale = [pixels.shape[1] / 416, pixels.shape[0] / 416] * 2
    rows = []
    for stride, scores, sides in zip((8, 16, 32, 64), outputs[:4], outputs[4:], strict=True):
        side = -(-416 // stride)
        for cell in range(side * side):
            kind = int(scores[0, cell].argmax())
            powers = np.exp(sides[0, cell].astype(np.float64).reshape(4, 8))
            away = (powers / powers.sum(axis=1, keepdims=True) * np.arange(8)).sum(axis=1) * stride
            x, y = (cell % side + 0.5) * stride, (cell // side + 0.5) * stride
            corners = np.array([x - away[0], y - away[1], x + away[2], y + away[3]])
            rows.append((kind, float(scores[0, cell, kind]), (corners * scale).tolist()))
    return rows


def ssd(run: Any, pixels: Array) -> list[tuple[int, float, Any]]:
    boxes, classes, scores, count = run(bilinear(pixels, 300, 300).astype(np.uint8)[None])
    height, width, _ = pixels.shape
    # of 90 numbers, 10 stand for nothing; the labels of the images leave those out
    gaps = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]
    return [
        (
            int(kind) - sum(gap <= kind + 1 for gap in gaps),
            float(score),
            (x0 * width, y0 * height, x1 * width, y1 * height),
        )
        for (y0, x0, y1, x1), kind, score in zip(boxes[0], classes[0], scores[0], strict=True)
    ][: int(count[0])]


def box_of(
    x: float, y: float, width: float, height: float, scale_x: float, scale_y: float
) -> list[float]:
    left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return [left * scale_x, top * scale_y, right * scale_x, bottom * scale_y]


def coco_map(photos: Sequence[Photo], rows: Sequence[tuple[int, int, float, Any]]) -> float:
    """COCO's mAP by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: Any = COCO()
    true: list[tuple[int, int, list[float]]] = []
    for image, photo in enumerate(photos):
        with pillow.open(photo.path) as opened:
            wide, high = opened.size
        for kind, x, y, width, height in photo.truth:
            corner = [(x - width / 2) * wide, (y - height / 2) * high]
            true.append((image, int(kind), [*corner, width * wide, height * high]))
    truth.dataset = {
        "images": [{"id": n} for n in range(len(photos))],
        "categories": [{"id": n} for n in range(80)],
        # COCO takes an id of 0 for "no match"
        "annotations": [
            {"id": n, **annotation(*each), "iscrowd": 0} for n, each in enumerate(true, start=1)
        ],
    }
    found = [{**annotation(image, kind, box), "score": s} for image, kind, s, box in rows]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        run: Any = COCOeval(truth, truth.loadRes(found), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[0])


def annotation(image: int, kind: int, box: Sequence[float]) -> dict[str, Any]:
    area = float(box[2] * box[3])
    return {"image_id": image, "category_id": int(kind), "bbox": list(box), "area": area}
