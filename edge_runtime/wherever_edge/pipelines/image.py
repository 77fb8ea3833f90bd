"""The step that makes a tensor of an image, and the way back from tensor to image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from wherever_contracts.errors import missing_extra
from wherever_contracts.tensors import Array, shape_fits
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory

PLACEMENT = "placement"

_Floats: TypeAlias = npt.NDArray[np.float32]
_Arrange: TypeAlias = Callable[[Array], Array]
_Resize: TypeAlias = Callable[[Array, tuple[int, int]], Array]
_T = TypeVar("_T")


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

    def within(self, shape: Sequence[int]) -> Placement:
        """The same placement of the middle of an image [rows, columns, ...], for all of it."""
        rows, columns = shape[:2]
        return self._replace(
            width=columns,
            height=rows,
            left=self.left - (columns - self.width) // 2 * self.scale_x,
            top=self.top - (rows - self.height) // 2 * self.scale_y,
        )


def image_tensor(
    context: StepContext,
    *,
    name: str,
    to: str,
    size: Sequence[int],
    fit: str = "stretch",
    keep: float = 1.0,
    pad: float = 0.0,
    resize: str = "linear",
    order: str = "rgb",
    scale: float = 1.0,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    layout: str = "nchw",
) -> Step:
    """Make a float32 batch of one of an image, and leave its `Placement` in the state.

    A pixel's value v becomes (v * scale - mean) / std.

    Args:
        context: the variant; where it declares the tensor, the shapes must agree.
        name: the input, an `Image`.
        to: where to leave the tensor.
        size: height and width of the tensor.
        fit: "stretch" to the size, or keep the aspect and pad the rest: "letterbox" puts the image
            in the middle, "letterbox_top_left" in that corner.
        keep: the share of the image that is used: the middle of it, in the tensor's aspect when
            less than 1, as classifiers are often trained.
        pad: the value, 0 to 255, of the pixels around a letterboxed image.
        resize: "linear"; "area", which loses less where an image shrinks a lot; or "antialias",
            the linear filter over every pixel that counts, as training pipelines often have it.
        order: of the channels: "rgb", "bgr", or "grey" for a single one.
        scale: see above.
        mean: see above; one number, or one for each channel in `order`.
        std: likewise.
        layout: of the tensor: "nchw" or "nhwc".

    Raises:
        ValueError: a parameter is not one of those.
        MissingExtraError: OpenCV is not installed.
    """
    height, width = (int(n) for n in size)
    cv2 = opencv()
    resized_to = _one_of("resize", resize, _resizers(cv2))
    if resize == "antialias":
        _pillow()
    place = _one_of("fit", fit, _FITS)
    channels, arrange = _one_of("order", order, _orders(cv2))
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be above 0 and at most 1, not {keep}")
    channels_first = _one_of("layout", layout, {"nchw": True, "nhwc": False})
    gain, bias = _affine(channels, scale, mean, std)
    shape = (1, channels, height, width) if channels_first else (1, height, width, channels)
    _check_shape(context, to, shape)
    margin = pad * gain + bias
    biased = bool(bias.any())

    def step(state: State) -> None:
        rgb = state[name].rgb()
        used = _middle(rgb, height, width, keep) if keep < 1 else rgb
        placement, rows, columns = place(used.shape, height, width)
        resized = resized_to(used, (columns, rows))
        batch = np.empty(shape, np.float32)
        planes = batch[0] if channels_first else batch[0].transpose(2, 0, 1)
        if (rows, columns) != (height, width):
            planes[...] = margin
        top, left = int(placement.top), int(placement.left)
        picture = planes[:, top : top + rows, left : left + columns]
        np.multiply(arrange(resized), gain, out=picture)
        if biased:
            picture += bias
        state[to] = batch
        state[PLACEMENT] = placement if keep == 1 else placement.within(rgb.shape)

    return step


def opencv() -> ModuleType:
    """Import OpenCV.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import cv2  # noqa: PLC0415 (0.2 s, and an extra)
    except ImportError as error:
        raise missing_extra("preparing images", "image") from error
    return cv2


def _middle(rgb: Array, height: int, width: int, keep: float) -> Array:
    """The middle of an image [rows, columns, 3] in an aspect: `keep` of the most that fits."""
    rows, columns = rgb.shape[:2]
    scale = keep * min(rows / height, columns / width)
    used_rows, used_columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (rows - used_rows) // 2, (columns - used_columns) // 2
    return rgb[top : top + used_rows, left : left + used_columns]


def _stretch(shape: Sequence[int], height: int, width: int) -> tuple[Placement, int, int]:
    """Where the image goes, and the rows and columns that it gets."""
    rows, columns = shape[:2]
    return Placement(columns, rows, width / columns, height / rows), height, width


def _letterbox(shape: Sequence[int], height: int, width: int) -> tuple[Placement, int, int]:
    corner, new_rows, new_columns = _letterbox_top_left(shape, height, width)
    left, top = (width - new_columns) // 2, (height - new_rows) // 2
    return corner._replace(left=left, top=top), new_rows, new_columns


def _letterbox_top_left(
    shape: Sequence[int], height: int, width: int
) -> tuple[Placement, int, int]:
    rows, columns = shape[:2]
    if columns * height <= width * rows:
        new_rows, new_columns = height, max(1, columns * height // rows)
    else:
        new_rows, new_columns = max(1, rows * width // columns), width
    placement = Placement(columns, rows, new_columns / columns, new_rows / rows)
    return placement, new_rows, new_columns


def _resizers(cv2: ModuleType) -> dict[str, _Resize]:
    """Ways to resize [rows, columns, 3] to (columns, rows)."""
    return {
        "linear": lambda rgb, size: cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR),
        "area": lambda rgb, size: cv2.resize(rgb, size, interpolation=cv2.INTER_AREA),
        "antialias": _antialiased,
    }


def _antialiased(rgb: Array, size: tuple[int, int]) -> Array:
    image = _pillow()
    return np.asarray(image.fromarray(rgb).resize(size, image.Resampling.BILINEAR))


def _pillow() -> ModuleType:
    try:
        from PIL import Image  # noqa: PLC0415 (60 ms, and an extra)
    except ImportError as error:
        raise missing_extra("preparing images", "image") from error
    return Image


_FITS = {
    "stretch": _stretch,
    "letterbox": _letterbox,
    "letterbox_top_left": _letterbox_top_left,
}


def _orders(cv2: ModuleType) -> dict[str, tuple[int, _Arrange]]:
    """Order -> the number of channels, and what makes planes [channels, rows, columns] of RGB."""
    return {
        "rgb": (3, lambda rgb: rgb.transpose(2, 0, 1)),
        "bgr": (3, lambda rgb: rgb[:, :, ::-1].transpose(2, 0, 1)),
        "grey": (1, lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[None]),
    }


def _affine(
    channels: int, scale: float, mean: Sequence[float], std: Sequence[float]
) -> tuple[_Floats, _Floats]:
    """Gain and bias [channels, 1, 1]: (v * scale - mean) / std is v * gain + bias."""
    shift, spread = np.array(mean, np.float64), np.array(std, np.float64)
    if not (spread > 0).all():
        raise ValueError(f"std must be above 0, not {list(std)}")
    gain = np.broadcast_to(scale / spread, channels).astype(np.float32)
    bias = np.broadcast_to(-shift / spread, channels).astype(np.float32)
    return gain[:, None, None], bias[:, None, None]


def _check_shape(context: StepContext, name: str, shape: tuple[int, ...]) -> None:
    if min(shape) < 1:
        raise ValueError(f"size must be above 0, not {shape}")
    for entry in context.variant.tensors.inputs:
        if entry.name == name and not shape_fits(entry.shape, shape):
            raise ValueError(f"the variant takes {list(entry.shape)}, not {list(shape)}")


def _one_of(parameter: str, value: str, choices: Mapping[str, _T]) -> _T:
    if value not in choices:
        raise ValueError(f"{parameter} must be one of {', '.join(choices)}, not {value!r}")
    return choices[value]


STEPS: dict[str, StepFactory] = {"image_tensor": image_tensor}
