"""What the report of a conversion says of its figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from wherever_convert.report import ConversionReport, EngineRow, Row, doubts, unjudged
from wherever_convert.samples.sample import Damaged
from wherever_convert.targets import Layer


def row(value: float, *, n: int = 100, metric: str = "top-1", precision: str = "float32") -> Row:
    return Row(
        f"net-{precision}", "fp32", precision, 1, metric, value, n, 0.0, 1.0, "onnxruntime", 0.001
    )


@pytest.mark.parametrize(
    ("value", "classes"), [(0.1, 10), (0.19, 10), (0.0, 1000), (0.5, 2), (0.64, 2), (0.4, 3)]
)
def test_a_float_variant_near_chance_is_doubted(value, classes):
    (doubt,) = doubts([row(0.9, precision="int8"), row(value)], classes)
    assert f"near chance for {classes} classes" in doubt
    assert "--scale, --mean, --std" in doubt


@pytest.mark.parametrize(
    ("measured", "classes"),
    [
        (row(0.21), 10),
        (row(0.66), 2),
        (row(0.1, n=11), 10),
        (row(0.1, metric="agreement"), 10),
        (row(0.1, precision="int8"), 10),
        (row(1.0), 1),
        (row(0.1, metric="mAP"), 0),
    ],
)
def test_what_says_too_little_or_is_good_enough_is_not_doubted(measured, classes):
    assert doubts([measured], classes) == ()


def test_that_nobody_said_what_is_right_is_told():
    (words,) = unjudged([row(1.0, metric="agreement")], known=False)
    assert "--label-column" in words
    assert unjudged([row(1.0, metric="agreement")], known=True) == ()
    assert unjudged([row(0.9, metric="cosine")], known=False) == ()


def report_of(*rows: Row, **more) -> ConversionReport:
    given = {
        "package": Path("net"),
        "name": "net",
        "version": "1.0.0",
        "rows": rows,
        "left_out": {},
        "dataset": "photos",
        "calibration": 50,
        "test": 100,
        "shared": False,
        "damaged": (),
        "skipped": 0,
        "pipeline": {},
    }
    return ConversionReport(**{**given, **more})


def test_a_doubt_stands_in_the_text_and_in_the_data():
    warnings = doubts([row(0.1)], 10)
    report = report_of(row(0.1), warnings=warnings)
    assert f"warning: {warnings[0]}" in one_line(report.text())
    assert report.to_dict()["warnings"] == warnings


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_the_figures_of_all_variants_stand_under_each_other():
    small = replace(row(0.895, precision="int8"), bytes=930_000, of_float=0.392, latency_s=0.0031)
    large = replace(row(0.9), bytes=3_490_000, latency_s=0.008)
    heads, *lines = report_of(small, large).text().splitlines()[2:7]
    assert heads.split() == ["top-1", "drop", "agrees", "median", "of", "float"]
    assert lines[0] == "net-int8: 930 kB"
    assert lines[1].split() == ["onnxruntime", "0.8950", "+0.0000", "1.0000", "3.1", "ms", "0.39"]
    assert lines[2] == "net-float32: 3.5 MB"
    assert lines[3].split()[-3:] == ["8", "ms", "-"]
    assert {len(lines[1]), len(lines[3])} == {len(heads)}
    assert lines[1].index("0.8950") == lines[3].index("0.9000")


def test_each_engine_of_a_variant_has_a_line():
    engines = [
        EngineRow("net-int8", "openvino", 0.89, 0.01, 0.98, 0.001, 0.002, 0.5, 10),
        EngineRow("net-int8", "onnxruntime", 0.88, 0.02, 0.97, 0.002, 0.003, 0.8, 10),
    ]
    small = replace(row(0.89, precision="int8"), places=("device", "cloud"))
    anywhere = replace(row(0.9), places=("device", "nearby", "cloud"))
    report = report_of(small, anywhere, engines=tuple(engines))
    _, _, _, title, first, second, third, *_ = report.text().splitlines()
    assert title == "net-int8: 1 B, for device, cloud"
    assert first.split() == ["openvino", "0.8900", "+0.0100", "0.9800", "1", "ms", "0.50"]
    assert second.split() == ["onnxruntime", "0.8800", "+0.0200", "0.9700", "2", "ms", "0.80"]
    assert third == "net-float32: 1 B"
    assert report.to_dict()["engines"][1]["of_float"] == 0.8


def test_a_long_reason_is_wrapped_without_cutting_a_name_in_two():
    name = "/model/" + "very-long-name/" * 12 + "Conv"
    why = f"{'it loses too much ' * 8}in {name}; {'another way is better ' * 6}"
    text = report_of(row(0.9), left_out={"int8": why}).text()
    assert "no int8 variant: it loses too much" in text
    assert name in text
    assert all(len(line) <= 80 or name in line for line in text.splitlines())


def test_the_text_ends_with_the_commands_that_come_next():
    *_, predict, prove = report_of(row(0.9), package=Path("my nets/net")).text().splitlines()
    assert predict.endswith("wherever predict net INPUT --packages 'my nets/net'")
    assert prove.endswith("wherever prove 'my nets/net'")


def test_the_data_of_a_report_can_be_written_as_json():
    layers = {"int8": (Layer("conv", "Conv", 0.2, quantized=False),)}
    damaged = (Damaged("a.png", "cut off"),)
    report = report_of(row(0.9), layers=layers, damaged=damaged, traces={"int8": ("tried",)})
    data = json.loads(json.dumps(report.to_dict()))
    (layer,) = data["layers"]["int8"]
    assert layer == {"name": "conv", "op": "Conv", "error": 0.2, "quantized": False}
    assert data["damaged"] == [{"name": "a.png", "reason": "cut off"}]
    assert data["package"] == "net"
