"""Measure the package `people` on labelled images: accuracy, time, and what its scores are worth.

    python examples/people/evaluate.py PACKAGE DATA [--json]

DATA holds `images/NAME.jpg` and, for each, `labels/NAME.txt` with lines "class x y width height":
centre and size as shares of the image (the YOLO format). Needs pycocotools.

What is fitted (the calibration of scores, the confidence below which to escalate) is fitted on the
images at even positions in name order and measured on those at odd ones.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from wherever_contracts.receipts import Answer
from wherever_contracts.tensors import Array
from wherever_edge.host import LoadedVariant, LocalHost
from wherever_edge.images import Image
from wherever_edge.packages.store import Store

CLASSES = 80
PERSON = 0
EVERYTHING = 0.001
OVERLAP = 0.5
DIFFERS_BELOW = 0.5


class Found(NamedTuple):
    """Boxes float [n, 4] (left, top, right, bottom in pixels), scores [n] and classes [n]."""

    boxes: Array
    scores: Array
    classes: Array


class Labelled(NamedTuple):
    """An image file and what is in it."""

    data: bytes
    width: int
    height: int
    truth: Found


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(description="Measure the package `people`.")
    parser.add_argument("package", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    report = evaluate(given.package, given.data)
    print(json.dumps(report, indent=2) if given.json else in_words(report))


def evaluate(package: Path, data: Path) -> dict[str, Any]:
    """Everything that is measured, as plain data."""
    images = labelled_images(data)
    host = LocalHost(Store([package], builtin=False), distance="device")
    manifest = host.store.get("people").manifest
    loaded = [host.resolve("people", variant=variant.id) for variant in manifest.variants]
    variants = {each.variant.id: evaluate_variant(each, images, data.name) for each in loaded}
    default = manifest.signature.options[0].default
    shown = {
        each.variant.id: [ask(each, image.data, default) for image in images] for each in loaded
    }
    reference = shown.pop(manifest.reference)
    routing = {name: escalation(images, own, reference) for name, own in shown.items()}
    return {"images": len(images), "variants": variants, "escalation": routing}


def evaluate_variant(
    loaded: LoadedVariant, images: Sequence[Labelled], dataset: str
) -> dict[str, Any]:
    """Accuracy, milliseconds, and calibration of one variant."""
    found = [found_in(ask(loaded, image.data, EVERYTHING)) for image in images]
    precisions = average_precisions(images, found)
    quality = [
        {"dataset": dataset, "metric": metric, "value": round(value, 4), "n": len(images)}
        for metric, value in precisions.items()
    ]
    return {
        "quality": quality,
        "milliseconds": milliseconds(loaded, images),
        "calibration": calibration(loaded, images, found),
    }


def labelled_images(data: Path) -> list[Labelled]:
    """Every image of `data` with its labels, in name order."""
    paths = sorted((data / "images").glob("*.jpg"))
    if not paths:
        raise SystemExit(f"no images in {data / 'images'}")
    return [labelled(path, data / "labels" / f"{path.stem}.txt") for path in paths]


def labelled(path: Path, labels: Path) -> Labelled:
    """One image with its labels."""
    data = path.read_bytes()
    height, width = Image.from_encoded(data, path.name).rgb().shape[:2]
    rows = np.array([line.split() for line in labels.read_text().splitlines()], float)
    classes, centre, size = np.split(rows.reshape(-1, 5), (1, 3), axis=1)
    boxes = np.hstack([centre - size / 2, centre + size / 2]) * [width, height, width, height]
    truth = Found(boxes, np.ones(len(boxes)), classes[:, 0].astype(int))
    return Labelled(data, width, height, truth)


def ask(loaded: LoadedVariant, data: bytes, min_score: float) -> Answer:
    """What a variant answers for an image file."""
    return loaded.answer({"image": Image.from_encoded(data, "image")}, {"min_score": min_score})


def found_in(answer: Answer) -> Found:
    """The detections of an answer."""
    return Found(*(answer.outputs[name] for name in Found._fields))


def average_precisions(images: Sequence[Labelled], found: Sequence[Found]) -> dict[str, float]:
    """COCO's mAP (IoU 0.50:0.95), AP50, and AP50 of people; at most 100 boxes an image."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: Any = COCO()
    truth.dataset = {
        "images": [{"id": n, "width": i.width, "height": i.height} for n, i in enumerate(images)],
        "categories": [{"id": n} for n in range(CLASSES)],
        "annotations": coco_rows([image.truth for image in images]),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        run: Any = COCOeval(truth, truth.loadRes(coco_rows(found)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    people = run.eval["precision"][0, :, PERSON, 0, 2]  # overlap 0.5, any size, 100 boxes
    return {
        "mAP": float(run.stats[0]),
        "AP50": float(run.stats[1]),
        "AP50 person": float(people[people >= 0].mean()),
    }


def coco_rows(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Detections as COCO's annotations."""
    rows = [
        (image, corners, score, kind)
        for image, each in enumerate(found)
        for corners, score, kind in zip(*(column.tolist() for column in each), strict=True)
    ]
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": kind,
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
            "score": score,
        }
        # COCO takes an id of 0 for "no match"
        for number, (image, (left, top, right, bottom), score, kind) in enumerate(rows, start=1)
    ]


def milliseconds(loaded: LoadedVariant, images: Sequence[Labelled]) -> dict[str, float]:
    """Medians over the images: to decode the file, in the engine, in the rest of the pipeline."""
    options = {option.name: option.default for option in loaded.signature.options}
    times: list[tuple[float, float, float]] = []
    for labelled in images:
        image = Image.from_encoded(labelled.data, "image")
        started = perf_counter()
        image.rgb()
        decoded = perf_counter()
        answer = loaded.answer({"image": image}, options)
        rest = perf_counter() - decoded - answer.engine_s
        times.append((decoded - started, answer.engine_s, rest))
    medians = np.median(np.array(times), axis=0) * 1000
    return dict(zip(("decode", "engine", "pipeline"), medians.round(2).tolist(), strict=True))


def matches(found: Found, truth: Found) -> Array:
    """For each detection, in order: the thing that it found and no better one had found, or -1."""
    same = found.classes[:, None] == truth.classes
    overlap = overlaps(found.boxes, truth.boxes) * same
    taken = np.full(len(found.scores), -1)
    for row, shares in enumerate(overlap):
        if shares.size and shares.max() >= OVERLAP:
            taken[row] = shares.argmax()
            overlap[:, taken[row]] = 0
    return taken


def overlaps(one: Array, other: Array) -> Array:
    """Intersection over union of every box of `one` with every box of `other`."""
    start = np.maximum(one[:, None, :2], other[:, :2])
    end = np.minimum(one[:, None, 2:], other[:, 2:])
    shared = (end - start).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    shares: Array = shared / (areas[0][:, None] + areas[1] - shared)
    return shares


def f1(found: Found, truth: Found) -> float:
    """How well two lists of detections agree: 1 when all are the same things, 0 when none is."""
    both = len(found.scores) + len(truth.scores)
    return 2 * int((matches(found, truth) >= 0).sum()) / both if both else 1.0


def calibration(
    loaded: LoadedVariant, images: Sequence[Labelled], found: Sequence[Found]
) -> dict[str, Any]:
    """What the decoder's slope and offset should be, and how right the scores are as they are."""
    decoder = loaded.variant.pipeline.post[0].parameters
    slope, offset = fitted(*outcomes(images[::2], found[::2]))
    scores, right = outcomes(images[1::2], found[1::2])
    edges = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    inside = [(scores > low) & (scores <= high) for low, high in pairwise(edges)]
    return {
        "slope": round(slope * decoder["slope"], 3),
        "offset": round(slope * decoder["offset"] + offset, 3),
        "said": [round(float(scores[each].mean()), 3) for each in inside],
        "true": [round(float(right[each].mean()), 3) for each in inside],
        "n": [int(each.sum()) for each in inside],
    }


def outcomes(images: Sequence[Labelled], found: Sequence[Found]) -> tuple[Array, Array]:
    """Every score, and whether that detection was right."""
    right = [matches(own, image.truth) >= 0 for own, image in zip(found, images, strict=True)]
    return np.concatenate([own.scores for own in found]).astype(float), np.concatenate(right)


def fitted(scores: Array, right: Array) -> tuple[float, float]:
    """Slope and offset of `right` as a logistic function of logit(score), by Newton's method."""
    within = scores.clip(1e-6, 1 - 1e-6)
    inputs = np.stack([np.log(within / (1 - within)), np.ones(len(scores))], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(25):
        chances = 1 / (1 + np.exp(-inputs @ weights))
        curvature = (inputs * (chances * (1 - chances))[:, None]).T @ inputs
        weights += np.linalg.solve(curvature, inputs.T @ (right - chances))
    return float(weights[0]), float(weights[1])


def escalation(
    images: Sequence[Labelled], own: Sequence[Answer], reference: Sequence[Answer]
) -> dict[str, float]:
    """Choose the confidence below which to escalate, and say what that is worth."""
    confidence = np.array([answer.confidence for answer in own], float)
    small, large = [found_in(answer) for answer in own], [found_in(answer) for answer in reference]
    agreement = np.array([f1(*pair) for pair in zip(small, large, strict=True)])
    differs = agreement < DIFFERS_BELOW
    below = best_threshold(confidence[::2], differs[::2])
    confidence, differs = confidence[1::2], differs[1::2]
    sent = confidence < below
    truth = [image.truth for image in images[1::2]]
    pooled = pooled_f1(sent, counts(small[1::2], truth), counts(large[1::2], truth))
    figures = {
        "escalate_below": below,
        "escalated": sent.mean(),
        "differ": differs.mean(),
        "differ_among_escalated": differs[sent].mean(),
        "differ_among_kept": differs[~sent].mean(),
        "auc": auc(confidence, differs),
        **pooled,
    }
    return {name: round(float(value), 3) for name, value in figures.items()}


def counts(found: Sequence[Found], truth: Sequence[Found]) -> Array:
    """For each image: twice the right detections, and all detections plus all true things."""
    pairs = list(zip(found, truth, strict=True))
    right = [2 * int((matches(*pair) >= 0).sum()) for pair in pairs]
    return np.array([right, [len(one.scores) + len(other.scores) for one, other in pairs]]).T


def pooled_f1(sent: Array, small: Array, large: Array) -> dict[str, float]:
    """F1 over all images: device alone, escalating those `sent`, as many at random, reference."""
    share = sent.mean()
    totals = {
        "f1_device": small,
        "f1_escalating": np.where(sent[:, None], large, small),
        "f1_escalating_at_random": (1 - share) * small + share * large,
        "f1_reference": large,
    }
    return {name: float(np.divide(*each.sum(axis=0))) for name, each in totals.items()}


def best_threshold(confidence: Array, differs: Array) -> float:
    """The threshold with most of those that differ below it and few others (Youden's J)."""
    ordered = np.unique(confidence)
    between = (ordered[:-1] + ordered[1:]) / 2
    below = confidence < between[:, None]
    gain = below[:, differs].mean(axis=1) - below[:, ~differs].mean(axis=1)
    return float(between[gain.argmax()])


def auc(confidence: Array, differs: Array) -> float:
    """The chance that an answer that differs has less confidence than one that does not."""
    one, other = confidence[differs][:, None], confidence[~differs]
    return float(((one < other) + (one == other) / 2).mean())


def in_words(report: dict[str, Any]) -> str:
    """The report as lines for a person."""
    lines = [f"{report['images']} images"]
    for variant, figures in report["variants"].items():
        lines += ["", variant]
        lines += [f"  {each['metric']:12} {each['value']:.4f}" for each in figures["quality"]]
        lines += [f"  {part:12} {ms:.2f} ms" for part, ms in figures["milliseconds"].items()]
        own = figures["calibration"]
        lines += [f"  fitted: slope {own['slope']}, offset {own['offset']}; scores, odd positions:"]
        rows = zip(own["n"], own["said"], own["true"], strict=True)
        lines += [f"    {n:4} said {said:.2f}, true {true:.2f}" for n, said, true in rows]
    for variant, figures in report["escalation"].items():
        lines += ["", f"escalating from {variant}, odd positions"]
        lines += [f"  {name.replace('_', ' '):24} {value:.3f}" for name, value in figures.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
