"""What runtimes are told for a plan, and what their answers mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherever_devices.plans import RunPlan
from wherever_edge.engines.engine import runs_at_once
from wherever_edge.engines.onnx_providers import (
    PROVIDERS,
    computes,
    device_of,
    devices_among,
    options_for,
)
from wherever_edge.engines.openvino_settings import (
    capabilities_under,
    device_word,
    precision_asked,
    precision_used,
    settings_for,
)

XEON = frozenset({"FP32", "BF16", "FP16", "INT8"})
NPU = frozenset({"FP16", "INT8"})


def planned(device="cpu", precision="float32", threads=2, engine="openvino"):
    return RunPlan(engine, device, precision, threads)


@pytest.mark.parametrize(
    ("precision", "capabilities", "asked"),
    [
        ("float32", XEON, "f32"),
        ("bfloat16", XEON, "bf16"),
        ("float16", XEON, "f16"),
        ("int8", XEON, "f32"),
        ("bfloat16", {"FP32"}, "f32"),
        ("float16", {"FP32"}, "f32"),
        ("float32", NPU, "f16"),
        ("int8", NPU, "f16"),
    ],
)
def test_openvino_is_asked_for_what_the_device_computes_in(precision, capabilities, asked):
    assert precision_asked(precision, capabilities) == asked


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ("", XEON),
        ("default", XEON),
        ("AVX512_CORE_BF16", XEON),
        ("AVX10_1_512", XEON),
        ("AVX2", {"FP32", "INT8"}),
        ("avx2_vnni_2", {"FP32", "INT8"}),
        ("SSE41", {"FP32", "INT8"}),
    ],
)
def test_a_limit_on_instructions_takes_away_what_would_fail_under_it(limit, left):
    assert capabilities_under(XEON, limit) == left


@pytest.mark.parametrize(
    ("says", "layers", "used"),
    [
        ("f32", [], "float32"),
        ("float32", [("Convolution", "f32"), ("Input", "u8")], "float32"),
        ("f32", [("Convolution", "f32"), ("FullyConnected", "i8")], "int8"),
        ("f16", [("MatMul", "u8")], "int8"),
        ("bf16", [("Convolution", "i8")], "bfloat16"),
        ("bfloat16", [], "bfloat16"),
        ("f8e4m3", [], "f8e4m3"),
    ],
)
def test_what_openvino_computes_in_is_what_it_says_and_what_its_layers_do(says, layers, used):
    assert precision_used(says, layers) == used


def test_streams_are_as_many_as_runs_and_share_no_cores_by_pinning():
    assert settings_for(planned(), 3, XEON) == {
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": 6,
        "NUM_STREAMS": 3,
    }
    assert settings_for(planned(threads=0), 3, XEON) == {
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    assert "NUM_STREAMS" not in settings_for(planned("gpu"), 3, XEON)


@pytest.mark.parametrize(
    ("name", "word"), [("CPU", "cpu"), ("GPU.0", "gpu"), ("GPU.1", "gpu.1"), ("(NPU)", "npu")]
)
def test_devices_have_one_word_each(name, word):
    assert device_word(name) == word


def test_runs_at_once_are_what_the_cores_allow_up_to_a_bound():
    assert [runs_at_once(cores, 2) for cores in (1, 2, 6, 64)] == [1, 1, 3, 8]
    assert runs_at_once(4, 0) == 4


def test_providers_are_devices_and_the_processor_comes_first():
    offered = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert devices_among(offered) == ("cpu", "cuda", "tensorrt")
    assert devices_among(["AzureExecutionProvider", "CPUExecutionProvider"]) == ("cpu",)
    assert [device_of(provider.name) for provider in PROVIDERS.values()] == list(PROVIDERS)
    assert device_of("XnnpackExecutionProvider") == "XnnpackExecutionProvider"


def test_no_provider_may_compute_float32_in_fewer_bits_or_choose_by_timing():
    cuda = options_for(planned("cuda"), None)
    assert (cuda["use_tf32"], cuda["cudnn_conv_algo_search"]) == ("0", "HEURISTIC")
    assert options_for(planned("tensorrt"), None) == {"trt_fp16_enable": "0"}
    half = options_for(planned("tensorrt", "float16"), Path("/c"))
    assert half["trt_fp16_enable"] == "1"
    assert half["trt_engine_cache_path"] == str(Path("/c/tensorrt"))
    assert options_for(planned("openvino"), None)["precision"] == "FP32"
    assert options_for(planned("openvino"), None)["num_of_threads"] == "2"
    assert "num_of_threads" not in options_for(planned("openvino", threads=0), None)
    assert options_for(planned("coreml"), None)["ModelFormat"] == "MLProgram"
    assert options_for(planned("directml"), None) == {}
    assert options_for(planned("cpu"), None) == {}


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("assigned", "providers", "expected"),
    [
        ([], [CPU], (CPU, CPU)),
        ([], [CUDA, CPU], (CUDA, CUDA)),
        ([(CUDA, 9)], [CUDA, CPU], (CUDA, CUDA)),
        ([(CPU, 2), (CUDA, 7)], [CUDA, CPU], (CUDA, f"{CUDA} (7 of 9 nodes)")),
        ([(CPU, 9)], [CUDA, CPU], (CPU, CPU)),
        ([("other", 9)], [CUDA, CPU], (CUDA, CUDA)),
    ],
)
def test_who_computes_is_who_got_nodes_of_the_graph(assigned, providers, expected):
    assert computes(assigned, providers) == expected
