"""Int8 and float16 files: what they lose, what stays float, and that they repeat."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wherever_convert.design import Design
from wherever_convert.draft import Draft, header
from wherever_convert.env.ranges import find_ranges
from wherever_convert.model_file import ModelFile
from wherever_convert.samples.sample import Sample
from wherever_convert.samples.split import split
from wherever_convert.targets import TARGETS, CannotMakeError, Job, make
from wherever_convert.workbench import Workbench
from wherever_edge.builtin import PACKAGES, digits_test_split

DIGITS = PACKAGES / "digits"


@pytest.fixture
def digits(tmp_path):
    """Where files of the package's network with convolutions are tried."""
    entry = json.loads((DIGITS / "model.json").read_text())
    (variant,) = (each for each in entry["variants"] if each["id"] == "cnn")
    images, labels = digits_test_split()
    pairs = zip(images[:150], labels, strict=False)
    return bench(
        tmp_path,
        ModelFile("onnx", "float32", ((DIGITS / "cnn.onnx").read_bytes(),)),
        Design(entry["signature"], variant["pipeline"]),
        [Sample(str(n), image, str(label)) for n, (image, label) in enumerate(pairs)],
    )


def bench(folder, file, design, samples):
    (folder / "package").mkdir()
    draft = Draft(folder / "package", header("m", "1.0.0", "device", "", "MIT"), design)
    draft.add("m-fp32", file)
    return Workbench(draft, split(samples), folder, lambda: None)


@pytest.fixture
def job(tmp_path):
    """Orders to make a target of the reference of a workbench."""

    def ordered(target, where, **more):
        folder = tmp_path / f"make-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        said = []
        of = where.draft.variant(where.reference).file
        order = Job(TARGETS[target], of, where, "minmax", 0.01, 0, folder, said.append)
        return replace(order, **more)

    return ordered


def chain(*weights, names=("x", "y")):
    """Matrix products one after the other, as a file and the design around it."""
    tensors = [numpy_helper.from_array(each, f"w{n}") for n, each in enumerate(weights)]
    between = [names[0], *(f"h{n}" for n in range(len(weights) - 1)), names[1]]
    nodes = [
        helper.make_node("MatMul", [between[n], f"w{n}"], [between[n + 1]])
        for n in range(len(weights))
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", length])]
        for name, length in zip(names, (len(weights[0]), weights[-1].shape[1]), strict=True)
    ]
    graph = helper.make_graph(nodes, "chain", *ends, tensors)
    opset = [helper.make_opsetid("", 17)]
    data = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    tensor = {"dtype": "float32", "shape": [len(weights[0])]}
    signature = {
        "inputs": [{"name": "x", "kind": "tensor", **tensor}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [weights[-1].shape[1]]}],
        "value": {"kind": "tensors"},
    }
    pipeline = {
        "pre": [{"op": "reshape", "name": "x", "to": "x", "shape": [1, len(weights[0])]}],
        "post": [{"op": "first_row", "name": "y", "to": "y"}],
    }
    return ModelFile("onnx", "float32", (data,)), Design(signature, pipeline)


def drawn(count, size):
    """Square weights that neither swell nor shrink what they are multiplied with."""
    random = np.random.default_rng(0)
    return [(random.normal(size=(size, size)) / size**0.5).astype(np.float32) for _ in range(count)]


def rows(count, length, seed=0):
    numbers = np.random.default_rng(seed).normal(size=(count, length)).astype(np.float32)
    return [Sample(str(n), row, None) for n, row in enumerate(numbers)]


def test_a_network_that_bears_it_is_int8_at_the_first_try(digits, job):
    made = make(job("int8", digits))
    assert made.facts["float"] == []
    assert made.facts["tries"] == 1
    assert made.file.size_bytes < 0.4 * digits.draft.variant("m-fp32").file.size_bytes
    assert digits.try_file(made.file, "test").drop <= 0.01
    assert [each.op for each in made.layers].count("Conv") == 3
    assert all(each.quantized for each in made.layers)
    errors = [each.error for each in made.layers]
    assert errors == sorted(errors, reverse=True)
    assert "0 of 4 parts in float: top-1" in made.trace[0]


def test_what_was_not_good_enough_is_made_again_with_more_in_float(digits, job):
    first = make(job("int8", digits))
    second = make(job("int8", digits, after=first))
    assert len(second.facts["float"]) == 1
    assert [each.name for each in second.layers if not each.quantized] == second.facts["float"]
    assert second.file.size_bytes > first.file.size_bytes


@pytest.mark.full
def test_the_layer_that_int8_spoils_stays_float(tmp_path, job):
    """One column of the first product is a million times the other ones, and then ignored."""
    weights = drawn(6, 16)
    weights[0][:, 0] *= 1e6
    weights[1][0] = 0
    where = bench(tmp_path, *chain(*weights), rows(60, 16))
    made = make(job("int8", where, max_drop=0.05))
    assert {each.name for each in made.layers[:2]} == {"MatMul_0", "MatMul_1"}
    assert made.layers[1].error > 0.1 > made.layers[2].error
    assert {"MatMul_0", "MatMul_1"} <= {*made.facts["float"]}
    assert any(each.quantized for each in made.layers)
    assert len(made.trace) == made.facts["tries"] > 1
    assert where.try_file(made.file, "test").drop <= 0.05


@pytest.mark.full
def test_a_refusal_names_the_layers_the_metric_and_the_drop(tmp_path, job):
    weights = np.array([[1e-3, 0, 1e3], [0, 1e-3, 0]], np.float32)
    after = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    where = bench(tmp_path, *chain(weights, after), rows(30, 2))
    with pytest.raises(CannotMakeError) as caught:
        make(job("int8", where, method="percentile"))
    message = str(caught.value)
    assert "closeness drops by" in message
    assert "MatMul_0 (MatMul, " in message
    assert "--max-drop" in message


def test_a_model_without_layers_cannot_be_int8(tmp_path, job):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    _, design = chain(np.eye(4, dtype=np.float32))
    file = ModelFile("onnx", "float32", (data.SerializeToString(),))
    where = bench(tmp_path, file, design, rows(12, 4))
    for target, why in (("int8", "no convolution or matrix"), ("int8-dynamic", "no matrix pro")):
        with pytest.raises(CannotMakeError, match=why):
            make(job(target, where))


_AGAIN = """
import json, sys
from wherever_convert.env.quantize import work
orders = json.loads(sys.argv[1])
work({"do": "study", **orders})
work({"do": "make", "breadth": "everything", "floats": [], **orders})
"""


@pytest.mark.full
def test_the_same_inputs_give_the_same_bytes_in_every_process(digits, tmp_path):
    (model,) = digits.draft.variant("m-fp32").file.write(tmp_path, "float")
    digests = set()
    for seed in "12":
        folder = tmp_path / f"study-{seed}"
        folder.mkdir()
        output = folder / "int8.onnx"
        orders = {"folder": str(folder), "model": str(model), "samples": str(digits.inputs())}
        orders |= {"method": "entropy", "output": str(output)}
        command = [sys.executable, "-c", _AGAIN, json.dumps(orders)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        digests.add(hashlib.sha256(output.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_ranges_leave_out_what_is_far_out_if_they_are_told_to(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(100, 400)).astype(np.float32)
    numbers[0, 0] = 1000
    for position, row in enumerate(numbers):
        np.savez(tmp_path / f"{position:03}.npz", x=row[None])
    file, _ = chain(np.eye(400, dtype=np.float32))
    model = onnx.load_from_string(file.contents[0])
    widest = find_ranges(model, tmp_path, "minmax")["x"]
    assert widest == (numbers.min(), 1000)
    for method in ("percentile", "entropy"):
        low, high = find_ranges(model, tmp_path, method)["x"]
        assert widest[0] <= low < -2
        assert high < 200


def test_dynamic_int8_holds_the_weights_of_matrix_products(tmp_path, job):
    where = bench(tmp_path, *chain(*drawn(3, 64)), rows(20, 64))
    made = make(job("int8-dynamic", where))
    assert made.facts["layers"] == 3
    assert made.file.size_bytes < 0.5 * where.draft.variant("m-fp32").file.size_bytes
    assert where.try_file(made.file, "test").drop < 0.05


def test_dynamic_int8_is_refused_where_convolutions_are_most_of_the_work(digits, job):
    with pytest.raises(
        CannotMakeError, match=r"27936 of its weights are in convolutions and 10240"
    ):
        make(job("int8-dynamic", digits))


def test_float16_has_half_the_size_and_the_same_answers(digits, job):
    made = make(job("fp16", digits))
    assert made.facts["float"] == []
    assert made.facts["gap"] < 1e-3
    assert made.file.size_bytes < 0.55 * digits.draft.variant("m-fp32").file.size_bytes
    assert digits.try_file(made.file, "test").agreement == 1


def test_numbers_too_large_for_float16_stay_float32(tmp_path, job):
    weights = drawn(8, 32)
    weights[1] *= 1e5
    weights[2] *= 1e-5
    where = bench(tmp_path, *chain(*weights), rows(20, 32))
    made = make(job("fp16", where))
    assert made.facts["float"] == ["MatMul_1", "MatMul_2"]
    assert made.facts["gap"] < 1e-2
