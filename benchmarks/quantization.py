"""What int8 does to the digits' network with convolutions, and to large products."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import Row, interleaved
from onnx import TensorProto, helper, numpy_helper

from wherever_contracts.tensors import Array
from wherever_convert.design import Design
from wherever_convert.draft import Draft, header
from wherever_convert.environments import quiet
from wherever_convert.model_file import ModelFile
from wherever_convert.running import open_model
from wherever_convert.samples.sample import Sample
from wherever_convert.samples.split import split
from wherever_convert.targets import TARGETS, Job, Made, make
from wherever_convert.workbench import Workbench
from wherever_edge.builtin import PACKAGES, digits_test_split

_ENGINES = ("onnxruntime", "openvino")
_ROUNDS = 15


def rows() -> list[Row]:
    """Accuracy, size, and speed against the float file in each engine."""
    return [
        *_rows("digits, convolutions", *_digits(), max_drop=0.01),
        *_rows("eight products of 512", *_wide(), max_drop=0.05),
    ]


def _rows(
    what: str, file: ModelFile, design: Design, samples: list[Sample], *, max_drop: float
) -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        bench = _bench(Path(scratch), file, design, samples)
        made = make(_job(Path(scratch), bench, file, max_drop))
        trial = bench.try_file(made.file, "test")
        feed = bench.feeds(1)[0]
    size = Row(
        f"int8 of {what}: {bench.judge('test').metric} on {trial.n} samples",
        f"{trial.value:.4f}, {made.file.size_bytes:,} bytes",
        f"float {trial.value + trial.drop:.4f}, {file.size_bytes:,} bytes",
        f"drop <= {max_drop:.0%}",
        trial.drop <= max_drop,
    )
    return [size, *(_speed(what, engine, file, made, feed) for engine in _ENGINES)]


def _speed(what: str, engine: str, file: ModelFile, made: Made, feed: dict[str, Array]) -> Row:
    float32, int8 = open_model(file, what, engine), open_model(made.file, what, engine)
    pair = interleaved(lambda: int8.run(feed), lambda: float32.run(feed), rounds=_ROUNDS, calls=40)
    return Row(
        f"int8 of {what} in {engine}: a run",
        f"{pair.ours_s * 1e6:.0f} us, {1 / pair.ratio:.2f} x the speed",
        f"float {pair.reference_s * 1e6:.0f} us",
        "",
        None,
    )


def _bench(folder: Path, file: ModelFile, design: Design, samples: list[Sample]) -> Workbench:
    (folder / "package").mkdir()
    draft = Draft(folder / "package", header("m", "1.0.0", "device", "", "MIT"), design)
    draft.add("m-fp32", file)
    return Workbench(draft, split(samples), folder, lambda: None)


def _job(folder: Path, bench: Workbench, file: ModelFile, max_drop: float) -> Job:
    scratch = folder / "make"
    scratch.mkdir()
    return Job(TARGETS["int8"], file, bench, "minmax", max_drop, 0, scratch, quiet)


def _digits() -> tuple[ModelFile, Design, list[Sample]]:
    folder = PACKAGES / "digits"
    entry: dict[str, Any] = json.loads((folder / "model.json").read_text())
    (variant,) = (each for each in entry["variants"] if each["id"] == "cnn")
    file = ModelFile("onnx", "float32", ((folder / "cnn.onnx").read_bytes(),))
    pairs = enumerate(zip(*digits_test_split(), strict=True))
    samples = [Sample(str(n), image, str(label)) for n, (image, label) in pairs]
    return file, Design(entry["signature"], variant["pipeline"]), samples


def _wide() -> tuple[ModelFile, Design, list[Sample]]:
    """Products as large as a small language model's, with their negative numbers cut off."""
    random = np.random.default_rng(0)
    nodes, weights = list[Any](), list[Any]()
    for n in range(8):
        drawn = random.normal(size=(512, 512)) / 16
        weights.append(numpy_helper.from_array(drawn.astype(np.float32), f"w{n}"))
        nodes.append(helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"h{n}"]))
        nodes.append(helper.make_node("Relu", [f"h{n}"], [f"x{n + 1}"]))
    ends = [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 512]) for x in ("x0", "x8")]
    graph = helper.make_graph(nodes, "wide", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    tensor = {"dtype": "float32", "shape": [512]}
    signature = {
        "inputs": [{"name": "x", "kind": "tensor", **tensor}],
        "outputs": [{"name": "y", **tensor}],
        "value": {"kind": "tensors"},
    }
    pre = [{"op": "reshape", "name": "x", "to": "x0", "shape": [1, 512]}]
    post = [{"op": "first_row", "name": "x8", "to": "y"}]
    numbers = random.normal(size=(60, 512)).astype(np.float32)
    samples = [Sample(str(n), row, None) for n, row in enumerate(numbers)]
    file = ModelFile("onnx", "float32", (model.SerializeToString(),))
    return file, Design(signature, {"pre": pre, "post": post}), samples
