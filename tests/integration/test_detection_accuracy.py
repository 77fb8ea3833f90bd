"""Detectors built into packages find what their models were measured to find, in each engine.

Each must reach, within a point, two figures of COCO's mAP on these 64 images: `stated`, what was
measured when the model was chosen (of "ssd", on these and 64 more); and `plain`, what a program
measures that shares no line with the package's way (`tests/full/test_detectors_plainly.py`).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from wherever_contracts.tensors import Array
from wherever_convert.builder import build_package
from wherever_convert.metrics import Labelled, mean_average_precision
from wherever_edge.agreement import Found
from wherever_edge.host import LocalHost
from wherever_edge.images import Image
from wherever_edge.packages.store import Store

POINT = 0.01
EVERYTHING = 0.001
OVERLAP = 0.45
MOST = 100


class Detector(NamedTuple):
    """A file, the figures to reach, its steps, its tensors, and its labels."""

    file: str
    plain: float
    stated: float
    image: Mapping[str, Any]
    decode: Mapping[str, Any]
    inputs: Mapping[str, Sequence[int]]
    outputs: Mapping[str, Sequence[int]]
    labels: str = "coco80.names"


SCALES = [f"save_infer_model/scale_{n}.tmp_1" for n in range(8)]
SSD = ["TFLite_Detection_PostProcess", *(f"TFLite_Detection_PostProcess:{n}" for n in (1, 2, 3))]
DETECTORS = {
    "fastestdet": Detector(
        "FastestDet.onnx",
        0.2238,
        0.197,
        {"to": "input.1", "size": [352, 352], "order": "bgr", "scale": 1 / 255},
        {"op": "fastestdet_boxes", "name": "758"},
        {"input.1": [1, 3, 352, 352]},
        {"758": [1, 85, 22, 22]},
    ),
    "yolox-nano": Detector(
        "yolox_nano.onnx",
        0.3332,
        0.331,
        {
            "to": "images",
            "size": [416, 416],
            "order": "bgr",
            "fit": "letterbox_top_left",
            "pad": 114,
        },
        {"op": "yolox_boxes", "name": "output", "size": [416, 416]},
        {"images": [1, 3, 416, 416]},
        {"output": [1, 3549, 85]},
    ),
    "picodet": Detector(
        "picodet_s_416_coco.onnx",
        0.3603,
        0.363,
        {
            "to": "image",
            "size": [416, 416],
            "order": "bgr",
            "mean": [103.53, 116.28, 123.675],
            "std": [57.375, 57.12, 58.395],
        },
        {"op": "picodet_boxes", "scores": SCALES[:4], "sides": SCALES[4:], "size": [416, 416]},
        {"image": [1, 3, 416, 416]},
        {
            name: [1, cells, depth]
            for name, cells, depth in zip(
                SCALES, [2704, 676, 169, 49] * 2, [80] * 4 + [32] * 4, strict=True
            )
        },
    ),
    "ssd": Detector(
        "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite",
        0.2239,
        0.225,
        {
            "to": "normalized_input_image_tensor",
            "size": [300, 300],
            "scale": 1 / 128,
            "mean": [1.0],
            "layout": "nhwc",
        },
        {
            "op": "ssd_boxes",
            **dict(zip(("boxes", "classes", "scores", "count"), SSD, strict=True)),
            "size": [300, 300],
        },
        {"normalized_input_image_tensor": [1, 300, 300, 3]},
        dict(zip(SSD, ([1, -1, 4], [1, -1], [1, -1], [1]), strict=True)),
        labels="coco_labels.txt",
    ),
}
CASES = [
    pytest.param(name, engine, marks=marks)
    for name, engine, marks in (
        # the packages `people` and `fastestdet` are measured in ONNX Runtime by their own tests
        ("fastestdet", "onnxruntime", [pytest.mark.full]),
        ("fastestdet", "openvino", []),
        ("yolox-nano", "onnxruntime", [pytest.mark.full]),
        ("yolox-nano", "openvino", []),
        ("picodet", "onnxruntime", []),
        ("picodet", "openvino", []),
        ("ssd", "litert", []),
    )
]


class Photo(NamedTuple):
    """An image that is decoded, and what is in it."""

    image: Image
    truth: Labelled


@pytest.fixture(scope="module")
def photos(test_data: Path) -> list[Photo]:
    folder = test_data / "images" / "coco_val2017"
    return [
        labelled(path, folder / "labels" / f"{path.stem}.txt")
        for path in sorted((folder / "images").glob("*.jpg"))
    ]


def labelled(path: Path, labels: Path) -> Photo:
    image = Image.from_encoded(path.read_bytes(), "image")
    height, width = image.rgb().shape[:2]
    rows = np.array([line.split() for line in labels.read_text().splitlines()], float)
    classes, centre, size = np.split(rows.reshape(-1, 5), (1, 3), axis=1)
    boxes = np.hstack([centre - size / 2, centre + size / 2]) * [width, height, width, height]
    kinds = classes[:, 0].astype(int)
    return Photo(image, Labelled(boxes, kinds, np.zeros(len(kinds), bool)))


@pytest.fixture(scope="module")
def host(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    """Every detector, with a variant for each engine that is to read it."""
    root = tmp_path_factory.mktemp("packages")
    for name, detector in DETECTORS.items():
        folder = root / name
        folder.mkdir()
        shutil.copy(test_data / "models" / detector.file, folder)
        engines = [case.values[1] for case in CASES if case.values[0] == name]
        build_package(folder, manifest(name, detector, engines, labels_of(test_data, detector)))
    store = Store([root / name for name in DETECTORS], builtin=False)
    with contextlib.closing(LocalHost(store, distance="device", threads=2)) as host:
        yield host


def labels_of(test_data: Path, detector: Detector) -> list[str]:
    return (test_data / "models" / detector.labels).read_text().splitlines()


def manifest(
    name: str, detector: Detector, engines: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    names = {role: role for role in ("boxes", "scores", "classes")}
    return {
        "name": name,
        "version": "1.0.0",
        "boundary": "device",
        "reference": engines[0],
        "signature": {
            "inputs": [{"name": "image", "kind": "image"}],
            "outputs": [
                {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
                {"name": "scores", "dtype": "float32", "shape": [-1]},
                {"name": "classes", "dtype": "int64", "shape": [-1]},
            ],
            "value": {"kind": "detections", "labels": list(labels), **names},
            "options": [{"name": "min_score", "default": 0.3, "min": 0, "max": 1}],
        },
        "variants": [variant(detector, engine) for engine in engines],
    }


def variant(detector: Detector, engine: str) -> dict[str, Any]:
    nms = [{"op": "class_nms", "iou": OVERLAP}, {"op": "best_detections", "most": MOST}]
    return {
        "id": engine,
        "format": Path(detector.file).suffix.removeprefix("."),
        "precision": "int8" if "quant" in detector.file else "float32",
        "files": [{"path": detector.file}],
        "tensors": {"inputs": entries(detector.inputs), "outputs": entries(detector.outputs)},
        "pipeline": {
            "pre": [{"op": "image_tensor", "name": "image", **detector.image}],
            "post": [dict(detector.decode), *nms],
        },
        "needs": {"engines": [engine]},
    }


def entries(shapes: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    return [{"name": n, "dtype": "float32", "shape": list(s)} for n, s in shapes.items()]


@pytest.mark.parametrize(("name", "engine"), CASES)
def test_a_detector_finds_what_it_was_measured_to_find(
    host: LocalHost, photos: list[Photo], test_data: Path, name: str, engine: str
) -> None:
    detector, loaded = DETECTORS[name], host.resolve(name, variant=engine)
    assert loaded.ran.engine == engine
    classes = positions(labels_of(test_data, detector), test_data)
    found = []
    for photo in photos:
        outputs = loaded.answer({"image": photo.image}, {"min_score": EVERYTHING}).outputs
        kinds = classes[outputs["classes"]]
        found.append(Found(outputs["boxes"], outputs["scores"], kinds))
    reached = mean_average_precision(found, [photo.truth for photo in photos])
    assert reached == pytest.approx(detector.plain, abs=POINT)
    assert reached >= detector.stated - POINT


def positions(labels: Sequence[str], test_data: Path) -> Array:
    """For each class of a model the number that the label files have; -1 where they have none.

    The 80 classes are in the same order everywhere, but the longer list has gaps ("???").
    """
    if len(labels) == 80:
        return np.arange(80)
    known = [label not in ("???", "n/a") for label in labels]
    assert sum(known) == 80
    return np.where(known, np.cumsum(known) - 1, -1)
