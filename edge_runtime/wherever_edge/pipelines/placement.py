"""Where an image, or a part of one, went in a tensor, and the way back. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from wherever_contracts.tensors import Array

# In the state: a tuple of `Placement`, one for each row of the tensor that images went into.
PLACEMENT = "placement"

_Floats: TypeAlias = npt.NDArray[np.float32]


class Placement(NamedTuple):
    """Where an image of `width` x `height` pixels went in a tensor.

    The point (x, y) of the image is at (x * scale_x + left, y * scale_y + top) of the tensor.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    left: float = 0
    top: float = 0

    def to_image(self, boxes: _Floats) -> _Floats:
        """Turn boxes of the tensor into boxes of the image, cut off at its edges.

        Args:
            boxes: float32 [n, 4]: left, top, right, bottom, in pixels.
        """
        start = np.array((self.left, self.top) * 2, np.float32)
        scale = np.array((self.scale_x, self.scale_y) * 2, np.float32)
        end = np.array((self.width, self.height) * 2, np.float32)
        return ((boxes - start) / scale).clip(0, end)

    def of_whole(self, part: Part) -> Placement:
        """The same placement of a part, for the whole that it is a part of."""
        if (part.height, part.width) == part.pixels.shape[:2]:
            return self
        return self._replace(
            width=part.width,
            height=part.height,
            left=self.left - part.left * self.scale_x,
            top=self.top - part.top * self.scale_y,
        )


class Part(NamedTuple):
    """A rectangle of an image, without a copy.

    Attributes:
        pixels: uint8 [rows, columns, 3].
        left: columns of the whole before it.
        top: rows of the whole above it.
        width: columns of the whole.
        height: rows of the whole.
    """

    pixels: Array
    left: int
    top: int
    width: int
    height: int

    def rgb(self) -> Array:
        """The pixels, as an `Image` gives them."""
        return self.pixels

    def cut(self, left: int, top: int, right: int, bottom: int) -> Part:
        """A part of this part, in its pixels; what would lie beyond its edges is left out."""
        left, top = max(left, 0), max(top, 0)
        pixels = self.pixels[top : max(bottom, 0), left : max(right, 0)]
        return self._replace(pixels=pixels, left=self.left + left, top=self.top + top)

    def middle(self, height: int, width: int, share: float) -> Part:
        """Of the largest rectangle of the aspect `width`:`height`, the middle `share`."""
        rows, columns = self.pixels.shape[:2]
        scale = share * min(rows / height, columns / width)
        used_rows, used_columns = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (rows - used_rows) // 2, (columns - used_columns) // 2
        return self.cut(left, top, left + used_columns, top + used_rows)


def whole(rgb: Array) -> Part:
    """All of an image, uint8 [rows, columns, 3]."""
    return Part(rgb, 0, 0, rgb.shape[1], rgb.shape[0])


def starts(length: int, piece: int, overlap: float) -> tuple[int, ...]:
    """Where pieces begin that cover a line, as few as overlap by a share, spread evenly.

    With n = ceil((length - overlap * piece) / (piece - overlap * piece)) pieces, piece k begins at
    round(k * (length - piece) / (n - 1)); a line no longer than a piece needs one.

    Args:
        length: of the line, in pixels.
        piece: the pieces' length.
        overlap: 0 to less than 1; neighbours share this much of a piece, or more.
    """
    if length <= piece:
        return (0,)
    shared = overlap * piece
    # a quotient that is whole but for the last bit is whole
    count = math.ceil((length - shared) / (piece - shared) - 1e-9)
    return tuple(round(k * (length - piece) / (count - 1)) for k in range(count))


def fit_in(fit: str, shape: Sequence[int], height: int, width: int) -> tuple[Placement, int, int]:
    """Where an image [rows, columns, ...] goes in a tensor, and the rows and columns that it gets.

    Args:
        fit: one of `FITS`.
        shape: of the image.
        height: of the tensor.
        width: of the tensor.
    """
    rows, columns = shape[:2]
    if fit == "stretch":
        return Placement(columns, rows, width / columns, height / rows), height, width
    if columns * height <= width * rows:
        new_rows, new_columns = height, max(1, columns * height // rows)
    else:
        new_rows, new_columns = max(1, rows * width // columns), width
    place = Placement(columns, rows, new_columns / columns, new_rows / rows)
    if fit == "letterbox":
        place = place._replace(left=(width - new_columns) // 2, top=(height - new_rows) // 2)
    return place, new_rows, new_columns


FITS = ("stretch", "letterbox", "letterbox_top_left")
