"""The package `people`, built by its script from the real models and measured on real images."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

import wherever
from wherever_contracts.errors import InputError
from wherever_edge.host import LocalHost
from wherever_edge.inputs import InputChecker, check_options
from wherever_edge.packages.store import Store, open_package

EXAMPLE = Path(__file__).parents[2] / "examples" / "people"

# mAP on these 64 images when the models were chosen, less 0.005: score >= 0.001, suppression
# within a class at an overlap of 0.45, one class for each box, at most 100 boxes
BARS = {"fastestdet": 0.197 - 0.005, "yolox-nano": 0.331 - 0.005}


def build(models, output, *more):
    command = [sys.executable, str(EXAMPLE / "build.py"), "-o", str(output), *map(str, more)]
    for option, name in (
        ("--fastestdet", "FastestDet.onnx"),
        ("--yolox", "yolox_nano.onnx"),
        ("--labels", "coco80.names"),
    ):
        command += [option, str(models / name)]
    subprocess.run(command, check=True)
    return open_package(output)


@pytest.fixture(scope="module")
def images(test_data):
    return test_data / "images" / "coco_val2017"


@pytest.fixture(scope="module")
def package(test_data, images, tmp_path_factory):
    """Built with the figures that were measured on the images."""
    output = tmp_path_factory.mktemp("packages") / "people"
    return build(test_data / "models", output, "--quality-from", images)


@pytest.fixture(scope="module")
def report(package, images):
    command = [sys.executable, str(EXAMPLE / "evaluate.py"), str(package.root), str(images)]
    ran = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def host(package):
    host = LocalHost(Store([package.root], builtin=False), distance="device")
    yield host
    host.close()


@pytest.fixture(scope="module", params=list(BARS))
def variant(request, host):
    return host.resolve("people", variant=request.param)


@pytest.fixture(scope="module")
def photo(images):
    return (images / "images" / "000000000139.jpg").read_bytes()


def ask(variant, value, **options):
    inputs = InputChecker(variant.signature).check(value)
    return variant.answer(inputs, check_options(variant.signature, options))


def same(one, other):
    return all(np.array_equal(one.outputs[name], other.outputs[name]) for name in one.outputs)


@pytest.mark.parametrize("name", BARS)
def test_each_variant_finds_what_it_found_when_it_was_chosen(report, name):
    figures = {each["metric"]: each for each in report["variants"][name]["quality"]}
    assert figures["mAP"]["n"] == 64
    assert figures["mAP"]["value"] >= BARS[name]


def test_the_measured_figures_stand_in_the_package(package, report):
    for variant in package.manifest.variants:
        recorded = {each.metric: each.value for each in variant.quality}
        measured = report["variants"][variant.id]["quality"]
        assert recorded == {each["metric"]: each["value"] for each in measured}


def test_scores_of_the_reference_are_chances(report):
    own = report["variants"]["yolox-nano"]["calibration"]
    wrong = np.abs(np.subtract(own["said"], own["true"]))
    assert np.average(wrong, weights=own["n"]) < 0.06


def test_low_confidence_tells_where_the_reference_will_answer_otherwise(report):
    figures = report["escalation"]["fastestdet"]
    assert figures["auc"] > 0.6
    assert figures["differ_among_escalated"] > figures["differ_among_kept"]
    assert figures["f1_device"] < figures["f1_escalating"] < figures["f1_reference"]


def test_the_package_says_where_it_comes_from(package):
    manifest = package.manifest
    assert manifest.licence == "BSD-3-Clause AND Apache-2.0"
    for source in manifest.provenance["sources"].values():
        assert {"repository", "path", "commit", "licence"} <= set(source)
    assert len(manifest.signature.value.labels) == 80
    assert manifest.signature.value.labels[0] == "person"


def test_the_boundary_can_be_chosen_when_building(test_data, package, tmp_path):
    assert package.manifest.boundary == "anywhere"
    kept = build(test_data / "models", tmp_path / "people", "--boundary", "site")
    assert kept.manifest.boundary == "site"


def test_the_device_runs_the_small_variant_and_the_gateway_the_reference(package):
    store = Store([package.root], builtin=False)
    chosen = {
        distance: LocalHost(store, distance=distance).resolve("people").variant.id
        for distance in ("device", "nearby", "cloud")
    }
    assert chosen == {"device": "fastestdet", "nearby": "fastestdet", "cloud": "yolox-nano"}


def test_an_answer_is_boxes_within_the_image_best_first(variant, photo):
    answer = ask(variant, photo)
    boxes, scores, classes = (answer.outputs[n] for n in ("boxes", "scores", "classes"))
    assert len(boxes) > 0
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert (boxes >= 0).all()
    assert (boxes <= [640, 426, 640, 426]).all()
    assert (np.diff(scores) <= 0).all()
    assert scores.min() >= 0.3
    assert 0 < answer.confidence < 1
    assert {"chair", "tvmonitor"} <= {variant.signature.value.labels[c] for c in classes}


def test_min_score_decides_what_is_shown(variant, photo):
    few, many = ask(variant, photo, min_score=0.8), ask(variant, photo, min_score=0.001)
    assert 0 < len(few.outputs["scores"]) < len(many.outputs["scores"]) <= 100
    assert few.outputs["scores"].min() >= 0.8
    best = len(few.outputs["scores"])
    np.testing.assert_array_equal(many.outputs["boxes"][:best], few.outputs["boxes"])


def test_an_image_gives_the_same_answer_however_it_is_given(variant, photo, images):
    pil = pillow.open(io.BytesIO(photo))
    path = images / "images" / "000000000139.jpg"
    expected = ask(variant, photo)
    for value in (path, str(path), pil, np.asarray(pil), {"image": photo}):
        assert same(ask(variant, value), expected)


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 900, 3), (900, 7), (3000, 4000, 3)])
def test_images_of_any_size_are_answered(variant, shape):
    answer = ask(variant, np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8))
    assert answer.outputs["boxes"].shape == (len(answer.outputs["scores"]), 4)


def test_boxes_follow_the_image_when_it_is_made_larger(variant, photo):
    pil = pillow.open(io.BytesIO(photo))
    small, large = ask(variant, pil), ask(variant, pil.resize((1280, 852)))
    first, second = small.outputs["boxes"][0], large.outputs["boxes"][0]
    np.testing.assert_allclose(second, first * 2, atol=12)


def test_a_damaged_image_is_the_callers_mistake(variant, photo):
    with pytest.raises(InputError, match="input 'image'"):
        ask(variant, photo[: len(photo) // 2])


def test_answers_of_many_threads_do_not_mix(variant, images):
    files = [path.read_bytes() for path in sorted((images / "images").iterdir())[:12]]
    alone = [ask(variant, data) for data in files]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda data: ask(variant, data), files * 3))
    assert all(same(one, other) for one, other in zip(together, alone * 3, strict=True))


def test_an_application_gets_detections_and_a_picture_of_them(package, photo):
    with wherever.Client(packages=[package.root]) as client:
        answer = client.predict("people", photo, min_score=0.5)
    assert answer.value[0].label == "tvmonitor"
    assert answer.value[-1].score >= 0.5
    assert answer.receipt.variant == "fastestdet"
    assert answer.plot().size == (640, 426)
