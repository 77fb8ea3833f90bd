"""The local host with the real engine: loads once, never mixes, says why not."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from wherever_contracts.errors import (
    DigestError,
    EngineError,
    ManifestError,
    ModelNotFoundError,
    PackageError,
)
from wherever_convert.builder import build_package
from wherever_devices.plans import RunPlan
from wherever_edge import plugins
from wherever_edge.engines import openvino_settings
from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine
from wherever_edge.host import LocalHost
from wherever_edge.packages.store import Store


def host_for(*packages, distance="device", **arguments) -> LocalHost:
    return LocalHost(
        Store([package.root for package in packages], builtin=False), distance=distance, **arguments
    )


def changed(build_scales, root, edit):
    """The `scales` package with its model.json edited afterwards, as a careless person would."""
    package = build_scales(root / "scales")
    manifest = json.loads((package.root / "model.json").read_bytes())
    edit(manifest)
    (package.root / "model.json").write_text(json.dumps(manifest))
    return package


def numbers(*values) -> dict:
    return {"numbers": np.array(values, np.float32)}


def test_the_device_gets_its_variant_and_the_gateway_the_reference(scales_package):
    assert host_for(scales_package).resolve("scales").variant.id == "small"
    assert host_for(scales_package, distance="cloud").resolve("scales").variant.id == "large"
    assert host_for(scales_package).resolve("scales", variant="large").variant.id == "large"


def test_an_answer_has_the_signatures_tensors_a_confidence_and_what_ran(scales_package):
    loaded = host_for(scales_package, threads=1).resolve("scales", "1.0")
    answer = loaded.answer(numbers(1, 5, 2), {})
    assert answer.outputs["scores"].shape == (3,)
    assert answer.outputs["scores"].argmax() == 1
    assert answer.confidence == pytest.approx(answer.outputs["scores"].max())
    ran = answer.ran
    assert (ran.model, ran.version, ran.variant, ran.trust) == ("scales", "1.0.0", "small", "local")
    assert (ran.engine, ran.provider, ran.threads) == ("onnxruntime", "CPUExecutionProvider", 1)
    assert ran.package_digest == scales_package.digest


def test_many_threads_that_ask_first_load_the_variant_once(scales_package):
    host = host_for(scales_package)
    together = threading.Barrier(8)

    def ask(_):
        together.wait()
        return host.resolve("scales")

    with ThreadPoolExecutor(8) as pool:
        loaded = set(map(id, pool.map(ask, range(8))))
    assert len(loaded) == 1


def test_eight_threads_keep_every_one_of_their_answers(scales_package):
    loaded = host_for(scales_package).resolve("scales")

    def ask(seed):
        given_numbers = np.random.default_rng(seed).normal(size=(200, 3)).astype(np.float32)
        answers = [loaded.answer({"numbers": row}, {}).outputs["scores"] for row in given_numbers]
        return given_numbers, np.array(answers)

    with ThreadPoolExecutor(8) as pool:
        for given_numbers, scores in pool.map(ask, range(8)):
            powers = np.exp(given_numbers - given_numbers.max(1, keepdims=True))
            np.testing.assert_allclose(scores, powers / powers.sum(1, keepdims=True), rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.tuples(*[st.floats(-10, 10, width=16)] * 3), min_size=1, max_size=9))
def test_a_batch_gives_each_row_its_own_answer(scales_package, rows):
    loaded = host_for(scales_package).resolve("scales")
    together = loaded.answer_many([numbers(*row) for row in rows], {})
    for row, answer in zip(rows, together, strict=True):
        alone = loaded.answer(numbers(*row), {})
        np.testing.assert_allclose(answer.outputs["scores"], alone.outputs["scores"], rtol=1e-6)
        assert answer.confidence == pytest.approx(alone.confidence)


def test_rows_of_different_lengths_still_get_their_own_answers(echo_package):
    loaded = host_for(echo_package).resolve("echo")
    rows = [{"given": np.arange(n, dtype=np.float32)} for n in (3, 1, 7)]
    for row, answer in zip(rows, loaded.answer_many(rows, {}), strict=True):
        np.testing.assert_array_equal(answer.outputs["echoed"], row["given"])


def one_tensor_package(root, node, output_shape, *, batch):
    """A package of one operation on a float32 tensor of one axis."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.int64(0), "axis")] if "axis" in node.input else [],
    )
    root.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (root / "one.onnx").write_bytes(model.SerializeToString())
    shape = {"dtype": "float32", "shape": [-1]}
    output = {"name": "y", "dtype": "float32", "shape": output_shape}
    variant = {
        "id": "one",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "one.onnx"}],
        "tensors": {"inputs": [{"name": "x", **shape}], "outputs": [output], "batch": batch},
    }
    return build_package(
        root,
        {
            "schema": "1.0",
            "name": "one",
            "version": "1.0.0",
            "boundary": "anywhere",
            "reference": "one",
            "signature": {
                "inputs": [{"name": "x", "kind": "tensor", **shape}],
                "outputs": [output],
                "value": {"kind": "tensors"},
            },
            "variants": [variant],
        },
    )


def test_a_first_axis_that_counts_no_rows_is_never_joined(tmp_path):
    running_sum = helper.make_node("CumSum", ["x", "axis"], ["y"])
    package = one_tensor_package(tmp_path / "one", running_sum, [-1], batch=False)
    loaded = host_for(package).resolve("one")
    rows = [{"x": np.array(row, np.float32)} for row in ([1, 1], [1, 1, 1])]
    answers = [answer.outputs["y"].tolist() for answer in loaded.answer_many(rows, {})]
    assert answers == [[1, 2], [1, 2, 3]]


def test_a_batch_that_comes_back_with_other_rows_is_done_again_one_by_one(tmp_path):
    node = helper.make_node("Concat", ["x", "x"], ["y"], axis=0)
    package = one_tensor_package(tmp_path / "one", node, [-1], batch=True)
    loaded = host_for(package).resolve("one")
    rows = [{"x": np.array(row, np.float32)} for row in ([1], [2, 3])]
    answers = [answer.outputs["y"].tolist() for answer in loaded.answer_many(rows, {})]
    assert answers == [[1, 1], [2, 3, 2, 3]]


def test_a_row_does_not_keep_its_batch_in_memory(scales_package):
    loaded = host_for(scales_package).resolve("scales")
    answers = loaded.answer_many([numbers(1, 2, 3)] * 100, {})
    base = answers[0].outputs["scores"].base
    assert base is None or base.size == 3


def test_a_bad_row_fails_alone(scales_package):
    loaded = host_for(scales_package).resolve("scales")
    rows = [numbers(1, 2, 3), {"numbers": np.zeros(4, np.float32)}, numbers(3, 2, 1)]
    good, bad, other = loaded.answer_many(rows, {})
    assert isinstance(bad, EngineError)
    assert (good.outputs["scores"].argmax(), other.outputs["scores"].argmax()) == (2, 0)
    assert loaded.answer_many([], {}) == []


def test_an_input_whose_array_is_not_contiguous_gives_the_same_answer(echo_package):
    loaded = host_for(echo_package).resolve("echo")
    every_other = np.arange(20, dtype=np.float32)[::2]
    answer = loaded.answer({"given": every_other}, {})
    np.testing.assert_array_equal(answer.outputs["echoed"], every_other)


def test_unknown_models_versions_and_variants_are_named_with_what_there_is(scales_package):
    host = host_for(scales_package)
    with pytest.raises(ModelNotFoundError, match="scales"):
        host.resolve("scale")
    with pytest.raises(ModelNotFoundError, match=r"1\.0\.0"):
        host.resolve("scales", "2")
    with pytest.raises(ModelNotFoundError, match="small, large"):
        host.resolve("scales", variant="huge")


def test_a_variant_whose_bytes_changed_is_not_loaded(build_scales, tmp_path):
    package = build_scales(tmp_path / "scales")
    file = package.root / "small.onnx"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DigestError) as caught:
        host_for(package).resolve("scales")
    assert caught.value.file == "small.onnx"
    assert "sha256" in caught.value.field


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [("inputs", "dtype", "int8"), ("outputs", "shape", [-1, 4])],
)
def test_a_file_with_other_tensors_than_the_manifest_says_is_refused(
    build_scales, tmp_path, place, name, value
):
    def edit(manifest):
        manifest["variants"][0]["tensors"][place][0][name] = value

    package = changed(build_scales, tmp_path, edit)
    with pytest.raises(PackageError) as caught:
        host_for(package).resolve("scales")
    assert "small" in caught.value.field
    assert "tensors" in caught.value.field


def test_a_pipeline_step_that_does_not_exist_or_fit_names_its_field(build_scales, tmp_path):
    def unknown(manifest):
        manifest["variants"][0]["pipeline"]["pre"][0]["op"] = "reshap"

    def misfit(manifest):
        manifest["variants"][0]["pipeline"]["pre"][0]["size"] = 3

    for edit, words in ((unknown, "reshape"), (misfit, "size")):
        package = changed(build_scales, tmp_path / edit.__name__, edit)
        with pytest.raises(ManifestError, match=words) as caught:
            host_for(package).resolve("scales")
        assert caught.value.field.startswith("variants.small.pipeline.pre.0")


def test_a_pipeline_that_makes_something_else_than_promised_is_an_engine_error(
    build_scales, tmp_path
):
    def edit(manifest):
        step = {"op": "reshape", "name": "probabilities", "to": "scores", "shape": [3, 1]}
        manifest["variants"][0]["pipeline"]["post"] = [step]

    package = changed(build_scales, tmp_path, edit)
    with pytest.raises(EngineError, match="scores"):
        host_for(package).resolve("scales").answer(numbers(1, 2, 3), {})


def test_a_machine_without_room_or_engine_is_told_for_each_variant(build_scales, tmp_path):
    def edit(manifest):
        manifest["variants"][0]["needs"] = {"memory_bytes": 1 << 60}
        manifest["variants"][1]["needs"] = {"engines": ["abacus"]}

    package = changed(build_scales, tmp_path, edit)
    with pytest.raises(EngineError) as caught:
        host_for(package).resolve("scales")
    assert "small: " in str(caught.value)
    assert "abacus" in str(caught.value)


def with_nonsense(package, *variants):
    """The package with files that no engine reads, under the right digests."""
    nonsense = b"not a model"
    for variant in variants:
        (package.root / f"{variant}.onnx").write_bytes(nonsense)
    manifest = json.loads((package.root / "model.json").read_bytes())
    for entry in manifest["variants"]:
        if entry["id"] in variants:
            digest = hashlib.sha256(nonsense).hexdigest()
            entry["files"][0] |= {"sha256": digest, "bytes": len(nonsense)}
    (package.root / "model.json").write_text(json.dumps(manifest))
    return package


def test_a_variant_that_does_not_load_is_passed_over_for_the_next_and_the_reason_is_kept(
    build_scales, tmp_path
):
    package = with_nonsense(build_scales(tmp_path / "scales"), "small")
    loaded = host_for(package).resolve("scales")
    assert loaded.variant.id == "large"
    (reason,) = loaded.substituted
    assert reason.startswith("small: onnxruntime cannot load the model: ")
    assert loaded.answer(numbers(1, 2, 3), {}).substituted == (reason,)


def test_a_variant_that_is_asked_for_by_name_is_never_replaced(build_scales, tmp_path):
    package = with_nonsense(build_scales(tmp_path / "scales"), "small")
    with pytest.raises(EngineError, match="small: onnxruntime cannot load the model"):
        host_for(package).resolve("scales", variant="small")


def test_when_nothing_loads_every_reason_is_told(build_scales, tmp_path):
    package = with_nonsense(build_scales(tmp_path / "scales"), "small", "large")
    with pytest.raises(EngineError) as caught:
        host_for(package).resolve("scales")
    for variant in ("small", "large"):
        assert f"{variant}: onnxruntime cannot load the model" in str(caught.value)


def test_a_variant_runs_in_the_first_of_its_engines_that_reads_it(build_scales, tmp_path):
    def edit(manifest):
        manifest["variants"][0]["needs"] = {"engines": ["abacus", "litert", "openvino"]}

    loaded = host_for(changed(build_scales, tmp_path, edit), threads=1).resolve("scales")
    ran = loaded.answer(numbers(1, 2, 3), {}).ran
    assert (ran.variant, ran.engine, ran.precision) == ("small", "openvino", "float32")
    assert loaded.passed_over == (
        "small: abacus is not known here",
        "small: litert does not read 'onnx' files",
    )


def test_another_precision_than_the_variants_is_told(build_scales, tmp_path, monkeypatch):
    def edit(manifest):
        manifest["variants"][0] |= {"needs": {"engines": ["openvino"]}, "precision": "float16"}

    package = changed(build_scales, tmp_path, edit)
    monkeypatch.setattr(openvino_settings, "precision_asked", lambda *_: "f32")
    loaded = host_for(package).resolve("scales")
    assert loaded.ran.precision == "float32"
    assert loaded.substituted == ("small: openvino computes in float32 here, not in float16",)


def test_an_engine_that_is_not_installed_is_passed_over(build_scales, tmp_path, monkeypatch):
    def edit(manifest):
        manifest["variants"][0]["needs"] = {"engines": ["openvino"]}
        manifest["variants"][1]["needs"] = {"engines": ["openvino", "onnxruntime"]}

    package = changed(build_scales, tmp_path, edit)
    monkeypatch.setitem(sys.modules, "openvino", None)
    loaded = host_for(package).resolve("scales")
    assert (loaded.variant.id, loaded.ran.engine) == ("large", "onnxruntime")
    hint = "not installed: pip install 'wherever[openvino]'"
    assert loaded.passed_over == (
        f"small: it needs the engine openvino, which is {hint}",
        f"large: openvino is {hint}",
    )
    with pytest.raises(EngineError, match="pip install"):
        host_for(package).resolve("scales", variant="small")


def test_an_engine_whose_native_library_is_broken_is_passed_over(build_scales, tmp_path):
    def edit(manifest):
        manifest["variants"][0]["needs"] = {"engines": ["openvino", "onnxruntime"]}

    package = changed(build_scales, tmp_path / "packages", edit)
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino/__init__.py").write_text("raise ImportError('libopenvino.so: no room')")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from wherever_edge.host import LocalHost\n"
        "from wherever_edge.packages.store import Store\n"
        "host = LocalHost(Store([Path(sys.argv[1])], builtin=False), distance='device')\n"
        "loaded = host.resolve('scales')\n"
        "print(loaded.ran.engine, *loaded.substituted)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(package.root)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout.startswith("onnxruntime small: openvino cannot load the model: ")
    assert "libopenvino.so: no room" in done.stdout


def test_a_plug_in_that_cannot_be_imported_is_passed_over(build_scales, tmp_path, monkeypatch):
    def edit(manifest):
        manifest["variants"][0]["needs"] = {"engines": ["broken", "onnxruntime"]}

    def found(group):
        return points if group == "wherever.engines" else real(group)

    real = plugins.entry_points
    point = EntryPoint("broken", "nowhere_at_all:Engine", "wherever.engines")
    points = {**real("wherever.engines"), "broken": point}
    monkeypatch.setattr(plugins, "entry_points", found)
    loaded = host_for(changed(build_scales, tmp_path, edit)).resolve("scales")
    assert loaded.ran.engine == "onnxruntime"
    (reason,) = loaded.passed_over
    assert reason.startswith("small: broken is broken: ")
    assert "nowhere_at_all" in reason


def test_an_input_named_like_a_reserved_key_is_refused(build_scales, tmp_path):
    def edit(manifest):
        manifest["signature"]["inputs"][0]["name"] = "options"
        manifest["variants"][0]["pipeline"]["pre"][0]["name"] = "options"
        manifest["variants"][1]["pipeline"]["pre"][0]["name"] = "options"

    package = changed(build_scales, tmp_path, edit)
    with pytest.raises(ManifestError, match="options"):
        host_for(package).resolve("scales")


def test_the_engine_lets_only_engine_errors_out(scales_package):
    engine = OnnxRuntimeEngine()
    plan = RunPlan(engine.name, "cpu", "float32", 1)
    for nonsense in (b"", b"not a model", b"\x08" * 1000):
        with pytest.raises(EngineError, match="onnxruntime"):
            engine.open([nonsense], file_format="onnx", plan=plan)
    session = host_for(scales_package).resolve("scales").session
    for wrong in ({}, {"x": np.zeros((1, 3))}, {"x": np.zeros((1, 4), np.float32)}):
        with pytest.raises(EngineError, match="'x'"):
            session.run(wrong)


def test_after_forgetting_a_host_loads_again(scales_package):
    host = host_for(scales_package)
    before = host.resolve("scales")
    host.forget()
    assert host.resolve("scales") is not before
    host.close()
    assert isinstance(host.resolve("scales").answer(numbers(1, 2, 3), {}).confidence, float)
