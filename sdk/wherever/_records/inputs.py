"""Checked inputs as they are kept: a frame that gives a replay what the model was shown. Pure.

An image that came as a file is that file; one that came as pixels is its pixels, not the JPEG that
it would travel as, from which a model may see something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from wherever._cache import call_digest
from wherever_contracts.frames import FrameError, pack_frame, unpack_frame
from wherever_contracts.plain import from_plain
from wherever_contracts.tensors import Array
from wherever_edge.images import Image

_DIGITS = 32  # 128 bits, which is half of the hash and enough (RFC 2104, section 5)


def content_digest(device_key: bytes, contents: Mapping[str, Any]) -> str:
    """What tells inputs or outputs from others, and nothing about them: an HMAC under a key.

    Args:
        device_key: the secret of this device.
        contents: arrays, `Image`s, text and bytes by name.

    Returns:
        32 hexadecimal digits.

    Raises:
        InputError: an image turned out to be damaged.
    """
    return call_digest(device_key, contents, {}, "record").hex()[:_DIGITS]


def pack_inputs(inputs: Mapping[str, Any]) -> bytes:
    """Checked inputs as a frame; nothing of it is shared with what was given.

    Raises:
        FrameError: an array of a dtype that no package knows.
        InputError: an image turned out to be damaged.
    """
    contents = {name: _content(value) for name, value in inputs.items()}
    kinds = {name: kind for name, (kind, _) in contents.items()}
    return pack_frame({name: array for name, (_, array) in contents.items()}, {"kinds": kinds})


def unpack_inputs(frame: bytes) -> dict[str, Any]:
    """The inputs in a frame, as a call takes them: an image as its file or pixels.

    Raises:
        FrameError: it is damaged, or not one of inputs.
    """
    arrays, meta = unpack_frame(frame)
    try:
        kinds = from_plain(dict[str, str], meta.get("kinds"), "kinds")
        return {name: _value(kinds[name], array) for name, array in arrays.items()}
    except (KeyError, ValueError) as error:
        raise FrameError(f"a frame of something else than inputs ({error!r:.200})") from None


def _content(value: Any) -> tuple[str, Array]:
    """What kind of input it is, and what is kept of it."""
    if isinstance(value, str):
        return "text", _buffer(value.encode())
    if isinstance(value, bytes):
        return "bytes", _buffer(value)
    if isinstance(value, Image):
        return ("array", value.rgb()) if value.file is None else ("bytes", _buffer(value.file))
    return "array", value


def _value(kind: str, array: Array) -> Any:
    if kind == "array":
        return array
    data = array.tobytes()
    return data.decode() if kind == "text" else data


def _buffer(data: bytes) -> Array:
    return np.frombuffer(data, np.uint8)
