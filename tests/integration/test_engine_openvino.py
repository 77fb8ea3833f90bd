"""OpenVINO's own ways: precisions, kept models, streams, large results."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from wherever_devices.plans import RunPlan
from wherever_edge.builtin import digits_test_split
from wherever_edge.engines import openvino_settings
from wherever_edge.engines.engine import Resources
from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine
from wherever_edge.engines.openvino import OpenVinoEngine
from wherever_edge.host import LocalHost
from wherever_edge.packages.store import Store

OPENVINO = OpenVinoEngine()
FLOAT32 = 1e-5


def opened_digits(form, *, precision="float32", resources=None, engine=OPENVINO):
    package = Store().get("digits")
    variant = package.manifest.variant(form)
    return engine.open(
        [package.read(entry) for entry in variant.files],
        file_format=variant.format,
        plan=RunPlan(engine.name, "cpu", precision, 1),
        resources=resources,
    )


def scores(session):
    """The scores of the whole test split."""
    images, _ = digits_test_split()
    shape = session.inputs[0].shape
    return session.run({"numbers": images.astype(np.float32).reshape(-1, *shape[1:])})["scores"]


@pytest.mark.parametrize("file", ["yolox_nano.onnx", "FastestDet.onnx"])
def test_large_results_are_written_once_and_read_only_inputs_are_neither_copied_nor_written(
    test_data, file
):
    content = (test_data / "models" / file).read_bytes()
    session, reference = (
        engine.open([content], file_format="onnx", plan=RunPlan(engine.name, "cpu", "float32", 1))
        for engine in (OPENVINO, OnnxRuntimeEngine())
    )
    (spec,), (output,) = session.inputs, session.outputs
    given = np.random.default_rng(0).random((3, *spec.shape), np.float32)
    kept = given.copy()
    given.flags.writeable = False
    results = [session.run({spec.name: each})[output.name] for each in given]
    np.testing.assert_array_equal(given, kept)
    for each, result in zip(given, results, strict=True):
        expected = reference.run({spec.name: each})[output.name]
        np.testing.assert_allclose(result, expected, atol=1e-3, rtol=0)


def test_sixteen_bit_floats_are_computed_in_what_openvino_says():
    session = opened_digits("cnn", precision="float16")
    assert session.facts.precision in {"float16", "float32"}
    reference = opened_digits("cnn", engine=OnnxRuntimeEngine())
    ours, theirs = (scores(each) for each in (session, reference))
    assert (np.abs(ours - theirs).max() > FLOAT32) == (session.facts.precision == "float16")


def test_what_openvino_computes_in_is_read_back_and_not_taken_for_granted(monkeypatch):
    exact = opened_digits("cnn")
    assert exact.facts.precision == "float32"
    monkeypatch.setattr(openvino_settings, "precision_asked", lambda *_: "bf16")
    for precision in ("float32", "int8"):
        session = opened_digits("cnn", precision=precision)
        differs = np.abs(scores(session) - scores(exact)).max() > FLOAT32
        assert session.facts.precision == ("bfloat16" if differs else "float32")


@pytest.mark.parametrize("form", ["cnn", "mlp-int8", "mlp-litert", "mlp-openvino"])
def test_what_openvino_compiled_is_kept_and_found_again(tmp_path, form):
    precision = "int8" if form == "mlp-int8" else "float32"
    keeping = Resources(cache_dir=tmp_path)
    first = opened_digits(form, precision=precision, resources=keeping)
    (kept,) = (tmp_path / "openvino").iterdir()
    written = kept.stat().st_ino
    again = opened_digits(form, precision=precision, resources=keeping)
    assert (again.inputs, again.outputs, again.facts) == (first.inputs, first.outputs, first.facts)
    ours, theirs = (scores(each) for each in (first, again))
    np.testing.assert_array_equal(ours, theirs)
    assert [path.stat().st_ino for path in (tmp_path / "openvino").iterdir()] == [written]


def test_a_host_with_a_home_keeps_what_was_compiled_there(tmp_path):
    for _ in range(2):
        host = LocalHost(Store(), distance="device", home=tmp_path)
        assert host.resolve("digits", variant="mlp-openvino").ran.engine == "openvino"
        host.close()
    assert len([*(tmp_path / "compiled" / "openvino").iterdir()]) == 1


def test_a_kept_model_of_one_precision_is_not_taken_for_another(tmp_path):
    keeping = Resources(cache_dir=tmp_path)
    for precision in ("float32", "bfloat16", "float32", "bfloat16"):
        session = opened_digits("cnn", precision=precision, resources=keeping)
        unkept = opened_digits("cnn", precision=precision)
        assert session.facts == unkept.facts
        ours, theirs = (scores(each) for each in (session, unkept))
        np.testing.assert_array_equal(ours, theirs)


def test_a_kept_model_that_was_damaged_is_compiled_anew(tmp_path):
    keeping = Resources(cache_dir=tmp_path)
    expected = scores(opened_digits("cnn", resources=keeping))
    (kept,) = (tmp_path / "openvino").iterdir()
    whole = kept.read_bytes()
    for at in (0, 40, len(whole) // 2, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        for damaged in (bytes(flipped), whole[:at]):
            kept.write_bytes(damaged)
            session = opened_digits("cnn", resources=keeping)
            np.testing.assert_array_equal(scores(session), expected)
            assert kept.read_bytes() != damaged


def test_runs_are_what_decides_how_many_streams_openvino_makes():
    for runs in (1, 2):
        session = opened_digits("cnn", resources=Resources(runs=runs))
        assert session._native.get_property("NUM_STREAMS") == runs


def test_openvino_computes_under_a_limit_on_instructions_that_has_no_bfloat16():
    program = (
        "import numpy as np\n"
        "from wherever_devices.plans import RunPlan, departures\n"
        "from wherever_edge.engines.openvino import OpenVinoEngine\n"
        "from wherever_edge.packages.store import Store\n"
        "package = Store().get('digits')\n"
        "files = [package.read(entry) for entry in package.manifest.variant('cnn').files]\n"
        "plan = RunPlan('openvino', 'cpu', 'bfloat16', 1)\n"
        "session = OpenVinoEngine().open(files, file_format='onnx', plan=plan)\n"
        "session.run({'numbers': np.ones((3, 1, 8, 8), np.float32)})\n"
        "print(*departures(plan, session.facts.ran))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
    )
    assert done.stdout == "openvino computes in float32 here, not in bfloat16\n"


def test_threads_that_load_the_first_models_at_once_do_not_wait_for_each_other_for_ever():
    program = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from wherever_devices.plans import RunPlan\n"
        "from wherever_edge.engines.openvino import OpenVinoEngine\n"
        "from wherever_edge.packages.store import Store\n"
        "package = Store().get('digits')\n"
        "files = [package.read(entry) for entry in package.manifest.variant('cnn').files]\n"
        "plan = RunPlan('openvino', 'cpu', 'float32', 1)\n"
        "def load(_):\n"
        "    return OpenVinoEngine().open(files, file_format='onnx', plan=plan).facts.precision\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    print(set(pool.map(load, range(16))))\n"
    )
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == "{'float32'}\n"
