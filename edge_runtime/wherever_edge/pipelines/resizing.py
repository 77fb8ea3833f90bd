"""Ways to resize pixels, each with the formula of the library that does it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TypeAlias

import numpy as np

from wherever_contracts.errors import missing_extra
from wherever_contracts.tensors import Array

# Takes uint8 [rows, columns, 3] and (columns, rows); gives pixels of that size.
Resize: TypeAlias = Callable[[Array, tuple[int, int]], Array]

_OPENCV = {
    "nearest": "INTER_NEAREST_EXACT",
    "linear": "INTER_LINEAR",
    "cubic": "INTER_CUBIC",
    "area": "INTER_AREA",
}
_PILLOW = {"antialias": "BILINEAR", "antialias_cubic": "BICUBIC", "lanczos": "LANCZOS"}
RESIZES = (*_OPENCV, *_PILLOW)


def resizer(name: str) -> Resize:
    """What resizes in the way called `name`.

    Raises:
        ValueError: `name` is not one of `RESIZES`.
        MissingExtraError: the library is not installed.
    """
    if name in _OPENCV:
        cv2 = opencv()
        return partial(_by_opencv, cv2, getattr(cv2, _OPENCV[name]))
    if name in _PILLOW:
        image = _pillow()
        return partial(_by_pillow, image, image.Resampling[_PILLOW[name]])
    raise ValueError(f"resize must be one of {', '.join(RESIZES)}, not {name!r}")


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


def _pillow() -> ModuleType:
    try:
        from PIL import Image  # noqa: PLC0415 (60 ms, and an extra)
    except ImportError as error:
        raise missing_extra("preparing images", "image") from error
    return Image


def _by_opencv(cv2: ModuleType, flag: int, rgb: Array, size: tuple[int, int]) -> Array:
    resized: Array = cv2.resize(rgb, size, interpolation=flag)
    return resized


def _by_pillow(image: ModuleType, flag: int, rgb: Array, size: tuple[int, int]) -> Array:
    return np.asarray(image.fromarray(rgb).resize(size, flag))
