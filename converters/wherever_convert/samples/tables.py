"""Tables: CSV files, .npz files without pickle, and arrays."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.samples.sample import Damaged, Form, Sample, Samples, Truth

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

_IMAGE_COLUMNS = ("image", "path", "file", "file_name", "filename")
_LABEL_COLUMNS = ("label", "class", "target", "y")
_MOST_ROWS = 1_000_000
_X, _Y = "x", "y"


def read_csv(path: Path, label_column: str | None, image_column: str | None) -> Samples:
    """Read a table with a header: columns of numbers, or one of image paths, and the truth.

    Args:
        path: the file; paths of images are relative to it.
        label_column: the column of the truth; by default one called label, class, target or y.
        image_column: the column of paths; by default one called image, path, file or file_name.

    Raises:
        ConversionError: a column is not there, or there are too many rows.
    """
    header, rows = _csv_rows(path)
    label = _column(header, label_column, _LABEL_COLUMNS, path)
    image = _column(header, image_column, _IMAGE_COLUMNS, path)
    read = _CsvRow(path, header, label, image)
    items: list[Sample] = []
    damaged: list[Damaged] = []
    for line, row in rows:
        try:
            items.append(read.sample(line, row))
        except ValueError as error:
            damaged.append(Damaged(f"{path.name}:{line}", str(error)))
    form: Form = "rows" if image is None else "images"
    return Samples(path.stem, form, tuple(items), _classes(items), tuple(damaged))


def read_npz(path: Path) -> Samples:
    """Read `x` (or every input by its name) and, when it is there, `y`; pickles are refused.

    Raises:
        ConversionError: it is damaged, holds Python objects, or the lengths differ.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, TypeError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise ConversionError(f"samples: {path.name} cannot be read: {error}") from error
    truth = arrays.pop(_Y, None)
    given = arrays[_X] if set(arrays) == {_X} else arrays
    return _from_arrays(path.stem, given, truth)


def read_arrays(given: Array | tuple[Any, ...] | dict[str, Array]) -> Samples:
    """Take x, or a tuple (x, y), as arrays or what numpy makes arrays of.

    Raises:
        ConversionError: the lengths differ, or it holds Python objects.
    """
    if isinstance(given, dict):
        return _from_arrays("arrays", given, None)
    x, y = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    return _from_arrays("arrays", np.asarray(x), None if y is None else np.asarray(y))


def _csv_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and every other row that is not empty with the line that it ends in."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header: list[str] = next(reader, list[str]())
            found = ((reader.line_num, row) for row in reader if row)
            rows = list(islice(found, _MOST_ROWS + 1))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConversionError(f"samples: {path.name} is no CSV in UTF-8: {error}") from error
    if len(rows) > _MOST_ROWS:
        raise ConversionError(f"samples: {path.name} has more than {_MOST_ROWS} rows")
    return header, rows


def _from_arrays(name: str, given: Array | dict[str, Array], truth: Array | None) -> Samples:
    columns = given if isinstance(given, dict) else {_X: given}
    lengths = {len(array) if array.ndim else 0 for array in columns.values()}
    lengths |= set() if truth is None else {len(truth)}
    if len(lengths) != 1:
        raise ConversionError(f"samples: {name} has arrays of different lengths: {sorted(lengths)}")
    if any(array.dtype == object for array in columns.values()):
        raise ConversionError(f"samples: {name} holds Python objects, not numbers")
    (count,) = lengths
    items = [
        Sample(f"{name}[{row}]", _row(given, row), None if truth is None else _truth(truth[row]))
        for row in range(count)
    ]
    return Samples(name, "rows", tuple(items), _classes(items))


def _row(given: Array | dict[str, Array], row: int) -> Array | dict[str, Array]:
    if isinstance(given, dict):
        return {name: np.asarray(array[row]) for name, array in given.items()}
    return np.asarray(given[row])


def _truth(value: Any) -> Truth:
    """A class by its name, or a number; a whole number is a class."""
    plain = np.asarray(value)
    if plain.ndim:
        raise ConversionError(f"samples: a truth is one value, not an array {list(plain.shape)}")
    return float(plain) if plain.dtype.kind == "f" else str(plain)


def _classes(items: Sequence[Sample]) -> tuple[str, ...] | None:
    """The classes in the order of their numbers, or of their names."""
    names = {item.truth for item in items if isinstance(item.truth, str)}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=int)) or None
    return tuple(sorted(names))


class _CsvRow:
    """Makes a sample of a row of text."""

    def __init__(
        self, path: Path, header: Sequence[str], label: int | None, image: int | None
    ) -> None:
        self._path = path
        self._width = len(header)
        self._label = label
        self._image = image
        self._features = [i for i in range(len(header)) if i not in (label, image)]

    def sample(self, line: int, row: Sequence[str]) -> Sample:
        """ValueError when the row cannot be used, with the reason."""
        if len(row) != self._width:
            raise ValueError(f"{len(row)} columns, the header has {self._width}")
        truth = None if self._label is None else self._truth(row[self._label].strip())
        name = f"{self._path.name}:{line}"
        if self._image is not None:
            return Sample(name, self._path.parent / row[self._image].strip(), truth)
        numbers = np.array([row[i] for i in self._features], dtype=np.float32)
        if not np.isfinite(numbers).all():
            raise ValueError("a number that is missing or not finite")
        return Sample(name, numbers, truth)

    def _truth(self, text: str) -> Truth:
        if not text:
            raise ValueError("no label")
        if "." not in text:
            return text
        try:
            return float(text)
        except ValueError:
            return text


def _column(
    header: Sequence[str], wanted: str | None, usual: Sequence[str], path: Path
) -> int | None:
    if wanted is not None:
        if wanted not in header:
            raise ConversionError(
                f"samples: {path.name} has no column {wanted!r} (it has: {', '.join(header)})"
            )
        return header.index(wanted)
    lowered = [name.strip().lower() for name in header]
    return next((lowered.index(name) for name in usual if name in lowered), None)
