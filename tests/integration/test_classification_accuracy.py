"""Classifiers built into packages are as often right as their models were measured, in each engine.

Each must reach, within a point, two shares of right answers: `stated`, what was measured when the
model was chosen (of the small pictures, on these 500 and 500 more); and `plain`, what a program
measures on these images in the same engine that shares no line with the package's way
(`tests/full/test_classifiers_plainly.py`).
"""

from __future__ import annotations

import contextlib
import csv
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from wherever_convert.builder import build_package
from wherever_edge.host import LocalHost
from wherever_edge.images import Image
from wherever_edge.packages.store import Store

POINT = 0.01
ENGINES = ("litert", "openvino")
IMAGENET = {"resize": "antialias", "keep": 0.875, "scale": 1 / 127.5, "mean": [1.0]}


class Classifier(NamedTuple):
    """A file, its images, the figures to reach, its tensors, and how its pixels are prepared.

    `plain` is for each of `ENGINES`. `stated` is None where it was on too few other images to say
    what it would be on these.
    """

    file: str
    images: str
    plain: tuple[float, float]
    stated: float | None
    inputs: Mapping[str, Sequence[int]]
    output: str
    pixels: Mapping[str, Any]


CLASSIFIERS = {
    "mobilenet-v1-128": Classifier(
        "mobilenet_v1_0.25_128_quant.tflite",
        "imagenet1k",
        (0.488, 0.485),
        0.485,
        {"input": [1, 128, 128, 3]},
        "MobilenetV1/Predictions/Reshape_1",
        IMAGENET,
    ),
    "mobilenet-v1": Classifier(
        "mobilenet_v1_0.25_224_quant.tflite",
        "imagenet1k",
        (0.5749, 0.5778),
        0.587,
        {"input": [1, 224, 224, 3]},
        "MobilenetV1/Predictions/Reshape_1",
        IMAGENET,
    ),
    "mobilenet-v1-float": Classifier(
        "mobilenet_v1_0.25_224_float.tflite",
        "imagenet1k",
        (0.6108, 0.6108),
        0.602,
        {"input": [1, 224, 224, 3]},
        "MobilenetV1/Predictions/Reshape_1",
        IMAGENET,
    ),
    "mobilenet-v2": Classifier(
        "mobilenet_v2_1.0_224_quant.tflite",
        "imagenet1k",
        (0.8832, 0.8892),
        0.889,
        {"input": [1, 224, 224, 3]},
        "MobilenetV2/Predictions/Softmax",
        IMAGENET,
    ),
    "resnet8": Classifier(
        "cifar10_resnet8_int8.tflite",
        "cifar10",
        (0.748, 0.752),
        0.752,
        {"input_1_int8": [1, 32, 32, 3]},
        "Identity_int8",
        {},
    ),
    "resnet8-float": Classifier(
        "cifar10_resnet8_float.tflite",
        "cifar10",
        (0.752, 0.752),
        0.751,
        {"input_1": [1, 32, 32, 3]},
        "Identity",
        {},
    ),
    "resnet-large": Classifier(
        "cifar10_resnet_large_int8.tflite",
        "cifar10",
        (0.804, 0.798),
        0.799,
        {"serving_default_input_5:0": [1, 32, 32, 3]},
        "StatefulPartitionedCall:0",
        {},
    ),
    "resnet-large-float": Classifier(
        "cifar10_resnet_large_float.tflite",
        "cifar10",
        (0.798, 0.798),
        0.797,
        {"serving_default_input_5:0": [1, 32, 32, 3]},
        "StatefulPartitionedCall:0",
        {},
    ),
    "person-present": Classifier(
        "vww_96_int8.tflite",
        "coco_val2017",
        (0.8438, 0.8438),
        None,
        {"input_1_int8": [1, 96, 96, 3]},
        "Identity_int8",
        {"resize": "antialias", "scale": 1 / 255},
    ),
    "person-present-float": Classifier(
        "vww_96_float.tflite",
        "coco_val2017",
        (0.8281, 0.8281),
        None,
        {"input_1": [1, 96, 96, 3]},
        "Identity",
        {"resize": "antialias", "scale": 1 / 255},
    ),
}
LABELS = {"imagenet1k": 1000, "cifar10": 10, "coco_val2017": 2}
# in LiteRT these are measured by the tests of the catalogue
MEASURED = ("mobilenet-v1", "mobilenet-v2", "resnet8", "resnet-large", "person-present")
CASES = [
    pytest.param(
        name, engine, marks=[pytest.mark.full] if engine == "litert" and name in MEASURED else []
    )
    for name in CLASSIFIERS
    for engine in ENGINES
]


class Photo(NamedTuple):
    """An image that is decoded, and the position of the label that it should get."""

    image: Image
    truth: int


@pytest.fixture(scope="module")
def photos(test_data: Path) -> Callable[[str], list[Photo]]:
    """The labelled images of a folder, decoded when they are first asked for."""
    kept: dict[str, list[Photo]] = {}
    readers = {"imagenet1k": of_imagenet, "cifar10": of_cifar10, "coco_val2017": of_people}

    def get(name: str) -> list[Photo]:
        if name not in kept:
            pairs = readers[name](test_data / "images")
            kept[name] = [Photo(decoded(path), truth) for path, truth in pairs]
        return kept[name]

    return get


def decoded(path: Path) -> Image:
    image = Image.from_encoded(path.read_bytes(), "image")
    image.rgb()
    return image


def of_imagenet(folder: Path) -> list[tuple[Path, int]]:
    with (folder / "imagenet1k_labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [(folder / "imagenet1k" / row["file"], int(row["class_index_0_999"])) for row in rows]


def of_cifar10(folder: Path) -> list[tuple[Path, int]]:
    """The classes are numbered in the order of their names."""
    return [
        (path, position)
        for position, label in enumerate(sorted((folder / "cifar10").iterdir()))
        for path in sorted(label.iterdir())
    ]


def of_people(folder: Path) -> list[tuple[Path, int]]:
    """1 where a person takes more than 0.5 % of an image."""
    root = folder / "coco_val2017"
    pairs: list[tuple[Path, int]] = []
    for path in sorted((root / "images").glob("*.jpg")):
        rows = np.loadtxt(root / "labels" / f"{path.stem}.txt", ndmin=2)
        people = rows[rows[:, 0] == 0]
        pairs.append((path, int((people[:, 3] * people[:, 4] > 0.005).any())))
    return pairs


@pytest.fixture(scope="module")
def host(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    """Every classifier, with a variant for each engine."""
    root = tmp_path_factory.mktemp("packages")
    for name, classifier in CLASSIFIERS.items():
        (root / name).mkdir()
        shutil.copy(test_data / "models" / classifier.file, root / name)
        build_package(root / name, manifest(name, classifier))
    store = Store([root / name for name in CLASSIFIERS], builtin=False)
    with contextlib.closing(LocalHost(store, distance="device", threads=2)) as host:
        yield host


def manifest(name: str, classifier: Classifier) -> dict[str, Any]:
    count = LABELS[classifier.images]
    labels = [str(number) for number in range(count)]
    return {
        "name": name,
        "version": "1.0.0",
        "boundary": "device",
        "reference": ENGINES[0],
        "signature": {
            "inputs": [{"name": "image", "kind": "image"}],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": [count]}],
            "value": {"kind": "label", "scores": "scores", "labels": labels},
        },
        "variants": [variant(classifier, engine) for engine in ENGINES],
    }


def variant(classifier: Classifier, engine: str) -> dict[str, Any]:
    ((tensor, shape),) = classifier.inputs.items()
    # ImageNet's classifiers of TensorFlow have a class of their own for "background", the first
    named = 1 if classifier.images == "imagenet1k" else 0
    outputs = [1, LABELS[classifier.images] + named]
    pixels = {"size": list(shape[1:3]), "layout": "nhwc", **classifier.pixels}
    return {
        "id": engine,
        "format": "tflite",
        "precision": "float32" if "float" in classifier.file else "int8",
        "files": [{"path": classifier.file}],
        "tensors": {
            "inputs": [{"name": tensor, "dtype": "float32", "shape": list(shape)}],
            "outputs": [{"name": classifier.output, "dtype": "float32", "shape": outputs}],
        },
        "pipeline": {
            "pre": [{"op": "image_tensor", "name": "image", "to": tensor, **pixels}],
            "post": [
                {"op": "columns", "name": classifier.output, "to": "named", "start": named},
                {"op": "first_row", "name": "named", "to": "scores"},
            ],
        },
        "needs": {"engines": [engine]},
    }


@pytest.mark.parametrize(("name", "engine"), CASES)
def test_a_classifier_is_as_often_right_as_it_was_measured(
    host: LocalHost, photos: Callable[[str], list[Photo]], name: str, engine: str
) -> None:
    classifier, loaded = CLASSIFIERS[name], host.resolve(name, variant=engine)
    assert loaded.ran.engine == engine
    right = [
        int(loaded.answer({"image": photo.image}, {}).outputs["scores"].argmax()) == photo.truth
        for photo in photos(classifier.images)
    ]
    reached = float(np.mean(right))
    assert reached == pytest.approx(classifier.plain[ENGINES.index(engine)], abs=POINT)
    assert classifier.stated is None or reached >= classifier.stated - POINT
