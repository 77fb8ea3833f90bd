"""Every public model file in every engine that claims its format: it agrees, or is refused.

The reference is ONNX Runtime for `.onnx` and LiteRT for `.tflite`, on photographs and texts.

Tolerances are absolute, on the models' own outputs. Engines that compute in float32 differ in the
order of their sums alone, and each photograph must keep within the tolerance. The two engines that
run int8 files round between layers in their own ways, by a step of a layer's scale each time; over
20 to 50 layers that comes to some steps of the outputs' scale (1/256 of a probability), and where a
network wavers between two classes to many. Over 40 photographs the median was 0 to 5 steps (7 for
the small residual network) and the worst 65; the first class was another for one photograph of 234.
So of int8 files the median photograph is bounded by twice that, the worst by 0.3, and 19 of 20 keep
their first class. That they are as accurate in each engine is tested with their packages.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from wherever_contracts.errors import EngineError
from wherever_devices.plans import RunPlan, departures
from wherever_edge.engines.litert import LiteRtEngine
from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine
from wherever_edge.engines.openvino import OpenVinoEngine

ENGINES = {
    engine.name: engine for engine in (OnnxRuntimeEngine(), OpenVinoEngine(), LiteRtEngine())
}
REFERENCES = {"onnx": "onnxruntime", "tflite": "litert"}
STEP = 1 / 256
WORST_INT8 = 0.3


class Runs(NamedTuple):
    """A file that an engine runs: in what it computes, and how far off the reference it may be."""

    precision: str
    tolerance: float


class Refused(NamedTuple):
    """A file that an engine cannot read, with words of its reason."""

    words: str


FLOAT = Runs("float32", 1e-5)
DETECTOR = Runs("float32", 1e-3)  # raw outputs, up to 10 in size
EXACT = Runs("int8", 0.0)
NO_OPERATION = Refused("TFLite_Detection_PostProcess")

EXPECTED = {
    "FastestDet.onnx": {"onnxruntime": Runs("float32", 0.0), "openvino": DETECTOR},
    "magika_fast_v2_1.onnx": {"onnxruntime": Runs("float32", 0.0), "openvino": FLOAT},
    "magika_standard_v3_3.onnx": {
        "onnxruntime": Runs("float32", 0.0),
        "openvino": Runs("float32", 1e-4),
    },
    "picodet_s_416_coco.onnx": {"onnxruntime": Runs("float32", 0.0), "openvino": DETECTOR},
    "ultraface-RFB-320.onnx": {"onnxruntime": Runs("float32", 0.0), "openvino": FLOAT},
    "ultraface-slim-320.onnx": {"onnxruntime": Runs("float32", 0.0), "openvino": FLOAT},
    "yolox_nano.onnx": {"onnxruntime": Runs("float32", 0.0), "openvino": DETECTOR},
    "cifar10_resnet8_float.tflite": {"litert": Runs("float32", 0.0), "openvino": FLOAT},
    "cifar10_resnet8_int8.tflite": {"litert": EXACT, "openvino": Runs("int8", 14 * STEP)},
    "cifar10_resnet_large_float.tflite": {"litert": Runs("float32", 0.0), "openvino": FLOAT},
    "cifar10_resnet_large_int8.tflite": {"litert": EXACT, "openvino": Runs("int8", 4 * STEP)},
    "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite": {
        "litert": EXACT,
        "openvino": NO_OPERATION,
    },
    # OpenVINO computes this one in float32, and says so: its weights are unsigned
    "mobilenet_v1_0.25_128_quant.tflite": {
        "litert": EXACT,
        "openvino": Runs("float32", 4 * STEP),
    },
    "mobilenet_v1_0.25_224_float.tflite": {"litert": Runs("float32", 0.0), "openvino": FLOAT},
    "mobilenet_v1_0.25_224_quant.tflite": {"litert": EXACT, "openvino": Runs("int8", 4 * STEP)},
    "mobilenet_v2_1.0_224_quant.tflite": {"litert": EXACT, "openvino": Runs("int8", 9 * STEP)},
    # it runs, and is right half the time: a model may be useless without an error
    "movie_review.tflite": {"litert": Runs("float32", 0.0), "openvino": FLOAT},
    "nl_classifier_builtin_ops.tflite": {"litert": Runs("float32", 0.0), "openvino": FLOAT},
    "person_detect.tflite": {
        "litert": Refused("quantized_dimension must be in range"),
        "openvino": Refused("axis 3 is out of range"),
    },
    "regex_one_embedding_with_metadata.tflite": {
        "litert": Runs("float32", 0.0),
        "openvino": FLOAT,
    },
    "vww_96_float.tflite": {"litert": Runs("float32", 0.0), "openvino": FLOAT},
    "vww_96_int8.tflite": {"litert": EXACT, "openvino": EXACT},
}
# what the pixels of a photograph, 0 to 255, are made into: (subtracted, divided by)
PIXELS = {
    "FastestDet": (0, 255),
    "vww_96_float": (0, 255),
    "ultraface": (127, 128),
    "picodet": (114, 57),
    "mobilenet_v1_0.25_224_float": (127.5, 127.5),
}


def form_of(file):
    return Path(file).suffix[1:]


def opened(engine, content, file, precision):
    plan = RunPlan(engine, "cpu", precision, 1)
    return ENGINES[engine].open([content], file_format=form_of(file), plan=plan)


def photograph(path, spec, file, span):
    """A photograph as a model takes it; `span`: what 0 and 255 are for a quantized input."""
    picture = Image.open(path).convert("RGB")
    channels_first = spec.shape[1] == 3
    height, width = spec.shape[2:] if channels_first else spec.shape[1:3]
    pixels = np.asarray(picture.resize((width, height)), np.float32)
    if span is not None:
        pixels = span[0] + pixels / 255 * (span[1] - span[0])
    for start, (less, divisor) in PIXELS.items():
        if file.startswith(start):
            pixels = (pixels - less) / divisor
    rows = pixels.transpose(2, 0, 1) if channels_first else pixels
    return np.ascontiguousarray(rows[None], np.float32)


def tokens(spec, number):
    """Words by their numbers, then padding; for Magika the bytes of a program's text."""
    length = spec.shape[1]
    if length in (1024, 2048):
        text = b"import numpy as np\n" * 200 + bytes(number)
        return np.frombuffer(text[:length], np.uint8)[None].astype(spec.numpy_dtype)
    drawn = np.random.default_rng(number).integers(1, 5000, (1, length))
    drawn[:, 30 + number :] = 0
    return drawn.astype(spec.numpy_dtype)


def feeds(test_data, session, file, count):
    (spec,) = session.inputs
    span = session.ranges.get(spec.name)
    for number, path in enumerate(photographs(test_data, spec, count)):
        if len(spec.shape) == 4:
            yield {spec.name: photograph(path, spec, file, span)}
        else:
            yield {spec.name: tokens(spec, number)}


def photographs(test_data, spec, count):
    """Some photographs, of the size that a model was made for."""
    folder = "cifar10" if spec.shape[-3:] == (32, 32, 3) else "imagenet1k"
    there = sorted((test_data / "images" / folder).rglob("*.[jJ]*"))
    return there[:: len(there) // count][:count]


def test_the_table_names_every_model_file_and_every_engine_that_claims_its_format(test_data):
    there = {path.name for path in (test_data / "models").iterdir() if form_of(path) in REFERENCES}
    assert there == set(EXPECTED)
    for file, engines in EXPECTED.items():
        claims = {name for name, engine in ENGINES.items() if form_of(file) in engine.formats}
        assert set(engines) == claims, file


@pytest.mark.parametrize("file", EXPECTED)
def test_a_model_file_runs_and_agrees_or_is_refused_with_the_engines_reason(test_data, file):
    content = (test_data / "models" / file).read_bytes()
    planned = "int8" if "int8" in file or "quant" in file else "float32"
    sessions = {}
    for engine, expected in EXPECTED[file].items():
        if isinstance(expected, Refused):
            with pytest.raises(EngineError, match=expected.words):
                opened(engine, content, file, planned)
            continue
        session = sessions[engine] = opened(engine, content, file, planned)
        plan = RunPlan(engine, "cpu", planned, 1)
        says = (
            ()
            if expected.precision == planned
            else (f"{engine} computes in {expected.precision} here, not in {planned}",)
        )
        assert departures(plan, session.facts.ran) == says
    reference = sessions.get(REFERENCES[form_of(file)])
    for engine, session in sessions.items():
        assert (session.inputs, session.outputs) == (reference.inputs, reference.outputs)
        agree(test_data, file, session, reference, EXPECTED[file][engine])


def agree(test_data, file, session, reference, allowed):
    """The outputs of two sessions of one file are within what is allowed."""
    rounds = reference.facts.precision == "int8" and session is not reference
    pairs = [
        (session.run(feed), reference.run(feed))
        for feed in feeds(test_data, reference, file, 20 if rounds else 2)
    ]
    off = [furthest(*pair) for pair in pairs]
    kept = [same_first_class(*pair) for pair in pairs]
    if rounds:
        assert np.median(off) <= allowed.tolerance
        assert max(off) <= WORST_INT8
        assert np.mean(kept) >= 0.95
    else:
        assert max(off) <= allowed.tolerance
        assert all(kept)


def furthest(found, expected):
    assert list(found) == list(expected)
    assert all(np.isfinite(array).all() for array in expected.values())
    return max(float(np.abs(found[name] - array).max()) for name, array in expected.items())


def same_first_class(found, expected):
    """Whether every output that is a row of scores has its greatest in the same place."""
    rows = {name: array for name, array in expected.items() if array.ndim == 2}
    return all((found[n].argmax(axis=1) == array.argmax(axis=1)).all() for n, array in rows.items())


@pytest.mark.parametrize(
    ("file", "reference", "in_bfloat16"),
    [
        ("magika_fast_v2_1.onnx", "onnxruntime", 0.05),
        ("vww_96_float.tflite", "litert", 0.02),
        ("cifar10_resnet8_float.tflite", "litert", 0.02),
    ],
)
def test_one_file_in_two_engines_and_two_precisions_agrees_within_each_ones_tolerance(
    test_data, file, reference, in_bfloat16
):
    content = (test_data / "models" / file).read_bytes()
    ways = [(reference, "float32"), ("openvino", "float32"), ("openvino", "bfloat16")]
    sessions = [opened(engine, content, file, precision) for engine, precision in ways]
    facts = [(session.facts.engine, session.facts.precision) for session in sessions]
    has_bfloat16 = facts[2][1] == "bfloat16"  # where the processor has none, float32 is told
    assert facts == [*ways[:2], ("openvino", "bfloat16" if has_bfloat16 else "float32")]
    off = []
    for feed in feeds(test_data, sessions[0], file, 3):
        exact, other, rounded = (session.run(feed) for session in sessions)
        assert furthest(other, exact) <= 1e-5
        off.append(furthest(rounded, exact))
    assert max(off) <= in_bfloat16
    assert (max(off) > 1e-5) == has_bfloat16, "what is told apart also differs"
