"""`wherever calibrate`: two variants are asked, and the pairs join the package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import wherever
from wherever_contracts.errors import ConversionError, PackageError
from wherever_convert.builder import build_package
from wherever_convert.calibrating import calibrate
from wherever_edge.agreement import agreement, category_of
from wherever_edge.host import LocalHost
from wherever_edge.packages.golden import check_golden
from wherever_edge.packages.pairs import read_pairs
from wherever_edge.packages.store import Store, open_package


@pytest.fixture(autouse=True)
def quiet_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def images():
    data = load_digits()
    return data.images.astype(np.float32), data.target


@pytest.fixture
def digits():
    """The package of the wheel, in a place where it may be changed."""
    shutil.copytree(Store().get("digits").root, "digits")
    return open_package(Path("digits"))


def changed(package, variant, **fields):
    """The package with other fields of a variant."""
    data = package.manifest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    data["variants"] = [
        {**each, **fields} if each["id"] == variant else each for each in data["variants"]
    ]
    return build_package(package.root, data)


def test_digits_keep_their_variants_and_gain_pairs(digits, images):
    before = {each.id: digits.variant_digest(each.id) for each in digits.manifest.variants}
    made = calibrate("digits", images)
    package = open_package(Path("digits"))
    package.verify()
    assert (made.variant, made.against, made.n) == ("mlp-int8", "cnn", 1797)
    assert (package.version, package.manifest.schema_version) == ("1.1.0", "1.5")
    assert {
        each.id: package.variant_digest(each.id) for each in package.manifest.variants
    } == before
    variant = package.manifest.variant("mlp-int8")
    assert (variant.calibration.against, variant.calibration.dataset) == ("cnn", "arrays")
    pairs = read_pairs(package, variant)
    assert np.array_equal(pairs.confidence, made.pairs.confidence)
    assert np.array_equal(pairs.category, made.pairs.category)
    assert 0.95 < pairs.agreement.mean() < 1
    assert pairs.right_against.mean() > 0.99
    assert made.auroc > 0.9
    assert read_pairs(package, package.manifest.variant("cnn")) is None
    host = LocalHost(Store(builtin=False), distance="device")
    try:
        assert check_golden(host.load(package, variant)).n > 0
    finally:
        host.close()


def test_pairs_are_what_single_calls_give_and_count_as_they_will(digits, images):
    some = images[0][40:80]
    made = calibrate("digits", some)
    assert made.pairs.right is None
    with wherever.Client(packages=["digits"]) as client:
        own = [client.predict("digits", x, mode="only_on_device") for x in some]
    host = LocalHost(Store(builtin=False), distance="cloud")
    reference = host.load(digits, digits.manifest.variant("cnn"))
    theirs = [reference.answer({"image": x}, {}).outputs for x in some]
    host.close()
    kind, answers = digits.manifest.signature, [each.outputs for each in own]
    counted = [agreement(kind, *two) for two in zip(answers, theirs, strict=True)]
    assert [answer.receipt.variant for answer in own] == ["mlp-int8"] * 40
    assert made.pairs.confidence.tolist() == pytest.approx([each.confidence for each in own])
    assert made.pairs.agreement.tolist() == counted
    assert 0 in counted
    assert made.pairs.category.tolist() == [category_of(kind, each) for each in answers]


def test_calibrating_again_replaces_the_pairs(digits, images):
    calibrate("digits", images[0][:20])
    first = open_package(Path("digits"))
    data = first.manifest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    (first.root / "calibration" / "mlp-int8.frame").rename("digits/other.frame")
    for each in data["variants"]:
        if each["id"] == "mlp-int8":
            each["calibration"]["file"]["path"] = "other.frame"
    build_package(first.root, data)
    calibrate("digits", images[0][:30], version="3.0.0")
    package = open_package(Path("digits"))
    package.verify()
    assert package.version == "3.0.0"
    assert package.manifest.variant("mlp-int8").calibration.n == 30
    assert not (package.root / "other.frame").exists()


def test_an_archive_is_calibrated_in_its_place_or_another(digits, images, answered):
    np.savez("some.npz", x=images[0][:20], y=images[1][:20])
    answered("pack", "digits", "-o", "digits.wherever")
    done = answered("calibrate", "digits.wherever", "--samples", "some.npz")
    assert (done["version"], done["n"]) == ("1.1.0", 20)
    assert open_package(Path("digits.wherever"), unpack_into=Path("one")).version == "1.1.0"
    answered("calibrate", "digits.wherever", "--samples", "some.npz", "-o", "more.wherever")
    assert open_package(Path("more.wherever"), unpack_into=Path("two")).version == "1.2.0"


def test_the_shell_says_what_thresholds_come_to(images, answered):
    np.savez("some.npz", x=images[0][:300], y=images[1][:300])
    done = answered("calibrate", "digits", "--samples", "some.npz", "-o", "out")
    assert {"auroc", "ece", "thresholds", "promises", "digest", "warnings"} <= set(done)
    assert [each for each in done["thresholds"] if each["threshold"] == 0.88]
    shares = [each["escalated"] for each in done["thresholds"]]
    assert shares == sorted(shares)
    assert open_package(Path("out")).manifest.name == "digits"


def test_two_variants_of_a_chosen_kind_are_compared(digits, images):
    made = calibrate("digits", images[0][:20], small="mlp-litert", large="mlp-int8", output="out")
    assert (made.variant, made.against) == ("mlp-litert", "mlp-int8")
    assert digits.version == open_package(Path("digits")).version == "1.0.0"
    assert open_package(Path("out")).manifest.variant("mlp-litert").calibration.n == 20


def test_a_variant_without_confidence_is_refused_with_the_step_it_needs(digits, images):
    changed(
        digits,
        "mlp-int8",
        pipeline={
            "pre": [step.model_dump() for step in digits.manifest.variant("mlp-int8").pipeline.pre],
            "post": [{"op": "first_row", "name": "scores"}],
        },
        escalate_below=None,
    )
    with pytest.raises(ConversionError, match=r"gives no confidence, .* step max_confidence"):
        calibrate("digits", images[0][:3], small="mlp-int8")


def test_a_package_with_one_variant_is_refused(build_scales, tmp_path):
    whole = build_scales(tmp_path / "scales")
    data = whole.manifest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    data |= {"reference": "small", "variants": [e for e in data["variants"] if e["id"] == "small"]}
    for variant in whole.manifest.variants:
        if variant.id != "small":
            for entry in variant.files:
                (whole.root / entry.path).unlink(missing_ok=True)
    build_package(whole.root, data)
    with pytest.raises(ConversionError, match=r"one variant, 'small', .* wherever pack add"):
        calibrate("scales", [[1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"small": "cnn"}, "'cnn' cannot be compared with itself"),
        ({"small": "none"}, r"no variant 'none' \(it has: mlp-int8"),
        ({"large": "none"}, "no variant 'none'"),
        ({"version": "0.9.0"}, r"must be above 1\.0\.0"),
        ({"output": "digits"}, "exists and is not empty"),
        ({"samples": ["some", "texts"]}, r"are texts, and the model takes image \(image\)"),
        ({"samples": np.zeros((4, 3))}, r"sample arrays\[0\] in variant mlp-int8"),
        ({"samples": (np.zeros((4, 8, 8)), ["a"] * 4)}, "not among the model's 10 labels: a"),
    ],
)
def test_what_cannot_be_calibrated_changes_nothing(digits, images, arguments, message):
    before = json.loads((digits.root / "model.json").read_text())
    given = {"samples": images[0][:4], **arguments}
    with pytest.raises(ConversionError, match=message):
        calibrate("digits", **given)
    assert json.loads((digits.root / "model.json").read_text()) == before


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(ConversionError, match=r"no package at digits; of one in the wheel.*\(-o\)"):
        calibrate("digits", [[1.0]])


def test_pairs_that_were_tampered_with_are_refused(digits, images):
    calibrate("digits", images[0][:20])
    package = open_package(Path("digits"))
    file = package.root / "calibration" / "mlp-int8.frame"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(PackageError, match=r"mlp-int8\.frame"):
        read_pairs(package, package.manifest.variant("mlp-int8"))
