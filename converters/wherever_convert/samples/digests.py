"""Digests of samples: equal for the same contents wherever they lie, another for any other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_convert.samples.sample import Sample

_CHUNK_BYTES = 1024 * 1024


def content_digest(value: Any) -> str:
    """The sha256 (hex) of what a sample's value holds; of a path, of the file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    total = hashlib.sha256()
    for part in _parts(value):
        total.update(part)
    return total.hexdigest()


def data_digest(samples: Iterable[Sample]) -> str:
    """The sha256 (hex) over names, contents and truths of samples, in their order.

    One sample after the other is read, so that any number of them takes no memory.

    Raises:
        OSError: a file cannot be read.
    """
    total = hashlib.sha256()
    for sample in samples:
        content = sample.content or content_digest(sample.value)
        for text in (sample.name, content, _truth(sample.truth)):
            data = text.encode(errors="surrogateescape")
            total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    """Bytes that differ wherever values do; each begins with what it is."""
    if isinstance(value, Path):
        yield b"bytes"
        with value.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    elif isinstance(value, bytes):
        yield b"bytes"
        yield value
    elif isinstance(value, str):
        yield b"text"
        yield value.encode(errors="surrogatepass")
    elif isinstance(value, Mapping):
        for name, part in cast("Mapping[str, Any]", value).items():
            yield f"{name}:{content_digest(part)},".encode()
    else:
        yield from _array(np.asarray(value))


def _array(array: Array) -> Iterator[bytes]:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    yield f"array{little.dtype.str}{list(little.shape)}".encode()
    yield np.ascontiguousarray(little).tobytes()


def _truth(truth: Any) -> str:
    if hasattr(truth, "boxes"):
        return repr((truth.boxes.tolist(), list(truth.names), truth.crowd.tolist()))
    return repr(truth)
