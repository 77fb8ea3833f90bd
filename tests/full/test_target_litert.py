"""ONNX models become LiteRT files, float files become int8 ones, and both answer as they should."""

from __future__ import annotations

import contextlib
import csv
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as pillow

from wherever_contracts.errors import ConversionError
from wherever_convert import Pixels, SampleOptions, convert
from wherever_convert.design import Wanted, design
from wherever_convert.draft import Draft, header
from wherever_convert.model_file import ModelFile
from wherever_convert.running import open_model
from wherever_convert.samples import read_samples
from wherever_convert.samples.split import split
from wherever_convert.targets import TARGETS, CannotMakeError, Job, make
from wherever_convert.workbench import Workbench
from wherever_edge.host import LocalHost
from wherever_edge.inputs import InputChecker
from wherever_edge.packages.store import Store, open_package

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(900),
    pytest.mark.environments("onnx2tf", "litert-quantizer"),
]

COLOURS = ("red", "green", "blue")
SIZE = 16


@pytest.fixture
def job(tmp_path):
    """Makes a job for a target, of a file and rows of its input."""

    def get(of: ModelFile, target: str, rows: object) -> Job:
        data = read_samples(rows, SampleOptions())
        session = open_model(of, "the model")
        wanted = Wanted("tensors", None, None, Pixels(), None, None)
        made = design(wanted, data.form, session.inputs, session.outputs)
        session.close()
        place = tmp_path / f"job{len(list(tmp_path.iterdir()))}"
        (place / "package").mkdir(parents=True)
        (place / "made").mkdir()
        draft = Draft(place / "package", header("x", "1.0.0", "anywhere", "", ""), made)
        draft.add("reference", of)
        bench = Workbench(draft, split(data.items), place, lambda: None)
        return Job(TARGETS[target], of, bench, "minmax", 0.01, 0, place / "made", lambda _: None)

    return get


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder for each colour, with pictures that have more of it than of the others."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for position, colour in enumerate(COLOURS):
        (root / colour).mkdir()
        for number in range(40):
            pixels = rng.integers(0, 60, (SIZE, SIZE, 3))
            pixels[..., position] += rng.integers(80, 140)
            picture = pillow.fromarray(pixels.astype(np.uint8))
            picture.save(root / colour / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def colour_net(tmp_path_factory):
    """A small convolutional classifier of colours; its channels come first."""
    rng = np.random.default_rng(1)
    mixed = rng.normal(0, 0.05, (8, 3, 3, 3)).astype(np.float32)
    for channel in range(3):
        mixed[channel, channel, 1, 1] += 1
    depthwise = rng.normal(0, 0.02, (8, 1, 3, 3)).astype(np.float32)
    depthwise[:, 0, 1, 1] += 1
    chosen = np.zeros((8, 3), np.float32)
    chosen[:3] = 8 * np.eye(3)
    nodes = [
        helper.make_node("Conv", ["image", "mixed"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "depthwise"], ["c"], pads=[1] * 4, group=8),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("MatMul", ["g", "chosen"], ["h"]),
        helper.make_node("Softmax", ["h"], ["chances"], axis=1),
    ]
    constants = {"mixed": mixed, "depthwise": depthwise, "chosen": chosen}
    path = tmp_path_factory.mktemp("net") / "colours.onnx"
    image = ("image", [None, 3, SIZE, SIZE])
    path.write_bytes(graph(nodes, constants, [image], [("chances", [None, 3])]))
    return path


def graph(nodes, constants, inputs, outputs):
    def tensors(given):
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in given]

    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = helper.make_graph(nodes, "g", tensors(inputs), tensors(outputs), initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_one_package_has_every_form_of_a_net_and_all_agree(colour_net, pictures, tmp_path):
    targets = ("ir", "ir-fp16", "litert", "litert-int8")
    pixels = Pixels(size=(SIZE, SIZE), scale=1 / 255)
    report = convert(
        colour_net,
        samples=pictures,
        task="classify",
        output=tmp_path / "colours",
        pixels=pixels,
        labels=COLOURS,
        targets=targets,
    )
    assert {row.target for row in report.rows} == {"fp32", *targets}
    assert all(row.value == 1 for row in report.rows)

    package = open_package(tmp_path / "colours")
    layouts = {
        each.id: each.pipeline.pre[0].parameters.get("layout") for each in package.manifest.variants
    }
    assert layouts["colours-litert"] == layouts["colours-litert-int8"] == "nhwc"
    assert layouts["colours-ir"] == layouts["colours-fp32"]
    pairs = {
        (each.id, engine) for each in package.manifest.variants for engine in each.needs.engines
    }
    assert ("colours-litert-int8", "openvino") not in pairs  # which refuses it
    assert {engine for _, engine in pairs} == {"onnxruntime", "openvino", "litert"}
    samples = [each.read_bytes() for each in sorted(pictures.glob("*/*0.png"))]
    answers = {pair: answered(package, *pair, samples) for pair in pairs}
    assert len({tuple(each) for each in answers.values()}) == 1, answers


def answered(package, variant, engine, samples):
    with contextlib.closing(LocalHost(Store(builtin=False), distance="device")) as host:
        loaded = host.load(package, package.manifest.variant(variant), engine)
        checker = InputChecker(loaded.signature)
        answers = [loaded.answer(checker.check(each), {}) for each in samples]
        assert loaded.ran.engine == engine
    return [int(np.argmax(each.outputs["scores"])) for each in answers]


def test_tensors_keep_names_order_and_layout_where_no_step_lays_them_out(job):
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Conv", ["zebra", "kernel"], ["maps"], pads=[1] * 4),
        helper.make_node("MatMul", ["apple", "weights"], ["m"]),
        helper.make_node("Relu", ["m"], ["rows"]),
    ]
    constants = {
        "kernel": rng.normal(size=(5, 3, 3, 3)).astype(np.float32),
        "weights": rng.normal(size=(7, 4)).astype(np.float32),
    }
    inputs = [("zebra", [1, 3, 6, 8]), ("apple", [1, 7])]
    outputs = [("rows", [1, 4]), ("maps", [1, 5, 6, 8])]
    of = ModelFile("onnx", "float32", (graph(nodes, constants, inputs, outputs),))
    rows = {name: rng.normal(size=(20, *shape[1:])).astype(np.float32) for name, shape in inputs}
    path = Path("rows.npz")
    np.savez(path, **rows)

    made = make(job(of, "litert", path))

    session = open_model(made.file, "the file")
    assert [(spec.name, list(spec.shape)) for spec in session.inputs] == inputs
    assert [(spec.name, list(spec.shape)) for spec in session.outputs] == outputs
    assert made.facts["error"] <= 1e-4
    assert made.facts["tool"].startswith("onnx2tf 1.")


def test_detectors_answer_alike_as_litert_files(test_data, job):
    of = ModelFile("onnx", "float32", ((test_data / "models" / "FastestDet.onnx").read_bytes(),))
    paths = sorted((test_data / "images" / "coco_val2017" / "images").glob("*.jpg"))[:10]
    pictures = [pillow.open(path).convert("RGB").resize((352, 352)) for path in paths]
    rows = np.stack([np.asarray(each, np.float32).transpose(2, 0, 1)[::-1] for each in pictures])

    made = make(job(of, "litert", rows / 255))

    assert made.facts["error"] <= 1e-4
    session = open_model(made.file, "the file")
    assert [spec.shape for spec in session.outputs] == [(1, 85, 22, 22)]  # as in ONNX


def test_what_needs_tensorflow_itself_is_refused_with_its_reason(job):
    nodes = [helper.make_node("Det", ["square"], ["number"])]
    data = graph(nodes, {}, [("square", [1, 4, 4])], [("number", [1])])
    rows = np.random.default_rng(0).random((10, 4, 4), np.float32)
    with pytest.raises(CannotMakeError, match="Select TensorFlow op"):
        make(job(ModelFile("onnx", "float32", (data,)), "litert", rows))


def test_int8_of_a_trained_net_is_as_often_right_and_the_same_each_time(test_data, tmp_path):
    def made(name):
        (tmp_path / name).mkdir()
        return convert(
            test_data / "models" / "cifar10_resnet_large_float.tflite",
            samples=test_data / "images" / "cifar10",
            task="classify",
            output=tmp_path / name / "resnet",
            pixels=Pixels(size=(32, 32), scale=1.0),
            targets=["litert-int8"],
        )

    report = made("one")
    row = next(each for each in report.rows if each.target == "litert-int8")
    assert row.drop <= 0.01
    assert row.bytes < 600_000  # of 1.9 MB
    made("two")
    one, two = (tmp_path / name / "resnet" / "resnet-litert-int8.tflite" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_layers_stay_float_where_int8_hurts(test_data, tmp_path):
    report = convert(
        test_data / "models" / "nl_classifier_builtin_ops.tflite",
        samples=sentences(test_data),
        task="classify",
        output=tmp_path / "sentiment",
        labels=["negative", "positive"],
        targets=["litert-int8"],
    )
    row = next(each for each in report.rows if each.target == "litert-int8")
    assert row.drop <= 0.01
    layers = report.layers["litert-int8"]
    assert [each.error for each in layers] == sorted((each.error for each in layers), reverse=True)
    assert not layers[0].quantized
    assert any("layers in float" in line for line in report.traces["litert-int8"])


def sentences(test_data):
    assets = test_data / "models" / "nl_classifier_builtin_ops.assets"
    lines = (assets / "vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = {word: int(number) for word, number in (line.split() for line in lines)}
    pairs = [
        line.rsplit("\t", 1)
        for line in (test_data / "text" / "sst2_dev.tsv").read_text(encoding="utf-8").splitlines()
    ]
    ids = np.zeros((len(pairs), 256), np.int32)
    for row, (text, _) in zip(ids, pairs, strict=True):
        words = [vocabulary.get(word, 2) for word in re.split(r"[^\w']+", text.lower()) if word]
        row[: len(words) + 1] = [1, *words][:256]
    return ids, np.array([int(label) for _, label in pairs])


def test_a_net_that_int8_ruins_is_refused_with_what_it_lost(test_data, tmp_path):
    """MobileNet of a quarter width: its maker's own int8 file loses more than three points."""
    names = (test_data / "models" / "imagenet_labels.txt").read_text().splitlines()
    labels = [f"{number} {name}" for number, name in enumerate(names)]
    table = tmp_path / "table.csv"
    with (test_data / "images" / "imagenet1k_labels.csv").open() as file, table.open("w") as out:
        writer = csv.writer(out)
        writer.writerow(["image", "label"])
        for row in csv.DictReader(file):
            path = test_data / "images" / "imagenet1k" / row["file"]
            writer.writerow([path, labels[int(row["class_index_0_999"]) + 1]])
    with pytest.raises(ConversionError, match="litert-int8 loses too much: top-1"):
        convert(
            test_data / "models" / "mobilenet_v1_0.25_224_float.tflite",
            samples=table,
            task="classify",
            output=tmp_path / "mobilenet",
            labels=labels,
            pixels=Pixels((224, 224), 1 / 127.5, [1.0], resize="antialias", keep=0.875),
            reading=SampleOptions(label_column="label", image_column="image"),
            targets=["litert-int8"],
        )
    assert not (tmp_path / "mobilenet").exists()
