"""What the report of a conversion says of its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherever_convert.report import ConversionReport, Row, doubts


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


def test_a_doubt_stands_in_the_text_and_in_the_data():
    warnings = doubts([row(0.1)], 10)
    report = ConversionReport(
        package=Path("net"),
        name="net",
        version="1.0.0",
        rows=(row(0.1),),
        left_out={},
        dataset="photos",
        calibration=50,
        test=100,
        shared=False,
        damaged=(),
        skipped=0,
        pipeline={},
        warnings=warnings,
    )
    assert f"warning: {warnings[0]}" in report.text().splitlines()
    assert report.to_dict()["warnings"] == warnings
