"""What an engine's session costs beside its runtime, how it loads again, and what it tells."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from harness import Row, interleaved
from onnx import TensorProto, helper

from wherever_contracts.tensors import Array
from wherever_devices.plans import RunPlan
from wherever_edge.builtin import digits_test_split
from wherever_edge.engines.engine import Engine, Resources, Session
from wherever_edge.engines.litert import LiteRtEngine
from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine
from wherever_edge.engines.openvino import OpenVinoEngine
from wherever_edge.packages.store import Store

# words, floats, calls of a round
SIZES = (("40 B", 10, 2000), ("600 KB", 150_528, 100), ("4.8 MB", 1_204_224, 15))
_ROUNDS = 15


def rows() -> list[Row]:
    """Sessions against raw calls, read-only inputs, loads from the cache, two precisions."""
    onnx_runtime, openvino = OnnxRuntimeEngine(), OpenVinoEngine()
    lines: list[Row] = []
    for words, count, calls in SIZES:
        array = np.random.default_rng(0).random(count, np.float32)
        relu = _relu(count)
        for engine, raw_of in ((onnx_runtime, _raw_onnx), (openvino, _raw_openvino)):
            session = _opened(engine, [relu], "onnx")
            lines.append(_row(engine.name, words, session, "x", array, raw_of(relu, array), calls))
        lines.append(_litert_row(words, count, calls))
        lines.append(_read_only_row(_opened(openvino, [relu], "onnx"), words, array, calls))
    return [*lines, _frugal_row(onnx_runtime), _cache_row(openvino), _precisions_row()]


def _row(
    engine: str,
    words: str,
    session: Session,
    name: str,
    array: Array,
    raw: Callable[[], object],
    calls: int,
) -> Row:
    pair = interleaved(lambda: session.run({name: array}), raw, rounds=_ROUNDS, calls=calls)
    return Row(
        f"`Session.run` of {engine}, {words} in, its own array out",
        f"{pair.ours_s * 1e6:.1f} us, {pair.added_s * 1e6:+.1f} us",
        f"raw call that keeps its result {pair.reference_s * 1e6:.1f} us",
        "",
        None,
    )


def _litert_row(words: str, count: int, calls: int) -> Row:
    """The digits network, with as many rows as make the size."""
    form = _form("mlp-litert")
    array = np.random.default_rng(0).random((max(1, count // 64), 64), np.float32)
    session = _opened(LiteRtEngine(), form, "tflite")
    return _row("litert", words, session, "numbers", array, _raw_litert(form[0], array), calls)


def _read_only_row(session: Session, words: str, array: Array, calls: int) -> Row:
    sealed = array.copy()
    sealed.flags.writeable = False
    pair = interleaved(
        lambda: session.run({"x": sealed}),
        lambda: session.run({"x": sealed.copy()}),
        rounds=_ROUNDS,
        calls=calls,
    )
    return Row(
        f"the same of openvino, {words} that cannot be written",
        f"{pair.ours_s * 1e6:.1f} us",
        f"with a copy {pair.reference_s * 1e6:.1f} us",
        "",
        None,
    )


def _frugal_row(engine: Engine) -> Row:
    """What a memory budget costs in time: no arena, no pattern of allocations."""
    form, images = _form("cnn"), _images()
    plain, frugal = (
        _opened(engine, form, "onnx", Resources(frugal=frugal)) for frugal in (False, True)
    )
    pair = interleaved(
        lambda: frugal.run({"numbers": images[:1]}),
        lambda: plain.run({"numbers": images[:1]}),
        rounds=_ROUNDS,
        calls=500,
    )
    return Row(
        "onnxruntime without its arena (`frugal`), digits `cnn`",
        f"{pair.ours_s * 1e6:.1f} us, {pair.ratio:.2f} x",
        f"with it {pair.reference_s * 1e6:.1f} us",
        "",
        None,
    )


def _cache_row(engine: Engine) -> Row:
    form = _form("cnn")
    with tempfile.TemporaryDirectory() as folder:
        keeping = Resources(cache_dir=Path(folder))
        pair = interleaved(
            lambda: _opened(engine, form, "onnx", keeping),
            lambda: _opened(engine, form, "onnx"),
            rounds=7,
            calls=1,
        )
    return Row(
        "openvino loads digits `cnn` again, from what it kept",
        f"{pair.ours_s * 1e3:.0f} ms, digests checked",
        f"compiled anew {pair.reference_s * 1e3:.0f} ms",
        "",
        None,
    )


def _precisions_row() -> Row:
    """One file in two engines and two precisions: near enough, and told apart."""
    form, images = _form("cnn"), _images()
    exact, other, rounded = (
        _opened(engine, form, "onnx", precision=precision)
        for engine, precision in (
            (OnnxRuntimeEngine(), "float32"),
            (OpenVinoEngine(), "float32"),
            (OpenVinoEngine(), "bfloat16"),
        )
    )
    scores = [each.run({"numbers": images})["scores"] for each in (exact, other, rounded)]
    off = [float(np.abs(each - scores[0]).max()) for each in scores[1:]]
    told = [f"{each.facts.engine} {each.facts.precision}" for each in (exact, other, rounded)]
    apart = len(set(told)) == 3 or rounded.facts.precision == "float32"
    return Row(
        f"one file as {', '.join(told)}: 593 digits",
        f"off by {off[0]:.1g} and {off[1]:.1g}",
        "onnxruntime",
        "<= 0.002 in float32, <= 0.02 in 16 bits; told apart",
        off[0] <= 2e-3 and off[1] <= 2e-2 and apart,
    )


def _opened(
    engine: Engine,
    files: list[bytes],
    file_format: str,
    resources: Resources | None = None,
    precision: str = "float32",
) -> Session:
    plan = RunPlan(engine.name, "cpu", precision, 1)
    return engine.open(files, file_format=file_format, plan=plan, resources=resources)


def _raw_onnx(model: bytes, array: Array) -> Callable[[], object]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["y"], {"x": array})


def _raw_openvino(model: bytes, array: Array) -> Callable[[], object]:
    import openvino

    core = openvino.Core()
    told = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = core.compile_model(core.read_model(model), "CPU", told).create_infer_request()

    def call() -> object:
        request.set_input_tensor(0, openvino.Tensor(array, shared_memory=True))
        request.infer()
        return request.get_output_tensor(0).data.copy()

    return call


def _raw_litert(model: bytes, array: Array) -> Callable[[], object]:
    import ai_edge_litert.interpreter

    runtime: Any = ai_edge_litert.interpreter
    interpreter = runtime.Interpreter(model_content=model, num_threads=1)
    taken = interpreter.get_input_details()[0]["index"]
    given = interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(taken, array.shape)
    interpreter.allocate_tensors()

    def call() -> object:
        interpreter.set_tensor(taken, array)
        interpreter.invoke()
        return interpreter.get_tensor(given)

    return call


def _form(variant_id: str) -> list[bytes]:
    package = Store().get("digits")
    return [package.read(entry) for entry in package.manifest.variant(variant_id).files]


def _images() -> Array:
    images, _ = digits_test_split()
    return images.astype(np.float32).reshape(-1, 1, 8, 8)


def _relu(count: int) -> bytes:
    """y = max(x, 0) for some float32: a model that costs next to nothing."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [count]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    opset = [helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return model


if __name__ == "__main__":
    started = perf_counter()
    for row in rows():
        print(row.what, "|", row.measured, "|", row.reference, "|", row.met)
    print(f"{perf_counter() - started:.0f} s")
