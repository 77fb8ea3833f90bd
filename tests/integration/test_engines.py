"""The engines with real models: they agree, say what they compute in, and never mix results.

Tolerances are absolute, on the models' own outputs. Engines that compute in float32 differ in the
order of their sums alone; bfloat16 would show as 1.4 (FastestDet). int8 engines round
between layers in their own ways, which moves the scores of a small network by some hundredths.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest

from wherever_contracts.errors import EngineError
from wherever_contracts.tensors import TensorSpec
from wherever_devices.machine import probe
from wherever_devices.plans import RunPlan
from wherever_edge import plugins
from wherever_edge.builtin import digits_test_split
from wherever_edge.engines.engine import EngineFacts, Resources, Session
from wherever_edge.engines.litert import LiteRtEngine
from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine, one_by_one
from wherever_edge.engines.openvino import OpenVinoEngine
from wherever_edge.packages.store import Store

ENGINES = {
    engine.name: engine for engine in (OnnxRuntimeEngine(), OpenVinoEngine(), LiteRtEngine())
}
TEST_SPLIT = "uci-digits test split"
FLOAT32 = 1e-5
INT8 = 0.05


def opened(engine, content, file_format, *, precision="float32", threads=1, resources=None):
    files = [content] if isinstance(content, bytes) else content
    return ENGINES[engine].open(
        files,
        file_format=file_format,
        plan=RunPlan(engine, "cpu", precision, threads),
        resources=resources,
    )


def opened_digits(form, **options):
    package = Store().get("digits")
    variant = package.manifest.variant(form.variant)
    files = [package.read(entry) for entry in variant.files]
    return opened(form.engine, files, variant.format, **options)


def ran(session, seed=0):
    """The outputs for random inputs, the same for every session of one model."""
    rng = np.random.default_rng(seed)
    feed = {}
    for spec in session.inputs:
        shape = [abs(n) for n in spec.shape]
        drawn = (
            rng.uniform(-1, 1, shape) if spec.dtype == "float32" else rng.integers(0, 100, shape)
        )
        feed[spec.name] = drawn.astype(spec.numpy_dtype)
    return session.run(feed)


class Digits(NamedTuple):
    variant: str
    engine: str


FORMS = [
    Digits(variant.id, engine)
    for variant in Store().get("digits").manifest.variants
    for engine in variant.needs.engines
]


@pytest.fixture(scope="module")
def digits():
    """Every form of `digits`, in every engine that it names."""
    package = Store().get("digits")
    sessions = {}
    for form in FORMS:
        variant = package.manifest.variant(form.variant)
        sessions[form] = opened(
            form.engine,
            [package.read(entry) for entry in variant.files],
            variant.format,
            precision=variant.precision,
        )
    return sessions


def numbers(session):
    images, _ = digits_test_split()
    return {"numbers": images.astype(np.float32).reshape(-1, *session.inputs[0].shape[1:])}


def test_every_engine_is_registered_and_every_one_has_a_form_of_digits():
    assert set(plugins.entry_points("wherever.engines")) >= set(ENGINES)
    assert {form.engine for form in FORMS} == set(ENGINES)
    assert len(FORMS) == 7


@pytest.mark.parametrize(
    ("one", "other", "tolerance"),
    [
        (Digits("cnn", "onnxruntime"), Digits("cnn", "openvino"), FLOAT32),
        (Digits("mlp-litert", "litert"), Digits("mlp-litert", "openvino"), FLOAT32),
        (Digits("mlp-litert", "litert"), Digits("mlp-openvino", "openvino"), FLOAT32),
    ],
)
def test_the_same_weights_give_the_same_digit_for_the_whole_test_split(
    digits, one, other, tolerance
):
    ours, theirs = (digits[form].run(numbers(digits[form]))["scores"] for form in (one, other))
    assert ours.shape == (593, 10)
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).all()
    np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)


def test_engines_that_round_to_int8_in_their_own_ways_agree_on_nearly_every_digit(digits):
    forms = (Digits("mlp-int8", "onnxruntime"), Digits("mlp-int8", "openvino"))
    ours, theirs = (digits[form].run(numbers(digits[form]))["scores"] for form in forms)
    np.testing.assert_allclose(ours, theirs, atol=INT8, rtol=0)
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.995


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_digits_are_read_as_well_as_the_manifest_says_in_every_engine(digits, form):
    session = digits[form]
    right = session.run(numbers(session))["scores"].argmax(axis=1) == digits_test_split()[1]
    quality = Store().get("digits").manifest.variant(form.variant).quality
    (stated,) = [each.value for each in quality if each.dataset == TEST_SPLIT]
    assert right.mean() == pytest.approx(stated, abs=0.002)


@pytest.mark.parametrize(
    ("file", "stored", "in_openvino"),
    [
        ("vww_96_int8.tflite", "int8", "int8"),
        # it has no arithmetic for unsigned weights, and says so
        ("mobilenet_v1_0.25_128_quant.tflite", "uint8", "float32"),
    ],
)
def test_quantized_files_take_and_give_float32_in_both_engines_that_read_them(
    test_data, file, stored, in_openvino
):
    content = (test_data / "models" / file).read_bytes()
    sessions = [
        opened(engine, content, "tflite", precision="int8") for engine in ("litert", "openvino")
    ]
    assert sessions[0].inputs == sessions[1].inputs
    assert sessions[0].outputs == sessions[1].outputs
    assert {spec.dtype for spec in (*sessions[0].inputs, *sessions[0].outputs)} == {"float32"}
    ours, theirs = map(ran, sessions)
    step = 1 / 256  # of the outputs, a softmax: the engines may differ by some steps
    for name, array in ours.items():
        np.testing.assert_allclose(theirs[name], array, atol=4 * step, rtol=0)
        assert (array / step == np.rint(array / step)).all(), stored
    assert [session.facts.precision for session in sessions] == ["int8", in_openvino]


def test_numbers_beyond_what_an_integer_stands_for_become_its_end(test_data):
    content = (test_data / "models/vww_96_int8.tflite").read_bytes()
    for engine in ("litert", "openvino"):
        session = opened(engine, content, "tflite", precision="int8")
        white, beyond = (
            session.run({"input_1_int8": np.full((1, 96, 96, 3), value, np.float32)})
            for value in (1.0, 1e9)
        )
        np.testing.assert_array_equal(white["Identity_int8"], beyond["Identity_int8"])


def test_openvino_refuses_an_operation_that_litert_has(test_data):
    file = "models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    content = (test_data / file).read_bytes()
    session = opened("litert", content, "tflite", precision="int8")
    assert [spec.shape for spec in session.outputs] == [(1, 10, 4), (1, 10), (1, 10), (1,)]
    assert all(np.isfinite(array).all() for array in ran(session).values())
    with pytest.raises(EngineError, match="TFLite_Detection_PostProcess") as caught:
        opened("openvino", content, "tflite")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "reason"),
    [("litert", "quantized_dimension"), ("openvino", "axis 3 is out of range")],
)
def test_a_file_that_no_engine_can_load_is_refused_with_the_engines_reason(
    test_data, engine, reason
):
    content = (test_data / "models/person_detect.tflite").read_bytes()
    with pytest.raises(EngineError, match=reason) as caught:
        opened(engine, content, "tflite")
    assert str(caught.value).startswith(f"{engine} cannot load the model: ")
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("nonsense", [b"", b"not a model", b"\x08" * 1000])
def test_nonsense_is_an_engine_error_in_every_format(engine, nonsense):
    for file_format in ENGINES[engine].formats:
        files = [nonsense, b""] if file_format == "openvino" else nonsense
        with pytest.raises(EngineError, match=engine):
            opened(engine, files, file_format)


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_eight_threads_keep_every_one_of_their_results(digits, form):
    session = digits[form]
    (images,) = numbers(session).values()
    alone = [session.run({"numbers": images[i : i + 1]})["scores"] for i in range(400)]

    def ask(first):
        positions = [(first * 50 + i) % 400 for i in range(400)]
        results = [session.run({"numbers": images[i : i + 1]})["scores"] for i in positions]
        return positions, results

    with ThreadPoolExecutor(8) as pool:
        for positions, results in pool.map(ask, range(8)):
            for position, result in zip(positions, results, strict=True):
                np.testing.assert_allclose(result, alone[position], atol=1e-6)


FRUGAL = Resources(frugal=True)
TWO_RUNS = Resources(runs=2)
UNUSUAL = [
    (Digits("cnn", "onnxruntime"), "float32", FRUGAL),
    (Digits("mlp-int8", "onnxruntime"), "int8", FRUGAL),
    (Digits("cnn", "openvino"), "bfloat16", TWO_RUNS),
    (Digits("mlp-int8", "openvino"), "int8", TWO_RUNS),
    (Digits("mlp-litert", "openvino"), "float32", FRUGAL),
    (Digits("mlp-litert", "litert"), "float32", FRUGAL),
]


@pytest.mark.parametrize(("form", "precision", "resources"), UNUSUAL)
def test_eight_threads_with_batches_of_every_length_keep_their_results(form, precision, resources):
    session = opened_digits(form, precision=precision, resources=resources)
    (images,) = numbers(session).values()
    batches = [images[start : start + 1 + start % 9] for start in range(0, 120, 3)]
    alone = [session.run({"numbers": batch})["scores"] for batch in batches]

    def ask(first):
        positions = [(first * 5 + i) % len(batches) for i in range(120)]
        return positions, [session.run({"numbers": batches[at]})["scores"] for at in positions]

    with ThreadPoolExecutor(8) as pool:
        for positions, results in pool.map(ask, range(8)):
            for position, result in zip(positions, results, strict=True):
                np.testing.assert_allclose(result, alone[position], atol=1e-6)


@pytest.mark.parametrize("engine", ["litert", "openvino"])
def test_eight_threads_keep_their_results_of_an_int8_file(test_data, engine):
    content = (test_data / "models/vww_96_int8.tflite").read_bytes()
    session = opened(engine, content, "tflite", precision="int8", resources=TWO_RUNS)
    photographs = np.random.default_rng(0).random((40, 1, 96, 96, 3), np.float32)
    (name,) = (spec.name for spec in session.inputs)

    def answer(position):
        return session.run({name: photographs[position]})["Identity_int8"]

    alone = [answer(position) for position in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for position, result in enumerate(pool.map(answer, [*range(40)] * 5)):
            np.testing.assert_array_equal(result, alone[position % 40])


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_rows_may_be_one_many_or_none_and_the_session_goes_on(digits, form):
    session = digits[form]
    (images,) = numbers(session).values()
    images.flags.writeable = False
    every = session.run({"numbers": images})["scores"]
    for rows in (1, 7, 0, 2, 593, 1):
        scores = session.run({"numbers": images[:rows]})["scores"]
        np.testing.assert_allclose(scores, every[:rows], atol=1e-6)


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_threads_are_those_that_were_asked_for_or_fewer_where_there_are_fewer_cores(threads):
    package = Store().get("digits")
    for form in FORMS:
        variant = package.manifest.variant(form.variant)
        files = [package.read(entry) for entry in variant.files]
        session = opened(form.engine, files, variant.format, threads=threads)
        assert session.facts.threads in {threads, min(threads, probe().usable_cores)}
        assert session.run(numbers(session))["scores"].shape == (593, 10)
        session.close()


@pytest.mark.parametrize(
    ("engine", "device", "words"),
    [
        ("onnxruntime", "cuda", "(it has: cpu); try: pip install onnxruntime-gpu in place of"),
        ("onnxruntime", "directml", "try: pip install onnxruntime-directml in place of"),
        ("onnxruntime", "tpu", "onnxruntime has no device 'tpu' here (it has: cpu)"),
        ("openvino", "npu", "openvino has no device 'npu' here (it has: cpu); try: the device's"),
        ("litert", "gpu", "litert has no device 'gpu' here (it has: cpu)"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(engine, device, words):
    assert ENGINES[engine].devices() == ("cpu",)
    plan = RunPlan(engine, device, "float32", 1)
    with pytest.raises(EngineError) as caught:
        ENGINES[engine].open([b""], file_format=ENGINES[engine].formats[-1], plan=plan)
    assert words in str(caught.value)


def test_a_runtime_that_is_not_reentrant_is_run_by_one_thread_at_a_time():
    inside = []

    def run(position):
        inside.append(position)
        alone = len(inside) == 1
        time.sleep(0)
        inside.remove(position)
        return alone

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one_by_one(run), range(400)))


def test_a_tensor_keeps_the_files_name_when_an_engine_merges_its_neighbours():
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Relu", ["x"], ["inner"]),
        helper.make_node("Identity", ["inner"], ["y"]),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "merged", value[:1], value[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    for engine in ("onnxruntime", "openvino"):
        session = opened(engine, model.SerializeToString(), "onnx")
        assert session.inputs == (TensorSpec("x", "float32", (-1, 3)),)
        assert session.outputs == (TensorSpec("y", "float32", (-1, 3)),)


def test_an_engine_whose_runtime_is_not_there_says_how_to_get_it(monkeypatch):
    for engine, module in (
        ("onnxruntime", "onnxruntime"),
        ("openvino", "openvino"),
        ("litert", "ai_edge_litert"),
    ):
        assert ENGINES[engine].missing() == ""
        monkeypatch.setitem(sys.modules, module, None)
        assert ENGINES[engine].missing().startswith("not installed: pip install ")
        file_format = ENGINES[engine].formats[-1]
        with pytest.raises(EngineError, match="pip install"):
            opened(engine, b"", file_format)


def test_tflite_runtime_is_refused_with_the_reason(monkeypatch, tmp_path):
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime/__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert ENGINES["litert"].missing() == ""
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    why = ENGINES["litert"].missing()
    assert "tflite-runtime" in why
    assert "wrong numbers" in why
    assert why.endswith("pip install 'wherever[litert]'")
    with pytest.raises(EngineError, match="tflite-runtime"):
        opened("litert", b"", "tflite")


def test_adapters_import_no_runtime_until_something_is_loaded():
    program = (
        "import sys\n"
        "from wherever_edge.engines.installed import InstalledEngines\n"
        f"names = {list(ENGINES)}\n"
        "states = InstalledEngines().states(names)\n"
        "assert [s.missing for s in states.values()] == [''] * 3, states\n"
        "print({'onnxruntime', 'openvino', 'ai_edge_litert'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_a_file_without_outputs_is_no_model():
    class Nothing(Session):
        def _run(self, feed):
            return {}

    facts = EngineFacts("any", "1", "any", "float32", 1)
    with pytest.raises(EngineError, match="the file holds no model: it has no outputs"):
        Nothing((TensorSpec("x", "float32", (1,)),), (), facts)
