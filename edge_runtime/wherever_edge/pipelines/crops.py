"""Images become parts of images: a crop, or tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from wherever_contracts.errors import InputError
from wherever_edge.pipelines.image import parts_of
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory
from wherever_edge.pipelines.placement import starts

# left, top, right and bottom
_Corners: TypeAlias = tuple[int, int, int, int]
# gives the corners of a rectangle in an image of so many rows and columns
_CornersIn: TypeAlias = Callable[[int, int], _Corners]

_MOST_OVERLAP = 0.9


def crop(
    context: StepContext,
    *,
    name: str,
    to: str | None = None,
    box: Sequence[int] | None = None,
    shares: Sequence[float] | None = None,
    middle: Sequence[int] | None = None,
) -> Step:
    """Take a rectangle of an image; boxes found in it come back in pixels of the whole.

    Formula:
        The pixels [left, right) x [top, bottom), without a copy. `box` gives left, top, right and
        bottom in pixels; what lies beyond the image is left out. `shares` gives the same as shares
        of the image's width w and height h: floor(left w), floor(top h), ceil(right w) and
        ceil(bottom h). `middle` gives height and width in pixels, of which floor((h - height) / 2)
        rows lie above and floor((w - width) / 2) columns before; what the image does not have of
        them is left out.

    Cost:
        About 2 us, whatever the size: no pixel is copied.

    Args:
        context: nothing of it is used.
        name: the input, an `Image` or a part of one.
        to: where to leave the part; the same name by default.
        box: see above; one of the three must be given.
        shares: see above.
        middle: see above.

    Raises:
        ValueError: none or several are given, or they are no rectangle.
        InputError: (in a call) nothing of the image lies within.
    """
    if sum(each is not None for each in (box, shares, middle)) != 1:
        raise ValueError("one of box, shares and middle must be given")
    target = to or name
    if middle is not None:
        corners_in = _in_the_middle(*middle)
    else:
        corners_in = _by_pixels(*box) if box is not None else _by_shares(*(shares or ()))

    def step(state: State) -> None:
        (part,) = parts_of(state[name])
        rows, columns = part.pixels.shape[:2]
        corners = corners_in(rows, columns)
        cut = part.cut(*corners)
        if cut.pixels.size == 0:
            wanted = f"an image with pixels in {list(corners)} (left, top, right, bottom)"
            raise InputError(name, wanted, f"{columns}x{rows} pixels")
        state[target] = cut

    return step


def tiles(
    context: StepContext,
    *,
    name: str,
    to: str | None = None,
    size: Sequence[int],
    overlap: float = 0.2,
    whole: bool = True,
    most: int = 64,
) -> Step:
    """Cut an image into overlapping tiles, for things too small to be seen in all of it at once.

    `image_tensor` makes a row of each tile; the decoders move what is found in each row to the
    whole image, and `class_nms` drops what two tiles found twice: `over="smaller"` also drops the
    half of a thing that a tile's edge cut off.

    Formula:
        Along a side of L pixels with tiles of t: one tile when L <= t, else
        n = ceil((L - overlap t) / (t - overlap t)) tiles, of which number k (from 0) begins at
        round(k (L - t) / (n - 1)). Tiles come row by row; with `whole` all of the image comes
        first, unless it is the only tile.

    Cost:
        About 15 us for 7 tiles: no pixel is copied. What costs is that `image_tensor` and the
        engine have as many rows to do.

    Args:
        context: nothing of it is used.
        name: the input, an `Image` or a part of one.
        to: where to leave the parts; the same name by default.
        size: height and width of a tile, in pixels of the image.
        overlap: neighbours share at least this much of a tile, 0 to 0.9; it should be the
            size of the things sought, so that one tile shows each of them whole.
        whole: add all of the image as a tile, for things larger than a tile.
        most: no image may become more tiles than this, because each is a run of the engine.

    Raises:
        ValueError: a parameter makes no tiles.
        InputError: (in a call) the image would become more tiles than `most`.
    """
    height, width = (int(n) for n in size)
    if min(height, width, most) < 1 or not 0 <= overlap <= _MOST_OVERLAP:
        raise ValueError(f"size and most must be above 0, and overlap from 0 to {_MOST_OVERLAP}")
    target = to or name

    def step(state: State) -> None:
        (image,) = parts_of(state[name])
        rows, columns = image.pixels.shape[:2]
        tops, lefts = starts(rows, height, overlap), starts(columns, width, overlap)
        count = len(tops) * len(lefts)
        all_too = (image,) if whole and count > 1 else ()
        if count + len(all_too) > most:
            found = f"{columns}x{rows} pixels: {count + len(all_too)} tiles of {width}x{height}"
            raise InputError(name, f"an image of at most {most} tiles", found)
        cuts = [image.cut(x, y, x + width, y + height) for y in tops for x in lefts]
        state[target] = (*all_too, *cuts)

    return step


def _by_pixels(left: int, top: int, right: int, bottom: int) -> _CornersIn:
    _check_rectangle(left, top, right, bottom)
    return lambda _rows, _columns: (left, top, right, bottom)


def _by_shares(left: float, top: float, right: float, bottom: float) -> _CornersIn:
    _check_rectangle(left, top, right, bottom)

    def corners(rows: int, columns: int) -> _Corners:
        start = math.floor(left * columns), math.floor(top * rows)
        return *start, math.ceil(right * columns), math.ceil(bottom * rows)

    return corners


def _in_the_middle(height: int, width: int) -> _CornersIn:
    _check_rectangle(0, 0, width, height)

    def corners(rows: int, columns: int) -> _Corners:
        left, top = (columns - width) // 2, (rows - height) // 2
        return left, top, left + width, top + height

    return corners


def _check_rectangle(left: float, top: float, right: float, bottom: float) -> None:
    if not (0 <= left < right and 0 <= top < bottom):
        found = [left, top, right, bottom]
        raise ValueError(f"left, top, right and bottom of a rectangle, not {found}")


STEPS: dict[str, StepFactory] = {"crop": crop, "tiles": tiles}
