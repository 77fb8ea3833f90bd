"""Train the `digits` package: a small network for devices, in three forms, and a CNN for gateways.

    python examples/digits/train.py             # writes the package that ships in the wheel
    python examples/digits/train.py --into DIR  # writes DIR/digits and DIR/digits-test.npz

The networks learn from the training split; the calibration split decides when the small one's
answer is worth asking the CNN about; the test split is only measured on, and what was measured
there is kept for promises (`max_disagreement`). See README.md.
"""

from __future__ import annotations

import argparse
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch  # type: ignore[import-not-found, unused-ignore] # not in the development environment
from forms import FULL, Floats, Form, folded, int8_form, onnx_form, openvino_form, tflite_form
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn  # type: ignore[import-not-found, unused-ignore]

from wherever_convert.builder import build_with_golden
from wherever_devices.plans import RunPlan
from wherever_edge.engines.engine import Engine
from wherever_edge.engines.litert import LiteRtEngine
from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine
from wherever_edge.engines.openvino import OpenVinoEngine
from wherever_edge.packages.pairs import Pairs, pack_pairs

Labels: TypeAlias = npt.NDArray[np.int64]

SEED = 0
SIZES = {"train": 898, "calibration": 306, "test": 593}  # 50 %, 17 % and 33 % of 1,797
MOST_DISAGREEMENT = 0.01
MOST_ESCALATED = 0.30
GOLDEN_SAMPLES, SURE = 4, 0.9
PAIRS_FROM = "test"
# Engines that read a format, the preferred one first.
READERS = {
    "onnx": ["onnxruntime", "openvino"],
    "tflite": ["litert", "openvino"],
    "openvino": ["openvino"],
}
BUILTIN = Path(__file__).parents[2] / "edge_runtime/wherever_edge/builtin"


@dataclass(frozen=True)
class Split:
    """Digits of one split: float32 images [n, 8, 8] of 0 to 16, and int64 labels [n]."""

    images: Floats
    labels: Labels


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; chosen by cross-validation without the test split."""

    epochs: int
    rate: float
    degrees: float
    pixels: float
    zoom: float
    shear: float = 0.15
    smoothing: float = 0.0
    batch: int = 64


SMALL = Recipe(epochs=200, rate=0.005, degrees=8, pixels=0.5, zoom=0.1)
LARGE = Recipe(epochs=100, rate=0.003, degrees=12, pixels=0.7, zoom=0.1, smoothing=0.05)


def main() -> None:
    """Train both networks, measure them, and write the package."""
    parser = argparse.ArgumentParser(description="Train the digits package.")
    parser.add_argument("--into", type=Path, default=BUILTIN, help="folder to write into")
    into: Path = parser.parse_args().into
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    logging.disable(logging.WARNING)  # the quantizer advises steps that matter to larger graphs
    splits = load_splits()
    mlp = folded(fit(small_network, splits["train"], SMALL))
    cnn = folded(fit(large_network, splits["train"], LARGE))
    small = (
        int8_form("mlp-int8", mlp, splits["train"].images),
        tflite_form("mlp-litert", mlp),
        openvino_form("mlp-openvino", mlp),
    )
    write(into, small, onnx_form("cnn", cnn), splits)


def load_splits() -> dict[str, Split]:
    """The UCI digits that scikit-learn carries, split with the same share of each digit."""
    data = load_digits()
    digits = np.arange(len(data.target))
    split = partial(train_test_split, random_state=SEED)
    rest, test = split(digits, test_size=SIZES["test"], stratify=data.target)
    train, calibration = split(rest, test_size=SIZES["calibration"], stratify=data.target[rest])
    return {
        name: Split(data.images[part].astype(np.float32), data.target[part])
        for name, part in zip(SIZES, (train, calibration, test), strict=True)
    }


def small_network() -> nn.Sequential:
    """Eight hidden units: too few to be always right, which the escalation is there for."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


def large_network() -> nn.Sequential:
    """Three convolutions and a linear layer, 39,000 weights."""
    return nn.Sequential(
        *_convolution(1, 32, stride=1),
        *_convolution(32, 32, stride=1),
        *_convolution(32, 64, stride=2),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 10),
    )


def _convolution(inputs: int, outputs: int, *, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, stride=stride)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def fit(network: Callable[[], nn.Sequential], split: Split, recipe: Recipe) -> nn.Sequential:
    """Train a new network on randomly moved copies of `split`'s images, scaled to 0 to 1."""
    torch.manual_seed(SEED)
    model = network()
    images = torch.from_numpy(split.images)[:, None] / FULL
    labels = torch.from_numpy(split.labels)
    steps = len(labels) // recipe.batch
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, total_steps=recipe.epochs * steps, pct_start=0.2
    )
    for _ in range(recipe.epochs):
        for chosen in torch.randperm(len(labels))[: steps * recipe.batch].split(recipe.batch):
            loss = loss_of(model(moved(images[chosen], recipe)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def moved(images: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Turn, shear, stretch and shift each image [n, 1, 8, 8] by a random amount."""
    count = len(images)
    angle = _spread(count) * torch.pi * recipe.degrees / 180
    stretch = 1 + _spread(count, 2) * recipe.zoom
    to = torch.zeros(count, 2, 3)
    to[:, 0, 0] = angle.cos() * stretch[:, 0]
    to[:, 0, 1] = _spread(count) * recipe.shear - angle.sin()
    to[:, 1, 0] = angle.sin()
    to[:, 1, 1] = angle.cos() * stretch[:, 1]
    to[:, :, 2] = _spread(count, 2) * recipe.pixels / 4  # the image spans -1 to 1
    grid = nn.functional.affine_grid(to, images.shape, align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


def _spread(*shape: int) -> torch.Tensor:
    return torch.rand(*shape) * 2 - 1


ENGINES: dict[str, type[Engine]] = {
    "onnx": OnnxRuntimeEngine,
    "tflite": LiteRtEngine,
    "openvino": OpenVinoEngine,
}


def answers(form: Form, split: Split) -> Floats:
    """The probabilities [n, 10] that a form gives in its engine."""
    engine = ENGINES[form.file_format]()
    session = engine.open(
        list(form.files.values()),
        file_format=form.file_format,
        plan=RunPlan(engine.name, "cpu", form.precision, 1),
    )
    shape = [-1, *session.inputs[0].shape[1:]]
    scores: Floats = session.run({"numbers": split.images.reshape(shape)})["scores"]
    return scores


@dataclass(frozen=True)
class Cascade:
    """What comes of taking the CNN's answer whenever a small network is unsure."""

    accuracy: float
    escalated: float
    disagreement: float


@dataclass(frozen=True)
class Figures:
    """What was measured of a form; by split its accuracy and, below the threshold, the cascade."""

    accuracy: dict[str, float]
    threshold: float | None
    cascade: dict[str, Cascade]


def cascade(small: Floats, large: Floats, labels: Labels, escalate_below: float) -> Cascade:
    """Measure the cascade on probabilities [n, 10] of both networks."""
    unsure = small.max(axis=1).astype(np.float64) < escalate_below
    reference = large.argmax(axis=1)
    answer = np.where(unsure, reference, small.argmax(axis=1))
    return Cascade(_share(answer == labels), _share(unsure), _share(answer != reference))


RULE = (
    f"the smallest of 0.01, 0.02, ... 0.99 at which the cascade differs from the reference on at "
    f"most {MOST_DISAGREEMENT:.0%} of the calibration split, with at most {MOST_ESCALATED:.0%} "
    f"of it escalated"
)


def choose_threshold(small: Floats, large: Floats, calibration: Split) -> float:
    """Apply RULE; ValueError when no threshold meets it."""
    for hundredths in range(1, 100):
        found = cascade(small, large, calibration.labels, hundredths / 100)
        if found.disagreement <= MOST_DISAGREEMENT and found.escalated <= MOST_ESCALATED:
            return hundredths / 100
    raise ValueError(f"no threshold is {RULE}")


def write(into: Path, small: Sequence[Form], large: Form, splits: dict[str, Split]) -> None:
    """Measure every form, and write the package and the test split into `into`."""
    root = into / "digits"
    root.mkdir(parents=True, exist_ok=True)
    for form in (*small, large):
        for name, content in form.files.items():
            (root / name).write_bytes(content)
    figures = measure(small, large, splits)
    write_pairs(root, small, large, splits[PAIRS_FROM])
    samples = golden_digits(small, splits["calibration"])
    build_with_golden(root, manifest(small, large, figures), samples)
    images, labels = splits["test"].images.astype(np.uint8), splits["test"].labels.astype(np.uint8)
    np.savez_compressed(into / "digits-test.npz", images=images, labels=labels)


def write_pairs(root: Path, small: Sequence[Form], large: Form, split: Split) -> None:
    """Write what each small form's confidence says about the CNN's answer, for promises."""
    (root / "calibration").mkdir(exist_ok=True)
    reference = answers(large, split)
    for form in small:
        pairs = pairs_of(answers(form, split), reference, split.labels)
        (root / _pairs_path(form)).write_bytes(pack_pairs(pairs))


def pairs_of(small: Floats, large: Floats, labels: Labels) -> Pairs:
    """What `wherever calibrate` keeps of two networks' probabilities [n, 10]."""
    own, other = small.argmax(axis=1), large.argmax(axis=1)
    rows = (small.max(axis=1), own == other, own == labels, other == labels, own)
    return Pairs(*(row.astype(np.float32) for row in rows))


def golden_digits(small: Sequence[Form], split: Split) -> list[Floats]:
    """The first few digits of which every small form is so sure that rounding changes no label."""
    sure = np.all([answers(form, split).max(axis=1) > SURE for form in small], axis=0)
    return list(split.images[sure][:GOLDEN_SAMPLES])


def measure(small: Sequence[Form], large: Form, splits: dict[str, Split]) -> dict[str, Figures]:
    """Measure every form on every split, with a threshold for each small one, and say so."""
    reference = {name: answers(large, each) for name, each in splits.items()}
    figures = {form.variant: measured(form, reference, splits) for form in small}
    figures[large.variant] = Figures(accuracies(reference, splits), None, {})
    for variant, found in figures.items():
        print(f"{variant}: {found}")
    return figures


def measured(form: Form, reference: dict[str, Floats], splits: dict[str, Split]) -> Figures:
    """Choose a form's threshold on the calibration split, and measure on every split."""
    scores = {name: answers(form, each) for name, each in splits.items()}
    threshold = choose_threshold(
        scores["calibration"], reference["calibration"], splits["calibration"]
    )
    cascades = {
        name: cascade(scores[name], reference[name], each.labels, threshold)
        for name, each in splits.items()
    }
    return Figures(accuracies(scores, splits), threshold, cascades)


def accuracies(scores: dict[str, Floats], splits: dict[str, Split]) -> dict[str, float]:
    """The share of each split that probabilities get right."""
    return {
        name: _share(scores[name].argmax(axis=1) == each.labels) for name, each in splits.items()
    }


def manifest(small: Sequence[Form], large: Form, figures: dict[str, Figures]) -> dict[str, Any]:
    """`model.json`, but for the files' digests."""
    numbers = {"dtype": "float32", "shape": [8, 8], "min": 0, "max": FULL}
    everywhere = ["device", "nearby", "cloud"]
    return {
        "name": "digits",
        "version": "1.0.0",
        "summary": "Tells which digit was written, from an image or from 8 x 8 amounts of ink.",
        "licence": "Apache-2.0 AND CC-BY-4.0",
        "boundary": "anywhere",
        "reference": large.variant,
        "signature": {
            "inputs": [{"name": "image", "kind": "image", "numbers": numbers}],
            "outputs": [_tensor("scores", 10)],
            "value": {"kind": "label", "scores": "scores", "labels": list("0123456789")},
        },
        "variants": [
            *(
                _variant(form, everywhere, [64], figures[form.variant])
                | {"calibration": _calibration(form, large)}
                for form in small
            ),
            _variant(large, ["cloud"], [1, 8, 8], figures[large.variant]),
        ],
        "provenance": _provenance(figures),
    }


def _variant(form: Form, places: list[str], shape: list[int], figures: Figures) -> dict[str, Any]:
    ink = {"op": "ink_numbers", "name": "image", "to": "numbers", "shape": [8, 8], "full": FULL}
    scores = _tensor("scores", -1, 10)
    return {
        "id": form.variant,
        "format": form.file_format,
        "precision": form.precision,
        "places": places,
        "files": [{"path": name} for name in form.files],
        "needs": {"engines": READERS[form.file_format]},
        "tensors": {
            "inputs": [_tensor("numbers", -1, *shape)],
            "outputs": [scores],
            "batch": True,
        },
        "pipeline": {
            "pre": [ink, {"op": "reshape", "name": "numbers", "shape": [1, *shape]}],
            "post": [{"op": op, "name": "scores"} for op in ("first_row", "max_confidence")],
        },
        "quality": [_quality(split, figures.accuracy[split]) for split in ("test", "calibration")],
        "escalate_below": figures.threshold,
    }


def _calibration(form: Form, large: Form) -> dict[str, Any]:
    return {
        "file": {"path": _pairs_path(form)},
        "against": large.variant,
        "dataset": f"uci-digits {PAIRS_FROM} split",
        "n": SIZES[PAIRS_FROM],
    }


def _pairs_path(form: Form) -> str:
    return f"calibration/{form.variant}.frame"


def _tensor(name: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": shape}


def _quality(split: str, accuracy: float) -> dict[str, Any]:
    dataset = f"uci-digits {split} split"
    return {"dataset": dataset, "metric": "accuracy", "value": accuracy, "n": SIZES[split]}


def _provenance(figures: dict[str, Figures]) -> dict[str, Any]:
    tools = ("numpy", "onnx", "onnxruntime", "openvino", "ai-edge-litert", "scikit-learn", "torch")
    cascades = {variant: found.cascade for variant, found in figures.items() if found.cascade}
    return {
        "data": {
            "name": "Optical Recognition of Handwritten Digits, as scikit-learn carries it",
            "authors": "E. Alpaydin, C. Kaynak (1998), UCI Machine Learning Repository",
            "url": "https://doi.org/10.24432/C50P49",
            "licence": "CC-BY-4.0",
        },
        "split": {"method": "stratified by label", **SIZES},
        "script": "examples/digits/train.py",
        "seed": SEED,
        "recipes": {"mlp": asdict(SMALL), "cnn": asdict(LARGE)},
        "tools": {"python": platform.python_version()} | {name: version(name) for name in tools},
        "escalation": {"rule": RULE}
        | {
            variant: {split: asdict(found) for split, found in by_split.items()}
            for variant, by_split in cascades.items()
        },
    }


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return round(float(hits.mean()), 6)


if __name__ == "__main__":
    main()
