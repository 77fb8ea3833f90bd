"""What a bare file's tensors are taken for."""

from __future__ import annotations

import json

import pytest

from wherever_contracts.errors import InputError
from wherever_contracts.manifest import parse_manifest
from wherever_contracts.tensors import TensorSpec
from wherever_edge.bare.manifest import TASKS, BareFile, Pixels, bare_manifest, model_name
from wherever_edge.packages.checks import check_manifest

FILES = ({"path": "model.onnx", "sha256": "0" * 64, "bytes": 3},)


def bare(inputs, outputs, **more):
    specs = [tuple(TensorSpec(*spec) for spec in side) for side in (inputs, outputs)]
    return BareFile("m", "m.onnx", "onnx", "float32", FILES, *specs, **more)


def image(*shape, dtype="float32"):
    return [("pixels", dtype, shape)]


def scores(count=10):
    return [("out", "float32", (1, count))]


def made(file, task, labels=None, **pixels):
    data = bare_manifest(file, task, labels, Pixels(**pixels), "device")
    manifest = parse_manifest(json.dumps(data).encode())
    check_manifest(manifest)
    return manifest


def first_step(manifest):
    return manifest.variants[0].pipeline.pre[0].parameters


def test_an_image_classifier_takes_images_in_either_layout():
    first = made(bare(image(1, 3, 32, 48), scores()), "classify")
    assert first.signature.inputs[0].kind == "image"
    assert first_step(first)["layout"] == "nchw"
    assert first_step(first)["size"] == [32, 48]
    last = made(bare(image(1, 32, 48, 3), scores()), "classify")
    assert first_step(last)["layout"] == "nhwc"
    assert first_step(last)["size"] == [32, 48]


def test_labels_are_numbers_until_somebody_names_them():
    assert made(bare(image(1, 3, 8, 8), scores(3)), "classify").signature.value.labels == (
        "0",
        "1",
        "2",
    )
    named = made(bare(image(1, 3, 8, 8), scores(3)), "classify", ["a", "b", "c"])
    assert named.signature.value.labels == ("a", "b", "c")
    with pytest.raises(InputError, match=r"3 labels.* found 2"):
        made(bare(image(1, 3, 8, 8), scores(3)), "classify", ["a", "b"])


def test_a_quantized_file_says_itself_how_pixels_are_scaled():
    file = bare(image(1, 8, 8, 3), scores(), ranges={"pixels": (-1.0, 1.0)})
    step = first_step(made(file, "classify"))
    assert (step["scale"], step["mean"]) == (pytest.approx(2 / 255), [1.0])
    told = first_step(made(file, "classify", scale=1.0, mean=[0.0]))
    assert (told["scale"], told["mean"]) == (1.0, [0.0])


def test_how_an_image_is_cut_and_resized_can_be_said():
    usual = first_step(made(bare(image(1, 8, 8, 3), scores()), "classify"))
    assert not {"resize", "keep"} & usual.keys()
    told = first_step(made(bare(image(1, 8, 8, 3), scores()), "classify", resize="area", keep=0.5))
    assert (told["resize"], told["keep"]) == ("area", 0.5)


def test_pixels_of_uint8_go_in_as_they_are():
    manifest = made(bare(image(1, 8, 8, 3, dtype="uint8"), scores()), "classify")
    assert first_step(manifest)["scale"] == 1.0
    assert [step.op for step in manifest.variants[0].pipeline.pre] == ["image_tensor", "cast"]


def test_an_open_size_must_be_given_and_a_fixed_one_cannot_be_changed():
    with pytest.raises(InputError, match="height and width"):
        made(bare(image(-1, 3, -1, -1), scores()), "classify")
    assert first_step(made(bare(image(-1, 3, -1, -1), scores()), "classify", size=(16, 24)))[
        "size"
    ] == [16, 24]
    with pytest.raises(InputError, match="8 x 8"):
        made(bare(image(1, 3, 8, 8), scores()), "classify", size=(9, 9))


def test_numbers_are_classified_too():
    manifest = made(bare([("x", "float32", (-1, 4))], scores(3)), "classify")
    entry = manifest.signature.inputs[0]
    assert (entry.kind, entry.name, entry.shape) == ("tensor", "x", (4,))


@pytest.mark.parametrize(
    ("outputs", "op", "order"),
    [
        ([("out", "float32", (1, 7, 4, 4))], "fastestdet_boxes", "bgr"),
        ([("out", "float32", (1, 64 + 16 + 4, 7))], "yolox_boxes", "bgr"),
        ([("out", "float32", (1, 6, 64 + 16 + 4))], "yolov8_boxes", "rgb"),
        ([("out", "float32", (1, 3 * (64 + 16 + 4), 7))], "yolov5_boxes", "rgb"),
        (
            [
                *((f"s{n}", "float32", (1, n, 2)) for n in (64, 16, 4, 1)),
                *((f"d{n}", "float32", (1, n, 32)) for n in (64, 16, 4, 1)),
            ],
            "picodet_boxes",
            "bgr",
        ),
        (
            [
                ("b", "float32", (1, 10, 4)),
                ("c", "float32", (1, 10)),
                ("s", "float32", (1, 10)),
                ("n", "float32", (1,)),
            ],
            "ssd_boxes",
            "rgb",
        ),
    ],
)
def test_known_detectors_are_told_by_their_outputs(outputs, op, order):
    manifest = made(bare(image(1, 3, 64, 64), outputs), "detect", ["cat", "dog"])
    assert manifest.variants[0].pipeline.post[0].op == op
    assert first_step(manifest)["order"] == order
    assert manifest.signature.value.labels == ("cat", "dog")


def test_an_unknown_detector_is_refused_with_those_that_are_known():
    with pytest.raises(InputError, match=r"YOLOX.*task='tensors' always fits"):
        made(bare(image(1, 3, 64, 64), [("out", "float32", (1, 5, 5))]), "detect")


def test_every_file_fits_the_task_tensors():
    file = bare([("a", "int64", (2, -1)), ("b", "bool", ())], [("c", "float32", (-1, -1, 3))])
    manifest = made(file, "tensors")
    assert [(e.name, e.dtype, e.shape) for e in manifest.signature.inputs] == [
        ("a", "int64", (2, -1)),
        ("b", "bool", ()),
    ]
    assert manifest.signature.value.kind == "tensors"


def test_an_embedding_is_one_row():
    manifest = made(bare(image(1, 3, 8, 8), [("v", "float32", (1, 2, 8))]), "embed")
    assert manifest.signature.outputs[0].shape == (16,)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "tensors"])
def test_several_inputs_are_for_tensors_only(task):
    twins = [("a", "float32", (1, 4)), ("b", "float32", (1, 4))]
    with pytest.raises(InputError, match="tensors"):
        made(bare(twins, scores()), task)


def test_a_task_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(InputError, match="classify, detect, embed, tensors"):
        made(bare(image(1, 3, 8, 8), scores()), "segment")


@pytest.mark.parametrize("task", ["embed", "tensors"])
def test_labels_are_refused_where_nothing_has_a_label(task):
    with pytest.raises(InputError, match="labels"):
        made(bare(image(1, 3, 8, 8), scores()), task, ["a"])


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("YOLOX_Nano", "yolox_nano"),
        ("my model (final)", "my-model-final"),
        ("a--b", "a-b"),
        ("...", "model"),
        ("x" * 99, "x" * 63),
    ],
)
def test_a_name_is_made_of_the_files(stem, name):
    assert model_name(stem) == name


@pytest.mark.parametrize(
    "outputs",
    [
        [("out", "float32", (1, 5, 4, 4))],  # FastestDet without a label
        [("out", "float32", (1, 84, 5))],  # YOLOX without a label
        [("out", "float32", (1, 4, 84))],  # YOLOv8 without a label
        [("out", "float32", (1, 7, 9, 9))],  # a grid of another size
        [("out", "float32", (1, 252, 5))],  # YOLOv5 without a label
        # PicoDet's grids of another size, with several numbers of labels, without sides
        [(f"t{n}{side}", "float32", (1, n, side)) for side in (3, 32) for n in (64, 16, 4, 2)],
        [(f"t{n}", "float32", (1, n % 100, n)) for n in (164, 116, 104, 101, 264, 216, 204, 201)],
        [(f"t{n}{side}", "float32", (1, n, side)) for side in (3, 7) for n in (64, 16, 4, 1)],
    ],
)
def test_a_detector_without_labels_is_none(outputs):
    with pytest.raises(InputError, match="YOLOX"):
        made(bare(image(1, 3, 64, 64), outputs), "detect")


def test_a_detector_takes_an_image():
    with pytest.raises(InputError, match="'detect'"):
        made(bare([("x", "float32", (1, 64))], scores()), "detect")


def test_what_does_not_count_its_labels_must_be_told_them():
    ssd = [
        ("b", "float32", (1, 9, 4)),
        *((n, "float32", (1, 9)) for n in "cs"),
        ("n", "float32", (1,)),
    ]
    with pytest.raises(InputError, match="labels"):
        made(bare(image(1, 3, 64, 64), ssd), "detect")


@pytest.mark.parametrize(
    ("outputs", "match"),
    [
        ([("a", "float32", (1, 2)), ("b", "float32", (1, 2))], "one output"),
        ([("a", "int64", (1, 2))], "float32"),
        ([("a", "float32", (1, 1))], "float32"),
        ([("a", "float32", (3, 2))], "float32"),
        ([("a", "float32", ())], "one output"),
    ],
)
def test_a_classifier_gives_one_row_of_scores(outputs, match):
    with pytest.raises(InputError, match=match):
        made(bare(image(1, 3, 8, 8), outputs), "classify")


def test_an_embedding_is_made_of_floats_and_may_be_of_any_length():
    with pytest.raises(InputError, match="float32"):
        made(bare(image(1, 3, 8, 8), [("v", "int64", (1, 8))]), "embed")
    manifest = made(bare(image(1, 3, 8, 8), [("v", "float32", (1, -1))]), "embed")
    assert manifest.signature.outputs[0].shape == (-1,)


@pytest.mark.parametrize("shape", [(4,), (2, 4), (1, -1, -1)])
def test_numbers_come_as_one_row_with_one_open_length_at_most(shape):
    with pytest.raises(InputError, match="input"):
        made(bare([("x", "float32", shape)], scores()), "classify")


def test_pixels_are_said_of_images_alone():
    with pytest.raises(InputError, match="image input"):
        made(bare([("x", "float32", (1, 4))], scores()), "classify", mean=(1.0,))


def test_a_picture_of_one_channel_is_grey():
    step = first_step(made(bare(image(1, 1, 8, 8), scores()), "classify"))
    assert step["order"] == "grey"


def test_four_lengths_without_channels_are_numbers():
    manifest = made(bare([("x", "float32", (1, 5, 8, 8))], scores()), "classify")
    assert manifest.signature.inputs[0].kind == "tensor"
