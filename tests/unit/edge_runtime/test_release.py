"""Release rules carried out: what comes out of them, and what does not."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from wherever_contracts.errors import InputError, MissingExtraError
from wherever_contracts.manifest import Signature
from wherever_contracts.receipts import Answer, Ran
from wherever_contracts.releases import ReleaseRule
from wherever_contracts.wire.tensors import to_array
from wherever_edge.egress.release import Placement, released, released_bytes
from wherever_edge.images import Image
from wherever_edge.wire_inputs import WireInputs

CANARY = b"canary-7d1f0c"
RAN = Ran("m", "1.0.0", "v", "", "", "local", "e", "1", "cpu", "float32", 1)
DETECTIONS = {
    "inputs": [{"name": "image", "kind": "image"}],
    "outputs": [
        {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
        {"name": "scores", "dtype": "float32", "shape": [-1]},
        {"name": "classes", "dtype": "int64", "shape": [-1]},
    ],
    "value": {
        "kind": "detections",
        "boxes": "boxes",
        "scores": "scores",
        "classes": "classes",
        "labels": ["face"],
    },
}
SIGNATURE = Signature.model_validate(DETECTIONS)


def rule(*steps):
    return ReleaseRule.model_validate(
        {"name": "r", "input": "image", "steps": list(steps), "boundary": "anywhere"}
    )


def picture(width=40, height=20):
    """Red grows to the right and green downwards, so that a pixel says where it was."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.arange(width) * 255 // width
    pixels[..., 1] = (np.arange(height) * 255 // height)[:, None]
    return pixels


def release(pixels, *steps, box=None):
    return released(rule(*steps), {"image": Image.from_pixels(pixels, "image")}, box)


def pixels_of(result):
    return result.inputs["image"].rgb()


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [((40, 20), 10, (5, 10)), ((20, 40), 10, (10, 5)), ((8, 4), 10, (4, 8)), ((90, 1), 9, (1, 9))],
)
def test_downscale_bounds_the_longer_side_and_never_enlarges(size, max_side, expected):
    result = release(picture(*size), {"op": "downscale", "max_side": max_side})
    assert pixels_of(result).shape[:2] == expected


def test_a_crop_keeps_the_region_and_nothing_beside_it():
    result = release(picture(), {"op": "crop", "region": [0.25, 0.5, 0.75, 1]})
    assert np.array_equal(pixels_of(result), picture()[10:20, 10:30])


def test_a_crop_to_a_box_takes_what_the_gate_found_as_far_as_it_lies_in_the_image():
    result = release(picture(), {"op": "crop", "region": "box"}, box=(-3, 4.5, 8.2, 99))
    assert np.array_equal(pixels_of(result), picture()[4:20, 0:9])


def test_a_box_is_one_of_the_original_whatever_steps_came_before():
    steps = ({"op": "downscale", "max_side": 20}, {"op": "crop", "region": "box"})
    result = release(picture(), *steps, box=(20, 10, 40, 20))
    assert pixels_of(result).shape[:2] == (5, 10)
    assert result.placement == Placement(20, 10, 2, 2)


@pytest.mark.parametrize("box", [(50, 0, 60, 9), (3, 3, 3, 9), (0, -9, 9, -1)])
def test_a_box_without_pixels_is_refused(box):
    with pytest.raises(InputError, match="an image with pixels in the box"):
        release(picture(), {"op": "crop", "region": "box"}, box=box)


def test_a_rule_with_a_box_cannot_be_applied_without_one():
    with pytest.raises(ValueError, match="'r' needs a box"):
        release(picture(), {"op": "crop", "region": "box"})


def test_blur_takes_the_detail_and_leaves_what_is_outside_its_region():
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    whole = pixels_of(release(noise, {"op": "blur", "share": 0.1}))
    assert whole.shape == noise.shape
    assert whole.std() < 0.1 * noise.std()
    part = pixels_of(release(noise, {"op": "blur", "radius": 6, "region": [0, 0, 0.5, 1]}))
    assert part[:, :30].std() < 0.2 * noise.std()
    assert np.array_equal(part[:, 30:], noise[:, 30:])


def test_a_blur_never_depends_on_what_lies_outside_its_region_nor_the_reverse():
    one, other = picture(), picture()
    other[:, 20:] = 255
    step = {"op": "blur", "radius": 9, "region": [0, 0, 0.5, 1]}
    blurred = [pixels_of(release(pixels, step)) for pixels in (one, other)]
    assert np.array_equal(blurred[0][:, :20], blurred[1][:, :20])


def test_the_given_array_is_left_as_it_was():
    given_pixels = picture()
    release(given_pixels, {"op": "blur", "radius": 3}, {"op": "downscale", "max_side": 8})
    assert np.array_equal(given_pixels, picture())


def files_with_canaries():
    """Images whose files carry a canary beside the pixels, one way for each kind of file."""
    pil = Pillow.fromarray(picture(80, 80))
    exif = Pillow.Exif()
    exif[0x010E] = CANARY.decode()  # the description
    exif[0x0112] = 6
    kinds = {
        "jpeg with EXIF": ("JPEG", {"exif": exif}),
        "jpeg with a comment": ("JPEG", {"comment": CANARY}),
        "jpeg with a profile": ("JPEG", {"icc_profile": CANARY}),
        "png with EXIF": ("PNG", {"exif": exif}),
        "webp with EXIF": ("WEBP", {"exif": exif}),
        "webp with XMP": ("WEBP", {"xmp": CANARY}),
    }
    for name, (kind, extra) in kinds.items():
        buffer = io.BytesIO()
        pil.save(buffer, kind, **extra)
        yield pytest.param(buffer.getvalue(), id=name)
    buffer = io.BytesIO()
    pil.save(buffer, "JPEG")
    yield pytest.param(buffer.getvalue() + CANARY, id="jpeg with a tail")


@pytest.mark.parametrize("data", list(files_with_canaries()))
@pytest.mark.parametrize(
    "step",
    [
        {"op": "downscale", "max_side": 1000},  # changes no pixel
        {"op": "downscale", "max_side": 70},
        {"op": "crop", "region": [0, 0, 1, 1]},
        {"op": "blur", "radius": 1},
    ],
)
def test_nothing_of_the_original_file_travels(data, step):
    assert CANARY in data
    result = released(rule(step), {"image": Image.from_encoded(data, "image")})
    (tensor,) = WireInputs(SIGNATURE).write(result.inputs)
    (sent,) = to_array(tensor)
    assert CANARY not in bytes(tensor.data)
    info = Pillow.open(io.BytesIO(sent))
    info.load()
    assert not info.getexif()
    assert not {"comment", "icc_profile", "xmp", "exif"} & info.info.keys()
    assert result.inputs["image"].file is None


def test_an_image_is_turned_upright_before_it_is_cropped():
    exif = Pillow.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Pillow.fromarray(picture(80, 40)).save(buffer, "PNG", exif=exif)
    image = Image.from_encoded(buffer.getvalue(), "image")
    result = released(rule({"op": "crop", "region": [0, 0, 1, 0.5]}), {"image": image})
    assert pixels_of(result).shape[:2] == (40, 40)


def test_colours_under_transparent_pixels_do_not_travel():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 0] = 200
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG")
    image = Image.from_encoded(buffer.getvalue(), "image")
    result = released(rule({"op": "downscale", "max_side": 99}), {"image": image})
    assert (pixels_of(result) == 255).all()


def test_other_inputs_do_not_go_along():
    inputs = {"image": Image.from_pixels(picture(), "image"), "secret": "canary"}
    result = released(rule({"op": "downscale", "max_side": 9}), inputs)
    assert result.inputs.keys() == {"image"}


def answer(boxes):
    return Answer({"boxes": np.float32(boxes), "scores": np.float32([1])}, None, RAN, 0.0)


def test_boxes_in_the_answer_are_boxes_in_the_original():
    steps = ({"op": "crop", "region": [0.5, 0.5, 1, 1]}, {"op": "downscale", "max_side": 10})
    result = release(picture(), *steps)
    moved = result.restored(answer([[0, 0, 10, 5]]), SIGNATURE)
    assert moved.outputs["boxes"].tolist() == [[20, 10, 40, 20]]
    assert moved.outputs["boxes"].dtype == np.float32
    assert moved.outputs["scores"].tolist() == [1]


def test_an_answer_without_boxes_or_about_a_whole_image_is_left_alone():
    label = Signature.model_validate(
        DETECTIONS | {"value": {"kind": "label", "scores": "scores", "labels": ["a"]}}
    )
    given_answer = answer([[0, 0, 1, 1]])
    small = release(picture(), {"op": "downscale", "max_side": 9})
    assert small.restored(given_answer, label) is given_answer
    whole = release(picture(), {"op": "blur", "radius": 2})
    assert whole.restored(given_answer, SIGNATURE) is given_answer


@pytest.mark.parametrize(
    "step",
    [
        {"op": "downscale", "max_side": 9},
        {"op": "blur", "radius": 3},
        {"op": "crop", "region": [0, 0, 0.5, 0.5]},
    ],
)
def test_without_pillow_it_is_said_what_to_install(monkeypatch, step):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherever\[image\]'"):
        WireInputs(SIGNATURE).write(release(picture(200, 200), step).inputs)


def test_how_much_travels_is_bounded_by_the_smallest_side():
    small = rule({"op": "downscale", "max_side": 320}, {"op": "downscale", "max_side": 100})
    assert released_bytes(small, 5_000_000) == 5_000
    assert released_bytes(small, 700) == 700
    assert released_bytes(rule({"op": "blur", "radius": 3}), 5_000_000) == 5_000_000


SHARES = st.tuples(*[st.floats(0, 1)] * 4).filter(lambda s: s[2] - s[0] > 0.01 < s[3] - s[1])
STEPS = st.lists(
    st.builds(lambda side: {"op": "downscale", "max_side": side}, st.integers(4, 200))
    | st.builds(lambda region: {"op": "crop", "region": list(region)}, SHARES),
    min_size=1,
    max_size=3,
)


@given(st.integers(1, 90), st.integers(1, 90), STEPS)
def test_every_pixel_that_is_released_lies_where_its_placement_says(width, height, steps):
    result = release(picture(width, height), *steps)
    rows, columns = pixels_of(result).shape[:2]
    left, top, right, bottom = result.placement.outward(np.float32([[0, 0, columns, rows]]))[0]
    assert -1e-3 <= left < right <= width + 1e-3
    assert -1e-3 <= top < bottom <= height + 1e-3
    inward = result.placement.inward((left, top, right, bottom))
    assert inward == pytest.approx((0, 0, columns, rows), abs=1e-2)
