"""Resizing against the formulas that `image_tensor` states, written out in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

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
