"""Images as people give them: encoded bytes, pixels, or a PIL image."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from wherever_contracts.errors import (
    InputError,
    MissingExtraError,
    WhereverError,
    missing_extra,
)
from wherever_contracts.tensors import Array, describe

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

MAX_PIXELS = 64_000_000

_CONTENT_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "GIF": "image/gif",
}
_LOSSLESS_UP_TO = 64 * 64
_JPEG_MAX_SIDE = 65_500
# pixels as JPEG of quality 95 take about this share of their bytes: 1 / 6
_JPEG_SHARE = 6
_ENCODED = "an image encoded as JPEG, PNG, WebP, BMP or GIF"
_PIXELS = "uint8 pixels [height, width, 3] in RGB order, or [height, width] in grey"
_OTHERS = {b"%PDF": "PDF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"\0\0\1\0": "an icon"}
_ORIENTATION = 0x0112
# EXIF orientation -> the name of the PIL.Image.Transpose that turns the image upright.
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


class Image:
    """One image, decoded or encoded only when somebody asks, and then once.

    Whatever it came as, its pixels are upright (EXIF orientation applied) and 8-bit RGB:
    transparent pixels are laid over white, 16-bit grey keeps its upper 8 bits, and of an animation
    the first frame counts. An array is not copied: whoever gave it may change it again once the
    call has returned. Several threads may use one image.
    """

    __slots__ = ("_encoded", "_file", "_load", "_pixels", "_rgb")

    def __init__(self, load: Callable[[], Array], encoded: tuple[bytes, str] | None = None) -> None:
        """Use one of the `from_` constructors; `load` gives uint8 pixels, RGB or grey."""
        self._load = load
        self._encoded = encoded
        self._file = encoded[0] if encoded else None
        self._pixels: Array | None = None
        self._rgb: Array | None = None

    @classmethod
    def from_encoded(cls, data: bytes, field: str) -> Image:
        """Take an image file's bytes; only the header is read now.

        Without Pillow the format alone is checked, so that a device which never decodes can still
        send the image on.

        Args:
            data: the whole file.
            field: the input's name, for errors.

        Raises:
            InputError: no bytes, an unknown format, a damaged header, or absurd dimensions.
        """
        name = _format_of(data)
        if name is None:
            found = f"{len(data)} bytes that begin like {_guess(data)}" if data else "no bytes"
            raise InputError(field, _ENCODED, found)
        with suppress(MissingExtraError):
            _open(data, name, field)
        return cls(partial(_decode, data, name, field), (data, _CONTENT_TYPES[name]))

    @classmethod
    def from_pixels(cls, array: Array, field: str) -> Image:
        """Take decoded pixels, in an array of any strides.

        Args:
            array: uint8 [height, width, 3] in RGB order, or [height, width] in grey.
            field: the input's name, for errors.

        Raises:
            InputError: another dtype or shape, or absurd dimensions.
        """
        if array.dtype != np.uint8 or not _is_picture(array.shape):
            raise InputError(field, _PIXELS, describe(array) + _advice(array))
        _check_size(array.shape[1], array.shape[0], field)
        return cls(partial(array.view, np.ndarray))

    @classmethod
    def from_pil(cls, pil: PilImage, field: str) -> Image:
        """Take a PIL image of any mode but float; one opened from a file is read when needed.

        Args:
            pil: the image.
            field: the input's name, for errors.

        Raises:
            InputError: float pixels, or absurd dimensions.
        """
        if pil.mode == "F":
            found = "a PIL image of mode 'F' (scale it to 0-255 and convert it to 'L')"
            raise InputError(field, "an image of 8 or 16 bits", found)
        _check_size(*pil.size, field)
        return cls(partial(_pixels_of, pil, field))

    def rgb(self) -> Array:
        """The upright pixels, uint8 [height, width, 3] in RGB order; read-only.

        Raises:
            InputError: the image is cut off or damaged.
            MissingExtraError: it came encoded, and Pillow is not installed.
        """
        if self._rgb is None:
            pixels = self._source()
            rgb = pixels.view() if pixels.ndim == 3 else np.stack((pixels,) * 3, axis=-1)
            rgb.flags.writeable = False
            self._rgb = rgb
        return self._rgb

    def encoded(self) -> tuple[bytes, str]:
        """The image as it travels: a file's bytes and their content type.

        What came encoded travels as it came. Pixels become PNG up to 64x64 of them, and JPEG
        (quality 95, colour at full resolution) above.

        Raises:
            InputError: a PIL image cannot be read.
            MissingExtraError: it came as pixels, and Pillow is not installed.
        """
        if self._encoded is None:
            self._encoded = _encode(self._source())
        return self._encoded

    def owned(self) -> Image:
        """The same image, of which nothing is the giver's: who gave it may change that now.

        Raises:
            InputError: a PIL image cannot be read.
        """
        if self._file is not None:
            return self
        image = Image(partial(np.copy, self._source()))
        image._source()
        image._encoded = self._encoded
        return image

    @property
    def file(self) -> bytes | None:
        """The file's bytes when it came as such, else None."""
        return self._file

    @property
    def wire_bytes(self) -> int:
        """About how many bytes `encoded` has; pixels are not encoded to find out."""
        if self._encoded is not None:
            return len(self._encoded[0])
        try:
            pixels = self._source().nbytes
        except WhereverError:
            return 0  # damaged, which whoever needs the pixels says
        return pixels if pixels <= _LOSSLESS_UP_TO else pixels // _JPEG_SHARE

    def _source(self) -> Array:
        if self._pixels is None:
            self._pixels = self._load()
        return self._pixels


def _format_of(data: bytes) -> str | None:
    """The format that the first bytes announce."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "BMP" if data.startswith(b"BM") else None


def _guess(data: bytes) -> str:
    """What bytes of no known format may be; none of them is quoted."""
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF or a film"
    return next((name for mark, name in _OTHERS.items() if data.startswith(mark)), "none of them")


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)


def _advice(array: Array) -> str:
    """What to do about an array that is no picture, in brackets, or nothing."""
    shape = array.shape
    if array.dtype.kind == "f" and _is_picture(shape):
        return " (if it holds 0-1: multiply by 255 and cast to uint8)"
    if array.ndim == 3 and shape[2] == 4:
        return " (drop the alpha channel: array[:, :, :3])"
    if array.ndim == 3 and shape[2] == 1:
        return " (drop the last axis: array[:, :, 0])"
    if array.ndim == 3 and shape[0] == 3:
        return " (move the channels last: array.transpose(1, 2, 0))"
    return " (one image at a time)" if array.ndim == 4 else ""


def _check_size(width: int, height: int, field: str) -> None:
    if width * height == 0:
        raise InputError(field, "an image with pixels", f"{width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise InputError(
            field, f"at most {MAX_PIXELS // 1_000_000} megapixels", f"{width}x{height} pixels"
        )


def _pillow(feature: str) -> ModuleType:
    try:
        from PIL import Image as pillow  # noqa: N813, PLC0415 (57 ms, and an extra)
    except ImportError as error:
        raise missing_extra(feature, "image") from error
    return pillow


def _open(data: bytes, name: str, field: str) -> PilImage:
    """Read the header, and refuse absurd dimensions before any pixel is decoded."""
    pillow = _pillow("decoding images")
    with _pillow_errors(field, name):
        pil: PilImage = pillow.open(io.BytesIO(data), formats=(name,))
    _check_size(*pil.size, field)
    return pil


def _decode(data: bytes, name: str, field: str) -> Array:
    return _pixels_of(_open(data, name, field), field)


def _pixels_of(pil: PilImage, field: str) -> Array:
    """The upright pixels: uint8 [height, width, 3] in RGB order, or [height, width] in grey."""
    with _pillow_errors(field, pil.format or "PIL"):
        pil.load()
        turn = _UPRIGHT.get(_orientation(pil))
        if turn is not None:
            pil = pil.transpose(_pillow("decoding images").Transpose[turn])
        return _eight_bit(pil)


@contextmanager
def _pillow_errors(field: str, name: str) -> Generator[None]:
    """Turn whatever Pillow raises on bytes that are not an image into an `InputError`."""
    try:
        yield
    except Exception as error:
        reason = str(error)
        if not reason or reason.startswith("cannot identify"):
            reason = "its header makes no sense"
        found = f"a {name} image that is damaged, cut off or too large ({reason})"
        raise InputError(field, "an image that can be decoded", found) from error


def _orientation(pil: PilImage) -> int:
    try:
        return int(pil.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 (a damaged EXIF block only means: orientation not known)
        return 1


def _eight_bit(pil: PilImage) -> Array:
    if pil.mode.startswith("I"):
        return (np.asarray(pil).clip(0, 0xFFFF) // 256).astype(np.uint8)
    if pil.has_transparency_data:
        pil = _over_white(pil)
    mode = "L" if pil.mode in ("1", "L") else "RGB"
    return np.asarray(pil if pil.mode == mode else pil.convert(mode))


def _over_white(pil: PilImage) -> PilImage:
    canvas: PilImage = _pillow("decoding images").new("RGBA", pil.size, "white")
    canvas.alpha_composite(pil.convert("RGBA"))
    return canvas


def _encode(pixels: Array) -> tuple[bytes, str]:
    pil: PilImage = _pillow("encoding images").fromarray(pixels)
    buffer = io.BytesIO()
    if pil.width * pil.height <= _LOSSLESS_UP_TO or max(pil.size) > _JPEG_MAX_SIDE:
        pil.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue(), _CONTENT_TYPES["PNG"]
    pil.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue(), _CONTENT_TYPES["JPEG"]
