"""Samples as pictures that are part of the page."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from wherever_contracts.errors import WhereverError
from wherever_edge.images import Image

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

# What all pictures of a page may take, and one file that is read for them.
MOST_BYTES = 2_000_000
_MOST_FILE_BYTES = 32 * 1024 * 1024
_QUALITY = 72
_MOST_PIXELS = 64
_WHITE = 255


class Picture(NamedTuple):
    """A small picture as a data URI, and the size in pixels of what it shows.

    `exact` pictures have a pixel for each number of a small array, and are not smoothed.
    """

    uri: str
    width: int
    height: int
    exact: bool = False


@dataclass
class Thumbnails:
    """Makes pictures until their room on the page is used up.

    Attributes:
        left: bytes that are left.
    """

    left: int = MOST_BYTES

    def of(self, value: Any, side: int) -> Picture | None:
        """A picture of an image file, or of an array that looks like one; None when it is neither.

        Args:
            value: a sample's.
            side: the longer side of the picture, in pixels.
        """
        try:
            picture = _drawn(value, side)
        except (WhereverError, OSError):
            return None  # such as a file of another kind, or one that has gone since
        if picture is None or len(picture.uri) > self.left:
            return None
        self.left -= len(picture.uri)
        return picture


def _drawn(value: Any, side: int) -> Picture | None:
    if isinstance(value, Path):
        return _of_file(value.read_bytes(), side) if _is_small(value) else None
    if isinstance(value, bytes):
        return _of_file(value, side)
    return _of_array(cast("Array", value)) if isinstance(value, np.ndarray) else None


def beginning(value: Path | bytes, most: int) -> tuple[int, bytes]:
    """How many bytes a file has, and the first of them; none where it has gone since."""
    if isinstance(value, bytes):
        return len(value), value[:most]
    try:
        with value.open("rb") as file:
            return value.stat().st_size, file.read(most)
    except OSError:
        return 0, b""


def _is_small(path: Path) -> bool:
    return path.stat().st_size <= _MOST_FILE_BYTES


def _of_file(data: bytes, side: int) -> Picture:
    pixels = Image.from_encoded(data, "sample").rgb()
    from PIL import Image as pillow  # noqa: N813, PLC0415 (heavy)

    picture = pillow.fromarray(pixels)
    picture.thumbnail((side, side))
    height, width = pixels.shape[:2]
    if max(height, width) <= _MOST_PIXELS:
        return Picture(_uri(picture, "png"), width, height, exact=True)
    return Picture(_uri(picture, "jpeg"), width, height)


def _of_array(value: Array) -> Picture | None:
    """Of a small grey image as numbers, the largest white."""
    plain = np.squeeze(value)
    if plain.ndim != 2 or min(plain.shape) < 4 or max(plain.shape) > _MOST_PIXELS:
        return None
    low, high = float(plain.min()), float(plain.max())
    if not math.isfinite(high - low):
        return None
    grey = (plain.astype(np.float64) - low) / ((high - low) or 1.0) * _WHITE
    try:
        from PIL import Image as pillow  # noqa: N813, PLC0415 (heavy)
    except ImportError:
        return None
    height, width = plain.shape
    return Picture(_uri(pillow.fromarray(grey.astype(np.uint8)), "png"), width, height, exact=True)


def _uri(picture: Any, kind: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
