"""Samples: labelled images or rows that a conversion calibrates with and is measured on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wherever_contracts.errors import ConversionError
from wherever_convert.samples.coco import read_coco
from wherever_convert.samples.folders import read_folders
from wherever_convert.samples.sample import Samples, thinned, without_damage
from wherever_convert.samples.tables import read_arrays, read_csv, read_npz

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

MOST_SAMPLES = 2000


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """How samples are read.

    Attributes:
        label_column: the column of a table that holds the truth.
        image_column: the column that holds paths of images, relative to the table.
        images: the directory of a COCO file's images.
        most: no more than this many are read, taken evenly.
    """

    label_column: str | None = None
    image_column: str | None = None
    images: Path | None = None
    most: int = MOST_SAMPLES


def read_samples(given: object, options: SampleOptions) -> Samples:
    """Read samples, and leave out what is damaged.

    Args:
        given: a directory with a folder for each class, a COCO json file or a directory with one,
            a .csv file, an .npz file with `x` (or the inputs by name) and perhaps `y`, or in
            Python a tuple (x, y) of arrays or x alone.
        options: how to read them.

    Raises:
        ConversionError: there are none, or they cannot be read.
    """
    found = thinned(_read(given, options), options.most)
    samples = without_damage(found)
    if not samples.items:
        named = "; ".join(f"{each.name}: {each.reason}" for each in samples.damaged[:3])
        raise ConversionError(f"{samples.name} has no samples that can be read ({named or 'none'})")
    return samples


def _read(given: object, options: SampleOptions) -> Samples:
    if not isinstance(given, str | os.PathLike):
        return read_arrays(cast("Array | tuple[Any, ...]", given))
    path = Path(cast("str | os.PathLike[str]", given))
    if path.is_dir():
        return _read_directory(path, options)
    if not path.is_file():
        raise ConversionError(f"samples: there is nothing at {path}")
    if path.suffix.lower() == ".json":
        return read_coco(path, options.images)
    if path.suffix.lower() == ".csv":
        return read_csv(path, options.label_column, options.image_column)
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    raise ConversionError(
        f"samples: {path.name} is neither a directory nor a .json (COCO), .csv or .npz file"
    )


def _read_directory(path: Path, options: SampleOptions) -> Samples:
    tables = sorted(path.glob("*.json"))
    if not tables:
        return read_folders(path)
    if len(tables) > 1:
        named = ", ".join(table.name for table in tables)
        raise ConversionError(f"samples: {path} holds several json files ({named}); name one")
    return read_coco(tables[0], options.images)
