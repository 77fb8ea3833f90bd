"""From an image to a tensor, and back from the tensor's boxes to the image's."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import ManifestError, MissingExtraError
from wherever_contracts.manifest import Signature, StepEntry, Variant
from wherever_edge.images import Image
from wherever_edge.pipelines.pipeline import StepContext, compile_steps
from wherever_edge.pipelines.placement import Placement

FITS = ["stretch", "letterbox", "letterbox_top_left"]


def no_files(path):
    raise KeyError(path)


def context(shape=(1, -1, -1, -1)):
    signature = {
        "inputs": [{"name": "image", "kind": "image"}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [1]}],
        "value": {"kind": "tensors"},
    }
    tensor = {"name": "x", "dtype": "float32", "shape": list(shape)}
    variant = {
        "id": "v",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "v.onnx", "sha256": "0" * 64, "bytes": 0}],
        "tensors": {"inputs": [tensor], "outputs": [tensor]},
    }
    return StepContext(
        Signature.model_validate(signature), Variant.model_validate(variant), no_files
    )


def run(pixels, **parameters):
    """The tensor and the placement that the step makes of `pixels`."""
    entry = StepEntry(op="image_tensor", name="image", to="x", **parameters)
    (step,) = compile_steps([entry], context(), "pre")
    state = {"image": Image.from_pixels(np.asarray(pixels), "image"), "options": {}}
    step(state)
    (placement,) = state["placement"]
    return state["x"], placement


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_image_of_the_right_size_is_only_rearranged():
    pixels = noise(4, 6)
    tensor, placement = run(pixels, size=[4, 6])
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, pixels.transpose(2, 0, 1)[None])
    assert placement == Placement(width=6, height=4, scale_x=1, scale_y=1, left=0, top=0)


def test_the_layout_may_be_nhwc():
    pixels = noise(4, 6)
    tensor, _ = run(pixels, size=[4, 6], layout="nhwc")
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, pixels[None])


def test_the_order_may_be_bgr():
    pixels = noise(4, 6)
    tensor, _ = run(pixels, size=[4, 6], order="bgr")
    np.testing.assert_array_equal(tensor, pixels[:, :, ::-1].transpose(2, 0, 1)[None])


def test_the_order_may_be_grey():
    pixels = np.full((4, 6, 3), 77, np.uint8)
    tensor, _ = run(pixels, size=[4, 6], order="grey")
    np.testing.assert_array_equal(tensor, np.full((1, 1, 4, 6), 77))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_values_are_scaled_shifted_and_divided_channel_by_channel(layout, order):
    pixels, mean, std = noise(5, 7), [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    tensor, _ = run(
        pixels, size=[5, 7], scale=1 / 255, mean=mean, std=std, layout=layout, order=order
    )
    values = pixels if order == "rgb" else pixels[:, :, ::-1]
    expected = (values / 255 - mean) / std
    if layout == "nchw":
        expected = expected.transpose(2, 0, 1)
    np.testing.assert_allclose(tensor[0], expected, rtol=1e-5, atol=1e-5)


def test_one_mean_and_std_serve_every_channel():
    pixels = noise(5, 7)
    tensor, _ = run(pixels, size=[5, 7], mean=[127.5], std=[127.5])
    np.testing.assert_allclose(tensor[0], (pixels.transpose(2, 0, 1) - 127.5) / 127.5, atol=1e-6)


@pytest.mark.parametrize(
    ("resize", "flag"), [("linear", cv2.INTER_LINEAR), ("area", cv2.INTER_AREA)]
)
def test_a_stretched_image_is_resized_both_ways(resize, flag):
    pixels = noise(40, 30)
    tensor, placement = run(pixels, size=[10, 20], resize=resize)
    expected = cv2.resize(pixels, (20, 10), interpolation=flag)
    np.testing.assert_array_equal(tensor[0], expected.transpose(2, 0, 1))
    assert placement == Placement(30, 40, 20 / 30, 10 / 40, 0, 0)


@pytest.mark.parametrize(
    ("fit", "rows", "columns"),
    [("letterbox_top_left", slice(0, 5), slice(0, 10)), ("letterbox", slice(2, 7), slice(0, 10))],
)
def test_a_letterboxed_image_keeps_its_aspect_and_the_rest_is_padded(fit, rows, columns):
    pixels = noise(20, 40)
    tensor, placement = run(pixels, size=[10, 10], fit=fit, pad=114, scale=0.5, mean=[1], std=[2])
    inside = np.zeros((10, 10), bool)
    inside[rows, columns] = True
    picture = cv2.resize(pixels, (10, 5)).transpose(2, 0, 1).reshape(3, -1)
    np.testing.assert_allclose(tensor[0][:, inside], (picture * 0.5 - 1) / 2, atol=1e-5)
    np.testing.assert_allclose(tensor[0][:, ~inside], (114 * 0.5 - 1) / 2)
    assert (placement.scale_x, placement.scale_y) == (0.25, 0.25)
    assert (placement.left, placement.top) == (0, rows.start)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (40_000, 3)])
def test_extreme_shapes_still_fill_the_tensor(fit, shape):
    tensor, _ = run(np.full((*shape, 3), 255, np.uint8), size=[8, 8], fit=fit)
    assert tensor.shape == (1, 3, 8, 8)
    assert tensor.max() == 255
    assert np.isfinite(tensor).all()


def test_views_with_negative_strides_are_taken():
    pixels = noise(12, 12)
    mirrored, _ = run(pixels[:, ::-1], size=[6, 6])
    copied, _ = run(pixels[:, ::-1].copy(), size=[6, 6])
    np.testing.assert_array_equal(mirrored, copied)


def test_every_call_gets_a_tensor_of_its_own():
    entry = StepEntry(op="image_tensor", name="image", to="x", size=[4, 4])
    (step,) = compile_steps([entry], context(), "pre")
    states = [{"image": Image.from_pixels(noise(4, 4, seed), "image")} for seed in (1, 2)]
    for state in states:
        step(state)
    assert not np.array_equal(states[0]["x"], states[1]["x"])


sides = st.integers(1, 400)


@given(
    fit=st.sampled_from(FITS),
    image=st.tuples(sides, sides),
    size=st.tuples(st.integers(8, 96), st.integers(8, 96)),
    corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_boxes_of_the_image_come_back_from_the_tensor(fit, image, size, corners):
    height, width = image
    _, placement = run(np.zeros((height, width, 3), np.uint8), size=size, fit=fit)
    (left, right), (top, bottom) = sorted(corners[:2]), sorted(corners[2:])
    box = np.array([[left * width, top * height, right * width, bottom * height]])
    there = box * ([placement.scale_x, placement.scale_y] * 2) + [placement.left, placement.top] * 2
    assert (there >= -1e-3).all()
    assert (there <= [size[1] + 1e-3, size[0] + 1e-3] * 2).all()
    np.testing.assert_allclose(
        placement.to_image(there.astype(np.float32)), box, atol=0.01 * max(image)
    )


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(300, 200), (120, 500), (96, 96), (40, 30)])
def test_a_rectangle_found_in_the_tensor_is_where_it_was_painted(fit, shape):
    height, width = shape
    painted = np.array([width // 4, height // 3, width // 2, height * 2 // 3])
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[painted[1] : painted[3], painted[0] : painted[2]] = 255
    tensor, placement = run(pixels, size=[96, 96], fit=fit)
    rows, columns = (tensor[0, 0] > 127).nonzero()
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    mapped = placement.to_image(np.array([seen], np.float32))[0]
    pixel = max(1 / placement.scale_x, 1 / placement.scale_y)
    np.testing.assert_allclose(mapped, painted, atol=pixel)


def test_boxes_are_cut_off_at_the_edges_of_the_image():
    placement = Placement(width=100, height=50, scale_x=0.5, scale_y=0.5, left=0, top=10)
    boxes = np.array([[-20, 0, 80, 90], [10, 15, 20, 20]], np.float32)
    np.testing.assert_array_equal(placement.to_image(boxes), [[0, 0, 100, 50], [20, 10, 40, 20]])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"fit": "crop"}, "fit must be one of stretch, letterbox"),
        ({"order": "yuv"}, "order must be one of rgb, bgr, grey"),
        ({"resize": "bicubic"}, "resize must be one of nearest, linear, cubic, area"),
        ({"layout": "hwc"}, "layout must be one of nchw, nhwc"),
        ({"std": [0.0]}, "std must be above 0"),
        ({"mean": [1.0, 2.0]}, "image_tensor"),
        ({"size": [8]}, "image_tensor"),
        ({"size": [0, 8]}, "size must be above 0"),
        ({"colour": "rgb"}, "image_tensor"),
    ],
)
def test_wrong_parameters_are_refused_when_the_package_is_loaded(wrong, says):
    entry = StepEntry(op="image_tensor", **{"name": "image", "to": "x", "size": [8, 8], **wrong})
    with pytest.raises(ManifestError) as caught:
        compile_steps([entry], context(), "variants.v.pipeline.pre")
    assert caught.value.field == "variants.v.pipeline.pre.0"
    assert says in str(caught.value)


@pytest.mark.parametrize("wrong", [{"size": [8, 9]}, {"order": "grey"}, {"layout": "nhwc"}])
def test_a_tensor_that_the_variant_does_not_take_is_refused_when_the_package_is_loaded(wrong):
    entry = StepEntry(op="image_tensor", **{"name": "image", "to": "x", "size": [8, 8], **wrong})
    with pytest.raises(ManifestError, match=r"takes \[1, 3, 8, 8\], not"):
        compile_steps([entry], context((1, 3, 8, 8)), "pre")


def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherever\[image\]'"):
        run(noise(4, 4), size=[4, 4])


@pytest.mark.parametrize("shape", [(80, 200), (200, 80), (100, 100)])
def test_the_middle_alone_may_be_used_and_boxes_still_come_back(shape):
    pixels = np.zeros((*shape, 3), np.uint8)
    top, left = shape[0] // 2 - 10, shape[1] // 2 - 5
    pixels[top : top + 20, left : left + 10] = 255
    tensor, placement = run(pixels, size=[70, 70], keep=0.875)
    rows, columns = np.nonzero(tensor[0, 0] > 127)
    box = np.float32([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
    found = placement.to_image(box)[0]
    np.testing.assert_allclose(found, [left, top, left + 10, top + 20], atol=1.1)


def test_the_middle_has_the_aspect_of_the_tensor():
    pixels = noise(100, 300)
    tensor, _ = run(pixels, size=[50, 100], keep=0.5)
    middle = cv2.resize(pixels[25:75, 100:200], (100, 50))
    np.testing.assert_array_equal(tensor[0].transpose(1, 2, 0), middle)


def test_antialiasing_counts_every_pixel():
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::4] = 200
    tensor, _ = run(stripes, size=[12, 12], resize="antialias")
    assert abs(float(tensor.mean()) - 50) < 2
    assert float(tensor.std()) < 5


@pytest.mark.parametrize("keep", [0.0, -1.0, 1.5])
def test_the_part_that_is_kept_is_a_share(keep):
    with pytest.raises(ManifestError, match="keep must be above 0"):
        run(noise(4, 4), size=[4, 4], keep=keep)


def test_without_pillow_antialiasing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    entry = StepEntry(op="image_tensor", name="image", to="x", size=[4, 4], resize="antialias")
    with pytest.raises(MissingExtraError, match=r"wherever\[image\]"):
        compile_steps([entry], context(), "pre")
