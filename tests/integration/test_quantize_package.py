"""`wherever quantize`: smaller variants for a package that has a float one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wherever_contracts.errors import ConversionError, PackageError
from wherever_convert import convert, quantize
from wherever_edge.builtin import PACKAGES, digits_test_split
from wherever_edge.packages.store import open_package


@pytest.fixture(autouse=True)
def quiet_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def samples():
    images, labels = digits_test_split()
    return images.astype(np.float32).reshape(-1, 1, 8, 8)[:90], labels[:90]


@pytest.fixture(scope="module")
def float_package(samples, tmp_path_factory):
    output = tmp_path_factory.mktemp("float") / "ink"
    cnn = PACKAGES / "digits" / "cnn.onnx"
    convert(
        cnn, samples=samples, task="classify", output=output, targets=["fp32"], summary="reads ink"
    )
    return output


def test_a_package_gets_an_int8_variant_a_version_and_certificates_for_all(float_package, samples):
    report = quantize(float_package, samples=samples, targets=["int8"], output="more")
    package = open_package(report.package)
    package.verify()
    manifest = package.manifest
    assert manifest.version == "1.1.0"
    assert manifest.summary == "reads ink"
    assert manifest.reference == "ink-fp32"
    assert {variant.id for variant in manifest.variants} == {"ink-fp32", "ink-int8"}
    assert {entry.variant for entry in manifest.certificates} == {"ink-fp32", "ink-int8"}
    assert manifest.provenance["source"]["package"] == open_package(float_package).digest
    old = open_package(float_package).manifest.variant("ink-fp32")
    assert manifest.variant("ink-fp32").files == old.files


@pytest.mark.full
def test_without_an_output_the_package_itself_is_replaced(float_package, samples, tmp_path):
    import shutil

    shutil.copytree(float_package, tmp_path / "mine")
    quantize("mine", samples=samples, targets=["int8"], version="3.0.0")
    assert open_package(tmp_path / "mine").version == "3.0.0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_what_cannot_be_made_leaves_the_package_as_it_was(samples, tmp_path):
    from sklearn.tree import DecisionTreeClassifier

    rows, labels = samples[0].reshape(-1, 64), samples[1]
    tree = DecisionTreeClassifier(random_state=0).fit(rows, labels)
    convert(tree, samples=(rows, labels), task="classify", output="tree", targets=["fp32"])
    before = open_package(tmp_path / "tree").digest
    for targets in (["int8"], []):
        with pytest.raises(ConversionError, match="nothing in it has weights that int8 could hold"):
            quantize("tree", samples=(rows, labels), targets=targets)
    assert open_package(tmp_path / "tree").digest == before
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "none"}, r"has no variant 'none' \(it has: ink-fp32\)"),
        ({"targets": ["int3"]}, "there is no target 'int3'"),
        ({"max_drop": 2}, "max_drop must be from 0 to 1"),
        ({"version": "0.9.0"}, "the new version must be above 1.0.0"),
        ({"samples": np.zeros((3, 5))}, r"expected float32\[1, 8, 8\]"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(float_package, samples, arguments, message):
    with pytest.raises(ConversionError, match=message):
        quantize(float_package, **{"samples": samples, "output": "out", **arguments})


def test_an_int8_variant_is_no_start(samples):
    with pytest.raises(ConversionError, match="mlp-int8' is int8; smaller ones are"):
        quantize(PACKAGES / "digits", samples=samples, variant="mlp-int8", output="out")


@pytest.mark.full
def test_the_command_tells_the_same_as_the_function(float_package, samples, tmp_path, capsys):
    from wherever.cli import main

    np.savez(tmp_path / "samples.npz", x=samples[0], y=samples[1])
    arguments = ["quantize", str(float_package), "--samples", "samples.npz", "-o", "out"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--target", "int8", "--report", "page.html", "--json"])
    assert ended.value.code in {0, None}
    said = json.loads(capsys.readouterr().out)
    assert said["version"] == "1.1.0"
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_something_else_than_a_package_is_refused(samples, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PackageError):
        quantize("empty", samples=samples, output="out")
