"""Bare model files through the public call, on real files where they are there."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import wherever
from wherever_contracts.errors import EngineError, InputError

COCO_LABELS = 90


@pytest.fixture
def client():
    with wherever.Client() as client:
        yield client


def save(path: Path, nodes, inputs, outputs) -> Path:
    def info(specs):
        return [helper.make_tensor_value_info(*spec) for spec in specs]

    graph = helper.make_graph(nodes, "g", info(inputs), info(outputs))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def mean_of_channels(tmp_path):
    """Three logits: the mean of each channel of a 4 x 4 image."""
    return save(
        tmp_path / "Mean of Channels.onnx",
        [
            helper.make_node("GlobalAveragePool", ["pixels"], ["means"]),
            helper.make_node("Flatten", ["means"], ["logits"]),
        ],
        [("pixels", TensorProto.FLOAT, [1, 3, 4, 4])],
        [("logits", TensorProto.FLOAT, [1, 3])],
    )


def test_a_file_is_called_like_any_model(client, mean_of_channels):
    model = client.open(mean_of_channels, task="classify", labels=["red", "green", "blue"])
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 1:] = 255, 204
    answer = model(image)
    assert answer.value == "green"
    powers = np.exp([0, 1, 0.8])
    assert answer.confidence == pytest.approx(powers[1] / powers.sum(), abs=1e-4)
    assert (answer.receipt.model, answer.receipt.trust) == ("mean-of-channels", "local")
    assert [p.value for p in model.map([image, image[..., ::-1], image])] == ["green"] * 3
    with pytest.raises(InputError, match="image"):
        model("no such file.jpg")


def test_a_files_data_stays_on_the_device(client, mean_of_channels):
    model = client.open(mean_of_channels, task="classify")
    assert model(np.zeros((4, 4, 3), np.uint8)).receipt.boundary == "device"


def test_what_is_known_of_the_preparation_can_be_said(client, mean_of_channels):
    model = client.open(
        mean_of_channels, task="embed", scale=1.0, mean=(1.0, 2.0, 3.0), std=(2.0,), colour="bgr"
    )
    image = np.full((4, 4, 3), (7, 8, 9), np.uint8)
    assert model(image).value.tolist() == [(9 - 1) / 2, (8 - 2) / 2, (7 - 3) / 2]


def test_tensors_go_in_and_out_as_the_file_has_them(client, tmp_path):
    path = save(
        tmp_path / "sum.onnx",
        [helper.make_node("Add", ["a", "b"], ["sum"])],
        [("a", TensorProto.INT64, ["n", 2]), ("b", TensorProto.INT64, [2])],
        [("sum", TensorProto.INT64, ["n", 2])],
    )
    model = client.open(path, task="tensors")
    given = {"a": np.arange(6).reshape(3, 2), "b": np.array([10, 20])}
    assert model(given).value["sum"].tolist() == [[10, 21], [12, 23], [14, 25]]
    with pytest.raises(InputError, match="int64"):
        model({**given, "b": np.zeros(2)})


def test_labels_may_lie_in_a_file(client, mean_of_channels, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("rot\n\ngrün\nblau\n", encoding="utf-8")
    model = client.open(mean_of_channels, task="classify", labels=labels)
    assert model.signature.value.labels == ("rot", "grün", "blau")
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        client.open(mean_of_channels, task="classify", labels="nowhere.txt")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"task": "segment"}, "classify, detect, embed, tensors"),
        ({"task": "detect"}, "YOLOX"),
        ({"task": "classify", "labels": ["a"]}, "3 labels"),
        ({"task": "classify", "brightness": 1}, "brightness"),
        ({"task": "classify", "size": (9, 9)}, "4 x 4"),
    ],
)
def test_what_does_not_fit_is_said_with_what_would(client, mean_of_channels, arguments, match):
    with pytest.raises(InputError, match=match):
        client.open(mean_of_channels, **arguments)


@pytest.mark.parametrize("pixels", [{"keep": 2}, {"resize": "nonsense"}])
def test_pixels_that_cannot_be_are_refused_before_the_first_call(client, mean_of_channels, pixels):
    (name,) = pixels
    with pytest.raises(InputError, match=rf"argument 'pixels': .* found {name} must be"):
        client.open(mean_of_channels, task="classify", **pixels)


def test_a_budget_begins_before_a_file_is_read(mean_of_channels):
    with wherever.Client(memory_max_bytes=100_000_000) as client:
        client.open(mean_of_channels, task="classify")
        assert client._own._host is not None


def test_opened_files_make_room_for_each_other_and_come_back(mean_of_channels):
    picture = np.zeros((4, 4, 3), np.uint8)
    with wherever.Client(memory_max_bytes=1) as client:
        models = [client.open(mean_of_channels, task="classify", name=name) for name in "abc"]
        mean_of_channels.unlink()
        for model in models * 2:
            model(picture)
        counts = client.status().counts
    assert sum(n for name, n in counts.items() if name.startswith("wherever_evictions_total")) >= 4


def test_a_task_that_does_not_exist_is_said_before_the_file_is_read(client):
    with pytest.raises(InputError, match="classify, detect, embed, tensors"):
        client.open("nowhere.tflite", task="clasify")


def test_what_is_no_model_is_refused(client, tmp_path):
    for name in ("damaged.onnx", "damaged.tflite", "damaged.xml"):
        (tmp_path / name).write_bytes(b"not a model at all")
    (tmp_path / "damaged.bin").write_bytes(b"weights")
    for name in ("damaged.onnx", "damaged.tflite", "damaged.xml"):
        with pytest.raises(EngineError, match="cannot be read here"):
            client.open(tmp_path / name, task="tensors")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(InputError, match="0 bytes"):
        client.open(tmp_path / "empty.onnx", task="tensors")
    with pytest.raises(InputError, match=r"\.onnx, \.tflite, \.xml"):
        client.open(tmp_path / "model.pt", task="tensors")
    with pytest.raises(FileNotFoundError):
        client.open(tmp_path / "none.onnx", task="tensors")


def test_detectors_are_recognised_and_find_people(client, test_data):
    image = test_data / "images/coco_val2017/images/000000000885.jpg"  # tennis
    models = test_data / "models"
    files = ("FastestDet.onnx", "yolox_nano.onnx", "picodet_s_416_coco.onnx")
    found = [client.open(models / name, task="detect", labels="coco80")(image) for name in files]
    ssd = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    found.append(client.open(models / ssd, task="detect", labels=models / "coco_labels.txt")(image))
    boxes = [next(d.box for d in each.value if d.label == "person") for each in found]
    for box in boxes[1:]:
        assert overlap(boxes[0], box) > 0.5


def overlap(one, other) -> float:
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    both = max(width, 0) * max(height, 0)
    areas = [(b.right - b.left) * (b.bottom - b.top) for b in (one, other)]
    return both / (sum(areas) - both)


def test_a_quantized_classifier_needs_no_word_about_its_pixels(client, test_data):
    path = test_data / "models/mobilenet_v2_1.0_224_quant.tflite"
    labels = test_data / "models/imagenet_labels.txt"
    model = client.open(path, task="classify", labels=labels, keep=0.875, resize="antialias")
    with (test_data / "images/imagenet1k_labels.csv").open() as file:
        rows = list(csv.DictReader(file))[::10]
    folder = test_data / "images/imagenet1k"
    rows = [row for row in rows if (folder / row["file"]).exists()]
    # the labels begin with one for the background
    truth = [int(row["class_index_0_999"]) + 1 for row in rows]
    answers = model.map([folder / row["file"] for row in rows], progress=False)
    right = sum(p.value.class_index == wanted for p, wanted in zip(answers, truth, strict=True))
    assert len(rows) >= 20
    assert right / len(rows) > 0.8  # 89 % of all of them
    assert model(folder / rows[0]["file"]).receipt.precision == "int8"


def test_the_shell_opens_files_too(mean_of_channels, tmp_path):
    image = tmp_path / "blue.ppm"
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 4, 4), np.float32))
    image.write_bytes(b"P6 4 4 255\n" + bytes([0, 0, 255]) * 16)

    def wherever_predict(*arguments):
        command = [sys.executable, "-m", "wherever", "predict", str(mean_of_channels), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    done = wherever_predict("--task", "tensors", "--json", str(tmp_path / "x.npy"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["value"] == {"logits": [[0.0, 0.0, 0.0]]}
    done = wherever_predict(str(image))
    assert done.returncode == 2
    assert "--task" in done.stderr
    done = wherever_predict("--task", "classify", "--pixels", "size=big", str(image))
    assert done.returncode == 2
    assert "size=224x224" in done.stderr
