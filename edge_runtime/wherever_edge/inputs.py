"""Checking what people give against a signature.

A checked input is an `Image`, a `str`, `bytes`, or an array of the signature's dtype and shape.
Every refusal is an `InputError` that names the input, what was expected, and what came.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np

from wherever_contracts.errors import InputError
from wherever_contracts.manifest import InputEntry, NumbersEntry, Signature
from wherever_contracts.tensors import Array, TensorSpec, describe
from wherever_edge.images import Image

Checked: TypeAlias = Image | str | bytes | Array
Inputs: TypeAlias = dict[str, Checked]
# A longer text is not quoted as the path that it was taken for.
_PATH_QUOTED = 100

_BYTES_WORDS = "bytes, or the path of a file (a str is a path)"
_ARRAYS: tuple[type, ...] = (list, tuple, int, float, bool, np.generic)

Check: TypeAlias = Callable[[Any], Checked]


class InputChecker:
    """Checks the inputs of one signature; built once, called for every call."""

    __slots__ = ("_checks", "_only", "_only_name")

    def __init__(self, signature: Signature) -> None:
        self._checks = {entry.name: _check_for(entry) for entry in signature.inputs}
        self._only_name, self._only = next(iter(self._checks.items()))

    def check(self, value: Any) -> Inputs:
        """Return the inputs by name.

        Args:
            value: the only input itself, or a mapping with every input by name.

        Raises:
            InputError: an input is missing, unknown, or does not fit.
        """
        # an ndarray first: asking an abstract class costs as much as checking the numbers
        if not isinstance(value, np.ndarray) and isinstance(value, Mapping):
            return self._named(value)  # pyright: ignore[reportUnknownArgumentType]
        if len(self._checks) > 1:
            raise InputError("", f"a dict with {_names(self._checks)}", _kind(value))
        return {self._only_name: self._only(value)}

    def _named(self, values: Mapping[Any, Any]) -> Inputs:
        for name in values:
            if name not in self._checks:
                raise InputError(str(name), f"one of {_names(self._checks)}", "an unknown name")
        for name in self._checks:
            if name not in values:
                raise InputError(name, "a value", f"only {_names(values) or 'an empty dict'}")
        return {name: check(values[name]) for name, check in self._checks.items()}


def owned(inputs: Mapping[str, Checked]) -> Inputs:
    """The same checked inputs, which stay what they are when the caller changes those given."""
    return {name: _owned(value) for name, value in inputs.items()}


def _owned(value: Checked) -> Checked:
    if isinstance(value, Image):
        return value.owned()
    return value.copy() if isinstance(value, np.ndarray) else value


def check_options(signature: Signature, given: Mapping[str, Any]) -> dict[str, float]:
    """The call's options, defaults filled in.

    Raises:
        InputError: an option is unknown, not a number, or out of its range.
    """
    if not signature.options and not given:
        return {}
    known = {option.name: option for option in signature.options}
    for name in given:
        if name not in known:
            expected = f"an option of this model ({', '.join(known) or 'it has none'})"
            raise InputError(name, expected, "an unknown name", kind="argument")
    options: dict[str, float] = {}
    for name, option in known.items():
        value: Any = given.get(name, option.default)
        if not _is_number(value):
            raise InputError(name, "a number", _kind(value), kind="argument")
        if not option.min <= value <= option.max:
            expected = f"a number from {option.min:g} to {option.max:g}"
            raise InputError(name, expected, f"{value}", kind="argument")
        options[name] = float(value)
    return options


def _check_for(entry: InputEntry) -> Check:
    if entry.kind == "text":
        return text_check(entry)
    if entry.kind == "tensor":
        return tensor_check(entry, strict=False)
    return bytes_check(entry) if entry.kind == "bytes" else image_check(entry)


def text_check(entry: InputEntry) -> Check:
    """A check that lets text pass."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise InputError(entry.name, "text (a str)", _kind(value))
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise InputError(entry.name, "text that UTF-8 can hold", f"{error.reason}") from None
        if size > entry.max_bytes:
            raise InputError(entry.name, f"at most {entry.max_bytes} bytes of text", f"{size}")
        return value

    return check


def bytes_check(entry: InputEntry) -> Callable[[Any], bytes]:
    """A check that makes `bytes` of whatever holds some; a `str` is the path of a file."""

    def check(value: Any) -> bytes:
        if isinstance(value, bytes | bytearray | memoryview):
            data = _ends(entry, cast("bytes | bytearray | memoryview", value))
        elif isinstance(value, str | os.PathLike):
            path = cast("str | os.PathLike[str]", value)
            data = _ends(entry, _read_file(entry, path, _BYTES_WORDS))
        else:
            raise InputError(entry.name, _BYTES_WORDS, _kind(value))
        if len(data) > entry.max_bytes:
            raise InputError(entry.name, f"at most {entry.max_bytes} bytes", f"{len(data)} or more")
        return bytes(data)

    return check


def tensor_check(entry: InputEntry, *, strict: bool) -> Check:
    """A check that lets fitting arrays pass; unless `strict`, others of the same kind are cast."""
    spec = TensorSpec(entry.name, entry.dtype or "float32", entry.shape or ())
    low = -math.inf if entry.min is None else entry.min
    high = math.inf if entry.max is None else entry.max
    bounded = (entry.min, entry.max) != (None, None)

    def check(value: Any) -> Array:
        array = cast("Array", value) if isinstance(value, np.ndarray) else _as_array(spec, value)
        if not spec.admits(array):
            array = _converted(spec, array, strict=strict)
        if array.size == 0:
            raise InputError(spec.name, f"{spec} with at least one element", describe(array))
        if entry.finite and array.dtype.kind == "f" and not _all_finite(array):
            raise InputError(spec.name, "finite numbers", "NaN or infinity among them")
        if bounded:
            _refuse_outside(spec.name, array, low, high)
        return array

    return check


def image_check(entry: InputEntry) -> Check:
    """A check that makes an `Image` of whatever is one, and lets bare numbers pass."""
    numbers = _numbers_check(entry.name, entry.numbers) if entry.numbers else None

    def check(value: Any) -> Checked:
        if isinstance(value, np.ndarray):
            array = cast("Array", value)
            if numbers is not None and (checked := numbers(array)) is not None:
                return checked
            return Image.from_pixels(array, entry.name)
        if isinstance(value, bytes | bytearray | memoryview):
            return encoded_image(entry, bytes(cast("bytes", value)))
        if isinstance(value, str | os.PathLike):
            path = cast("str | os.PathLike[str]", value)
            return encoded_image(entry, _read_file(entry, path, "the path of an image file"))
        if numbers is not None and isinstance(value, list | tuple):
            array = _as_array(TensorSpec(entry.name, "float32", ()), value)
            if (checked := numbers(array)) is not None:
                return checked
            raise InputError(entry.name, _image_words(entry), f"{_kind(value)} {describe(array)}")
        return _image_object(entry, value)

    return check


def _image_object(entry: InputEntry, value: Any) -> Image:
    """An image that is an object of Pillow's, or was checked before as the crops of a chain are."""
    if isinstance(value, Image):
        return value
    if hasattr(value, "convert") and hasattr(value, "getbbox"):
        return Image.from_pil(value, entry.name)
    raise InputError(entry.name, _image_words(entry), _kind(value))


def _numbers_check(name: str, entry: NumbersEntry) -> Callable[[Array], Array | None]:
    """A check that returns None for arrays that are not of the numbers' shape."""
    shape, flat = entry.shape, (math.prod(entry.shape),)
    dtype = np.dtype(entry.dtype)
    low, high = entry.min, entry.max

    def check(array: Array) -> Array | None:
        if array.shape != shape:
            if array.shape != flat:
                return None
            array = array.reshape(shape)
        if array.dtype != dtype:
            if array.dtype.kind not in "fiu":
                raise InputError(name, f"numbers from {low:g} to {high:g}", describe(array))
            array = array.astype(dtype)
        # min and max carry a NaN through, and a NaN fails both comparisons
        if not (array.min() >= low and array.max() <= high):
            _refuse_outside(name, array, low, high)
        return array

    return check


def _refuse_outside(name: str, array: Array, low: float, high: float) -> None:
    least, most = float(array.min()), float(array.max())
    if not (least >= low and most <= high):
        found = "NaN among them" if math.isnan(least + most) else f"{least:g} to {most:g}"
        raise InputError(name, f"numbers from {low:g} to {high:g}", found)


def _as_array(spec: TensorSpec, value: Any) -> Array:
    if not isinstance(value, _ARRAYS):
        raise InputError(spec.name, f"an array {spec}", _kind(value))
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise InputError(
            spec.name, f"an array {spec}", f"a ragged {type(value).__name__}"
        ) from error
    # whole numbers in a list have no sign to lose, unlike an array that somebody made signed
    unsigned = spec.numpy_dtype.kind == "u" and array.dtype.kind == "i" and array.size > 0
    return array.astype(np.uint64) if unsigned and array.min() >= 0 else array


def _converted(spec: TensorSpec, array: Array, *, strict: bool) -> Array:
    """`array` in the dtype of `spec`, when no number changes its kind or its value by it."""
    if strict or not np.can_cast(array.dtype, spec.numpy_dtype, "same_kind"):
        if array.dtype != spec.numpy_dtype:
            raise InputError(spec.name, f"{spec}", describe(array))
        converted = array
    else:
        with np.errstate(over="ignore"):
            converted = array.astype(spec.numpy_dtype)
        if spec.numpy_dtype.kind in "iu" and not np.array_equal(converted, array):
            raise InputError(spec.name, f"numbers that fit {spec.dtype}", "larger ones")
    if not spec.admits(converted):
        hint = ", without a batch axis" if converted.ndim == len(spec.shape) + 1 else ""
        raise InputError(spec.name, f"{spec}{hint}", describe(array))
    return converted


def _all_finite(array: Array) -> bool:
    # the sum of squares takes one pass and no temporary; it may overflow though all are finite
    if array.dtype.itemsize > 2 and math.isfinite(np.vdot(array, array)):
        return True
    # NaN and infinity come through both
    return math.isfinite(array.max()) and math.isfinite(array.min())


def encoded_image(entry: InputEntry, data: bytes) -> Image:
    """The image in encoded bytes, not decoded yet."""
    if len(data) > entry.max_bytes:
        raise InputError(entry.name, f"an image of at most {entry.max_bytes} bytes", f"{len(data)}")
    return Image.from_encoded(data, entry.name)


def _ends(
    entry: InputEntry, data: bytes | bytearray | memoryview
) -> bytes | bytearray | memoryview:
    """All of it, or its two ends where the signature wants no more of a long one."""
    if isinstance(data, memoryview):
        data = data.cast("B") if data.contiguous else bytes(data)
    length = entry.ends_bytes
    if length is None or len(data) <= 2 * length:
        return data
    return b"".join((data[:length], data[-length:]))


def _read_file(entry: InputEntry, path: str | os.PathLike[str], expected: str) -> bytes:
    text = os.fspath(path)
    if "://" in text:
        scheme = _shortened(text.partition("://")[0])
        raise InputError(entry.name, f"{expected} (download it first)", f"an address ({scheme})")
    try:
        with open(text, "rb", opener=_open_without_waiting) as file:
            size = _regular_size(file.fileno())
            if entry.ends_bytes and size > 2 * entry.ends_bytes:
                start = file.read(entry.ends_bytes)
                file.seek(-entry.ends_bytes, os.SEEK_END)
                return start + file.read(entry.ends_bytes)
            return file.read(entry.max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(entry.name, expected, f"{_path_words(text)}: {reason}") from error


def _regular_size(descriptor: int) -> int:
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return about.st_size


def _open_without_waiting(path: str, flags: int) -> int:
    """Open like `open` does, but do not wait for a writer when `path` is a named pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _is_number(value: Any) -> bool:
    kinds = int | float | np.floating | np.integer
    return isinstance(value, kinds) and not isinstance(value, bool)


def _image_words(entry: InputEntry) -> str:
    words = "an image (path, encoded bytes, PIL image, or uint8 RGB array [height, width, 3])"
    if entry.numbers is None:
        return words
    shape = " x ".join(map(str, entry.numbers.shape))
    return f"{words} or {shape} numbers from {entry.numbers.min:g} to {entry.numbers.max:g}"


def _names(names: Iterable[Any]) -> str:
    return ", ".join(repr(name) for name in names)


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {describe(cast('Array', value))}"
    return "None" if value is None else f"a {type(value).__name__}"


def _path_words(text: str | bytes) -> str:
    """A path in quotes; what is too long for one, or has several lines, may be content."""
    if isinstance(text, str) and len(text) <= _PATH_QUOTED and text.isprintable():
        return repr(text)
    return f"{len(text)} characters that name no file"


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:97] + "...")
