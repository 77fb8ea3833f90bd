"""Cascades with real engines: a small variant, the reference behind it, and real inputs.

Each is a package, made in a temporary folder from the files of the test data through this
repository's own builders and steps, and is asked as calls ask: decoding, preprocessing, engine,
postprocessing, confidence.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from wherever_contracts.tensors import Array
from wherever_convert.builder import build_package
from wherever_convert.joining import add_variant
from wherever_edge.builtin import digits_test_split
from wherever_edge.host import LoadedVariant, LocalHost
from wherever_edge.inputs import InputChecker, Inputs
from wherever_edge.packages.store import Store

EXAMPLES = Path(__file__).parents[2] / "examples"
# Of each clip one frame in so many is taken; the next ones are nearly the same picture.
EVERY = {".mp4": 10, ".gif": 3}
# The small text variant knows this many of the 10,000 words, the most frequent ones.
KNOWN_WORDS = 1000
IMAGENET = {"resize": "antialias", "keep": 0.875, "scale": 1 / 127.5, "mean": [1.0]}


class Cascade(NamedTuple):
    """Two variants of one package, loaded, and the inputs that both are asked about.

    Attributes:
        name: what the tables call it.
        source: the two variants and the inputs, in words.
        small: the variant whose answers are given where it is sure enough.
        large: the reference.
        inputs: checked inputs, one for each call.
        groups: of each the inputs that it is like: its clip, or "".
    """

    name: str
    source: str
    small: LoadedVariant
    large: LoadedVariant
    inputs: Sequence[Inputs]
    groups: Sequence[str]


class _Net(NamedTuple):
    """A classifier's file and its tensors."""

    file: str
    side: int
    input: str
    output: str


_V1 = "MobilenetV1/Predictions/Reshape_1"
_V1_128 = _Net("mobilenet_v1_0.25_128_quant.tflite", 128, "input", _V1)
_V1_224 = _Net("mobilenet_v1_0.25_224_quant.tflite", 224, "input", _V1)
_V2 = _Net("mobilenet_v2_1.0_224_quant.tflite", 224, "input", "MobilenetV2/Predictions/Softmax")
_RESNET8 = _Net("cifar10_resnet8_int8.tflite", 32, "input_1_int8", "Identity_int8")
_RESNET_LARGE = _Net(
    "cifar10_resnet_large_int8.tflite",
    32,
    "serving_default_input_5:0",
    "StatefulPartitionedCall:0",
)
_PICODET = [f"save_infer_model/scale_{n}.tmp_1" for n in range(8)]
_PICODET_STEPS: dict[str, list[dict[str, Any]]] = {
    "pre": [
        {
            "op": "image_tensor",
            "name": "image",
            "to": "image",
            "size": [416, 416],
            "order": "bgr",
            "mean": [103.53, 116.28, 123.675],
            "std": [57.375, 57.12, 58.395],
        }
    ],
    "post": [
        {
            "op": "picodet_boxes",
            "scores": _PICODET[:4],
            "sides": _PICODET[4:],
            "size": [416, 416],
        },
        {"op": "class_nms", "iou": 0.45},
        {"op": "best_detections", "most": 100},
    ],
}


@contextlib.contextmanager
def opened(name: str, data: Path) -> Generator[Cascade]:
    """Build a cascade of `CASCADES`, load both variants, and read its inputs.

    Args:
        name: one of `CASCADES`.
        data: the folder of the test data.
    """
    make = CASCADES[name]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        root = Path(folder) / "package"

        def load(store: Store, model: str, variant: str) -> LoadedVariant:
            host = stack.enter_context(
                contextlib.closing(LocalHost(store, distance="device", threads=2))
            )
            return host.resolve(model, variant=variant)

        small, large, source, values = make(data, root, load)
        check = InputChecker(small.signature).check
        groups, inputs = zip(*((group, check(value)) for group, value in values), strict=True)
        yield Cascade(name, source, small, large, inputs, groups)


_Load = Callable[[Store, str, str], LoadedVariant]
_Given = Iterator[tuple[str, Any]]
_Made = tuple[LoadedVariant, LoadedVariant, str, _Given]


def _digits(_data: Path, _root: Path, load: _Load) -> _Made:
    images, _ = digits_test_split()
    small, large = (load(Store([]), "digits", each) for each in ("mlp-int8", "cnn"))
    source = "mlp-int8, cnn; UCI digits that neither was trained on"
    return small, large, source, _alike(images.astype(np.float32))


def _cifar10(data: Path, root: Path, load: _Load) -> _Made:
    small, large = _classifiers(data, root, load, (_RESNET8, _RESNET_LARGE), classes=10)
    paths = sorted((data / "images" / "cifar10").glob("*/*"))
    source = "ResNet-8, large ResNet, both INT8; CIFAR-10 as JPEG"
    return small, large, source, _contents(paths)


def _imagenet(data: Path, root: Path, load: _Load, net: _Net) -> _Made:
    small, large = _classifiers(data, root, load, (net, _V2), classes=1000, background=1)
    source = f"MobileNetV1 0.25 at {net.side}, MobileNetV2, both INT8; ImageNet photos"
    return small, large, source, _photos(data / "images")


def _imagenet_128(data: Path, root: Path, load: _Load) -> _Made:
    return _imagenet(data, root, load, _V1_128)


def _imagenet_224(data: Path, root: Path, load: _Load) -> _Made:
    return _imagenet(data, root, load, _V1_224)


def _photos(folder: Path) -> _Given:
    with (folder / "imagenet1k_labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    return _contents([folder / "imagenet1k" / row["file"] for row in rows])


def _coco(data: Path, root: Path, load: _Load) -> _Made:
    small, large = _detectors(data, root, load, "yolox-nano")
    source = "FastestDet, YOLOX-nano; COCO val photos"
    return small, large, source, _coco_photos(data)


def _coco_picodet(data: Path, root: Path, load: _Load) -> _Made:
    small, large = _detectors(data, root, load, "picodet")
    return small, large, "FastestDet, PicoDet-S; COCO val photos", _coco_photos(data)


def _video(data: Path, root: Path, load: _Load) -> _Made:
    small, large = _detectors(data, root, load, "yolox-nano")
    source = "FastestDet, YOLOX-nano; frames of five clips"
    return small, large, source, _frames(data / "video")


def _coco_photos(data: Path) -> _Given:
    folder = data / "images" / "coco_val2017" / "images"
    return _contents(sorted(folder.glob("*.jpg")))


def _contents(paths: Sequence[Path]) -> _Given:
    return _alike(path.read_bytes() for path in paths)


def _alike(values: Iterable[Any]) -> _Given:
    """Inputs that are one group."""
    return (("", value) for value in values)


def _frames(folder: Path) -> _Given:
    for path in sorted(folder.iterdir()):
        if path.suffix in EVERY:
            read = _frames_of_gif if path.suffix == ".gif" else frames_of_video
            for frame in read(path, EVERY[path.suffix]):
                yield path.stem, frame


def _frames_of_gif(path: Path, every: int) -> Iterator[Array]:
    import PIL.Image

    with PIL.Image.open(path) as clip:
        for number in range(0, getattr(clip, "n_frames", 1), every):
            clip.seek(number)
            yield np.asarray(clip.convert("RGB"))


def frames_of_video(path: Path, every: int) -> Iterator[Array]:
    """Every so many frames of a video, RGB [height, width, 3]."""
    import cv2

    clip = cv2.VideoCapture(str(path))
    number = 0
    while clip.grab():
        if number % every == 0:
            yield np.ascontiguousarray(clip.retrieve()[1][:, :, ::-1])
        number += 1
    clip.release()


def _text(data: Path, root: Path, load: _Load) -> _Made:
    """The small variant is the large one with a tenth of its words, so of its table of words."""
    example = _example("sentiment")
    model = data / "models" / "nl_classifier_builtin_ops.tflite"
    words: bytes = example.vocabulary(model)
    few = b"".join(words.splitlines(keepends=True)[:KNOWN_WORDS])
    loaded: list[LoadedVariant] = []
    for name, known in (("few", few), ("all", words)):
        example.build(model, known, root / name)
        loaded.append(load(Store([root / name], builtin=False), "sentiment", "words"))
    small, large = loaded
    source = f"nl_classifier with {KNOWN_WORDS} words, with all 10,000; sentences of SST-2 dev"
    lines = (data / "text" / "sst2_dev.tsv").read_text(encoding="utf-8").splitlines()
    return small, large, source, _alike(line.rsplit("\t", 1)[0] for line in lines)


def _files(data: Path, root: Path, load: _Load) -> _Made:
    example = _example("filetype")
    models = data / "models"
    made = [
        example.read_model(
            name, models / f"magika_{file}.onnx", models / f"magika_{file}.config.min.json"
        )
        for name, file in (("fast", "fast_v2_1"), ("standard", "standard_v3_3"))
    ]
    example.build(made, root)
    store = Store([root], builtin=False)
    small, large = (load(store, "filetype", name) for name in ("fast", "standard"))
    paths = sorted((data / "files" / "magika_basic").glob("*/*"))
    source = "Magika fast 2.1, standard 3.3; Magika's test files"
    return small, large, source, _contents(paths)


CASCADES: dict[str, Callable[[Path, Path, _Load], _Made]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "imagenet-128": _imagenet_128,
    "imagenet-224": _imagenet_224,
    "coco": _coco,
    "coco-picodet": _coco_picodet,
    "video": _video,
    "text": _text,
    "files": _files,
}
"""What can be opened, by name."""


def _detectors(
    data: Path, root: Path, load: _Load, reference: str
) -> tuple[LoadedVariant, LoadedVariant]:
    models = data / "models"
    files = {"fastestdet": models / "FastestDet.onnx", "yolox-nano": models / "yolox_nano.onnx"}
    _example("people").build(files, models / "coco80.names", root)
    if reference == "picodet":
        steps = root.with_suffix(".json")
        steps.write_text(json.dumps(_PICODET_STEPS))
        file = models / "picodet_s_416_coco.onnx"
        add_variant(root, file, variant_id=reference, pipeline=steps)
    store = Store([root], builtin=False)
    return load(store, "people", "fastestdet"), load(store, "people", reference)


def _classifiers(
    data: Path,
    root: Path,
    load: _Load,
    nets: tuple[_Net, _Net],
    *,
    classes: int,
    background: int = 0,
) -> tuple[LoadedVariant, LoadedVariant]:
    """TensorFlow's ImageNet classifiers have a class of their own for the `background`, first."""
    root.mkdir()
    for net in nets:
        shutil.copy(data / "models" / net.file, root)
    variants = [
        _variant(name, net, classes, background)
        for name, net in zip(("small", "large"), nets, strict=True)
    ]
    labels = [str(number) for number in range(classes)]
    build_package(
        root,
        {
            "name": "classes",
            "version": "1.0.0",
            "boundary": "device",
            "reference": "large",
            "signature": {
                "inputs": [{"name": "image", "kind": "image"}],
                "outputs": [{"name": "scores", "dtype": "float32", "shape": [classes]}],
                "value": {"kind": "label", "scores": "scores", "labels": labels},
            },
            "variants": variants,
        },
    )
    store = Store([root], builtin=False)
    return load(store, "classes", "small"), load(store, "classes", "large")


def _variant(name: str, net: _Net, classes: int, background: int) -> dict[str, Any]:
    pixels: dict[str, Any] = IMAGENET if background else {}
    shape = [1, net.side, net.side, 3]
    outputs = [1, classes + background]
    size = {"size": [net.side, net.side], "layout": "nhwc"}
    return {
        "id": name,
        "format": "tflite",
        "precision": "int8",
        "files": [{"path": net.file}],
        "tensors": {
            "inputs": [{"name": net.input, "dtype": "float32", "shape": shape}],
            "outputs": [{"name": net.output, "dtype": "float32", "shape": outputs}],
        },
        "pipeline": {
            "pre": [{"op": "image_tensor", "name": "image", "to": net.input, **size, **pixels}],
            "post": [
                {"op": "columns", "name": net.output, "to": "named", "start": background},
                {"op": "first_row", "name": "named", "to": "scores"},
                {"op": "max_confidence", "name": "scores"},
            ],
        },
        "needs": {"engines": ["litert"]},
    }


def _example(name: str) -> ModuleType:
    """The module `build` of an example, which is no package."""
    place = EXAMPLES / name / "build.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", place)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
