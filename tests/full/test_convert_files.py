"""Files of other formats than ONNX become packages, and lead to other forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wherever_convert import convert
from wherever_edge.builtin import PACKAGES, digits_test_split

DIGITS = PACKAGES / "digits"

pytestmark = pytest.mark.full


@pytest.mark.parametrize(
    ("name", "file_format", "targets"),
    [("mlp-litert.tflite", "tflite", ["ir"]), ("mlp-openvino.xml", "openvino", ["ir-fp16"])],
)
def test_other_formats_are_kept_and_lead_to_openvino(tmp_path, name, file_format, targets):
    images, labels = digits_test_split()
    rows = images.astype(np.float32).reshape(len(images), 64)
    report = convert(
        DIGITS / name,
        samples=(rows[:200], labels[:200]),
        task="classify",
        output=tmp_path / "made",
        targets=targets,
    )
    by_target = {row.target: row for row in report.rows}
    given = {"tflite": "litert", "openvino": "ir"}[file_format]
    assert set(by_target) == {given, *targets}
    assert by_target[targets[0]].agreement == 1
    kept = next((tmp_path / "made").glob(f"*-{given}{Path(name).suffix}"))
    assert kept.read_bytes() == (DIGITS / name).read_bytes()
