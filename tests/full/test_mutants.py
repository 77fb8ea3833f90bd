"""Packages that were tampered with are stopped, and whole ones never are.

Each mutant is a real package with one thing changed and every digest in `model.json` made right
again: first with its certificates as they were, then with certificates that claim to be about the
new contents. The golden samples stay those of the whole package: whoever makes them anew has
measured.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image as pillow

from wherever_contracts.certificate import Certificate
from wherever_contracts.errors import WhereverError
from wherever_convert import prove
from wherever_convert.builder import build_package, build_with_golden
from wherever_convert.judges import judge_for, measuring_options
from wherever_convert.proof.certify import write_certificates
from wherever_convert.proof.golden_choice import choose_golden
from wherever_edge.builtin import PACKAGES, digits_test_split
from wherever_edge.engines.flat_tables import root_table
from wherever_edge.host import LocalHost
from wherever_edge.inputs import InputChecker
from wherever_edge.packages.store import Package, Store, open_package

pytestmark = pytest.mark.full

TEXTS = (
    "a warm, funny and engaging film that never loses its way",
    "the plot is a mess and the acting is even worse",
    "it is not bad, but I have seen this story told better before",
)
# so many photos to choose golden samples from
PHOTOS = 40
Change = Callable[[Path, dict[str, Any]], None]


class Mutant(NamedTuple):
    """The package, what is wrong with it, and what makes it so."""

    package: str
    name: str
    change: Change


# --- the packages: what builds one at a place out of the test data --------------------------------


def digits(root: Path, data: Path) -> None:
    shutil.copytree(PACKAGES / "digits", root)
    images, _ = digits_test_split()
    numbers = [images[n].astype(np.float32) for n in (3, 40)]
    build_with_golden(root, read(root), [*numbers, picture(images[77])])


def picture(digit: np.ndarray) -> bytes:
    """A digit as a photo of it would be: dark on light, with paper around it."""
    large = np.pad(np.kron(digit, np.ones((6, 6))), 12)
    shown = io.BytesIO()
    pillow.fromarray((240 - large * 13).astype(np.uint8)).save(shown, "PNG")
    return shown.getvalue()


def sentiment(root: Path, data: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "sentiment" / "build.py"
    model = data / "models" / "nl_classifier_builtin_ops.tflite"
    command = [sys.executable, str(example), "--model", str(model), "-o", str(root)]
    subprocess.run(command, check=True, capture_output=True)
    build_with_golden(root, read(root), TEXTS)


def detector(
    file: str, image: Mapping[str, Any], decode: Mapping[str, Any], output: Sequence[int]
) -> Callable[[Path, Path], None]:
    """A detector of COCO's classes."""

    def build(root: Path, data: Path) -> None:
        labels = (data / "models" / "coco80.names").read_text().splitlines()
        names = {role: role for role in ("boxes", "scores", "classes")}
        signature = {
            "inputs": [{"name": "image", "kind": "image"}],
            "outputs": [
                {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
                {"name": "scores", "dtype": "float32", "shape": [-1]},
                {"name": "classes", "dtype": "int64", "shape": [-1]},
            ],
            "value": {"kind": "detections", "labels": labels, **names},
            "options": [{"name": "min_score", "default": 0.3, "min": 0, "max": 1}],
        }
        post = [
            dict(decode),
            {"op": "class_nms", "iou": 0.45},
            {"op": "best_detections", "most": 100},
        ]
        one = variant(
            "float32",
            file,
            {image["to"]: [1, 3, *image["size"]]},
            {decode["name"]: output},
            {"pre": [{"op": "image_tensor", "name": "image", **image}], "post": post},
            ["onnxruntime", "openvino"],
        )
        photos = sorted((data / "images" / "coco_val2017" / "images").glob("*.jpg"))
        finish(root, data, signature, [one], photos[:PHOTOS])

    return build


def classifier(
    files: Mapping[str, tuple[str, str, str]],
    images: str,
    size: int,
    count: int,
    **pixels: Any,
) -> Callable[[Path, Path], None]:
    """An image classifier of TensorFlow Lite; files are by precision, with their tensors' names."""

    def build(root: Path, data: Path) -> None:
        named = 1 if count == 1000 else 0  # a class for the background comes first
        signature = {
            "inputs": [{"name": "image", "kind": "image"}],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": [count]}],
            "value": {
                "kind": "label",
                "scores": "scores",
                "labels": [f"class {number}" for number in range(count)],
            },
        }
        variants = [
            variant(
                precision,
                file,
                {given: [1, size, size, 3]},
                {wanted: [1, count + named]},
                {
                    "pre": [
                        {
                            "op": "image_tensor",
                            "name": "image",
                            "to": given,
                            "size": [size, size],
                            "layout": "nhwc",
                            **pixels,
                        }
                    ],
                    "post": [
                        {"op": "columns", "name": wanted, "to": "named", "start": named},
                        {"op": "first_row", "name": "named", "to": "scores"},
                    ],
                },
                ["litert", "openvino"],
            )
            for precision, (file, given, wanted) in files.items()
        ]
        photos = sorted((data / "images" / images).rglob("*.[jJ]*"))
        finish(root, data, signature, variants, photos[:: len(photos) // PHOTOS][:PHOTOS])

    return build


ORIGINALS = {
    "digits": digits,
    "sentiment": sentiment,
    "fastestdet": detector(
        "FastestDet.onnx",
        {"to": "input.1", "size": [352, 352], "order": "bgr", "scale": 1 / 255},
        {"op": "fastestdet_boxes", "name": "758"},
        [1, 85, 22, 22],
    ),
    "yolox": detector(
        "yolox_nano.onnx",
        {
            "to": "images",
            "size": [416, 416],
            "order": "bgr",
            "fit": "letterbox_top_left",
            "pad": 114,
        },
        {"op": "yolox_boxes", "name": "output", "size": [416, 416]},
        [1, 3549, 85],
    ),
    "cifar": classifier(
        {
            "int8": ("cifar10_resnet8_int8.tflite", "input_1_int8", "Identity_int8"),
            "float32": ("cifar10_resnet8_float.tflite", "input_1", "Identity"),
        },
        "cifar10",
        32,
        10,
    ),
    "imagenet": classifier(
        {
            "float32": (
                "mobilenet_v1_0.25_224_float.tflite",
                "input",
                "MobilenetV1/Predictions/Reshape_1",
            ),
            "int8": (
                "mobilenet_v1_0.25_224_quant.tflite",
                "input",
                "MobilenetV1/Predictions/Reshape_1",
            ),
        },
        "imagenet1k",
        224,
        1000,
        resize="antialias",
        keep=0.875,
        scale=1 / 127.5,
        mean=[1.0],
    ),
}


def variant(
    precision: str,
    file: str,
    inputs: Mapping[str, Sequence[int]],
    outputs: Mapping[str, Sequence[int]],
    pipeline: dict[str, Any],
    engines: list[str],
) -> dict[str, Any]:
    return {
        "id": precision,
        "format": Path(file).suffix[1:],
        "precision": precision,
        "files": [{"path": file}],
        "tensors": {"inputs": tensors(inputs), "outputs": tensors(outputs)},
        "pipeline": pipeline,
        "needs": {"engines": engines},
    }


def tensors(shapes: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    return [{"name": n, "dtype": "float32", "shape": list(s)} for n, s in shapes.items()]


def finish(
    root: Path,
    data: Path,
    signature: dict[str, Any],
    variants: list[dict[str, Any]],
    photos: Sequence[Path],
) -> None:
    """Build a package with golden samples, chosen as a conversion chooses them."""
    root.mkdir()
    for each in variants:
        shutil.copy(data / "models" / each["files"][0]["path"], root)
    manifest = {
        "name": root.name,
        "version": "1.0.0",
        "boundary": "anywhere",
        "reference": "float32",
        "signature": signature,
        "variants": variants,
    }
    package = build_package(root, manifest)
    judge = judge_for(package.manifest.signature, [])
    options = measuring_options(package.manifest.signature)
    check = InputChecker(package.manifest.signature).check
    with closing(LocalHost(Store(builtin=False), distance="device")) as host:
        loaded = [host.load(package, each) for each in package.present()]
        kept = [
            [judge.keep(one.answer(check(photo), options).outputs) for photo in photos]
            for one in loaded
        ]
    golden = choose_golden(judge, kept)
    build_with_golden(root, manifest, [photos[n] for n in golden])


# --- what is done to them -------------------------------------------------------------------------


def every_step(op: str, **changes: Any) -> Change:
    """Parameters of a step, in every variant; None takes one away."""

    def change(root: Path, data: dict[str, Any]) -> None:
        steps = [
            step
            for each in data["variants"]
            for side in ("pre", "post")
            for step in each["pipeline"][side]
            if step["op"] == op
        ]
        assert steps
        for step in steps:
            step.update(changes)
            for name in [name for name, value in changes.items() if value is None]:
                del step[name]

    return change


def without_step(op: str) -> Change:
    def change(root: Path, data: dict[str, Any]) -> None:
        for each in data["variants"]:
            post = each["pipeline"]["post"]
            each["pipeline"]["post"] = [step for step in post if step["op"] != op]

    return change


def labels(turn: Callable[[list[str]], list[str]]) -> Change:
    def change(root: Path, data: dict[str, Any]) -> None:
        value = data["signature"]["value"]
        value["labels"] = turn(list(value["labels"]))

    return change


def of_onnx(file: str, turn: Callable[[onnx.ModelProto], None]) -> Change:
    def change(root: Path, data: dict[str, Any]) -> None:
        model = onnx.load(root / file)
        turn(model)
        onnx.save(model, root / file)

    return change


def of_weights(turn: Callable[[np.ndarray], np.ndarray], kind: str = "f", least: int = 64) -> Any:
    """Change each large table of an ONNX model's numbers."""

    def change(model: onnx.ModelProto) -> None:
        changed = 0
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype.kind == kind and array.size >= least:
                tensor.CopyFrom(numpy_helper.from_array(turn(array), tensor.name))
                changed += 1
        assert changed

    return change


def first_layer(model: onnx.ModelProto) -> None:
    """Zero the first table of weights."""
    tables = [t for t in model.graph.initializer if np.prod(t.dims) >= 64]
    tables[0].CopyFrom(
        numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tables[0])), tables[0].name)
    )


def scales(factor: float) -> Callable[[onnx.ModelProto], None]:
    """Make the steps of numbers in 8 bits finer, so that large ones saturate."""

    def change(model: onnx.ModelProto) -> None:
        names = {n.input[1] for n in model.graph.node if n.op_type == "QuantizeLinear"}
        found = [t for t in model.graph.initializer if t.name in names]
        assert found
        for tensor in found:
            array = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))

    return change


def softmax(**attributes: Any) -> Callable[[onnx.ModelProto], None]:
    """Replace the last Softmax by nothing, or give it another axis."""

    def change(model: onnx.ModelProto) -> None:
        (node,) = [node for node in model.graph.node if node.op_type == "Softmax"]
        del node.attribute[:]
        if attributes:
            node.attribute.extend(
                onnx.helper.make_attribute(name, value) for name, value in attributes.items()
            )
        else:
            node.op_type = "Identity"

    return change


def output_times(row: int, factor: float) -> Callable[[onnx.ModelProto], None]:
    """Another formula for what the model gives: one of its rows is scaled."""

    def change(model: onnx.ModelProto) -> None:
        graph, name = model.graph, model.graph.output[0].name
        shape = [d.dim_value for d in graph.output[0].type.tensor_type.shape.dim]
        axis = shape.index(85)
        factors = np.ones([85 if n == axis else 1 for n in range(len(shape))], np.float32)
        factors.reshape(-1)[row] = factor
        for node in graph.node:
            node.output[:] = [f"{name}_before" if each == name else each for each in node.output]
        graph.initializer.append(numpy_helper.from_array(factors, "mutated_factors"))
        graph.node.append(
            onnx.helper.make_node("Mul", [f"{name}_before", "mutated_factors"], [name])
        )

    return change


def of_tflite(file: str, turn: Callable[[np.ndarray], np.ndarray], dtype: str = "i1") -> Change:
    """Change the largest tables of a TensorFlow Lite file's numbers."""

    def change(root: Path, data: dict[str, Any]) -> None:
        raw = (root / file).read_bytes()
        tables = sorted((each.raw(0) for each in root_table(raw).tables(4)), key=len)[-3:]
        for table in tables:
            changed = turn(np.frombuffer(table, dtype)).astype(dtype).tobytes()
            assert changed != table
            raw = raw.replace(table, changed, 1)
        (root / file).write_bytes(raw)

    return change


def of_bytes(file: str, turn: Callable[[bytes], bytes]) -> Change:
    def change(root: Path, data: dict[str, Any]) -> None:
        (root / file).write_bytes(turn((root / file).read_bytes()))

    return change


def lines(file: str, turn: Callable[[list[str]], list[str]]) -> Change:
    def change(root: Path, data: dict[str, Any]) -> None:
        rows = (root / file).read_text(encoding="utf-8").splitlines()
        (root / file).write_text("\n".join(turn(rows)) + "\n", encoding="utf-8")

    return change


def rounded(bits: int) -> Callable[[np.ndarray], np.ndarray]:
    def turn(array: np.ndarray) -> np.ndarray:
        step = np.float32(np.abs(array).max() / 2 ** (bits - 1))
        return (np.round(array / step) * step).astype(np.float32) if step else array

    return turn


def noisy(share: float, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """As another training would leave them."""

    def turn(array: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(0, share * array.std(), array.shape)
        return (array + noise).astype(np.float32)

    return turn


def clipped(most: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.clip(array, -most, most).astype(array.dtype)


def middle(array: np.ndarray) -> np.ndarray:
    """Weights in 8 bits without a sign, as if there were fewer bits."""
    return np.clip(array, 96, 160).astype(array.dtype)


def swapped(first: str, second: str) -> Change:
    """The files of two variants in each other's place."""

    def change(root: Path, data: dict[str, Any]) -> None:
        one, two = (root / first).read_bytes(), (root / second).read_bytes()
        (root / first).write_bytes(two)
        (root / second).write_bytes(one)

    return change


def turned(values: list[str]) -> list[str]:
    return values[1:] + values[:1]


def renamed(values: list[str]) -> list[str]:
    return ["something else", *values[1:]]


def exchanged(values: list[str]) -> list[str]:
    return [*values[:2], values[3], values[2], *values[4:]]


def another_word(rows: list[str]) -> list[str]:
    """Two rare words with each other's number."""
    one, two = (rows[n].split() for n in (-3, -9))
    rows[-3], rows[-9] = f"{one[0]} {two[1]}", f"{two[0]} {one[1]}"
    return rows


CNN, MLP = "cnn.onnx", "mlp-int8.onnx"
RESNET, RESNET_INT8 = "cifar10_resnet8_float.tflite", "cifar10_resnet8_int8.tflite"
MUTANTS = [
    Mutant("digits", "wrong scale", every_step("ink_numbers", full=15.0)),
    Mutant("digits", "scale of bytes", every_step("ink_numbers", full=255.0)),
    Mutant("digits", "labels one further", labels(turned)),
    Mutant("digits", "a label renamed", labels(renamed)),
    Mutant("digits", "two labels exchanged", labels(exchanged)),
    Mutant("digits", "a label less", labels(lambda values: values[:-1])),
    Mutant("digits", "weights of another training", of_onnx(CNN, of_weights(noisy(0.1, 1)))),
    Mutant("digits", "weights in four bits", of_onnx(CNN, of_weights(rounded(4)))),
    Mutant("digits", "a layer of zeros", of_onnx(CNN, first_layer)),
    Mutant("digits", "int8 steps too fine", of_onnx(MLP, scales(0.4))),
    Mutant("digits", "int8 weights clipped", of_onnx(MLP, of_weights(middle, "u"))),
    Mutant("digits", "no softmax", of_onnx(CNN, softmax())),
    Mutant("digits", "softmax over rows", of_onnx(CNN, softmax(axis=0))),
    Mutant("digits", "another variant's file", swapped(CNN, MLP)),
    Mutant("digits", "weights of noise", of_bytes("mlp-openvino.bin", lambda data: data[::-1])),
    Mutant("fastestdet", "channels swapped", every_step("image_tensor", order="rgb")),
    Mutant("fastestdet", "no scale", every_step("image_tensor", scale=1.0)),
    Mutant("fastestdet", "scale of 128", every_step("image_tensor", scale=1 / 128)),
    Mutant("fastestdet", "a mean taken off", every_step("image_tensor", mean=[0.05, 0.05, 0.05])),
    Mutant("fastestdet", "divided by a deviation", every_step("image_tensor", std=[0.9])),
    Mutant("fastestdet", "letterbox", every_step("image_tensor", fit="letterbox")),
    Mutant("fastestdet", "another resize", every_step("image_tensor", resize="antialias")),
    Mutant("fastestdet", "channels last", every_step("image_tensor", layout="nhwc")),
    Mutant("fastestdet", "overlap 0.7", every_step("class_nms", iou=0.7)),
    Mutant("fastestdet", "overlap 0.2", every_step("class_nms", iou=0.2)),
    Mutant("fastestdet", "nothing suppressed", without_step("class_nms")),
    Mutant("fastestdet", "the best five", every_step("best_detections", most=5)),
    Mutant(
        "fastestdet", "scores by another formula", of_onnx("FastestDet.onnx", output_times(0, 0.8))
    ),
    Mutant("fastestdet", "labels one further", labels(turned)),
    Mutant("fastestdet", "a label less", labels(lambda values: values[:-1])),
    Mutant(
        "fastestdet", "weights in five bits", of_onnx("FastestDet.onnx", of_weights(rounded(5)))
    ),
    Mutant("yolox", "channels swapped", every_step("image_tensor", order="rgb")),
    Mutant("yolox", "centred letterbox", every_step("image_tensor", fit="letterbox")),
    Mutant("yolox", "black borders", every_step("image_tensor", pad=0)),
    Mutant("yolox", "stretched", every_step("image_tensor", fit="stretch")),
    Mutant("yolox", "overlap 0.65", every_step("class_nms", iou=0.65)),
    Mutant("yolox", "overlap 0.3", every_step("class_nms", iou=0.3)),
    Mutant("yolox", "objectness scaled", of_onnx("yolox_nano.onnx", output_times(4, 0.9))),
    Mutant("yolox", "a label renamed", labels(renamed)),
    Mutant("yolox", "another training", of_onnx("yolox_nano.onnx", of_weights(noisy(0.05, 2)))),
    Mutant("cifar", "channels swapped", every_step("image_tensor", order="bgr")),
    Mutant("cifar", "scaled to one", every_step("image_tensor", scale=1 / 255)),
    Mutant("cifar", "a mean taken off", every_step("image_tensor", mean=[4.0])),
    Mutant("cifar", "the middle alone", every_step("image_tensor", keep=0.875)),
    Mutant("cifar", "int8 weights clipped", of_tflite(RESNET_INT8, clipped(48))),
    Mutant("cifar", "weights in four bits", of_tflite(RESNET, rounded(4), "<f4")),
    Mutant("cifar", "another variant's file", swapped(RESNET, RESNET_INT8)),
    Mutant("cifar", "channels first", every_step("image_tensor", layout="nchw")),
    Mutant("imagenet", "a slightly wrong mean", every_step("image_tensor", mean=[0.95])),
    Mutant("imagenet", "not cropped", every_step("image_tensor", keep=1.0)),
    Mutant("imagenet", "labels one further", labels(turned)),
    Mutant("imagenet", "one class further", every_step("columns", start=0, stop=1000)),
    Mutant("imagenet", "another resize", every_step("image_tensor", resize="linear")),
    Mutant("sentiment", "vocabulary cut short", lines("vocab.txt", lambda rows: rows[:-200])),
    Mutant("sentiment", "two words exchanged", lines("vocab.txt", another_word)),
    Mutant("sentiment", "labels exchanged", labels(turned)),
    Mutant(
        "sentiment",
        "weights in three bits",
        of_tflite("sentiment.tflite", rounded(3), "<f4"),
    ),
]


# --- the tests -----------------------------------------------------------------------------------


def read(root: Path) -> dict[str, Any]:
    return json.loads((root / "model.json").read_bytes())


def certified(package: Package) -> Package:
    """The package with certificates of good figures about what it holds now."""
    made = [
        claim(package, each.id, engine)
        for each in package.present()
        for engine in each.needs.engines
    ]
    entries = write_certificates(package.root, made)
    return build_package(package.root, {**read(package.root), "certificates": entries})


def claim(package: Package, variant_id: str, engine: str) -> Certificate:
    figure = {"value": 0.9, "low": 0.85, "high": 0.95}
    return Certificate.model_validate(
        {
            "model": package.name,
            "variant": variant_id,
            "engine": engine,
            "precision": "float32",
            "about": package.answers_digest(variant_id),
            "reference": package.manifest.reference,
            "dataset": {"name": "claimed", "sha256": "0" * 64, "n": 100},
            "metric": {**figure, "name": "top-1", "reference": 0.9, "drop": 0.0},
            "agreement": figure,
            "latency": {"median_s": 0.001, "p95_s": 0.002, "runs": 10, "threads": 1},
            "memory_peak_bytes": 1,
            "file_bytes": 1,
            "machine": {},
            "tools": {},
            "golden": len(package.manifest.golden),
        }
    )


def mutated(original: Path, root: Path, mutant: Mutant) -> Package:
    """The package with its change, and with every digest made right again."""
    shutil.copytree(original, root)
    data = read(root)
    mutant.change(root, data)
    for entry in (*data["files"], *(file for v in data["variants"] for file in v["files"])):
        entry.pop("sha256")
        entry.pop("bytes")
    return build_package(root, data)


def served(package: Package) -> set[tuple[str, str]]:
    """The variants that are served, each in an engine."""
    ways: set[tuple[str, str]] = set()
    with closing(LocalHost(Store(builtin=False), distance="device")) as host:
        for each in package.present():
            for engine in each.needs.engines:
                with suppress(WhereverError):
                    ways.add((each.id, host.load(package, each, engine).ran.engine))
    return ways


@pytest.fixture(scope="module")
def originals(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("originals")
    for name, build in ORIGINALS.items():
        build(root / name, test_data)
        certified(open_package(root / name))
    return {name: root / name for name in ORIGINALS}


def test_there_are_fifty_mutants_at_least() -> None:
    assert len(MUTANTS) >= 50
    assert len({(mutant.package, mutant.name) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize(
    "mutant", [pytest.param(each, id=f"{each.package}: {each.name}") for each in MUTANTS]
)
def test_a_mutant_is_stopped(originals: dict[str, Path], tmp_path: Path, mutant: Mutant) -> None:
    package = mutated(originals[mutant.package], tmp_path / mutant.package, mutant)
    as_it_is = prove(package)
    believed = prove(certified(package))
    assert not as_it_is.passed
    print(*believed.problems, *(why for each in believed.verdicts for why in each.reasons))
    assert not believed.passed
    assert served(package) < served(open_package(originals[mutant.package]))


def test_whole_packages_pass_in_every_engine(originals: dict[str, Path]) -> None:
    ways = 0
    for root in originals.values():
        proof = prove(root)
        assert proof.passed, proof
        ways += sum(verdict.outcome == "passed" for verdict in proof.verdicts)
    assert ways >= 15


@pytest.mark.parametrize("threads", [1, 2])
def test_whole_packages_serve_with_any_number_of_threads(
    originals: dict[str, Path], threads: int
) -> None:
    for root in originals.values():
        package = open_package(root)
        with closing(LocalHost(Store(builtin=False), distance="device", threads=threads)) as host:
            for each in package.present():
                for engine in each.needs.engines:
                    assert host.load(package, each, engine).ran.engine == engine


@pytest.mark.parametrize("instructions", ["AVX2", "SSE41"])
def test_whole_packages_pass_on_lesser_processors(
    originals: dict[str, Path], instructions: str
) -> None:
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    for root in originals.values():
        command = [sys.executable, "-m", "wherever", "prove", str(root), "--json"]
        said = subprocess.run(
            command,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert said.returncode == 0, said.stdout
