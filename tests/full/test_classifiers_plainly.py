"""How often classifiers are right, measured by a program that shares no line with the packages.

Pillow decodes, cuts and resizes, and the bare runtimes run. The figures are those that the packages
must reach (`tests/integration/test_classification_accuracy.py`).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as pillow

pytestmark = pytest.mark.full

Array: TypeAlias = npt.NDArray[Any]

# right answers in LiteRT and in OpenVINO
FIGURES = {
    "mobilenet_v1_0.25_128_quant.tflite": (0.488, 0.485),
    "mobilenet_v1_0.25_224_quant.tflite": (0.5749, 0.5778),
    "mobilenet_v1_0.25_224_float.tflite": (0.6108, 0.6108),
    "mobilenet_v2_1.0_224_quant.tflite": (0.8832, 0.8892),
    "cifar10_resnet8_int8.tflite": (0.748, 0.752),
    "cifar10_resnet8_float.tflite": (0.752, 0.752),
    "cifar10_resnet_large_int8.tflite": (0.804, 0.798),
    "cifar10_resnet_large_float.tflite": (0.798, 0.798),
    "vww_96_int8.tflite": (0.8438, 0.8438),
    "vww_96_float.tflite": (0.8281, 0.8281),
}


@pytest.mark.parametrize("file", FIGURES)
def test_a_plain_program_is_as_often_right_as_the_packages_are_held_to(
    test_data: Path, file: str
) -> None:
    path = test_data / "models" / file
    runs = (in_litert(path), in_openvino(path))
    right = [
        [int(run(pixels).argmax()) == truth for run in runs]
        for pixels, truth in samples(file, test_data / "images")
    ]
    measured = np.mean(right, axis=0)
    assert tuple(measured) == pytest.approx(FIGURES[file], abs=0.0005)


def samples(file: str, images: Path) -> Iterator[tuple[Array, int]]:
    """Prepared pixels as real numbers 0 to 255, and the class that they should get."""
    if file.startswith("cifar10"):
        folders = sorted(folder for folder in (images / "cifar10").iterdir())
        for position, folder in enumerate(folders):
            for path in folder.iterdir():
                yield np.asarray(pillow.open(path).convert("RGB"), np.float64), position
    elif file.startswith("vww"):
        for path in (images / "coco_val2017" / "images").iterdir():
            yield resized(path, 96, 1.0), shows_a_person(path)
    else:
        side = 128 if "_128_" in file else 224
        with (images / "imagenet1k_labels.csv").open() as rows:
            for row in csv.DictReader(rows):
                # the model's first class is the background
                truth = int(row["class_index_0_999"]) + 1
                yield resized(images / "imagenet1k" / row["file"], side, 0.875), truth


def resized(path: Path, side: int, middle: float) -> Array:
    """The middle square, or all of an image, resized with an antialiased bilinear filter."""
    with pillow.open(path) as opened:
        pil = opened.convert("RGB")
    box = (0, 0, *pil.size)
    if middle < 1:
        length = round(min(pil.size) * middle)
        left, top = ((whole - length) // 2 for whole in pil.size)
        box = (left, top, left + length, top + length)
    small = pil.crop(box).resize((side, side), pillow.Resampling.BILINEAR)
    return np.asarray(small, np.float64)


def shows_a_person(path: Path) -> int:
    """Whether a person takes more than 0.5 % of the image."""
    label = path.parents[1] / "labels" / f"{path.stem}.txt"
    rows = [[float(word) for word in line.split()] for line in label.read_text().splitlines()]
    return int(any(row[0] == 0 and row[3] * row[4] > 0.005 for row in rows))


def of_range(file: str, pixels: Array) -> Array:
    """Pixels in the range that the model's real numbers have."""
    if file.startswith("cifar10"):
        return pixels
    return pixels / 255 if file.startswith("vww") else pixels / 127.5 - 1


def in_litert(path: Path) -> Callable[[Array], Array]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=2)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(pixels: Array) -> Array:
        # the integers of each of these models' inputs are the pixels, from 0 or from -128
        whole = {"uint8": 0, "int8": 128}.get(given["dtype"].__name__)
        real = of_range(path.name, pixels) if whole is None else pixels - whole
        interpreter.set_tensor(given["index"], real.astype(given["dtype"])[None])
        interpreter.invoke()
        scores: Array = interpreter.get_tensor(made["index"])[0]
        return scores

    return run


def in_openvino(path: Path) -> Callable[[Array], Array]:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    kind = compiled.inputs[0].get_element_type().to_dtype()

    def run(pixels: Array) -> Array:
        whole = {"uint8": 0, "int8": 128}.get(kind.name)
        real = of_range(path.name, pixels) if whole is None else pixels - whole
        scores: Array = compiled(real.astype(kind)[None])[0][0]
        return scores

    return run
