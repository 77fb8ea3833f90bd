"""Samples of arrays and lists in Python, and of .npz files without pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.samples.sample import (
    IMAGE_SUFFIXES,
    Damaged,
    Form,
    Sample,
    Samples,
    Truth,
    Value,
)
from wherever_convert.samples.truths import classes, truth_of

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

_X, _Y = "x", "y"
_NAME = "arrays"


def read_npz(path: Path, most: int) -> Samples:
    """Read `x` (or every input by its name) and, when it is there, `y`; pickles are refused.

    Raises:
        ConversionError: it is damaged, holds Python objects, or the lengths differ.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays: dict[str, Array] = {name: file[name] for name in file.files}
    except (ValueError, TypeError, OSError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise ConversionError(f"samples: {path.name} cannot be read: {error}") from error
    truth = arrays.pop(_Y, None)
    if not arrays:
        raise ConversionError(f"samples: {path.name} holds no array but y; x has the inputs")
    given = arrays[_X] if set(arrays) == {_X} else arrays
    return _from_columns(path.stem, given, truth, most)


def read_objects(given: Any, form: Form | None, most: int) -> Samples:
    """Take arrays, or a list of texts, paths, bytes or arrays; or a tuple of them and the truths.

    Raises:
        ConversionError: the lengths differ, or it holds other things.
    """
    x: Any = given
    y: Any = None
    if isinstance(given, tuple) and len(cast("Any", given)) == 2:
        x, y = cast("tuple[Any, Any]", given)
    elif isinstance(given, tuple) and len(cast("Any", given)) == 1:
        (x,) = cast("tuple[Any]", given)
    if isinstance(x, Mapping):
        columns = {str(name): np.asarray(array) for name, array in cast("Any", x).items()}
        return _from_columns(_NAME, columns, y, most)
    if isinstance(x, np.ndarray) and cast("Array", x).dtype.kind in "US":
        x = cast("Any", x).tolist()
    if x is None or isinstance(x, int | float):
        raise ConversionError(f"samples: {x!r} is neither a path nor an array nor a list")
    if not isinstance(x, list | tuple) or not _are_things(cast("Sequence[Any]", x)):
        return _from_columns(_NAME, _as_array(x), y, most)
    return _from_list(cast("Sequence[Any]", x), y, form, most)


def _are_things(given: Sequence[Any]) -> bool:
    """Whether a list holds samples one by one, and not rows of numbers."""
    if not given:
        raise ConversionError("samples: the list is empty")
    if all(isinstance(each, str | bytes | Path) for each in given):
        return True
    arrays = all(isinstance(each, np.ndarray) for each in given)
    return arrays and len({each.shape for each in given}) > 1


def _from_list(given: Sequence[Any], truths: Any, form: Form | None, most: int) -> Samples:
    named = [f"{_NAME}[{position}]" for position in range(len(given))]
    found = form or _form_of(given)
    if found in ("images", "files"):
        given = [Path(each) if isinstance(each, str) else each for each in given]
        named = [each.name if isinstance(each, Path) else name for each, name in _zip(given, named)]
    values = {position: given[position] for position in _evenly(len(given), most)}
    return _samples(_NAME, found, values, truths, len(given), dict(enumerate(named)))


def _zip(given: Sequence[Any], names: Sequence[str]) -> zip[tuple[Any, str]]:
    return zip(given, names, strict=True)


def _form_of(given: Sequence[Any]) -> Form:
    if all(isinstance(each, np.ndarray) for each in given):
        return "images"
    if all(isinstance(each, str) for each in given):
        paths = [Path(each) for each in given if len(each) < 1024 and "\n" not in each]
        images = len(paths) == len(given) and all(map(_is_image, paths))
        return "images" if images and paths[0].is_file() else "texts"
    if any(isinstance(each, str) for each in given):
        raise ConversionError("samples: a list of texts or of paths, not of both")
    paths = [each for each in given if isinstance(each, Path)]
    return "images" if paths and all(map(_is_image, paths)) else "files"


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _as_array(given: Any) -> Array:
    try:
        return np.asarray(given)
    except ValueError as error:
        raise ConversionError(
            f"samples: rows are of different lengths, or of things that are no numbers: {error}"
        ) from error


def _from_columns(name: str, given: Array | dict[str, Array], truths: Any, most: int) -> Samples:
    columns = given if isinstance(given, dict) else {_X: given}
    lengths = {len(array) if array.ndim else 0 for array in columns.values()}
    if len(lengths) != 1:
        raise ConversionError(f"samples: {name} has arrays of different lengths: {sorted(lengths)}")
    allowed = "biufU" if isinstance(given, dict) else "biuf"
    strange = sorted({f"{a.dtype}" for a in columns.values() if a.dtype.kind not in allowed})
    if strange:
        what = "Python objects" if "object" in strange else ", ".join(strange)
        raise ConversionError(f"samples: {name} holds {what}, not numbers")
    (count,) = lengths
    values = {position: _row(given, position) for position in _evenly(count, most)}
    return _samples(name, "rows", values, truths, count)


def _row(given: Array | dict[str, Array], row: int) -> Value:
    if isinstance(given, dict):
        return {name: _cell(array[row]) for name, array in given.items()}
    return np.asarray(given[row])


def _cell(value: Any) -> Any:
    return str(value) if isinstance(value, np.str_) else np.asarray(value)


def _evenly(count: int, most: int) -> list[int]:
    """Positions at even distances, at most so many."""
    if not count:
        raise ConversionError("samples: there are none in it")
    kept = min(count, most)
    return [position * count // kept for position in range(kept)]


def _samples(
    name: str,
    form: Form,
    values: Mapping[int, Any],
    truths: Any,
    count: int,
    names: Mapping[int, str] | None = None,
) -> Samples:
    """Samples of the values that were taken, by position, with their truths."""
    known = _truths(name, truths, count)
    items: list[Sample] = []
    damaged: list[Damaged] = []
    for position, value in values.items():
        title = (names or {}).get(position, f"{name}[{position}]")
        try:
            truth = None if known is None else _truth(known[position])
            items.append(Sample(title, value, truth))
        except ValueError as error:
            damaged.append(Damaged(title, str(error)))
    labels = None if known is None else _labels(known)
    return Samples(name, form, tuple(items), labels, tuple(damaged), count - len(values))


def _truths(name: str, truths: Any, count: int) -> Sequence[Any] | None:
    if truths is None:
        return None
    given: Any = truths
    if not isinstance(truths, list | tuple) or _are_numbers(cast("Sequence[Any]", truths)):
        given = np.asarray(cast("Any", truths))
    is_list = isinstance(given, list | tuple)
    length = len(cast("Any", given)) if is_list or np.ndim(given) else 0
    if length != count:
        lengths = sorted((length, count))
        raise ConversionError(f"samples: {name} has arrays of different lengths: {lengths}")
    return cast("Sequence[Any]", given)


def _are_numbers(truths: Sequence[Any]) -> bool:
    """Whether one array holds them; whole ones among others are no classes then."""
    return all(isinstance(truth, int | float | np.number) for truth in truths)


def _labels(truths: Sequence[Any]) -> tuple[str, ...] | None:
    """The classes among all truths, whether or not their samples were taken."""
    found: Any = truths
    if isinstance(truths, np.ndarray):
        array = cast("Array", truths)
        found = np.unique(array).tolist() if array.dtype.kind in "biuUS" else []
    known = [truth for truth in found if isinstance(truth, str | int)]
    return classes({truth_of(each) for each in known if each != ""})


def _truth(value: Any) -> Truth:
    """None where it is not known; ValueError for what is no truth."""
    return None if value is None else truth_of(value)
