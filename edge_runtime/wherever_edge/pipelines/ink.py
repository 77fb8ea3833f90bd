"""A step for models of single characters: from a picture of one to a small grid of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory

_Floats = npt.NDArray[np.float32]

_WORKING_SIDE = 256  # pixels of the longer side; more adds time and nothing to a grid of 8 x 8
_LEAST_CONTRAST = 16.0  # of 255; fainter marks belong to the paper
_NOISE_SIGMAS = 4.0
_SIGMA = 1.4826  # standard deviation of a normal distribution / its median deviation
_INKED = 0.25  # of the strongest ink, above the noise: the character's outline is that strong
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def ink_numbers(
    _context: StepContext,
    *,
    name: str,
    to: str | None = None,
    shape: Sequence[int] = (8, 8),
    full: float = 16.0,
) -> Step:
    """Turn an image of one character into a grid of ink amounts; leave bare numbers as they are.

    Formula:
        Grey is 0.299 R + 0.587 G + 0.114 B; a longer side above 256 pixels is averaged down to
        that. The paper is the median m of the border, the ink of a pixel its distance from m
        towards the farther of the darkest and the lightest pixel. Pixels with more ink than
        max(16, t + 0.25 (strongest - t)), where t is 4 * 1.4826 * the border's median deviation,
        span a box. A grid that is centred on the box, and fills it one way, has cells of
        max(box height / rows, box width / columns) pixels; the ink of a cell is the mean over it,
        with nothing beyond the image, divided by the strongest cell's, times `full`.

    Cost:
        About 1.6 ms for a picture of 280x280 pixels.

    Args:
        name: the input, an `Image` or an array that already holds the grid.
        to: where to leave the float32 grid; the same name by default.
        shape: rows and columns of the grid.
        full: the number that stands for a cell full of ink; an empty one is 0.
    """
    target = to or name
    rows, columns = (int(n) for n in shape)
    ndarray = np.ndarray

    def step(state: State) -> None:
        value = state[name]
        if not isinstance(value, ndarray):
            value = ink_grid(value.rgb(), rows=rows, columns=columns) * np.float32(full)
        state[target] = value

    return step


def ink_grid(rgb: npt.NDArray[np.uint8], *, rows: int, columns: int) -> _Floats:
    """Average the ink of the one character in a picture over a grid.

    The character may be dark on light or light on dark; the border of the picture tells which. It
    is cut out, keeps its aspect, is centred, and fills the grid's height or its width.

    Args:
        rgb: uint8 [height, width, 3].
        rows: of the grid.
        columns: of the grid.

    Returns:
        float32 [rows, columns], 0 for no ink to 1 for the cell with most; all zeros when the
        picture is blank.
    """
    ink, least = _ink(_shrink(rgb @ _LUMA))
    box = _bounds(ink > least)
    if box is None:
        return np.zeros((rows, columns), np.float32)
    top, bottom, left, right = box
    cell = max((bottom - top) / rows, (right - left) / columns)
    down = _averaging(ink.shape[0], rows, (top + bottom - rows * cell) / 2, cell)
    across = _averaging(ink.shape[1], columns, (left + right - columns * cell) / 2, cell)
    grid = np.maximum(down @ ink @ across.T, np.float32(0))
    strongest = grid.max()
    return grid / strongest if strongest > 0 else grid


def _shrink(grey: _Floats) -> _Floats:
    height, width = grey.shape
    pixels = max(height, width) / _WORKING_SIDE
    if pixels <= 1:
        return grey
    rows, columns = max(1, round(height / pixels)), max(1, round(width / pixels))
    down = _averaging(height, rows, 0, height / rows)
    across = _averaging(width, columns, 0, width / columns)
    return (down @ grey @ across.T).astype(np.float32, copy=False)


def _ink(grey: _Floats) -> tuple[_Floats, float]:
    """How far each pixel is from the paper towards the ink, and the least that is surely ink."""
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    paper = float(np.median(border))
    darker, lighter = paper - float(grey.min()), float(grey.max()) - paper
    ink = paper - grey if darker >= lighter else grey - paper
    noise = _NOISE_SIGMAS * _SIGMA * float(np.median(np.abs(border - paper)))
    return ink, max(_LEAST_CONTRAST, noise + _INKED * (max(darker, lighter) - noise))


def _bounds(inked: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Top, bottom, left and right of what is inked; None when nothing is."""
    rows, columns = np.nonzero(inked)
    if not rows.size:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns.min()), int(columns.max()) + 1


def _averaging(pixels: int, cells: int, start: float, cell: float) -> _Floats:
    """The matrix [cells, pixels] that averages a line of pixels over equal cells.

    The first cell begins at `start`; what lies outside the line counts as zero.
    """
    edges = np.arange(cells + 1) * cell + start
    pixel = np.arange(pixels)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    shares: _Floats = (np.maximum(overlap, 0) / cell).astype(np.float32)
    return shares


STEPS: dict[str, StepFactory] = {"ink_numbers": ink_numbers}
