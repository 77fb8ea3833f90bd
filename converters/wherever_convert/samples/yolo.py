"""YOLO's label files: DIR/images/NAME.jpg beside DIR/labels/NAME.txt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wherever_contracts.errors import InputError
from wherever_convert.samples.sample import (
    IMAGE_SUFFIXES,
    Boxes,
    Damaged,
    Sample,
    Samples,
    thinned,
)
from wherever_edge.images import Image

_IMAGES, _LABELS, _NAMES = "images", "labels", "classes.txt"


def is_yolo(root: Path) -> bool:
    """True for a directory with `images`, and text files in `labels`."""
    labels = root / _LABELS
    return (root / _IMAGES).is_dir() and labels.is_dir() and any(labels.glob("*.txt"))


def read_yolo(root: Path, names: Sequence[str] | None, most: int) -> Samples:
    """Read images with boxes.

    A line of a label file is a class's number, and the box's centre, width and height as shares of
    the image's. An image without a label file shows nothing.

    Args:
        root: the directory.
        names: of the classes, by number; by default the lines of `classes.txt`, else the numbers.
        most: no more images are taken, evenly.
    """
    names = names or _listed_names(root)
    paths = [p for p in sorted((root / _IMAGES).iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES]
    all_of = tuple(Sample(path.name, path, None) for path in paths)
    labels = tuple(names) if names else None
    taken = thinned(Samples(root.name, "images", all_of, labels), most)
    items: list[Sample] = []
    damaged: list[Damaged] = []
    for item in taken.items:
        try:
            items.append(item._replace(truth=_truth(root, Path(str(item.value)), names)))
        except InputError as error:
            damaged.append(Damaged(item.name, error.found))
        except (OSError, ValueError) as error:
            damaged.append(Damaged(item.name, str(error)))
    return Samples(root.name, "images", tuple(items), labels, tuple(damaged), taken.left_out)


def _listed_names(root: Path) -> list[str]:
    file = root / _NAMES
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [line.strip() for line in lines if line.strip()]


def _truth(root: Path, image: Path, names: Sequence[str]) -> Boxes:
    file = root / _LABELS / f"{image.stem}.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    rows = [_row(file.name, line) for line in lines if line.strip()]
    height, width = Image.from_encoded(image.read_bytes(), "image").rgb().shape[:2]
    kinds = [int(row[0]) for row in rows]
    wrong = [kind for kind in kinds if names and kind >= len(names)]
    if wrong:
        raise ValueError(f"{file.name}: class {wrong[0]} of {len(names)}")
    centre, size = (np.array([row[i : i + 2] for row in rows]).reshape(-1, 2) for i in (1, 3))
    edges = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    boxes = edges * np.array([width, height, width, height], np.float64)
    named = tuple(names[kind] if names else str(kind) for kind in kinds)
    return Boxes(boxes, named, np.zeros(len(rows), bool))


def _row(file: str, line: str) -> list[float]:
    """The class, and the box's centre and size."""
    try:
        row = [float(part) for part in line.split()]
    except ValueError:
        row = []
    if len(row) != 5 or not all(map(math.isfinite, row)) or row[0] < 0 or row[0] % 1:
        raise ValueError(f"{file}: {line[:60]!r} is no class and box")
    return row
