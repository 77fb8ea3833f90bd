"""Samples: what a conversion calibrates with and is measured on, with or without the truth."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import cast

from wherever_contracts.errors import ConversionError
from wherever_convert.samples.arrays import read_npz, read_objects
from wherever_convert.samples.coco import read_coco
from wherever_convert.samples.folders import read_folders
from wherever_convert.samples.options import MOST_SAMPLES, SampleOptions
from wherever_convert.samples.sample import Samples, thinned, without_damage
from wherever_convert.samples.table_files import TABLE_SUFFIXES
from wherever_convert.samples.tables import read_table
from wherever_convert.samples.truths import moved
from wherever_convert.samples.yolo import is_yolo, read_yolo

__all__ = ["MOST_SAMPLES", "SampleOptions", "Samples", "read_samples"]


def read_samples(given: object, options: SampleOptions) -> Samples:
    """Read samples, and leave out what is damaged.

    Args:
        given: a directory with a folder of images, texts or files for each class; a COCO json file
            or a directory with one; a directory with `images` and YOLO's `labels`; a .csv, .tsv,
            .jsonl or .parquet file; an .npz file with `x` (or the inputs by name) and perhaps `y`;
            or in Python an array, arrays by input name, a list of texts, paths or bytes, or a
            tuple of one of them and the truths.
        options: how to read them.

    Raises:
        ConversionError: there are none, or they cannot be read.
        MissingExtraError: Parquet cannot be read without an extra.
    """
    if options.most < 1:
        raise ConversionError(f"at least one sample is needed, not {options.most}")
    samples = without_damage(thinned(_read(given, options), options.most))
    if not samples.items:
        raise ConversionError(_none_left(samples))
    return _counted_otherwise(samples, options.label_offset)


def _none_left(samples: Samples) -> str:
    named = "; ".join(f"{each.name}: {each.reason}" for each in samples.damaged[:3])
    text = f"{samples.name} has no samples that can be read ({named or 'none'})"
    if samples.form == "rows" and "no number" in named:
        return (
            f"{text}; say what the columns are, such as --columns text=NAME,label=NAME, and, where "
            f"the first line is no header, --no-header --columns text=2,label=1"
        )
    if samples.form in ("images", "files") and "No such file" in named:
        return f"{text}; say which directory paths begin in (--images DIR)"
    return text


def _counted_otherwise(samples: Samples, offset: int) -> Samples:
    if not offset:
        return samples
    items = tuple(item._replace(truth=moved(item.truth, offset)) for item in samples.items)
    return replace(samples, items=items, labels=None)


def _read(given: object, options: SampleOptions) -> Samples:
    if not isinstance(given, str | os.PathLike):
        return read_objects(given, options.form, options.most)
    path = Path(cast("str | os.PathLike[str]", given))
    if path.is_dir():
        return _read_directory(path, options)
    if not path.is_file():
        raise ConversionError(f"samples: there is nothing at {path}")
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_coco(path, options.images)
    if suffix in TABLE_SUFFIXES:
        return read_table(path, options)
    if suffix == ".npz":
        return read_npz(path, options.most)
    raise ConversionError(
        f"samples: {path.name} is neither a directory nor a .json (COCO), "
        f"{', '.join(TABLE_SUFFIXES)} or .npz file"
    )


def _read_directory(path: Path, options: SampleOptions) -> Samples:
    if is_yolo(path):
        return read_yolo(path, options.labels, options.most)
    tables = [] if options.form not in (None, "images") else sorted(path.glob("*.json"))
    if not tables:
        return read_folders(path, options.form, options.most)
    if len(tables) > 1:
        named = ", ".join(table.name for table in tables)
        raise ConversionError(f"samples: {path} holds several json files ({named}); name one")
    return read_coco(tables[0], options.images)
