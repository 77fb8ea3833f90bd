"""`wherever convert`: from a model and samples to a package whose accuracy is known."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as pillow

import wherever
from wherever_contracts.errors import ConversionError, ManifestError, MissingExtraError
from wherever_convert import Pixels, SampleOptions, convert
from wherever_devices.plans import RunPlan
from wherever_edge.builtin import PACKAGES, digits_test_split
from wherever_edge.host import LocalHost
from wherever_edge.packages.golden import check_golden
from wherever_edge.packages.store import Store, open_package

CNN = PACKAGES / "digits" / "cnn.onnx"


@pytest.fixture(autouse=True)
def quiet_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def digits():
    images, labels = digits_test_split()
    return images.astype(np.float32).reshape(len(images), 64), labels


@pytest.fixture(scope="module")
def mlp(digits):
    """A pipeline of scikit-learn that knows half of the digits."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = digits
    model = make_pipeline(StandardScaler(), MLPClassifier((24,), max_iter=60, random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sixty rounds are not enough for it to be sure
        return model.fit(x[:300], y[:300])


@pytest.fixture(scope="module")
def converted(mlp, digits, tmp_path_factory):
    x, y = digits
    output = tmp_path_factory.mktemp("converted") / "my-digits"
    given = {"samples": (x[300:], y[300:]), "task": "classify", "max_drop": 0.02}
    return convert(mlp, output=output, targets=["int8"], **given)


def by_target(report):
    """The rows of the int8 and of the float variant."""
    rows = {row.target: row for row in report.rows}
    return rows["int8"], rows["fp32"]


def test_an_estimator_becomes_a_small_and_a_float_variant(converted):
    package = open_package(converted.package)
    package.verify()
    int8, float32 = (package.manifest.variant(f"my-digits-{each}") for each in ("int8", "fp32"))
    assert (int8.precision, float32.precision) == ("int8", "float32")
    assert package.manifest.reference == "my-digits-fp32"
    assert int8.files[0].bytes < float32.files[0].bytes
    assert int8.tensors.batch
    assert package.manifest.signature.value.labels == tuple("0123456789")


def test_the_report_says_how_good_each_variant_is(converted, mlp, digits):
    x, y = digits
    int8, float32 = by_target(converted)
    assert (float32.metric, float32.n) == ("top-1", converted.test)
    assert converted.test + converted.calibration == 293
    assert not converted.shared
    assert float32.value == pytest.approx((mlp.predict(x[300:]) == y[300:]).mean(), abs=0.05)
    assert (float32.drop, float32.agreement) == (0, 1)
    assert int8.drop == pytest.approx(float32.value - int8.value)
    assert int8.drop <= 0.02
    assert int8.agreement > 0.97
    assert int8.latency_s > 0
    assert "my-digits-int8" in converted.text()


def test_the_package_says_where_it_came_from_and_what_was_measured(converted):
    manifest = open_package(converted.package).manifest
    (quality,) = manifest.variants[0].quality
    assert (quality.metric, quality.n) == ("top-1", converted.test)
    assert quality.value == pytest.approx(converted.rows[0].value, abs=1e-6)
    said = manifest.provenance
    assert said["source"]["estimator"] == "Pipeline"
    assert said["source"]["parity"]["agreement"] == 1
    assert said["source"]["parity"]["error"] <= 1e-4
    assert {"skl2onnx", "scikit-learn"} <= said["source"]["tools"].keys()
    assert said["made"]["my-digits-int8"]["ranges"] == "minmax"
    assert said["samples"]["calibration"] == converted.calibration


def test_the_package_predicts_as_the_estimator_does(converted, mlp, digits):
    x, _ = digits
    with wherever.Client(packages=[converted.package]) as client:
        answers = [client.predict("my-digits", row) for row in x[400:440]]
    same = [answer.value for answer in answers] == mlp.predict(x[400:440]).astype(str)
    assert same.mean() >= 0.95
    assert answers[0].receipt.trust == "local"


def test_golden_samples_hold_for_every_variant_in_every_engine(converted):
    host = LocalHost(Store([converted.package], builtin=False), distance="device")
    for variant in ("my-digits-int8", "my-digits-fp32"):
        assert check_golden(host.resolve("my-digits", variant=variant)).n >= 3
    host.close()


def test_rows_of_one_package_can_be_batched_because_that_was_tried(converted, digits):
    x, _ = digits
    with wherever.Client(packages=[converted.package]) as client:
        together = [p.value for p in client.model("my-digits").map(list(x[:32]), batch=16)]
        assert together == [client.predict("my-digits", row).value for row in x[:32]]


SCRIPT = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

print("training")
x, y = load_iris(return_X_y=True)

def model():
    return LogisticRegression(max_iter=300).fit(x, load_iris().target_names[y])

number = 3
broken = lambda: 1 / 0
pickled = "model.pkl"
"""


@pytest.fixture
def iris(tmp_path):
    """A Python file with a model, and a table."""
    from sklearn.datasets import load_iris

    data = load_iris()
    (tmp_path / "train.py").write_text(SCRIPT)
    lines = ["sepal length,sepal width,petal length,petal width,label"]
    lines += [
        ",".join([*map(str, row), data.target_names[kind]])
        for row, kind in zip(data.data, data.target, strict=True)
    ]
    (tmp_path / "iris.csv").write_text("\n".join([*lines, "1,2,oops,4,setosa"]))
    return tmp_path


def test_a_reference_to_a_python_file_is_converted_on_the_shell(iris, answered):
    arguments = ["train.py:model", "--samples", "iris.csv", "--task", "classify"]
    report = answered("convert", *arguments, "-o", "iris.wherever", "--max-drop", "1%")
    assert report["name"] == "iris"
    assert [row["variant"] for row in report["rows"]] == ["iris-fp32"]
    assert report["rows"][0]["value"] > 0.9
    assert "int8" in report["left_out"]
    assert report["damaged"][0]["name"] == "iris.csv:152"
    assert report["source"]["file"] == "train.py"
    package = open_package(iris / "iris.wherever", unpack_into=iris / "unpacked")
    assert package.manifest.signature.value.labels == ("setosa", "versicolor", "virginica")
    with wherever.Client(packages=[package.root]) as client:
        assert client.predict("iris", [5.1, 3.5, 1.4, 0.2]).value == "setosa"


def test_the_command_says_in_a_table_what_was_made(iris, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    (iris / "kinds.py").write_text("KINDS = 3\n")
    (iris / "train.py").write_text(f"import kinds\n{SCRIPT}")
    command = [sys.executable, "-m", "wherever", "convert", "train.py:model"]
    command += ["--samples", "iris.csv", "--task", "classify", "-o", "flowers"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("flowers 1.0.0: flowers\n")
    assert "flowers-fp32" in done.stdout
    assert "no int8 variant: nothing in it has weights" in done.stdout
    assert "training" not in done.stdout + done.stderr
    files = ["flowers", "iris.csv", "kinds.py", "train.py"]
    assert sorted(path.name for path in iris.iterdir()) == files


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("train.py:none", r"train\.py has no 'none' \(it has: .*model"),
        ("train.py:number", "cannot convert an object of type builtins.int; supported are"),
        ("train.py:broken", r"train\.py failed: ZeroDivisionError: division by zero \(line 12 of"),
        ("train.py:pickled", "pickled is 'model.pkl', not a model"),
    ],
)
def test_a_python_file_that_fails_says_why(iris, reference, message):
    with pytest.raises(ConversionError, match=message):
        convert(reference, samples="iris.csv", task="classify", output="out")
    assert not (iris / "out").exists()


def test_a_python_file_that_dies_is_an_error_in_words(tmp_path):
    (tmp_path / "dies.py").write_text("import os\nprint('last words')\nos._exit(3)\n")
    with pytest.raises(ConversionError, match=r"dies\.py:model failed with exit code 3"):
        convert("dies.py:model", samples=np.zeros((3, 2)), task="tensors", output="out")


def test_an_estimator_that_skl2onnx_cannot_convert_is_refused_in_words(digits, tmp_path):
    from sklearn.ensemble import VotingClassifier
    from sklearn.tree import DecisionTreeClassifier

    x, y = digits
    trees = [("a", DecisionTreeClassifier()), ("b", DecisionTreeClassifier())]
    model = VotingClassifier(trees, voting="soft").fit(x[:200], y[:200])
    with pytest.raises(ConversionError, match="cannot convert this VotingClassifier"):
        convert(model, samples=(x, y), task="classify", output="out")
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_without_probabilities_gets_them(digits):
    from sklearn.svm import LinearSVC

    x, y = digits
    model = LinearSVC(C=0.01).fit(x[:300], y[:300])
    given = {"samples": (x[300:], y[300:]), "task": "classify", "targets": ["fp32"]}
    report = convert(model, output="svc", **given)
    assert report.rows[0].value > 0.85
    with wherever.Client(packages=[report.package]) as client:
        assert 0 < client.predict("svc", x[0]).confidence < 1


def test_a_regression_is_measured_by_r_squared(digits):
    from sklearn.ensemble import RandomForestRegressor

    x, y = digits
    target = y.astype(np.float64) / 3
    model = RandomForestRegressor(8, random_state=0).fit(x[:400], target[:400])
    report = convert(model, samples=(x[400:], target[400:]), task="tensors", output="ink")
    (row,) = report.rows
    assert row.metric == "R2"
    assert 0.5 < row.value < 1
    assert "no convolution or matrix product" in report.left_out["int8"]


def test_int8_that_was_asked_for_and_cannot_be_fails(digits, tmp_path):
    from sklearn.tree import DecisionTreeClassifier

    x, y = digits
    model = DecisionTreeClassifier().fit(x, y)
    with pytest.raises(ConversionError, match="nothing in it has weights that int8 could hold"):
        convert(model, samples=(x, y), task="classify", output="tree", targets=["int8"])
    assert list(tmp_path.iterdir()) == []


def test_the_float_form_alone_can_be_asked_for(mlp, digits):
    x, y = digits
    given = {"samples": (x[300:], y[300:]), "task": "classify"}
    report = convert(mlp, output="exact", targets=["fp32"], **given)
    assert [row.target for row in report.rows] == ["fp32"]
    assert not report.left_out
    open_package(report.package).verify()


@pytest.fixture
def sines(tmp_path):
    """A network that int8 makes slower in every engine, on any machine, and rows for it.

    Between its matrix products are sines, which stay float: each costs two changes of type.
    """
    rng = np.random.default_rng(0)
    turns = [np.linalg.qr(rng.normal(size=(4, 4)))[0].astype(np.float32) for _ in range(24)]
    nodes = []
    for at in range(len(turns)):
        nodes.append(helper.make_node("MatMul", [f"x{at}", f"turn{at}"], [f"turned{at}"]))
        nodes.append(helper.make_node("Sin", [f"turned{at}"], [f"x{at + 1}"]))
    graph = helper.make_graph(
        nodes,
        "sines",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(f"x{len(turns)}", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(turn, f"turn{at}") for at, turn in enumerate(turns)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "sines.onnx"))
    return tmp_path / "sines.onnx", rng.normal(size=(60, 4)).astype(np.float32)


def test_what_is_slower_than_float_is_left_out_with_how_much(sines):
    model, rows = sines
    report = convert(model, samples=rows, task="embed", output="out", max_drop=0.5)
    assert "int8" not in {row.target for row in report.rows}
    why = report.left_out["int8"]
    assert re.search(r"slower than its float variant: [1-9]\.\d+ x in onnxruntime, ", why)


def test_what_is_slower_and_was_asked_for_is_meant_for_servers_alone(sines):
    model, rows = sines
    given = {"samples": rows, "task": "embed", "targets": ["int8"], "max_drop": 0.5}
    int8, float32 = by_target(convert(model, output="out", **given))
    assert int8.of_float > 1
    assert int8.places == ("cloud",)
    with wherever.Client(packages=["out"]) as client:
        assert client.predict("out", rows[0]).receipt.variant == float32.variant


def test_features_that_do_not_fit_are_refused(mlp):
    with pytest.raises(ConversionError, match="takes 64 features, the samples have 3"):
        convert(mlp, samples=np.zeros((20, 3)), task="classify", output="out")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Class folders of 8 x 8 pictures, whose grey is the amount of ink."""
    root = tmp_path_factory.mktemp("photos") / "digit-photos"
    images, labels = digits_test_split()
    for number, (image, label) in enumerate(zip(images[:240], labels, strict=False)):
        folder = root / f"digit {label}"
        folder.mkdir(parents=True, exist_ok=True)
        pillow.fromarray((image * 15).astype(np.uint8)).save(folder / f"{number:03}.png")
    (root / "digit 3" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but not really")
    return root


# a picture's values are 15 times the amounts of ink that the network was trained with
INK = Pixels(scale=1 / 15)


@pytest.fixture(scope="module")
def of_photos(photos, tmp_path_factory):
    """A network for devices and its int8 form."""
    return convert(
        CNN,
        samples=photos,
        task="classify",
        output=tmp_path_factory.mktemp("network") / "photos",
        name="digit-photos",
        max_drop=0.02,
        targets=["int8"],
        pixels=INK,
    )


def test_an_onnx_network_becomes_int8_within_its_limit(of_photos, photos, answered):
    report = of_photos
    int8, float32 = by_target(report)
    assert float32.value > 0.97
    assert int8.drop <= 0.02
    assert int8.bytes < float32.bytes / 2
    assert report.damaged[0].name == "digit 3/broken.png"
    step = report.pipeline["pre"][0]
    assert (step["op"], step["size"], step["order"]) == ("image_tensor", [8, 8], "grey")
    package = open_package(report.package)
    assert package.manifest.signature.value.labels[3] == "digit 3"
    photo = next((photos / "digit 7").iterdir())
    with wherever.Client(packages=[report.package]) as client:
        assert client.predict("digit-photos", photo).value == "digit 7"
    said = answered("predict", "digit-photos", photo, "--packages", report.package)
    assert said["value"]["label"] == "digit 7"


def test_the_convolutions_are_quantized_by_channel(of_photos):
    model = onnx.load(str(of_photos.package / "digit-photos-int8.onnx"))
    scales = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    used = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    by_channel = [node for node in used if scales[node.input[1]].size > 1]
    assert {node.op_type for node in model.graph.node} >= {"QuantizeLinear", "Conv", "Gemm"}
    assert len(by_channel) >= 4
    assert model.ir_version <= 10


def test_openvino_gives_the_same_answers(of_photos, digits):
    from wherever_edge.engines.openvino import OpenVinoEngine

    data = (of_photos.package / "digit-photos-int8.onnx").read_bytes()
    plan = RunPlan("openvino", "cpu", "int8", 1)
    session = OpenVinoEngine().open([data], file_format="onnx", plan=plan)
    x, y = digits
    rows = x[300:350].reshape(-1, 1, 8, 8)
    best = [int(session.run({"numbers": row[None]})["scores"].argmax()) for row in rows]
    assert (np.array(best) == y[300:350]).mean() > 0.95
    session.close()


def test_a_model_on_rows_takes_arrays_even_when_they_look_like_images(digits):
    x, y = digits
    given = {"samples": (x.reshape(-1, 1, 8, 8), y), "task": "classify"}
    report = convert(CNN, output="grids", targets=["fp32"], **given)
    assert report.rows[0].value > 0.97
    with wherever.Client(packages=[report.package]) as client:
        assert client.predict("grids", x[0].reshape(1, 8, 8)).value == str(y[0])


@pytest.mark.full
def test_tensors_of_images_are_measured_by_how_close_they_are(photos):
    report = convert(
        CNN, samples=photos, task="tensors", output="out", pixels=INK, targets=["int8"]
    )
    int8, float32 = by_target(report)
    assert (float32.metric, float32.value) == ("closeness", 1)
    assert 0.9 < int8.value < 1
    with wherever.Client(packages=[report.package]) as client:
        value = client.predict("out", next((photos / "digit 7").iterdir())).value
    assert value["scores"].argmax() == 7


def test_labels_may_come_from_a_file_on_the_shell(photos, answered, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(f"digit {n}" for n in range(10)) + "\n")
    arguments = ["--samples", photos, "--task", "classify", "--scale", 1 / 15]
    arguments += ["--target", "fp32", "--calibration", "entropy"]
    report = answered("convert", CNN, *arguments, "-o", "out", "--labels", "names.txt")
    assert all(row["value"] > 0.97 for row in report["rows"])
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    error = answered("convert", CNN, *arguments, "-o", "two", "--labels", "names.txt", code=1)
    assert error["error"]["code"] == "conversion"
    assert "10 labels" in error["error"]["message"]


def test_a_pipeline_can_be_taken_from_a_package(photos, digits):
    report = convert(
        CNN,
        samples=photos,
        task="classify",
        output="out",
        like="digits",
        targets=["fp32"],
        labels=[f"digit {number}" for number in range(10)],
    )
    assert report.pipeline["pre"][0]["op"] == "ink_numbers"
    x, _ = digits
    with wherever.Client(packages=[report.package]) as client:
        assert client.predict("out", x[0]).value.startswith("digit ")


def test_rows_suit_a_package_whose_images_may_be_given_as_numbers(digits):
    x, y = digits
    ink = x.reshape(-1, 8, 8)
    given = {"samples": (ink, y), "task": "classify", "targets": ["fp32"]}
    report = convert(CNN, output="out", like="digits", **given)
    assert report.rows[0].value > 0.98
    with wherever.Client(packages=[report.package]) as client:
        assert client.predict("out", ink[0]).value == str(y[0])
        assert client.model("out").signature == client.model("digits").signature


def test_a_pipeline_can_be_given(photos, tmp_path):
    pre = [{"op": "ink_numbers", "name": "image", "to": "ink"}]
    pre += [{"op": "reshape", "name": "ink", "to": "numbers", "shape": [1, 1, 8, 8]}]
    (tmp_path / "steps.json").write_text(json.dumps({"pre": pre}))
    given = {"samples": photos, "task": "classify", "targets": ["fp32"]}
    report = convert(CNN, output="out", pipeline="steps.json", **given)
    assert report.pipeline["pre"] == pre
    assert report.rows[0].value > 0.8
    (tmp_path / "steps.json").write_text("[]")
    with pytest.raises(ConversionError, match="an object with pre, post and signature"):
        convert(CNN, samples=photos, task="classify", output="two", pipeline="steps.json")


def test_classes_that_the_model_does_not_know_are_refused(photos):
    names = [f"number {n}" for n in range(10)]
    with pytest.raises(ConversionError, match="not among the model's 10 labels: digit 0"):
        convert(CNN, samples=photos, task="classify", output="out", labels=names)


def test_samples_that_do_not_fit_the_model_are_refused(mlp, photos):
    with pytest.raises(ConversionError, match=r"samples are images, and the model takes X"):
        convert(mlp, samples=photos, task="classify", output="out")


def test_a_model_that_is_int8_already_is_refused(digits):
    quantized = PACKAGES / "digits" / "mlp-int8.onnx"
    with pytest.raises(ConversionError, match=r"mlp-int8\.onnx is int8 already: convert the"):
        convert(quantized, samples=digits, task="classify", output="out")


@pytest.fixture
def embedder(tmp_path):
    """A network that projects eight numbers to four."""
    weights = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "embedder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, str(tmp_path / "embedder.onnx"))
    return tmp_path / "embedder.onnx"


def test_an_embedding_is_measured_by_cosine(embedder):
    rows = np.random.default_rng(1).normal(size=(60, 8)).astype(np.float32)
    report = convert(embedder, samples=rows, task="embed", output="vectors", targets=["int8"])
    int8, float32 = by_target(report)
    assert (float32.metric, float32.value) == ("cosine", pytest.approx(1))
    assert 0.99 < int8.value < 1
    with wherever.Client(packages=[report.package]) as client:
        assert client.predict("vectors", rows[0]).value.shape == (4,)


def test_unlabelled_samples_measure_agreement(digits):
    x, _ = digits
    samples = x.reshape(-1, 1, 8, 8)
    report = convert(CNN, samples=samples, task="classify", output="out", targets=["fp16"])
    assert {row.metric for row in report.rows} == {"agreement"}
    values = {row.target: row.value for row in report.rows}
    assert values["fp32"] == 1
    assert values["fp16"] > 0.99


def test_weights_that_lie_beside_an_onnx_file_are_taken_in(embedder, tmp_path):
    apart = tmp_path / "apart"
    apart.mkdir()
    onnx.save(
        onnx.load(str(embedder)),
        str(apart / "m.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    assert (apart / "weights.bin").exists()
    report = convert(apart / "m.onnx", samples=np.ones((20, 8)), task="embed", output="whole")
    assert (report.package / "whole-fp32.onnx").stat().st_size > 8 * 4 * 4
    open_package(report.package).verify()


def test_int8_that_loses_too_much_is_refused_and_nothing_is_left(tmp_path):
    """One huge number spoils the ranges of every other one."""
    x = np.random.default_rng(0).normal(size=(90, 2)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(int)
    weights = np.array([[1e-3, 0, 1e3], [0, 1e-3, 0]], np.float32)
    after = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("MatMul", ["h", "v"], ["y"]),
        ],
        "spoiled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(after, "v")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(tmp_path / "spoiled.onnx"),
    )
    with pytest.raises(ConversionError) as caught:
        convert(
            "spoiled.onnx",
            samples=(x, 1 - y),
            task="classify",
            output="out",
            labels=["right", "left"],
            targets=["int8"],
        )
    assert "top-1" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["spoiled.onnx"]


@pytest.fixture(scope="module")
def street(test_data, tmp_path_factory):
    """Every other one of the labelled photos, as COCO's json."""
    data = test_data / "images" / "coco_val2017"
    names = (test_data / "models" / "coco80.names").read_text().split("\n")
    table = {"images": [], "annotations": [], "categories": []}
    table["categories"] = [{"id": n, "name": name} for n, name in enumerate(filter(None, names))]
    for number, path in enumerate(sorted((data / "images").glob("*.jpg"))[::2]):
        width, height = pillow.open(io.BytesIO(path.read_bytes())).size
        table["images"].append({"id": number, "file_name": path.name})
        for line in (data / "labels" / f"{path.stem}.txt").read_text().splitlines():
            kind, x, y, w, h = map(float, line.split())
            box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            table["annotations"].append({"image_id": number, "category_id": int(kind), "bbox": box})
    path = tmp_path_factory.mktemp("street") / "street.json"
    path.write_text(json.dumps(table))
    return path


@pytest.mark.full
def test_a_detector_in_float_alone_is_as_good_as_it_was(street, test_data):
    report = convert(
        test_data / "models" / "FastestDet.onnx",
        samples=street,
        task="detect",
        output="street",
        targets=["fp32"],
        reading=SampleOptions(images=test_data / "images" / "coco_val2017" / "images"),
    )
    (row,) = report.rows
    assert row.metric == "mAP"
    assert 0.15 < row.value < 0.3
    photo = next((test_data / "images" / "coco_val2017" / "images").iterdir())
    with wherever.Client(packages=[report.package]) as client:
        assert client.predict("street", photo).value


def test_a_place_that_is_taken_is_refused_before_any_work(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    for output, message in (
        ("taken", "is not empty"),
        ("taken/file", "exists already"),
        ("none/out", "does not exist"),
    ):
        with pytest.raises(ConversionError, match=message):
            convert("model.h5", samples="none", task="classify", output=output)


def test_an_empty_directory_is_filled(mlp, digits, tmp_path):
    x, y = digits
    (tmp_path / "out").mkdir()
    report = convert(mlp, samples=(x, y), task="classify", output="out", targets=["fp32"])
    open_package(report.package).verify()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "guess"}, "task must be one of classify, detect, embed, tensors, not 'guess'"),
        ({"max_drop": 5}, "max_drop must be from 0 to 1, not 5"),
        ({"targets": ["int4"]}, r"there is no target 'int4' \(there are: fp32, fp16, int8, "),
        ({"profiles": ["toaster"]}, r"there is no profile 'toaster' \(there are: edge-pc, "),
        ({"calibration": "luck"}, "calibration must be one of minmax, entropy, percentile"),
        ({"like": "digits:none"}, r"'digits' has no variant 'none' \(it has: mlp-int8, "),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, message):
    given = {"samples": np.zeros((1, 1, 8, 8)), "task": "classify", "output": "out", **arguments}
    with pytest.raises(ConversionError, match=message):
        convert(CNN, **given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Not A Name"}, "name: expected a name"),
        ({"version": "one"}, "version"),
        ({"boundary": "moon"}, "boundary"),
        ({"name": "x" * 60}, "variants.0.id: expected a name"),
    ],
)
def test_what_no_manifest_can_hold_is_refused_before_any_work(arguments, message):
    with pytest.raises(ManifestError, match=message):
        convert("none.onnx", samples="none", task="classify", output="out", **arguments)


def test_a_framework_that_is_not_there_is_named_with_its_command(monkeypatch, digits):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherever\[convert\]'"):
        convert(CNN, samples=digits[0], task="classify", output="out")
