"""Carrying checked inputs over the wire, and checking them again on the other side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from wherever_contracts.errors import InputError
from wherever_contracts.manifest import InputEntry, Signature
from wherever_contracts.tensors import describe
from wherever_contracts.wire.tensors import WireTensor, from_array, from_bytes, to_array
from wherever_edge.images import Image
from wherever_edge.inputs import (
    Checked,
    Inputs,
    bytes_check,
    encoded_image,
    image_check,
    tensor_check,
    text_check,
)

Read: TypeAlias = Callable[[WireTensor], Checked]


class WireInputs:
    """The inputs of one signature on the wire; built once, used for every call."""

    __slots__ = ("_reads",)

    def __init__(self, signature: Signature) -> None:
        self._reads = {entry.name: _reader(entry) for entry in signature.inputs}

    def write(self, inputs: Mapping[str, Any]) -> tuple[WireTensor, ...]:
        """Checked inputs as the tensors of a request: images encoded, text in UTF-8, bytes as is.

        Raises:
            InputError: an input is an image that cannot be encoded.
        """
        return tuple([_write(name, inputs[name]) for name in self._reads])

    def read(self, tensors: Iterable[WireTensor]) -> Inputs:
        """The checked inputs that a request's tensors stand for.

        Raises:
            InputError: a tensor is missing, unknown, twice there, or does not fit.
        """
        inputs: Inputs = {}
        for tensor in tensors:
            name = tensor.name
            if name in inputs:
                raise InputError(name, "one tensor", "two of that name")
            if name not in self._reads:
                raise InputError(name, f"one of {', '.join(self._reads)}", "an unknown name")
            inputs[name] = self._reads[name](tensor)
        for name in self._reads:
            if name not in inputs:
                raise InputError(name, "a tensor", "nothing")
        return inputs


def wire_bytes(inputs: Mapping[str, Any]) -> int:
    """About how many bytes checked inputs are on the wire; an image is not encoded to find out."""
    return sum(map(_wire_bytes, inputs.values()))


def _wire_bytes(value: Any) -> int:
    if isinstance(value, Image):
        return value.wire_bytes
    size = getattr(value, "nbytes", None)
    return len(value) if size is None else int(size)


def _write(name: str, value: Any) -> WireTensor:
    if isinstance(value, Image):
        data, content_type = value.encoded()
        return from_bytes(name, [data], content_type=content_type)
    if isinstance(value, str):
        return from_bytes(name, [value.encode()], content_type="text/plain")
    if isinstance(value, bytes):
        return from_bytes(name, [value], content_type="application/octet-stream")
    return from_array(name, value)


def _reader(entry: InputEntry) -> Read:
    if entry.kind == "tensor":
        check = tensor_check(entry, strict=True)
        return lambda tensor: check(_array(entry, tensor))
    if entry.kind == "bytes":
        return _bytes_reader(entry)
    return _text_reader(entry) if entry.kind == "text" else _image_reader(entry)


def _text_reader(entry: InputEntry) -> Read:
    check = text_check(entry)

    def read(tensor: WireTensor) -> Checked:
        array = _array(entry, tensor)
        if array.dtype != object:
            raise InputError(entry.name, "a BYTES tensor with one UTF-8 text", describe(array))
        try:
            return check(_only_element(entry, array).decode())
        except UnicodeDecodeError as error:
            found = f"bytes that are not, at position {error.start}"
            raise InputError(entry.name, "text in UTF-8", found) from None

    return read


def _bytes_reader(entry: InputEntry) -> Read:
    check = bytes_check(entry)

    def read(tensor: WireTensor) -> Checked:
        array = _array(entry, tensor)
        if array.dtype != object:
            raise InputError(entry.name, "a BYTES tensor with the bytes", describe(array))
        return check(_only_element(entry, array))

    return read


def _image_reader(entry: InputEntry) -> Read:
    check = image_check(entry)

    def read(tensor: WireTensor) -> Checked:
        array = _array(entry, tensor)
        if array.dtype != object:
            return check(array)
        return encoded_image(entry, _only_element(entry, array))

    return read


def _array(entry: InputEntry, tensor: WireTensor) -> Any:
    try:
        return to_array(tensor)
    except ValueError as error:
        found = f"{tensor.datatype}{list(tensor.shape)}"
        raise InputError(entry.name, str(error), found) from None


def _only_element(entry: InputEntry, array: Any) -> bytes:
    if array.size != 1:
        raise InputError(entry.name, "a BYTES tensor of one element", describe(array))
    element: bytes = array.reshape(-1)[0]
    return element
