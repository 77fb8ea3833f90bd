"""What small variants answer to usual inputs, and to the same inputs blurred, noisy or of others.

How strong blur and noise are is that of severities 1, 3 and 5 of ImageNet-C and CIFAR-10-C
(Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019). Engines are asked once for each input; streams are drawn from that.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from escalation.cascades import Cascade, frames_of_video, opened
from wherever_contracts.tensors import Array
from wherever_edge.agreement import category_of
from wherever_edge.builtin import digits_test_split
from wherever_edge.images import Image
from wherever_edge.inputs import InputChecker, check_options

SEED = 20
# Photos are as large as classifiers ask for them, times 8 / 7 for what is cut off.
PHOTO_SIDE = 256
NOISES = {"digits": (0.08, 0.18, 0.38), "cifar10": (0.04, 0.08, 0.10), "photos": (0.08, 0.18, 0.38)}
BLURS = {"digits": (0.4, 0.7, 1.0), "cifar10": (0.4, 0.7, 1.0), "photos": (1.0, 3.0, 6.0)}
DOGS = (151, 268)
ANIMALS = (0, 397)
USUAL_CLIP = "pets09_s2l1_vtest_480x360.mp4"
# Of each clip one frame in so many.
CLIPS = {
    USUAL_CLIP: 2,
    "one-by-one-person-detection.mp4": 4,
    "bottle-detection.mp4": 4,
    "store-aisle-detection.gif": 1,
}


@dataclass(frozen=True)
class Pool:
    """Answers that streams are drawn from.

    Attributes:
        confidence: [n] float64.
        category: [n] int64.
        weight: [n] how often each is drawn, in relation.
        in_order: a stream of them has them one after the other, beginning anywhere.
    """

    confidence: Array
    category: Array
    weight: Array
    in_order: bool = False


@dataclass(frozen=True)
class Case:
    """A small variant: its answers to usual inputs, and to shifted ones, by the kind of shift."""

    name: str
    usual: Pool
    shifted: Mapping[str, Pool]


def digits(data: Path) -> Case:
    """`mlp-int8` of the builtin package on the digits that it was not trained on."""
    _, labels = digits_test_split()
    with opened("digits", data) as cascade:
        images = [numbers / np.float32(16) for numbers in _arrays(cascade)]
        return _images(cascade, "digits", images, lambda image: image * np.float32(16), labels)


def cifar10(data: Path) -> Case:
    """ResNet-8 on CIFAR-10; the inputs are in the order of the classes."""
    with opened("cifar10", data) as cascade:
        labels = np.repeat(np.arange(10), len(cascade.inputs) // 10)
        images = [pixels / np.float32(255) for pixels in _arrays(cascade)]
        return _images(cascade, "cifar10", images, _pixels, labels)


def imagenet(data: Path) -> Case:
    """MobileNetV1 0.25 at 128 on photos, one of each class."""
    with (data / "images" / "imagenet1k_labels.csv").open() as file:
        labels = np.array([int(row["class_index_0_999"]) for row in csv.DictReader(file)])
    with opened("imagenet-128", data) as cascade:
        images = [_smaller(pixels) / np.float32(255) for pixels in _arrays(cascade)]
        usual = _asked(cascade, map(_pixels, images))
        shifted = {
            **_spoiled(cascade, "photos", images, _pixels),
            "mix: animals only": _mixed(usual, _within(labels, ANIMALS)),
            "mix: dogs half of all": _mixed(usual, _half(_within(labels, DOGS))),
        }
    return Case("imagenet", usual, shifted)


def text(data: Path) -> Case:
    """The sentiment of sentences by a variant that knows few words."""
    lines = (data / "text" / "sst2_dev.tsv").read_text(encoding="utf-8").splitlines()
    negative = np.array([line.endswith("0") for line in lines])
    with opened("text", data) as cascade:
        usual = _asked(cascade, (given["text"] for given in cascade.inputs))
    shifted = {
        "mix: negative only": _mixed(usual, negative),
        "mix: negative 4 of 5": _mixed(usual, np.where(negative, 4.0, 1.0)),
    }
    return Case("text", usual, shifted)


def cameras(data: Path) -> Case:
    """FastestDet at one camera, and then at others; their frames come as they were filmed."""
    with opened("coco", data) as cascade:
        usual, *others = (
            _asked(cascade, frames_of_video(data / "video" / name, every))
            for name, every in CLIPS.items()
        )
    names = [name.split(".")[0] for name in CLIPS][1:]
    shifted = {
        f"camera: {name}": Pool(each.confidence, each.category, each.weight, in_order=True)
        for name, each in zip(names, others, strict=True)
    }
    return Case("cameras", usual, shifted)


CASES: dict[str, Callable[[Path], Case]] = {
    each.__name__: each for each in (digits, cifar10, imagenet, text, cameras)
}
"""What can be measured, by name."""


def _images(
    cascade: Cascade,
    name: str,
    images: Sequence[Array],
    given: Callable[[Array], Array],
    labels: Array,
) -> Case:
    """Of ten classes that are equally frequent."""
    usual = _asked(cascade, map(given, images))
    shifted = {
        **_spoiled(cascade, name, images, given),
        "mix: five of ten classes": _mixed(usual, labels < 5),
        "mix: one class half of all": _mixed(usual, _half(labels == 3)),
        "mix: one class thrice": _mixed(usual, np.where(labels == 3, 3.0, 1.0)),
    }
    return Case(name, usual, shifted)


def _arrays(cascade: Cascade) -> Iterator[Array]:
    for given in cascade.inputs:
        image = given["image"]
        yield image.rgb() if isinstance(image, Image) else np.asarray(image)


def _spoiled(
    cascade: Cascade, name: str, images: Sequence[Array], given: Callable[[Array], Array]
) -> dict[str, Pool]:
    rng = np.random.default_rng(SEED)
    spoiled: dict[str, Pool] = {}
    for sigma in BLURS[name]:
        blurred = (cv2.GaussianBlur(image, (0, 0), sigma) for image in images)
        spoiled[f"blur: {sigma:g} pixels"] = _asked(cascade, map(given, blurred))
    for sigma in NOISES[name]:
        noisy = (_noisy(image, sigma, rng) for image in images)
        spoiled[f"noise: {sigma:g}"] = _asked(cascade, map(given, noisy))
    return spoiled


def _noisy(image: Array, sigma: float, rng: np.random.Generator) -> Array:
    spread: Array = image + rng.normal(0, sigma, image.shape)
    return spread.clip(0, 1).astype(np.float32)


def _pixels(image: Array) -> Array:
    pixels: Array = np.rint(image * 255).astype(np.uint8)
    return pixels


def _smaller(pixels: Array) -> Array:
    scale = PHOTO_SIDE / min(pixels.shape[:2])
    size = [round(length * scale) for length in pixels.shape[1::-1]]
    smaller: Array = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return smaller


def _asked(cascade: Cascade, values: Iterable[Any]) -> Pool:
    variant = cascade.small
    check, options = InputChecker(variant.signature).check, check_options(variant.signature, {})
    answers = [variant.answer(check(value), options) for value in values]
    kinds = [category_of(variant.signature, answer.outputs) for answer in answers]
    confidence = np.array([answer.confidence for answer in answers], np.float64)
    return Pool(confidence, np.array(kinds, np.int64), np.ones(len(answers)))


def _mixed(usual: Pool, weight: Array) -> Pool:
    return Pool(usual.confidence, usual.category, weight.astype(np.float64))


def _within(labels: Array, ends: tuple[int, int]) -> Array:
    inside: Array = (labels >= ends[0]) & (labels <= ends[1])
    return inside


def _half(chosen: Array) -> Array:
    """Weights with which the chosen ones are half of all."""
    return np.where(chosen, (~chosen).sum() / chosen.sum(), 1.0)
