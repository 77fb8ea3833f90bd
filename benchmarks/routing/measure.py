"""Measures what the scenarios are made of, and writes `measured.json` beside this file.

`python benchmarks/routing/measure.py`: on one thread, each cascade's small and large variant
answer every held-out image. Kept of an image are its size as sent, the small variant's confidence,
and whether each of the two was right; the latencies are medians. The images themselves stay where
they are: digits are built in, ImageNet's are found through WHEREVER_TEST_DATA.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from wherever_convert.builder import build_package
from wherever_edge.builtin import digits_test_split
from wherever_edge.host import LoadedVariant, LocalHost
from wherever_edge.images import Image
from wherever_edge.packages.store import Store

MEASURED = Path(__file__).with_name("measured.json")
# TensorFlow's ImageNet classifiers have a class of their own for "background", the first
PIXELS = {"resize": "antialias", "keep": 0.875, "scale": 1 / 127.5, "mean": [1.0], "layout": "nhwc"}
CLASSES = 1000


class Net(NamedTuple):
    """One of the classifiers of the test data."""

    file: str
    side: int
    output: str


SMALL = Net("mobilenet_v1_0.25_224_quant.tflite", 224, "MobilenetV1/Predictions/Reshape_1")
LARGE = Net("mobilenet_v2_1.0_224_quant.tflite", 224, "MobilenetV2/Predictions/Softmax")


class Sample(NamedTuple):
    """An input, the class it should get, and its size as it is sent."""

    given: dict[str, Any]
    truth: int
    size: int


def main() -> None:
    """Measure both cascades."""
    data = Path(os.environ["WHEREVER_TEST_DATA"])
    measured = {"digits": _digits(), "imagenet": _imagenet(data)}
    MEASURED.write_text(json.dumps(measured, indent=None, separators=(",", ":")) + "\n")
    for name, cascade in measured.items():
        print(name, {key: value for key, value in cascade.items() if key != "rows"})


def _digits() -> dict[str, Any]:
    images, labels = digits_test_split()
    samples = [
        Sample({"image": image}, int(label), image.nbytes)
        for image, label in zip(images.astype(np.float32), labels, strict=True)
    ]
    with contextlib.closing(LocalHost(Store([]), distance="device", threads=1)) as host:
        small, large = (_variant(host, "digits", name) for name in ("mlp-int8", "cnn"))
        return _cascade("UCI digits, built-in test split", small, large, samples)


def _imagenet(data: Path) -> dict[str, Any]:
    with _packages(data) as roots:
        store = Store(roots, builtin=False)
        with contextlib.closing(LocalHost(store, distance="device", threads=1)) as host:
            small, large = (_variant(host, name, "litert") for name in ("small", "large"))
            source = f"ImageNet samples; {SMALL.file} and {LARGE.file}"
            return _cascade(source, small, large, list(_photos(data / "images")))


def _variant(host: LocalHost, model: str, variant: str) -> LoadedVariant:
    return host.resolve(model, variant=variant)


def _photos(folder: Path) -> Iterator[Sample]:
    with (folder / "imagenet1k_labels.csv").open() as file:
        for row in csv.DictReader(file):
            encoded = (folder / "imagenet1k" / row["file"]).read_bytes()
            image = Image.from_encoded(encoded, "image")
            yield Sample({"image": image}, int(row["class_index_0_999"]), len(encoded))


@contextlib.contextmanager
def _packages(data: Path) -> Generator[list[Path]]:
    with tempfile.TemporaryDirectory() as folder:
        roots: list[Path] = []
        for name, net in (("small", SMALL), ("large", LARGE)):
            root = Path(folder) / name
            root.mkdir()
            shutil.copy(data / "models" / net.file, root)
            build_package(root, _manifest(name, net))
            roots.append(root)
        yield roots


def _manifest(name: str, net: Net) -> dict[str, Any]:
    tensors = {
        "inputs": [{"name": "input", "dtype": "float32", "shape": [1, net.side, net.side, 3]}],
        "outputs": [{"name": net.output, "dtype": "float32", "shape": [1, CLASSES + 1]}],
    }
    pixels = {"op": "image_tensor", "name": "image", "to": "input", "size": [net.side, net.side]}
    post = [
        {"op": "columns", "name": net.output, "to": "named", "start": 1},
        {"op": "first_row", "name": "named", "to": "scores"},
        {"op": "max_confidence", "name": "scores"},
    ]
    return {
        "name": name,
        "version": "1.0.0",
        "boundary": "device",
        "reference": "litert",
        "signature": {
            "inputs": [{"name": "image", "kind": "image"}],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": [CLASSES]}],
            "value": {
                "kind": "label",
                "scores": "scores",
                "labels": [str(n) for n in range(CLASSES)],
            },
        },
        "variants": [
            {
                "id": "litert",
                "format": "tflite",
                "precision": "int8",
                "files": [{"path": net.file}],
                "tensors": tensors,
                "pipeline": {"pre": [{**pixels, **PIXELS}], "post": post},
                "needs": {"engines": ["litert"]},
            }
        ],
    }


def _cascade(
    source: str, small: LoadedVariant, large: LoadedVariant, samples: Sequence[Sample]
) -> dict[str, Any]:
    here_s: list[float] = []
    there_s: list[float] = []
    rows: list[list[Any]] = []
    for sample in samples:
        unsure, small_right = _answer(small, sample, here_s)
        _, large_right = _answer(large, sample, there_s)
        rows.append([sample.size, round(unsure, 4), int(small_right), int(large_right)])
    return {
        "source": source,
        "small_s": round(median(here_s), 6),
        "large_s": round(median(there_s), 6),
        "columns": ["bytes", "confidence", "small_right", "large_right"],
        "rows": rows,
    }


def _answer(variant: LoadedVariant, sample: Sample, took: list[float]) -> tuple[float, bool]:
    started = perf_counter()
    answer = variant.answer(sample.given, {})
    took.append(perf_counter() - started)
    scores = answer.outputs["scores"].ravel()
    confidence = answer.confidence if answer.confidence is not None else float(scores.max())
    return confidence, int(scores.argmax()) == sample.truth


if __name__ == "__main__":
    main()
