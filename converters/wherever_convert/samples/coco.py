"""COCO's json: images, categories, and annotations with boxes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.samples.sample import Boxes, Damaged, Sample, Samples

_MAX_BYTES = 1 << 30


def read_coco(table: Path, images: Path | None) -> Samples:
    """Read a COCO file with boxes.

    Args:
        table: the json file.
        images: where its images are; by default `images` beside the file, or the file's folder.

    Raises:
        ConversionError: it is not COCO's json, or an annotation leads nowhere.
    """
    data = _load(table)
    folder = images or (table.parent / "images")
    folder = folder if folder.is_dir() else table.parent
    try:
        return _samples(table, data, folder)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ConversionError(f"samples: {table.name} is not COCO's json: {what}") from error


def _samples(table: Path, data: dict[str, Any], folder: Path) -> Samples:
    names = {entry["id"]: str(entry["name"]) for entry in data["categories"]}
    boxes = _boxes_by_image(data["annotations"], names)
    pictures = sorted((str(entry["file_name"]), entry["id"]) for entry in data["images"])
    items: list[Sample] = []
    damaged: list[Damaged] = []
    for name, image_id in pictures:
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            damaged.append(Damaged(name, f"a path that leads out of {folder}"))
        else:
            items.append(Sample(name, path, boxes.get(image_id, _truth([]))))
    labels = tuple(names[each] for each in sorted(names))
    dataset = table.stem if table.stem != "annotations" else table.parent.name
    return Samples(dataset, "images", tuple(items), labels, tuple(damaged))


def _load(table: Path) -> dict[str, Any]:
    size = table.stat().st_size
    if size > _MAX_BYTES:
        raise ConversionError(f"samples: {table.name} has {size} bytes, at most {_MAX_BYTES}")
    try:
        data: Any = json.loads(table.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"samples: {table.name} is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConversionError(f"samples: {table.name} is not COCO's json: no object")
    return cast("dict[str, Any]", data)


_Row = tuple[list[float], str, bool]


def _boxes_by_image(annotations: list[dict[str, Any]], names: dict[Any, str]) -> dict[Any, Boxes]:
    rows: dict[Any, list[_Row]] = {}
    for entry in annotations:
        left, top, width, height = map(float, entry["bbox"])
        if not all(map(math.isfinite, (left, top, width, height))):
            raise ValueError(f"a box {entry['bbox']}")
        corners = [left, top, left + width, top + height]
        row = (corners, names[entry["category_id"]], bool(entry.get("iscrowd", 0)))
        rows.setdefault(entry["image_id"], []).append(row)
    return {image: _truth(found) for image, found in rows.items()}


def _truth(rows: list[_Row]) -> Boxes:
    return Boxes(
        np.array([corners for corners, _, _ in rows], np.float64).reshape(-1, 4),
        tuple(name for _, name, _ in rows),
        np.array([crowd for _, _, crowd in rows], bool),
    )
