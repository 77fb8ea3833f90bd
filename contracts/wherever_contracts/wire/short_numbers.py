"""Numbers of few bits as JSON writes them best: with the fewest digits that give them back. Pure.

Of a float64 JSON's writer prints the shortest decimal number that is read as that float64. For the
float64 that equals a float32 that takes 17 digits, where 9 are always enough, and mostly 8 (Steele
and White, "How to print floating-point numbers accurately", 1990): 0.1 as a float32 is
0.10000000149011612. So the float64 is taken that has the short decimal number; as a float32 it is
the same number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wherever_contracts.tensors import Array

# powers of ten that a float64 holds exactly: one multiplication or division by them is rounded once
_POWERS = 10.0 ** np.arange(23)
# `finfo(dtype).precision` digits are always kept by a number that is not subnormal; so many more,
# less one, always tell it from its neighbours
_MORE_DIGITS = 4
# magnitudes for which every step below is within the exact powers, and no number is subnormal
_LEAST = {np.dtype(np.float16): 2.0**-14, np.dtype(np.float32): 1e-13}
_MOST = 1e15
# for so few numpy's own digits, read again, take less time: 1 us each
_FEW = 40


def shortest(array: Array) -> Array:
    """Numbers whose decimal form, as JSON and `repr` write it, is the shortest for their type.

    Args:
        array: numbers, of any shape; what is no float16 or float32 is given back as it is.

    Returns:
        float64 of the same shape, each the same number when it is made the array's type again, NaN
        and infinities included.
    """
    least = _LEAST.get(array.dtype)
    if least is None:
        return array
    if array.size <= _FEW:
        return array.astype("U").astype(np.float64)
    exact = array.reshape(-1).astype(np.float64)
    sizes = np.abs(exact)
    usual = (sizes >= least) & (sizes < _MOST)
    rare = ~usual & (sizes > 0) & np.isfinite(exact)
    exact[rare] = array.reshape(-1)[rare].astype("U").astype(np.float64)
    _shorten(exact, np.flatnonzero(usual), array.dtype)
    return exact.reshape(array.shape)


def _shorten(numbers: Array, at: Array, dtype: np.dtype[Any]) -> None:
    """Put the number with the fewest digits that `dtype` rounds to the same in place of each.

    Args:
        numbers: all of them.
        at: the positions of those to shorten, whose sizes are the usual ones.
        dtype: the type that they have.
    """
    values = numbers[at]
    exponents = np.floor(np.log10(np.abs(values))).astype(np.int64)
    # of the numbers that round to a power of two more are larger: what is nearest to their middle
    # is one of them, if any is that has so few digits
    is_power = np.abs(np.frexp(values)[0]) == 0.5
    middles = np.where(is_power, values * (1 + float(np.finfo(dtype).eps) / 8), values)
    least = np.finfo(dtype).precision
    for digits in range(least, least + _MORE_DIGITS):
        places = digits - 1 - exponents
        up, down = _POWERS[np.maximum(places, 0)], _POWERS[np.maximum(-places, 0)]
        rounded = np.rint(middles * up / down) * down / up
        same = rounded.astype(dtype) == middles.astype(dtype)
        numbers[at[same]] = rounded[same]
        at, middles, exponents = at[~same], middles[~same], exponents[~same]
