"""Images as people give them."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as pillow
from PIL.PngImagePlugin import PngInfo

from wherever_contracts.errors import InputError, MissingExtraError
from wherever_edge.images import MAX_PIXELS, Image

FORMATS = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "GIF": "image/gif",
}


def picture(height=40, width=60, seed=0):
    """Smooth colours, so that lossy formats stay close to them."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 255 // max(1, width - 1), y * 255 // max(1, height - 1)
    return np.stack([red, green, np.full_like(red, 40 * seed % 256)], axis=-1).astype(np.uint8)


def file_of(pixels, name="PNG", **options):
    buffer = io.BytesIO()
    pil = pixels if isinstance(pixels, pillow.Image) else pillow.fromarray(pixels)
    pil.save(buffer, name, **options)
    return buffer.getvalue()


def png_header(width, height):
    """The start of a PNG file that announces those dimensions, and no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_decoded_and_travels_as_it_came(name):
    data = file_of(picture(), name)
    image = Image.from_encoded(data, "photo")
    assert image.encoded() == (data, FORMATS[name])
    assert image.rgb().shape == (40, 60, 3)
    assert image.rgb().dtype == np.uint8
    assert np.abs(image.rgb().astype(int) - picture()).mean() < 12


@pytest.mark.parametrize(
    ("name", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})]
)
def test_lossless_formats_give_the_very_pixels(name, options):
    image = Image.from_encoded(file_of(picture(), name, **options), "photo")
    np.testing.assert_array_equal(image.rgb(), picture())


# How a camera stores an upright picture, for each EXIF orientation.
STORED = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("source", ["file", "pil"])
def test_the_exif_orientation_is_applied(orientation, source):
    upright = picture(4, 6)
    exif = pillow.Exif()
    exif[0x0112] = orientation
    data = file_of(np.ascontiguousarray(STORED[orientation](upright)), exif=exif)
    if source == "file":
        image = Image.from_encoded(data, "photo")
    else:
        image = Image.from_pil(pillow.open(io.BytesIO(data)), "photo")
    np.testing.assert_array_equal(image.rgb(), upright)


def test_pixels_that_came_from_a_turned_file_travel_upright():
    exif = pillow.Exif()
    exif[0x0112] = 6
    stored = file_of(np.ascontiguousarray(np.rot90(picture(4, 6))), exif=exif)
    sent, _ = Image.from_pil(pillow.open(io.BytesIO(stored)), "photo").encoded()
    np.testing.assert_array_equal(Image.from_encoded(sent, "photo").rgb(), picture(4, 6))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("block", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0"])
def test_a_damaged_exif_block_does_not_make_an_image_unreadable(block):
    image = Image.from_encoded(file_of(picture(), "JPEG", exif=block), "photo")
    assert image.rgb().shape == (40, 60, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_leaves_the_image_as_stored(orientation):
    exif = pillow.Exif()
    exif[0x0112] = orientation
    image = Image.from_encoded(file_of(picture(), exif=exif), "photo")
    np.testing.assert_array_equal(image.rgb(), picture())


def test_an_orientation_that_is_not_a_number_leaves_the_image_as_stored():
    text = struct.pack(">HHI4s", 0x0112, 2, 4, b"up\0\0")
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + text + bytes(4)
    image = Image.from_encoded(file_of(picture(), "JPEG", exif=exif), "photo")
    assert image.rgb().shape == (40, 60, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_are_laid_over_white(mode):
    pil = pillow.new("RGBA", (2, 1), (0, 0, 0, 255))
    pil.putpixel((1, 0), (0, 0, 0, 0))
    image = Image.from_pil(pil.convert(mode), "logo")
    np.testing.assert_array_equal(image.rgb()[0], [[0, 0, 0], [255, 255, 255]])


def test_half_transparent_pixels_are_mixed_with_white():
    pil = pillow.new("RGBA", (1, 1), (0, 100, 200, 128))
    rgb = Image.from_encoded(file_of(pil), "logo").rgb()[0, 0]
    np.testing.assert_allclose(rgb, [127, 177, 227], atol=1)


@pytest.mark.parametrize("name", ["PNG", "GIF"])
def test_a_palette_with_a_transparent_colour_is_laid_over_white(name):
    pil = pillow.new("P", (2, 1), 1)
    pil.putpalette([255, 0, 0, 0, 0, 255])
    pil.putpixel((0, 0), 0)
    image = Image.from_encoded(file_of(pil, name, transparency=0), "logo")
    np.testing.assert_array_equal(image.rgb()[0], [[255, 255, 255], [0, 0, 255]])


def test_sixteen_bit_grey_keeps_its_upper_bits():
    values = np.array([[0x0000, 0x12FF, 0x8000, 0xFFFF]], np.uint16)
    image = Image.from_encoded(file_of(values), "scan")
    np.testing.assert_array_equal(image.rgb()[0, :, 0], [0x00, 0x12, 0x80, 0xFF])
    wide = pillow.fromarray(values.astype(np.int32))
    np.testing.assert_array_equal(Image.from_pil(wide, "scan").rgb(), image.rgb())


def test_cmyk_becomes_rgb():
    pil = pillow.new("CMYK", (16, 16), (0, 255, 255, 0))
    rgb = Image.from_encoded(file_of(pil, "JPEG", quality=95), "print").rgb()
    np.testing.assert_allclose(rgb[8, 8], [255, 0, 0], atol=8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "HSV", "RGBX", "LAB"])
def test_pil_images_of_other_modes_become_rgb(mode):
    pil = pillow.new("L", (5, 4), 255).convert("RGB")
    if mode != "LAB":
        pil = pil.convert(mode)
    rgb = Image.from_pil(pil, "photo").rgb()
    assert rgb.shape == (4, 5, 3)
    assert (rgb == 255).all()


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(name):
    frames = [pillow.fromarray(np.full((4, 4, 3), grey, np.uint8)) for grey in (10, 200)]
    data = file_of(frames[0], name, save_all=True, append_images=frames[1:], duration=100)
    np.testing.assert_allclose(Image.from_encoded(data, "clip").rgb(), 10, atol=2)


def sixteen_bit_png(values):
    """A PNG file of uint16 [height, width, channels], which Pillow cannot write."""
    height, width, channels = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    kind = {3: 2, 4: 6}[channels]
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colour_keeps_its_upper_bits(channels):
    values = np.random.default_rng(5).integers(0, 65536, (6, 5, channels)).astype(np.uint16)
    values[:, :, 3:] = 65535  # not transparent
    rgb = Image.from_encoded(sixteen_bit_png(values), "scan").rgb()
    np.testing.assert_array_equal(rgb, values[:, :, :3] >> 8)


def test_a_text_that_unpacks_to_a_thousand_times_its_size_is_refused():
    info = PngInfo()
    info.add_text("comment", " " * (80 * 1024 * 1024), zip=True)
    data = file_of(picture(), pnginfo=info)
    assert len(data) < 100_000
    with pytest.raises(InputError, match="too large"):
        Image.from_encoded(data, "photo").rgb()


def test_a_bmp_of_absurd_dimensions_is_refused_from_its_header():
    header = struct.pack("<IiiHHIIiiII", 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0)
    with pytest.raises(InputError):
        Image.from_encoded(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header, "photo")


def test_a_grey_array_becomes_three_equal_channels():
    grey = picture()[:, :, 0]
    rgb = Image.from_pixels(grey, "scan").rgb()
    np.testing.assert_array_equal(rgb, np.stack([grey] * 3, axis=-1))


def test_an_rgb_array_is_taken_as_it_is_without_a_copy():
    frame = picture()
    rgb = Image.from_pixels(frame, "frame").rgb()
    np.testing.assert_array_equal(rgb, frame)
    assert np.shares_memory(rgb, frame)


def test_views_with_any_strides_are_taken():
    frame = picture(40, 60)
    for view in (
        frame[::-1, ::2],
        frame[:, :, ::-1],
        frame.transpose(1, 0, 2),
        np.asfortranarray(frame),
    ):
        image = Image.from_pixels(view, "frame")
        np.testing.assert_array_equal(image.rgb(), view)
        sent, _ = image.encoded()
        assert np.abs(Image.from_encoded(sent, "frame").rgb().astype(int) - view).max() < 30


def test_the_pixels_cannot_be_written_to_and_the_callers_array_still_can():
    frame = picture()
    with pytest.raises(ValueError, match="read-only"):
        Image.from_pixels(frame, "frame").rgb()[:] = 0
    frame[:] = 0
    with pytest.raises(ValueError, match="read-only"):
        Image.from_encoded(file_of(picture()), "photo").rgb()[:] = 0


def test_a_frame_buffer_may_be_used_again_after_the_image_was_encoded():
    frame = picture()
    image = Image.from_pixels(frame, "frame")
    before = image.encoded()
    frame[:] = 0
    assert image.encoded() == before


def test_decoding_happens_once_even_with_many_threads():
    image = Image.from_encoded(file_of(picture(400, 600), "JPEG"), "photo")
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(image.rgb())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(each, seen[0]) for each in seen)
    assert image.rgb() is image.rgb()


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 1, 3), (8, 8), (1, 4096, 3)])
def test_few_pixels_travel_as_png_without_loss(shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    image = Image.from_pixels(pixels, "frame")
    data, content_type = image.encoded()
    assert content_type == "image/png"
    np.testing.assert_array_equal(Image.from_encoded(data, "frame").rgb(), image.rgb())


def test_many_pixels_travel_as_jpeg_with_colour_at_full_resolution():
    frame = picture(65, 64)
    data, content_type = Image.from_pixels(frame, "frame").encoded()
    assert content_type == "image/jpeg"
    opened = pillow.open(io.BytesIO(data))
    assert {sampling[1:3] for sampling in opened.layer} == {(1, 1)}
    assert np.abs(Image.from_encoded(data, "frame").rgb().astype(int) - frame).max() <= 6


def test_a_grey_array_travels_as_a_grey_file():
    data, _ = Image.from_pixels(picture(100, 100)[:, :, 0], "scan").encoded()
    assert pillow.open(io.BytesIO(data)).mode == "L"


def test_an_image_too_wide_for_jpeg_travels_as_png():
    line = np.zeros((1, 65_501), np.uint8)
    data, content_type = Image.from_pixels(line, "line").encoded()
    assert content_type == "image/png"
    assert Image.from_encoded(data, "line").rgb().shape == (1, 65_501, 3)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "no bytes"),
        (b"%PDF-1.7 and so on", "18 bytes that begin like PDF"),
        (b"hello", "5 bytes that begin like none of them"),
        (b"II*\0" + bytes(40), "TIFF"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
    ],
)
def test_bytes_of_no_known_format_are_refused(data, found):
    with pytest.raises(InputError, match="JPEG, PNG, WebP, BMP or GIF") as caught:
        Image.from_encoded(data, "photo")
    assert caught.value.field == "photo"
    assert found in caught.value.found


@pytest.mark.parametrize(
    "start", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBP", b"BM", b"GIF89a"]
)
def test_a_file_of_which_only_the_first_bytes_are_there_is_refused(start):
    with pytest.raises(InputError, match="damaged, cut off or too large"):
        Image.from_encoded(start, "photo")


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_cut_off_is_refused_at_the_latest_when_its_pixels_are_needed(name):
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = file_of(noise, name)
    with pytest.raises(InputError, match="damaged, cut off or too large") as caught:
        Image.from_encoded(data[: len(data) // 2], "photo").rgb()
    assert caught.value.field == "photo"


@pytest.mark.parametrize("side", [8_001, 10_000, 15_000, 100_000, 2**31 - 1])
def test_absurd_dimensions_are_refused_before_a_pixel_is_decoded(side):
    assert side * side > MAX_PIXELS
    with pytest.raises(InputError):
        Image.from_encoded(png_header(side, side), "photo")


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (0, 0)])
def test_an_image_without_pixels_is_refused(width, height):
    with pytest.raises(InputError):
        Image.from_encoded(png_header(width, height), "photo")
    with pytest.raises(InputError, match=f"{width}x{height} pixels"):
        Image.from_pixels(np.zeros((height, width, 3), np.uint8), "photo")
    with pytest.raises(InputError, match=f"{width}x{height} pixels"):
        Image.from_pil(pillow.new("RGB", (width, height)), "photo")


def test_too_many_pixels_are_refused():
    huge = np.broadcast_to(np.uint8(0), (8_001, 8_000, 3))
    with pytest.raises(InputError, match="at most 64 megapixels, found 8000x8001 pixels"):
        Image.from_pixels(huge, "frame")


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32[4, 4, 3] (if it holds 0-1: multiply by 255"),
        (np.zeros((4, 4), np.float64), "multiply by 255 and cast to uint8"),
        (np.zeros((4, 4, 4), np.uint8), "array[:, :, :3]"),
        (np.zeros((4, 4, 1), np.uint8), "array[:, :, 0]"),
        (np.zeros((3, 4, 4), np.uint8), "array[:, :, :3]"),
        (np.zeros((3, 8, 9), np.uint8), "array.transpose(1, 2, 0)"),
        (np.zeros((1, 4, 4, 3), np.uint8), "one image at a time"),
        (np.zeros((4, 4, 3), np.uint16), "uint16[4, 4, 3]"),
        (np.zeros(4, np.uint8), "uint8[4]"),
        (np.zeros((4, 4, 3), bool), "bool[4, 4, 3]"),
        (np.array(b"text", object), "bytes[]"),
    ],
)
def test_an_array_that_is_no_picture_is_refused_with_advice(array, advice):
    with pytest.raises(InputError, match="RGB order") as caught:
        Image.from_pixels(array, "frame")
    assert advice in caught.value.found


def test_a_pil_image_of_floats_is_refused():
    with pytest.raises(InputError, match="mode 'F'"):
        Image.from_pil(pillow.new("F", (4, 4)), "photo")


def test_a_pil_image_whose_file_is_gone_is_refused():
    pil = pillow.open(io.BytesIO(file_of(picture())))
    pil.close()
    with pytest.raises(InputError):
        Image.from_pil(pil, "photo").rgb()


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(FORMATS)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    length=st.floats(0, 1),
)
def test_damaged_files_give_pixels_or_an_input_error_and_nothing_else(name, changes, length):
    data = bytearray(file_of(picture(12, 14), name))
    for position, value in changes:
        data[int(position * len(data))] = value
    try:
        rgb = Image.from_encoded(bytes(data[: round(length * len(data))]), "photo").rgb()
    except InputError as error:
        assert error.field == "photo"
    else:
        assert rgb.ndim == 3
        assert rgb.dtype == np.uint8


class TestWithoutPillow:
    @pytest.fixture(autouse=True)
    def _no_pillow(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "PIL", None)

    def test_pixels_can_be_used(self):
        np.testing.assert_array_equal(Image.from_pixels(picture(), "frame").rgb(), picture())

    def test_pixels_cannot_travel(self):
        with pytest.raises(MissingExtraError, match=r"pip install 'wherever\[image\]'"):
            Image.from_pixels(picture(), "frame").encoded()

    def test_a_file_travels_but_cannot_be_decoded(self):
        data = png_header(10, 10)
        image = Image.from_encoded(data, "photo")
        assert image.encoded() == (data, "image/png")
        with pytest.raises(MissingExtraError, match=r"decoding images .* 'wherever\[image\]'"):
            image.rgb()


def test_importing_the_module_loads_neither_pillow_nor_opencv():
    code = "import sys, wherever_edge.images; print({'PIL', 'cv2'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
