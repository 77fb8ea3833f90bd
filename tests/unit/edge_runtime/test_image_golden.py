"""Resizing against the formulas that `image_tensor` states, written out in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pytest

from wherever_edge.images import Image
from wherever_edge.pipelines.image import image_tensor
from wherever_edge.pipelines.resizing import RESIZES, resizer

Array: TypeAlias = npt.NDArray[Any]

# shrinking by whole numbers and by others, by much and by little, growing, and one of each
SIZES = [((48, 60), (12, 15)), ((47, 61), (20, 33)), ((64, 64), (3, 5)), ((9, 13), (32, 40))]
MIXED = ((20, 60), (40, 15))


def nearest(n: int, m: int, j: int) -> dict[int, float]:
    """Pixel of the line of n -> its weight in pixel j of m; so for all of these."""
    return {math.floor((j + 0.5) * n / m): 1.0}


def linear(n: int, m: int, j: int) -> dict[int, float]:
    x = (j + 0.5) * n / m - 0.5
    i = math.floor(x)
    return held({i: 1 - (x - i), i + 1: x - i}, n)


def cubic(n: int, m: int, j: int) -> dict[int, float]:
    x = (j + 0.5) * n / m - 0.5
    i = math.floor(x)
    return held({k: keys(k - x, -0.75) for k in range(i - 1, i + 3)}, n)


def area(n: int, m: int, j: int) -> dict[int, float]:
    start, end = j * n / m, (j + 1) * n / m
    covered = {i: min(i + 1, end) - max(i, start) for i in range(n)}
    return {i: share * m / n for i, share in covered.items() if share > 0}


def area_growing(n: int, m: int, j: int) -> dict[int, float]:
    i = math.floor(j * n / m)
    second = (j + 1) - (i + 1) * m / n
    second = second - math.floor(second) if second > 0 else 0.0
    return held({i: 1 - second, i + 1: second}, n)


def spread(reach: float, kernel: Callable[[float], float]) -> Callable[..., dict[int, float]]:
    def weights(n: int, m: int, j: int) -> dict[int, float]:
        x, f = (j + 0.5) * n / m - 0.5, max(1.0, n / m)
        near = {i: kernel((i - x) / f) for i in range(n) if abs(i - x) < reach * f}
        return {i: weight / sum(near.values()) for i, weight in near.items()}

    return weights


def keys(t: float, a: float) -> float:
    t = abs(t)
    if t < 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def lanczos(t: float) -> float:
    return float(np.sinc(t) * np.sinc(t / 3)) if abs(t) < 3 else 0.0


def held(weights: dict[int, float], n: int) -> dict[int, float]:
    """Pixels beyond an edge are the pixel at the edge."""
    within: dict[int, float] = {}
    for i, weight in weights.items():
        at = min(max(i, 0), n - 1)
        within[at] = within.get(at, 0.0) + weight
    return within


FORMULAS: dict[str, Callable[[int, int, int], dict[int, float]]] = {
    "nearest": nearest,
    "linear": linear,
    "cubic": cubic,
    "area": area,
    "antialias": spread(1, lambda t: max(0.0, 1 - abs(t))),
    "antialias_cubic": spread(2, lambda t: keys(t, -0.5)),
    "lanczos": spread(3, lanczos),
}


def plainly(pixels: Array, size: tuple[int, int], weights: Callable[..., Any]) -> Array:
    """Pixels [rows, columns, 3] resized to (rows, columns): rows of pixels first, then columns."""
    down, across = (matrix(n, m, weights) for n, m in zip(pixels.shape[:2], size, strict=True))
    lines = np.einsum("abc,db->adc", pixels.astype(np.float64), across)
    if weights not in (nearest, linear, cubic, area, area_growing):
        lines = eight_bit(lines)
    return eight_bit(np.einsum("ab,bcd->acd", down, lines))


def eight_bit(values: Array) -> Array:
    return np.rint(values).clip(0, 255)


def matrix(n: int, m: int, weights: Callable[..., dict[int, float]]) -> Array:
    rows = np.zeros((m, n))
    for j in range(m):
        for i, weight in weights(n, m, j).items():
            rows[j, i] += weight
    return rows


def noise(shape: tuple[int, int]) -> Array:
    return np.random.default_rng(7).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(("shape", "size"), [*SIZES, MIXED])
@pytest.mark.parametrize("name", RESIZES)
def test_each_way_to_resize_follows_its_formula(
    name: str, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    grows = any(m > n for n, m in zip(shape, size, strict=True))
    formula = area_growing if name == "area" and grows else FORMULAS[name]
    pixels = noise(shape)
    found = resizer(name)(pixels, size[::-1]).astype(np.float64)
    expected = plainly(pixels, size, formula)
    # the libraries' weights are fixed-point numbers
    np.testing.assert_allclose(found, expected, atol=0 if name == "nearest" else 1)
    assert abs((found - expected).mean()) < 0.2


@pytest.mark.parametrize("name", RESIZES)
def test_an_even_colour_stays_as_it_is(name: str) -> None:
    pixels = np.full((33, 57, 3), 201, np.uint8)
    assert (resizer(name)(pixels, (20, 71)) == 201).all()


@pytest.mark.parametrize("name", RESIZES)
def test_the_same_size_gives_the_same_pixels(name: str) -> None:
    pixels = noise((13, 17))
    np.testing.assert_array_equal(resizer(name)(pixels, (17, 13)), pixels)


@pytest.mark.parametrize("name", RESIZES)
def test_pixels_of_any_strides_are_resized_alike(name: str) -> None:
    pixels = noise((24, 30))[::-1, ::2]
    resize = resizer(name)
    np.testing.assert_array_equal(resize(pixels, (9, 9)), resize(pixels.copy(), (9, 9)))


def test_grey_is_the_weighted_sum_of_the_colours() -> None:
    variant = SimpleNamespace(tensors=SimpleNamespace(inputs=()))
    step = image_tensor(
        cast("Any", SimpleNamespace(variant=variant)), name="x", to="y", size=[20, 30], order="grey"
    )
    pixels = noise((20, 30))
    state: dict[str, Any] = {"x": Image.from_pixels(pixels, "x")}
    step(state)
    expected = pixels.astype(np.float64) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(state["y"][0, 0], expected, atol=0.51)


@pytest.mark.parametrize(("shape", "size"), SIZES)
@pytest.mark.parametrize("fit", ["stretch", "letterbox", "letterbox_top_left"])
def test_the_whole_step_follows_its_formula(
    fit: str, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    """Bilinear, in BGR, normalised by channel, with the channels last."""
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.4])
    variant = SimpleNamespace(tensors=SimpleNamespace(inputs=()))
    step = image_tensor(
        cast("Any", SimpleNamespace(variant=variant)),
        name="x",
        to="y",
        size=size,
        fit=fit,
        pad=114,
        order="bgr",
        scale=1 / 255,
        mean=mean.tolist(),
        std=std.tolist(),
        layout="nhwc",
    )
    pixels = noise(shape)
    state: dict[str, Any] = {"x": Image.from_pixels(pixels, "x")}
    step(state)
    (r, c), (height, width) = shape, size
    rows, columns, top, left = height, width, 0, 0
    if fit != "stretch":
        narrow = c * height <= width * r
        rows, columns = (height, c * height // r) if narrow else (r * width // c, width)
    if fit == "letterbox":
        top, left = (height - rows) // 2, (width - columns) // 2
    canvas = np.full((height, width, 3), 114.0)
    picture = plainly(pixels, (rows, columns), linear)
    canvas[top : top + rows, left : left + columns] = picture
    expected = (canvas[:, :, ::-1] / 255 - mean) / std
    # one level of 8 bits, as the library's weights are fixed-point numbers
    np.testing.assert_allclose(state["y"][0], expected, atol=1.01 / 255 / std.min())
