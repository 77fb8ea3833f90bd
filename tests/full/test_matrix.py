"""Every source in every form that it can be had in, against what the source itself answers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import openvino
import pytest
import skl2onnx
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as pillow
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from wherever_contracts.errors import ConversionError
from wherever_convert import ConversionReport, convert
from wherever_convert.matrix import cell
from wherever_convert.sources import all_sources, find_source
from wherever_edge.builtin import PACKAGES
from wherever_edge.host import LocalHost
from wherever_edge.inputs import InputChecker
from wherever_edge.packages.store import Store, open_package

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(900),
    pytest.mark.environments(
        "torch", "litert-torch", "keras", "onnx2tf", "litert-quantizer", "boosting"
    ),
]

HERE = Path(__file__).parent
# What is to be had; a form that silently is not any more fails here.
EVERY = ["fp32", "fp16", "int8", "int8-dynamic", "ir", "ir-fp16", "ir-int8", "litert"]
EVERY += ["litert-int8"]
TABLE = {
    "scikit-learn": EVERY,
    "pytorch": EVERY,
    "keras": EVERY,
    "onnx": EVERY,
    "hugging-face": EVERY,
    "xgboost": ["fp32"],
    "lightgbm": ["fp32"],
    "openvino": ["ir", "ir-fp16"],
    "tflite": ["litert", "litert-int8", "ir", "ir-fp16"],
}
# Dynamic int8 is for matrix products alone: networks of convolutions have another one beside them.
DENSE = ["pytorch", "keras", "onnx", "hugging-face"]
CELLS = [
    (source, target)
    for source, targets in TABLE.items()
    for target in targets
    if source not in DENSE or target != "int8-dynamic"
]
CELLS += [(f"{source}-dense", "int8-dynamic") for source in DENSE]
# How far a number may be from the source's, as a share of the largest number of the answer.
TOLERANCES = {"float32": 1e-4, "float16": 1e-2}
MAX_DROP = 0.05

TORCH = """
from pathlib import Path

import numpy as np
import torch
from torch import nn
from sklearn.datasets import load_digits


torch.manual_seed(0)
torch.set_num_threads(2)


def model():
    return trained(nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
    ))


def trained(network):
    images, classes = load_digits(return_X_y=True)
    x = torch.from_numpy((images / 16).astype(np.float32).reshape(-1, 1, 8, 8))
    y = torch.from_numpy(classes)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[:1200]), y[:1200]).backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        np.save(Path(__file__).with_name("answers.npy"), network(x[1200:]).numpy())
    return network


def dense():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    return trained(network)
"""
KERAS = """

def model():
    return answering(convolutions())


def dense():
    made = keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(48, "relu"), layers.Dense(10)]
    )
    made.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, classes = digits()
    made.fit(images[:1200], classes[:1200], epochs=20, batch_size=32, verbose=0)
    return answering(made)


def answering(made):
    np.save(Path(__file__).with_name("answers.npy"), made.predict(digits()[0][1200:], verbose=0))
    return made
"""
BOOSTED = """

def model():
    made = {train}
    rows = (DIGITS[0][1200:] / 16).astype(np.float32)
    np.save(Path(__file__).with_name("answers.npy"), made.predict_proba(rows))
    return made


SMALL = (DIGITS[0][:1200] / 16, DIGITS[1][:1200])
"""


@dataclass
class Case:
    """A source, samples, and what it answers to the first of them."""

    source: Any
    samples: Any
    answers: Path
    rows: Any = None
    task: str = "classify"


def digits(*shape: int) -> tuple[Any, Any]:
    images, classes = load_digits(return_X_y=True)
    return (images[1200:] / 16).astype(np.float32).reshape(-1, *shape), classes[1200:]


def scikit_learn(folder: Path) -> Case:
    images, classes = load_digits(return_X_y=True)
    model = MLPClassifier((48,), max_iter=400, random_state=0)
    model.fit(images[:1200] / 16, classes[:1200])
    samples = digits(64)
    np.save(folder / "answers.npy", model.predict_proba(samples[0]))
    return Case(model, samples, folder / "answers.npy")


def pytorch(folder: Path, name: str = "model") -> Case:
    (folder / "model.py").write_text(TORCH)
    return Case(f"{folder / 'model.py'}:{name}", digits(1, 8, 8), folder / "answers.npy")


def keras(folder: Path, name: str = "model") -> Case:
    text = (HERE / "keras_models" / "models.py").read_text()
    (folder / "model.py").write_text(text + KERAS)
    return Case(f"{folder / 'model.py'}:{name}", digits(8, 8, 1), folder / "answers.npy")


def boosted(folder: Path, train: str) -> Case:
    text = (HERE / "boosters" / "models.py").read_text()
    text += "\nfrom pathlib import Path\n" + BOOSTED.format(train=train)
    (folder / "model.py").write_text(text)
    return Case(f"{folder / 'model.py'}:model", digits(64), folder / "answers.npy")


def xgboost(folder: Path) -> Case:
    return boosted(folder, "xgb.XGBClassifier(**FEW).fit(*SMALL)")


def lightgbm(folder: Path) -> Case:
    return boosted(folder, "lgb.LGBMClassifier(**QUIET).fit(*SMALL)")


def onnx_file(folder: Path) -> Case:
    path = PACKAGES / "digits" / "cnn.onnx"
    rows, classes = digits(1, 8, 8)
    rows = rows * 16
    session = ort.InferenceSession(path)
    np.save(folder / "answers.npy", session.run(None, {"numbers": rows})[0])
    return Case(path, (rows, classes), folder / "answers.npy")


def onnx_dense(folder: Path) -> Case:
    case = scikit_learn(folder)
    path = folder / "mlp.onnx"
    made = skl2onnx.to_onnx(case.source, case.samples[0][:1], options={"zipmap": False})
    del made.graph.output[0]  # the label
    onnx.save(made, path)
    return Case(path, case.samples, case.answers)


def openvino_ir(folder: Path) -> Case:
    case = onnx_file(folder)
    model = openvino.convert_model(case.source)
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    compiled = openvino.compile_model(
        folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    np.save(folder / "answers.npy", compiled(case.samples[0])[0])
    return Case(folder / "model.xml", case.samples, case.answers)


def tflite_file(folder: Path, test_data: Path) -> Case:
    images, classes = [], []
    for number, kind in enumerate(sorted((test_data / "images" / "cifar10").iterdir())):
        for path in sorted(kind.glob("*.jpg"))[:20]:
            images.append(np.asarray(pillow.open(path).convert("RGB"), np.float32))
            classes.append(number)
    (path,) = test_data.rglob("cifar10_resnet8_float.tflite")
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    answers = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    np.save(folder / "answers.npy", answers)
    return Case(path, (np.stack(images), np.asarray(classes)), folder / "answers.npy")


def hugging_face(folder: Path, *, dense: bool = False) -> Case:
    """A folder as Hugging Face's tools write it; its model tells red, green and blue."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 120, (90, 16, 16, 3)).astype(np.uint8)
    classes = np.arange(90) % 3
    for picture, colour in zip(pictures, classes, strict=True):
        picture[..., colour] += 100
    for number, (picture, colour) in enumerate(zip(pictures, classes, strict=True)):
        place = folder / "pictures" / COLOURS[colour]
        place.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(picture).save(place / f"{number:03}.png")
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(HF_CONFIG))
    (model / "preprocessor_config.json").write_text(json.dumps(HF_IMAGES))
    onnx.save(colour_network(random, dense=dense), model / "model.onnx")
    by_place = sorted(range(90), key=lambda n: (COLOURS[classes[n]], n))
    tensors = (pictures[by_place].astype(np.float32) / 255 - 0.5) / 0.5
    session = ort.InferenceSession(model / "model.onnx")
    answers = session.run(None, {"pixel_values": tensors.transpose(0, 3, 1, 2)})[0]
    np.save(folder / "answers.npy", answers)
    rows = [pictures[n] for n in by_place]
    return Case(model, folder / "pictures", folder / "answers.npy", rows=rows)


COLOURS = ("red", "green", "blue")
HF_CONFIG = {
    "architectures": ["ResNetForImageClassification"],
    "model_type": "resnet",
    "id2label": dict(enumerate(COLOURS)),
}
HF_IMAGES = {
    "do_resize": True,
    "size": {"height": 16, "width": 16},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def colour_network(random: np.random.Generator, *, dense: bool) -> onnx.ModelProto:
    """Twelve filters, each of which looks at one colour, and what they say of the colours."""
    last = np.zeros((12, 3), np.float32)
    last[np.arange(12), np.arange(12) % 3] = 2
    look = random.normal(0, 0.05, (12, 3, 3, 3)).astype(np.float32)
    if dense:
        look = np.repeat(look.mean(axis=(2, 3)).T, 256, axis=0) / 256  # each of 16 x 16 pixels
        look[np.arange(768), :] += (np.arange(768)[:, None] // 256 == np.arange(12) % 3) / 256
        nodes = [
            helper.make_node("Flatten", ["pixel_values"], ["pixels"]),
            helper.make_node("MatMul", ["pixels", "look"], ["seen"]),
            helper.make_node("Relu", ["seen"], ["flat"]),
        ]
    else:
        look[np.arange(12), np.arange(12) % 3] += 0.2
        nodes = [
            helper.make_node("Conv", ["pixel_values", "look"], ["seen"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["seen"], ["lit"]),
            helper.make_node("GlobalAveragePool", ["lit"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
        ]
    nodes.append(helper.make_node("MatMul", ["flat", "last"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["rows", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 3])],
        [
            numpy_helper.from_array(look.astype(np.float32), "look"),
            numpy_helper.from_array(last, "last"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


MAKERS = {
    "scikit-learn": scikit_learn,
    "pytorch": pytorch,
    "keras": keras,
    "onnx": onnx_file,
    "hugging-face": hugging_face,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "openvino": openvino_ir,
    "pytorch-dense": partial(pytorch, name="dense"),
    "keras-dense": partial(keras, name="dense"),
    "onnx-dense": onnx_dense,
    "hugging-face-dense": partial(hugging_face, dense=True),
}


@dataclass
class Converted:
    """What came of a source: a report for each form, or why there is none."""

    case: Case
    reports: dict[str, ConversionReport | ConversionError]


@pytest.fixture(scope="module")
def conversions(tmp_path_factory, test_data):
    """Converts a source once, to all its forms; where that fails, to one after the other."""
    done: dict[str, Converted] = {}

    def get(name: str) -> Converted:
        if name not in done:
            wanted = [target for source, target in CELLS if source == name]
            folder = tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("WHEREVER_HOME", str(folder / "home"))
                made = MAKERS[name](folder) if name in MAKERS else tflite_file(folder, test_data)
                done[name] = Converted(made, converted(made, wanted, folder))
        return done[name]

    return get


def converted(
    case: Case, targets: list[str], folder: Path
) -> dict[str, ConversionReport | ConversionError]:
    try:
        return dict.fromkeys(targets, one(case, targets, folder / "all"))
    except ConversionError:
        shutil.rmtree(folder / "all", ignore_errors=True)
    reports: dict[str, ConversionReport | ConversionError] = {}
    for target in targets:
        try:
            reports[target] = one(case, [target], folder / target)
        except ConversionError as error:
            reports[target] = error
    return reports


def one(case: Case, targets: list[str], output: Path) -> ConversionReport:
    return convert(
        case.source,
        samples=case.samples,
        task=case.task,
        targets=targets,
        max_drop=MAX_DROP,
        output=output,
        name="model",
    )


@pytest.mark.parametrize(("source", "target"), CELLS)
def test_a_source_in_a_form_answers_as_it_does_itself(conversions, source, target):
    done = conversions(source)
    report = done.reports[target]
    if isinstance(report, ConversionError):
        raise report
    row = next(row for row in report.rows if row.target == target)
    assert row.value >= 0.6  # it knows something: a file of zeros would agree with itself
    assert row.drop <= MAX_DROP
    if row.precision in TOLERANCES:
        rows = done.case.rows or list(done.case.samples[0])
        wanted = np.load(done.case.answers)[:32]
        found = engine_answers(report.package, row.variant, rows[:32])
        assert relative(found, wanted) <= TOLERANCES[row.precision]


def engine_answers(place: Path, variant_id: str, rows: list[Any]) -> Any:
    """What comes out of the engine for each row, through the variant's own pipeline."""
    package = open_package(place)
    host = LocalHost(Store(builtin=False), distance="cloud")
    try:
        loaded = host.load(package, package.manifest.variant(variant_id))
        checker = InputChecker(loaded.signature)
        given = [loaded.trace(checker.check(row), {}).given for row in rows]
        return np.stack([next(iter(tensors.values())).ravel() for tensors in given])
    finally:
        host.close()


def relative(found: Any, wanted: Any) -> float:
    assert found.size == wanted.size
    return float(np.abs(found - wanted.reshape(found.shape)).max() / np.abs(wanted).max())


def test_the_table_is_what_the_code_says():
    by_name = {type(each).__name__: each for each in all_sources()}
    names = {
        "ScikitLearn": "scikit-learn",
        "PyTorch": "pytorch",
        "Keras": "keras",
        "OnnxFile": "onnx",
        "HuggingFaceFolder": "hugging-face",
        "XGBoost": "xgboost",
        "LightGBM": "lightgbm",
        "OpenVinoIr": "openvino",
        "TfliteFile": "tflite",
    }
    for kind, name in names.items():
        said = [each for each in EVERY if cell(by_name[kind], each).kind != "no"]
        assert sorted(said) == sorted(TABLE[name]), name


def test_what_cannot_be_made_is_refused_before_any_work(tmp_path):
    path = tmp_path / "model.xml"
    path.write_text("<net/>")
    assert find_source(path).formats == ("openvino",)
    with pytest.raises(ConversionError, match="nothing here makes ONNX of OpenVINO IR"):
        convert(path, samples="nowhere", task="tensors", targets=["int8"], output=tmp_path / "p")
