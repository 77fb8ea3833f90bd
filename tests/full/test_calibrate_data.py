"""Real data sets are samples as they lie there, and real packages are calibrated on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wherever_convert.calibrating import calibrate
from wherever_convert.joining import add_variant
from wherever_convert.samples import SampleOptions, read_samples
from wherever_edge.packages.pairs import read_pairs
from wherever_edge.packages.store import open_package

pytestmark = pytest.mark.full

EXAMPLES = Path(__file__).parents[2] / "examples"
SST2 = {"header": False, "columns": {"text": "1", "label": "2"}}


def read(path, **options):
    return read_samples(path, SampleOptions(most=5000, **options))


def built(example, root, *arguments):
    command = [sys.executable, str(EXAMPLES / example / "build.py"), "-o", str(root)]
    subprocess.run([*command, *map(str, arguments)], check=True)
    return root


@pytest.mark.parametrize(
    ("path", "options", "form", "count", "labels"),
    [
        ("text/sst2_dev.tsv", SST2, "texts", 872, ("0", "1")),
        (
            "text/sms_spam_even_lines.tsv",
            {"header": False, "columns": {"text": "2", "label": "1"}},
            "texts",
            2787,
            ("ham", "spam"),
        ),
        (
            "text/ag_news_test_first2000.csv",
            {"header": False, "columns": {"text": "3", "label": "1"}},
            "texts",
            2000,
            ("1", "2", "3", "4"),
        ),
        ("files/magika_basic", {}, "files", 76, None),
        ("images/cifar10", {}, "images", 500, None),
        ("images/coco_val2017", {}, "images", 64, None),
    ],
)
def test_a_data_set_is_read_as_it_lies_there(test_data, path, options, form, count, labels):
    samples = read(test_data / path, **options)
    assert (samples.form, len(samples.items), samples.damaged) == (form, count, ())
    assert all(item.truth is not None for item in samples.items)
    assert labels is None or samples.labels == labels
    assert samples.digest() == read(test_data / path, **options).digest()


def test_photos_are_read_by_the_table_that_names_them(test_data):
    images = test_data / "images"
    samples = read(
        images / "imagenet1k_labels.csv",
        images=images / "imagenet1k",
        columns={"label": "class_index_0_999"},
    )
    assert (samples.form, len(samples.items)) == ("images", 334)
    assert [item.truth for item in samples.items[:3]] == ["0", "3", "6"]


def test_a_detector_is_calibrated_against_a_better_one(test_data, tmp_path):
    models = test_data / "models"
    root = built(
        "people",
        tmp_path / "people",
        *("--fastestdet", models / "FastestDet.onnx"),
        *("--yolox", models / "yolox_nano.onnx"),
        *("--labels", models / "coco80.names"),
    )
    made = calibrate(root, test_data / "images" / "coco_val2017")
    assert (made.variant, made.against, made.n) == ("fastestdet", "yolox-nano", 64)
    pairs = made.pairs
    assert pairs.right.mean() < pairs.right_against.mean()
    assert 0.4 < pairs.agreement.mean() < 0.8
    assert any("only 64 pairs" in each for each in made.warnings)


def test_a_text_model_is_calibrated_and_a_worse_reference_is_warned_of(test_data, tmp_path):
    models = test_data / "models"
    model = models / "nl_classifier_builtin_ops.tflite"
    root = built("sentiment", tmp_path / "sentiment", "--model", model)
    add_variant(root, models / "movie_review.tflite")
    made = calibrate(root, test_data / "text" / "sst2_dev.tsv", reading=SampleOptions(**SST2))
    assert (made.n, made.against) == (872, "movie_review")
    assert made.pairs.right.mean() == pytest.approx(0.830, abs=0.01)
    assert any("to escalate makes answers worse" in each for each in made.warnings)
    package = open_package(root)
    assert read_pairs(package, package.manifest.variant(made.variant)).confidence.size == 872


def test_a_model_of_files_is_calibrated_on_folders_of_files(test_data, tmp_path):
    models = test_data / "models"
    root = built(
        "filetype",
        tmp_path / "filetype",
        *("--model", models / "magika_fast_v2_1.onnx"),
        *("--config", models / "magika_fast_v2_1.config.min.json"),
        *("--reference", models / "magika_standard_v3_3.onnx"),
        *("--reference-config", models / "magika_standard_v3_3.config.min.json"),
    )
    made = calibrate(root, test_data / "files" / "magika_basic")
    assert made.n == 76
    assert np.sum(made.pairs.right_against) == 76
    assert np.sum(made.pairs.right) == 70
