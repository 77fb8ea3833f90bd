"""Answers drawn on their images."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from wherever._plot import plot
from wherever_contracts.manifest import Signature
from wherever_edge.images import Image

LABELS = ["person", "dog"]


def detecting():
    return Signature.model_validate(
        {
            "inputs": [{"name": "image", "kind": "image"}],
            "outputs": [
                {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
                {"name": "scores", "dtype": "float32", "shape": [-1]},
                {"name": "classes", "dtype": "int64", "shape": [-1]},
            ],
            "value": {
                "kind": "detections",
                "labels": LABELS,
                "boxes": "boxes",
                "scores": "scores",
                "classes": "classes",
            },
        }
    )


def labelling(value=None):
    numbers = {"dtype": "float32", "shape": [8, 8], "min": 0, "max": 16}
    return Signature.model_validate(
        {
            "inputs": [{"name": "image", "kind": "image", "numbers": numbers}],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": [2]}],
            "value": value or {"kind": "label", "labels": LABELS, "scores": "scores"},
        }
    )


def found(*rows):
    boxes, scores, classes = zip(*rows, strict=True) if rows else ([], [], [])
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.array(scores, np.float32),
        "classes": np.array(classes, np.int64),
    }


def grey(height, width):
    return Image.from_pixels(np.full((height, width, 3), 128, np.uint8), "image")


def drawn(picture):
    """Where the picture is no longer grey."""
    return (np.asarray(picture) != 128).any(axis=2)


def test_a_box_is_drawn_where_the_thing_is():
    outputs = found(([100, 200, 300, 400], 0.9, 0))
    picture = plot(grey(600, 800), detecting(), outputs, 0.3)
    assert picture.size == (800, 600)
    marks = drawn(picture)
    assert marks[200, 100:300].all()
    assert marks[400, 100:300].all()
    assert marks[200:400, 100].all()
    assert marks[200:400, 300].all()
    assert not marks[210:390, 110:290].any()


def test_what_scores_less_than_asked_for_is_left_out():
    outputs = found(([100, 100, 300, 300], 0.2, 0))
    assert not drawn(plot(grey(600, 800), detecting(), outputs, 0.3)).any()


def test_each_class_has_a_colour_of_its_own():
    outputs = found(([100, 100, 200, 200], 0.9, 0), ([400, 100, 500, 200], 0.9, 1))
    pixels = np.asarray(plot(grey(600, 800), detecting(), outputs, 0.3))
    assert not np.array_equal(pixels[200, 150], pixels[200, 450])


def test_names_do_not_hide_each_other():
    box = [300, 300, 400, 400]
    one = drawn(plot(grey(600, 800), detecting(), found((box, 0.9, 0)), 0.3)).sum()
    both = drawn(plot(grey(600, 800), detecting(), found((box, 0.9, 0), (box, 0.8, 1)), 0.3)).sum()
    assert both > one + 500


def test_a_small_image_is_enlarged_until_a_name_can_be_read():
    picture = plot(grey(20, 30), detecting(), found(([3, 4, 20, 15], 0.9, 0)), 0.3)
    zoom = picture.width // 30
    assert picture.size == (30 * zoom, 20 * zoom)
    assert picture.width >= 448
    assert drawn(picture)[4 * zoom : 15 * zoom, 3 * zoom].all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (5000, 5000)])
def test_images_of_any_shape_can_be_drawn_on(shape):
    height, width = shape
    boxes = found(([0, 0, width, height], 0.9, 0), ([0, 0, width / 2, height], 0.8, 1))
    picture = plot(grey(*shape), detecting(), boxes, 0.3)
    assert picture.width >= width
    assert drawn(picture).any()


def test_without_detections_the_image_is_as_it_was():
    assert not drawn(plot(grey(600, 800), detecting(), found(), 0.3)).any()


def test_the_image_that_was_given_is_not_drawn_on():
    frame = np.full((600, 800, 3), 128, np.uint8)
    outputs = found(([100, 100, 300, 300], 0.9, 0))
    plot(Image.from_pixels(frame, "image"), detecting(), outputs, 0.3)
    assert (frame == 128).all()


def test_a_label_stands_in_a_line_below_the_image():
    outputs = {"scores": np.array([0.1, 0.9], np.float32)}
    picture = plot(grey(480, 640), labelling(), outputs, 0.0)
    pixels = np.asarray(picture)
    assert picture.width == 640
    assert (pixels[:480] == 128).all()
    assert (pixels[480:] == 255).all(axis=2).any()
    assert (pixels[480:] < 64).all(axis=2).any()


def test_a_long_label_makes_the_picture_wider():
    names = ["a name that is " + "very " * 30 + "long", "b"]
    signature = labelling({"kind": "label", "labels": names, "scores": "scores"})
    picture = plot(grey(480, 640), signature, {"scores": np.array([1, 0], np.float32)}, 0.0)
    assert picture.width > 640


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8)])
def test_bare_numbers_are_shown_from_black_to_white(shape):
    numbers = np.zeros((8, 8), np.float32)
    numbers[:, 4:] = 16
    outputs = {"scores": np.array([0.1, 0.9], np.float32)}
    picture = plot(numbers.reshape(shape), labelling(), outputs, 0.0)
    pixels = np.asarray(picture)
    assert picture.width >= 448
    assert pixels[10, 10].tolist() == [0, 0, 0]
    assert pixels[10, picture.width - 10].tolist() == [255, 255, 255]


def test_tensors_leave_the_image_as_it_is():
    picture = plot(grey(600, 800), labelling({"kind": "tensors"}), {}, 0.0)
    assert not drawn(picture).any()


def test_without_pillow_the_error_says_what_to_install():
    code = "import sys; sys.modules['PIL'] = None; import wherever._plot"
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "pip install 'wherever[image]'" in ran.stderr
