"""Images become tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from wherever_contracts.tensors import Array, shape_fits
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory
from wherever_edge.pipelines.placement import FITS, PLACEMENT, Part, Placement, fit_in, whole
from wherever_edge.pipelines.resizing import opencv, resizer
from wherever_edge.pipelines.rows import IN_TURN

_Floats: TypeAlias = npt.NDArray[np.float32]
_Arrange: TypeAlias = Callable[[Array], Array]
_T = TypeVar("_T")


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
    """Make a float32 row of each image or part: cut, resized, ordered, normalised, laid out.

    It is one step and not six because each pass over the pixels costs as much as all of this. The
    `Placement` of each row is left in the state. Where the variant takes one row at a time,
    several rows are run one after another.

    Formula:
        An image of r x c pixels, or the middle of it (`keep`), is resized to r' x c':
        `stretch`: the tensor's height H and width W. `letterbox`, `letterbox_top_left`: if
        c H <= W r, then H and floor(c H / r), else floor(r W / c) and W, at least 1; the picture
        begins at (floor((W - c') / 2), floor((H - r') / 2)), or in the corner; the rest is `pad`.
        With keep < 1: s = keep * min(r / H, c / W), and of the image the middle round(H s) rows
        and round(W s) columns are used, after the first floor((r - that) / 2).

        Resizing, in 8 bits, rounded to nearest; pixel i has its centre at i + 0.5, so that out of
        n pixels becoming m, pixel j looks at x = (j + 0.5) n / m - 0.5, and pixels beyond an edge
        are the pixel at the edge. `nearest`: pixel floor((j + 0.5) n / m). `linear`: the two
        around x, weighted by nearness. `cubic`: the four around x, Keys' kernel with a = -0.75.
        `area`: where neither side grows, the mean of what pixel j covers,
        [j n / m, (j + 1) n / m); else pixel i = floor(j n / m) and the next, whose weight is the
        fractional part of (j + 1) - (i + 1) m / n, or 0 where that is below 0. These four are
        OpenCV's INTER_NEAREST_EXACT, INTER_LINEAR, INTER_CUBIC and INTER_AREA. `antialias`,
        `antialias_cubic`, `lanczos`: with f = max(1, n / m), every pixel i nearer than s f to x
        counts, weighted by the kernel at (i - x) / f: a triangle (s = 1), Keys' with a = -0.5
        (s = 2), sinc(t) sinc(t / 3) (s = 3); the weights are made to add up to 1, and pixels
        beyond an edge do not count. These are Pillow's BILINEAR, BICUBIC and LANCZOS, which round
        to 8 bits between the lines and the columns too.

        `grey` is 0.299 R + 0.587 G + 0.114 B, rounded. A value v then becomes
        (v * scale - mean) / std, in float32, with the mean and std of its channel.

    Cost:
        From 1280x720 to 416x416 about 0.8 ms (`linear`; normalised and letterboxed alike), 0.8 ms
        (`cubic`), 1.1 ms (`nearest`), 2.5 ms (`area`), 4.5 ms (`antialias`), 6 ms
        (`antialias_cubic`), 8.5 ms (`lanczos`); `linear` to 224x224 0.4 ms, and 0.2 ms for grey.
        `area` and Pillow's three grow with the pixels of the image, the others with those of the
        tensor; several parts cost what each costs. Decoding the file comes before, about 7 ms for a
        JPEG of 1280x720.

    Args:
        context: the variant; where it declares the tensor, the shapes must agree.
        name: the input: an `Image`, or what `crop` or `tiles` made of one.
        to: where to leave the tensor.
        size: height and width of the tensor.
        fit: "stretch" to the size, or keep the aspect and pad the rest: "letterbox" puts the image
            in the middle, "letterbox_top_left" in that corner.
        keep: the share of the image that is used: the middle of it, in the tensor's aspect when
            less than 1, as classifiers are often trained.
        pad: the value, 0 to 255, of the pixels around a letterboxed image.
        resize: see above. "linear" and "cubic" skip pixels where an image shrinks to less than
            half; "area" and "antialias" do not; training pipelines in PyTorch and TensorFlow
            mostly have "antialias" or "antialias_cubic".
        order: of the channels: "rgb", "bgr", or "grey" for a single one.
        scale: see above.
        mean: see above; one number, or one for each channel in `order`.
        std: likewise.
        layout: of the tensor: "nchw" or "nhwc".

    Raises:
        ValueError: a parameter is not one of those.
        MissingExtraError: OpenCV or Pillow is not installed.
    """
    height, width = (int(n) for n in size)
    resized_to = resizer(resize)
    _one_of("fit", fit, dict.fromkeys(FITS))
    channels, arrange = _one_of("order", order, _ORDERS)
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be above 0 and at most 1, not {keep}")
    channels_first = _one_of("layout", layout, {"nchw": True, "nhwc": False})
    gain, bias = _affine(channels, scale, mean, std)
    shape = (channels, height, width) if channels_first else (height, width, channels)
    in_turn = _takes_one(context, to, shape)
    margin = pad * gain + bias
    biased = bool(bias.any())

    def fill(row: Array, part: Part) -> Placement:
        used = part.middle(height, width, keep) if keep < 1 else part
        placement, rows, columns = fit_in(fit, used.pixels.shape, height, width)
        planes = row if channels_first else row.transpose(2, 0, 1)
        if (rows, columns) != (height, width):
            planes[...] = margin
        top, left = int(placement.top), int(placement.left)
        picture = planes[:, top : top + rows, left : left + columns]
        np.multiply(arrange(resized_to(used.pixels, (columns, rows))), gain, out=picture)
        if biased:
            picture += bias
        return placement.of_whole(used)

    def step(state: State) -> None:
        parts = parts_of(state[name])
        batch = np.empty((len(parts), *shape), np.float32)
        state[PLACEMENT] = tuple([fill(*each) for each in zip(batch, parts, strict=True)])
        state[to] = batch
        if in_turn and len(parts) > 1:
            state[IN_TURN] = to

    return step


def parts_of(given: Any) -> tuple[Part, ...]:
    """The parts that an input stands for: all of an `Image`, a part, or several."""
    if isinstance(given, Part):
        return (given,)
    return cast("tuple[Part, ...]", given) if isinstance(given, tuple) else (whole(given.rgb()),)


def _grey(rgb: Array) -> Array:
    cv2 = opencv()
    grey: Array = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return grey[None]


# Order -> the number of channels, and what makes planes [channels, rows, columns] of RGB.
_ORDERS: dict[str, tuple[int, _Arrange]] = {
    "rgb": (3, lambda rgb: rgb.transpose(2, 0, 1)),
    "bgr": (3, lambda rgb: rgb[:, :, ::-1].transpose(2, 0, 1)),
    "grey": (1, _grey),
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


def _takes_one(context: StepContext, name: str, shape: tuple[int, ...]) -> bool:
    """Whether the variant takes one row of `shape` at a time; a tensor of another is refused."""
    if min(shape) < 1:
        raise ValueError(f"size must be above 0, not {shape}")
    for entry in context.variant.tensors.inputs:
        if entry.name == name:
            if not shape_fits(entry.shape, (1, *shape)):
                raise ValueError(f"the variant takes {list(entry.shape)}, not {[1, *shape]}")
            return entry.shape[0] == 1
    return False


def _one_of(parameter: str, value: str, choices: Mapping[str, _T]) -> _T:
    if value not in choices:
        raise ValueError(f"{parameter} must be one of {', '.join(choices)}, not {value!r}")
    return choices[value]


STEPS: dict[str, StepFactory] = {"image_tensor": image_tensor}
