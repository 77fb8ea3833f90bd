"""`wherever pack add`: a large variant joins a small one."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import wherever
from wherever_contracts.errors import ConversionError, EngineError, PackageError
from wherever_convert.builder import build_with_golden
from wherever_convert.joining import add_variant
from wherever_edge.host import LocalHost
from wherever_edge.packages.golden import check_golden
from wherever_edge.packages.store import Store, open_package


@pytest.fixture(autouse=True)
def quiet_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def network(path, *, takes="given", gives="found", size=3, sure=9.0):
    """A model file that is as sure as it is told that the largest of some numbers wins."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", [takes, "sure"], ["m"]),
            helper.make_node("Softmax", ["m"], [gives]),
        ],
        "larger",
        [helper.make_tensor_value_info(takes, TensorProto.FLOAT, ["rows", size])],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, ["rows", size])],
        [numpy_helper.from_array(np.float32(sure), "sure")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


@pytest.fixture
def package(build_scales, tmp_path):
    """The scales with its small variant alone, and a golden sample."""
    whole = build_scales(tmp_path / "made")
    manifest = whole.manifest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    manifest["variants"] = [
        {key: value for key, value in each.items() if key != "escalate_below"}
        for each in manifest["variants"]
        if each["id"] == "small"
    ]
    root = tmp_path / "scales"
    root.mkdir()
    shutil.copy(whole.root / "small.onnx", root)
    shutil.rmtree(whole.root)
    return build_with_golden(root, {**manifest, "reference": "small"}, [[1.0, 2.0, 3.0]])


def test_a_large_variant_joins_a_small_one_and_is_asked_when_that_is_unsure(
    package, answered, tmp_path, start_gateway
):
    file = network(tmp_path / "large.onnx")
    done = answered("pack", "add", "scales", file, "--place", "cloud", "--escalate-below", 0.8)
    assert (done["version"], done["variant"], done["reference"]) == ("1.1.0", "large", "large")
    joined = open_package(tmp_path / "scales")
    joined.verify()
    small, large = joined.manifest.variants
    assert (small.escalate_below, large.escalate_below) == (0.8, None)
    assert large.places == ("cloud",)
    assert large.pipeline.pre[0].parameters["to"] == "given"
    gateway = start_gateway(joined.root)
    with wherever.Client(packages=[joined.root], gateways=[gateway.address]) as client:
        unsure = client.predict("scales", [1.0, 1.1, 1.2])
        sure = client.predict("scales", [1.0, 1.1, 9.0])
    assert (unsure.receipt.variant, sure.receipt.variant) == ("large", "small")


def test_golden_samples_get_the_answers_of_the_new_variant(package, tmp_path):
    joined = add_variant("scales", network(tmp_path / "large.onnx"))
    assert "1 golden samples" in joined.checked
    host = LocalHost(Store([joined.path], builtin=False), distance="device")
    for variant in ("small", "large"):
        assert check_golden(host.resolve("scales", variant=variant)).n == 1
    host.close()


def test_the_package_can_be_written_elsewhere_and_the_old_one_stays(package, tmp_path):
    file = network(tmp_path / "large.onnx")
    joined = add_variant("scales", file, output="new.wherever", version="2.0.0", reference=False)
    assert open_package(tmp_path / "scales").digest == package.digest
    made = open_package(tmp_path / "new.wherever", unpack_into=tmp_path / "unpacked")
    assert (made.version, made.manifest.reference) == ("2.0.0", "small")
    assert made.digest == joined.package.digest


def test_an_archive_is_replaced_by_the_next_one(package, answered, tmp_path):
    answered("pack", "scales")
    file = network(tmp_path / "big-one.onnx")
    answered("pack", "add", "scales-1.0.0.wherever", file, "--id", "big", "--precision", "float16")
    made = open_package(tmp_path / "scales-1.0.0.wherever", unpack_into=tmp_path / "unpacked")
    assert made.version == "1.1.0"
    assert made.manifest.variant("big").precision == "float16"


def test_nothing_but_the_package_is_left_there(package, tmp_path):
    add_variant("scales", network(tmp_path / "large.onnx"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.onnx", "scales"]


@pytest.fixture
def untouched(package, tmp_path):
    """Checks at the end that the package is as it was, and that nothing lies beside it."""
    before = {path.name for path in tmp_path.iterdir()}
    yield
    assert open_package(tmp_path / "scales").digest == package.digest
    left = {path.name for path in tmp_path.iterdir()} - before
    assert {name for name in left if not name.endswith((".onnx", ".json", ".npy"))} == set()


@pytest.mark.usefixtures("untouched")
class TestRefusals:
    def test_a_file_that_does_not_fulfil_the_signature(self, tmp_path):
        file = network(tmp_path / "four.onnx", size=4)
        with pytest.raises((EngineError, PackageError), match="four"):
            add_variant("scales", file)

    def test_a_file_that_is_no_model(self, tmp_path):
        (tmp_path / "bad.onnx").write_bytes(b"nothing")
        with pytest.raises(EngineError, match="onnxruntime"):
            add_variant("scales", tmp_path / "bad.onnx")

    def test_an_id_that_is_taken(self, tmp_path):
        with pytest.raises(ConversionError, match=r"a variant 'small' already; name another"):
            add_variant("scales", network(tmp_path / "small.onnx"))

    @pytest.mark.parametrize(
        ("version", "message"), [("1.0.0", "above 1.0.0, not 1.0.0"), ("two", "not a version")]
    )
    def test_a_version_that_is_no_next_one(self, tmp_path, version, message):
        with pytest.raises(ConversionError, match=message):
            add_variant("scales", network(tmp_path / "large.onnx"), version=version)

    def test_a_variant_to_be_like_that_is_not_there(self, tmp_path):
        with pytest.raises(ConversionError, match=r"no variant 'huge' \(it has: small\)"):
            add_variant("scales", network(tmp_path / "large.onnx"), like="huge")

    def test_a_threshold_where_nothing_gives_a_confidence(self, package, tmp_path):
        steps = package.manifest.variants[0].pipeline.model_dump(mode="json")
        steps["post"] = steps["post"][:1]
        steps["pre"][0]["to"] = "given"
        steps["post"][0]["name"] = "found"
        (tmp_path / "steps.json").write_text(json.dumps(steps))
        given = {"pipeline": tmp_path / "steps.json", "places": ("device", "cloud")}
        file = network(tmp_path / "large.onnx")
        with pytest.raises(ConversionError, match="variant 'large' gives no confidence"):
            add_variant("scales", file, reference=False, escalate_below=0.5, **given)

    def test_a_place_that_does_not_exist(self, answered, tmp_path):
        file = network(tmp_path / "large.onnx")
        error = answered("pack", "add", "scales", file, "--place", "moon", code=1)["error"]
        assert error["message"] == "--place is one of device, nearby, cloud, not moon"

    def test_a_sample_that_does_not_fit(self, answered, tmp_path):
        file = network(tmp_path / "large.onnx")
        np.save(tmp_path / "sample.npy", np.zeros(5, np.float32))
        error = answered("pack", "add", "scales", file, "--sample", "sample.npy", code=1)["error"]
        assert error["code"] == "input"


def test_a_sample_of_the_callers_is_tried(package, answered, tmp_path):
    np.save(tmp_path / "sample.npy", np.array([1, 2, 3], np.float32))
    file = network(tmp_path / "large.onnx")
    done = answered("pack", "add", "scales", file, "--sample", "sample.npy")
    assert done["checked"] == "1 golden samples and the sample: scores"
