"""The committed `digits` package keeps what its manifest says."""

from __future__ import annotations

import io
import sys
import zlib
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from wherever_edge.builtin import PACKAGES, digits_test_split
from wherever_edge.host import LocalHost
from wherever_edge.images import Image
from wherever_edge.inputs import InputChecker
from wherever_edge.packages.pairs import pairs_with_reference, read_pairs
from wherever_edge.packages.store import Store

MOST_BYTES = 300_000
MOST_DEVICE_BYTES = 20 * 1024
MOST_PAIRS_BYTES = 4 * 1024  # in the wheel
DEVICE, REFERENCE = "mlp-int8", "cnn"
VARIANTS = (DEVICE, "mlp-litert", "mlp-openvino", REFERENCE)


@pytest.fixture(scope="module")
def package():
    return Store().get("digits")


@pytest.fixture(scope="module")
def host():
    with_builtin = LocalHost(Store(), distance="device", threads=1)
    yield with_builtin
    with_builtin.close()


@pytest.fixture(scope="module")
def split():
    return digits_test_split()


@pytest.fixture(scope="module")
def scores(host, split):
    """variant -> its probabilities [593, 10] for the numbers of the test split."""
    images, _ = split
    return {variant: answers(host, variant, images.astype(np.float32)) for variant in VARIANTS}


def answers(host, variant, images):
    """The scores [n, 10] that the whole pipeline of `variant` gives, one call an image."""
    loaded = host.resolve("digits", variant=variant)
    check = InputChecker(loaded.signature).check
    return np.stack([loaded.answer(check(image), {}).outputs["scores"] for image in images])


def stated_accuracy(package, variant):
    (figure,) = [
        quality
        for quality in package.manifest.variant(variant).quality
        if quality.dataset == "uci-digits test split"
    ]
    assert figure.n == 593
    return figure.value


def drawn(numbers, rng, *, ink, paper, noise, resample):
    """A digit's numbers, enlarged and put somewhere on a sheet of 128 x 96: uint8 RGB."""
    side = int(rng.integers(48, 85))
    small = PIL.Image.fromarray((numbers * (255 / 16)).astype(np.uint8))
    large = np.asarray(small.resize((side, side), resample), np.float32) / 255
    amount = np.zeros((128, 96), np.float32)
    top, left = rng.integers(2, 127 - side), rng.integers(2, 95 - side)
    amount[top : top + side, left : left + side] = large
    grey = paper + (ink - paper) * amount + rng.normal(0, noise, amount.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_the_package_is_whole_and_small(package):
    package.verify()
    assert package.trust == "wheel"
    assert sum(f.stat().st_size for f in package.root.rglob("*")) <= MOST_BYTES
    for variant in VARIANTS[:-1]:
        files = package.manifest.variant(variant).files
        assert sum(file.bytes for file in files) <= MOST_DEVICE_BYTES


def test_the_device_gets_the_small_variant_and_escalation_asks_for_the_cnn(package):
    assert package.manifest.reference == REFERENCE
    assert package.manifest.variant(REFERENCE).places == ("cloud",)
    assert package.manifest.variant(DEVICE).places == ("device", "nearby", "cloud")
    assert package.manifest.variant(DEVICE).precision == "int8"
    assert package.manifest.variant(REFERENCE).escalate_below is None


def test_a_device_with_the_base_installation_alone_has_what_it_had(package, monkeypatch):
    for module in ("openvino", "ai_edge_litert"):
        monkeypatch.setitem(sys.modules, module, None)
    for distance, variant in (("device", DEVICE), ("cloud", REFERENCE)):
        loaded = LocalHost(Store(), distance=distance, threads=1).resolve("digits")
        assert (loaded.variant.id, loaded.ran.engine) == (variant, "onnxruntime")
        assert loaded.passed_over == ()


@pytest.mark.parametrize(
    ("there", "variant", "engine"),
    [
        ({"onnxruntime", "openvino", "ai_edge_litert"}, DEVICE, "onnxruntime"),
        ({"openvino", "ai_edge_litert"}, DEVICE, "openvino"),
        ({"openvino"}, DEVICE, "openvino"),
        ({"ai_edge_litert"}, "mlp-litert", "litert"),
    ],
)
def test_a_device_takes_the_first_variant_that_an_engine_there_reads(
    split, monkeypatch, there, variant, engine
):
    for module in {"onnxruntime", "openvino", "ai_edge_litert"} - there:
        monkeypatch.setitem(sys.modules, module, None)
    loaded = LocalHost(Store(), distance="device", threads=1).resolve("digits")
    images, labels = split
    answer = loaded.answer({"image": images[0].astype(np.float32)}, {})
    assert (answer.ran.variant, answer.ran.engine) == (variant, engine)
    assert answer.outputs["scores"].argmax() == labels[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_accuracy_on_the_test_split_is_what_the_manifest_says(package, scores, split, variant):
    accuracy = (scores[variant].argmax(axis=1) == split[1]).mean()
    assert accuracy == pytest.approx(stated_accuracy(package, variant), abs=0.002)


def test_the_small_variant_leaves_something_to_gain_and_the_cnn_gains_it(package):
    assert 0.90 <= stated_accuracy(package, DEVICE) <= 0.96
    assert stated_accuracy(package, REFERENCE) >= 0.985


def test_asking_the_cnn_when_unsure_gains_two_points_for_a_third_of_the_calls(
    package, scores, split
):
    small, large = scores[DEVICE], scores[REFERENCE]
    unsure = small.max(axis=1) < package.manifest.variant(DEVICE).escalate_below
    labels = np.where(unsure, large.argmax(axis=1), small.argmax(axis=1))
    alone = (small.argmax(axis=1) == split[1]).mean()
    assert (labels == split[1]).mean() >= alone + 0.02
    assert unsure.mean() <= 0.35


@pytest.mark.parametrize("variant", VARIANTS[:-1])
def test_pairs_for_promises_are_what_calls_give_for_the_test_split(package, scores, split, variant):
    entry = package.manifest.variant(variant).calibration
    assert (entry.against, entry.dataset, entry.n) == (REFERENCE, "uci-digits test split", 593)
    assert len(zlib.compress(package.read(entry.file))) <= MOST_PAIRS_BYTES
    pairs = read_pairs(package, package.manifest.variant(variant))
    (own, other), labels = (scores[each].argmax(axis=1) for each in (variant, REFERENCE)), split[1]
    here = (scores[variant].max(axis=1), own == other, own == labels, other == labels, own)
    # a processor of another kind may round one digit's scores to another label
    apart = [(np.abs(kept - found) > 0.02).mean() for kept, found in zip(pairs, here, strict=True)]
    assert max(apart) <= 0.002


def test_pairs_with_another_variant_than_the_reference_are_no_evidence(package):
    assert pairs_with_reference(package, DEVICE) is not None
    assert pairs_with_reference(package, REFERENCE) is None
    assert pairs_with_reference(package, "a variant of a gateway") is None
    other = package.manifest.model_copy(update={"reference": "mlp-litert"})
    assert pairs_with_reference(replace(package, manifest=other), DEVICE) is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_are_probabilities_and_the_confidence_is_the_best_of_them(host, split, variant):
    loaded = host.resolve("digits", variant=variant)
    answer = loaded.answer({"image": split[0][0].astype(np.float32)}, {})
    assert answer.outputs["scores"].sum() == pytest.approx(1, abs=1e-5)
    assert answer.confidence == pytest.approx(answer.outputs["scores"].max())


@pytest.mark.parametrize("variant", VARIANTS)
def test_many_rows_in_one_run_get_the_same_labels_as_one_by_one(host, split, scores, variant):
    rows = [{"image": image.astype(np.float32)} for image in split[0]]
    together = [
        a.outputs["scores"] for a in host.resolve("digits", variant=variant).answer_many(rows, {})
    ]
    np.testing.assert_allclose(together, scores[variant], atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("ink", "paper", "noise", "resample"),
    [
        pytest.param(30, 235, 0, PIL.Image.Resampling.NEAREST, id="dark on light, blocky"),
        pytest.param(240, 20, 0, PIL.Image.Resampling.BICUBIC, id="light on dark, smooth"),
        pytest.param(30, 235, 20, PIL.Image.Resampling.BILINEAR, id="dark on noisy paper"),
    ],
)
def test_a_drawn_digit_gets_the_label_of_its_numbers(
    host, split, scores, variant, ink, paper, noise, resample
):
    rng = np.random.default_rng(0)
    pictures = [
        Image.from_pixels(
            drawn(numbers, rng, ink=ink, paper=paper, noise=noise, resample=resample), "image"
        )
        for numbers in split[0]
    ]
    loaded = host.resolve("digits", variant=variant)
    found = [loaded.answer({"image": each}, {}).outputs["scores"].argmax() for each in pictures]
    assert (found == scores[variant].argmax(axis=1)).mean() >= 0.90


def test_a_digit_in_an_image_file_is_read(host, split):
    images, labels = split
    rgb = drawn(
        images[0],
        np.random.default_rng(1),
        ink=20,
        paper=240,
        noise=4,
        resample=PIL.Image.Resampling.BICUBIC,
    )
    for kind in ("PNG", "JPEG", "WEBP"):
        file = io.BytesIO()
        PIL.Image.fromarray(rgb).save(file, kind)
        scores = answers(host, REFERENCE, [file.getvalue()])
        assert scores.argmax() == labels[0]


def test_the_test_split_has_a_third_of_each_digit(split):
    of_all = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    images, labels = split
    assert images.shape == (593, 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    np.testing.assert_allclose(np.bincount(labels), of_all * 0.33, atol=1)


def test_every_file_beside_the_packages_is_known():
    names = {path.name for path in PACKAGES.iterdir() if path.name != "__pycache__"}
    assert names == {"__init__.py", "digits", "digits-test.npz"}
