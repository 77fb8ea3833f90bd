"""`wherever prove`: whether a package is what it was made as, on this machine."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from wherever.cli import main
from wherever_contracts.certificate import parse_certificate
from wherever_convert import convert, prove
from wherever_convert.builder import build_package, build_with_golden
from wherever_convert.proof.certify import write_certificates
from wherever_edge.builtin import PACKAGES, digits_test_split
from wherever_edge.packages.store import open_package

DIGITS = PACKAGES / "digits"


@pytest.fixture(scope="module")
def samples():
    images, labels = digits_test_split()
    return images[:90].astype(np.float32), labels[:90]


@pytest.fixture(scope="module")
def converted(samples, tmp_path_factory):
    """A package with certificates, measured."""
    output = tmp_path_factory.mktemp("converted") / "numbers"
    like = f"{DIGITS}:cnn"
    kwargs = {"samples": samples, "task": "classify", "like": like}
    convert(DIGITS / "cnn.onnx", output=output, targets=["fp32"], **kwargs)
    return output


@pytest.fixture(scope="module")
def golden_digits(tmp_path_factory):
    """The package that comes along, with golden samples of today."""
    root = tmp_path_factory.mktemp("golden") / "digits"
    shutil.copytree(DIGITS, root)
    images, _ = digits_test_split()
    build_with_golden(root, read(root), [images[n].astype(np.float32) for n in (3, 40)])
    assert prove(root).passed
    return root


@pytest.fixture
def copied(converted, tmp_path):
    return shutil.copytree(converted, tmp_path / "numbers")


def read(root):
    return json.loads((root / "model.json").read_bytes())


def rebuilt(root, data):
    """The package with every digest made right again."""
    listed = [*data["files"], *(file for each in data["variants"] for file in each["files"])]
    listed += [each["file"] for each in (*data["golden"], *data["certificates"])]
    for entry in listed:
        entry.pop("sha256", None)
        entry.pop("bytes", None)
    return build_package(root, data)


def certificates(package):
    listed = package.manifest.certificates
    return [parse_certificate(package.read(each.file), each.file.path) for each in listed]


def claimed(root, **changes):
    """The package, whose certificates are about what it holds now, and say these things."""
    package = open_package(root)
    made = [
        each.model_copy(update={"about": package.answers_digest(each.variant), **changes})
        for each in certificates(package)
    ]
    write_certificates(root, made)
    return rebuilt(root, read(root))


def reasons(proof):
    return [*proof.problems, *(why for each in proof.verdicts for why in each.reasons)]


def test_what_was_converted_passes_in_every_engine_here(converted):
    proof = prove(converted)
    assert proof.passed
    assert {each.engine for each in proof.verdicts} == {"onnxruntime", "openvino"}
    assert all(each.certified and each.golden and each.worst <= 1 for each in proof.verdicts)
    assert all(each.certified_memory_bytes and each.latency_s for each in proof.verdicts)


def test_certificates_say_what_was_measured(converted, samples):
    package = open_package(converted)
    made = certificates(package)
    assert {each.about for each in made} == {
        package.answers_digest(variant.id) for variant in package.present()
    }
    for each in made:
        assert each.metric.low <= each.metric.value <= each.metric.high
        assert each.metric.drop == pytest.approx(each.metric.reference - each.metric.value)
        assert each.error is not None
        assert each.latency.median_s <= each.latency.p95_s
        assert each.dataset.n < len(samples[0])
        assert each.golden == len(package.manifest.golden)
        assert each.tools[each.engine]


def test_the_metric_on_the_same_samples_is_what_was_certified(converted, samples):
    proof = prove(converted, samples)
    assert proof.passed
    stated = {
        (each.variant, each.engine): each.metric.value
        for each in certificates(open_package(converted))
    }
    assert {(each.variant, each.engine): each.value for each in proof.verdicts} == stated


def test_a_metric_that_was_only_claimed_fails(copied, samples):
    for each in certificates(open_package(copied)):
        better = each.metric.model_copy(update={"value": 0.5, "low": 0.49, "high": 0.51})
    claimed(copied, metric=better)
    assert prove(copied).passed
    proof = prove(copied, samples)
    assert not proof.passed
    assert "it was certified as 0.5000" in reasons(proof)[0]


def test_other_contents_have_no_certificate(copied):
    data = read(copied)
    for variant in data["variants"]:
        variant["pipeline"]["pre"][0]["full"] = 15.0
    rebuilt(copied, data)
    assert "the certificate is about other contents" in reasons(prove(copied))


def noisy(root):
    model = onnx.load(root / "cnn.onnx")
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size >= 64:
            noise = np.random.default_rng(0).normal(0, 0.1 * array.std(), array.shape)
            noisier = (array + noise).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(noisier, tensor.name))
    onnx.save(model, root / "cnn.onnx")


def exchange_labels(data):
    labels = data["signature"]["value"]["labels"]
    labels[3], labels[8] = labels[8], labels[3]


def without_softmax(root):
    model = onnx.load(root / "cnn.onnx")
    (node,) = [node for node in model.graph.node if node.op_type == "Softmax"]
    node.op_type = "Identity"
    del node.attribute[:]
    onnx.save(model, root / "cnn.onnx")


@pytest.mark.parametrize(
    ("of_files", "of_manifest", "part"),
    [
        (noisy, None, "given/cnn"),
        (without_softmax, None, "given/cnn"),
        (None, exchange_labels, "signature"),
    ],
)
def test_golden_samples_alone_stop_what_was_changed(
    golden_digits, tmp_path, of_files, of_manifest, part
):
    root = shutil.copytree(golden_digits, tmp_path / "digits")
    data = read(root)
    if of_files is not None:
        of_files(root)
    if of_manifest is not None:
        of_manifest(data)
    rebuilt(root, data)
    proof = prove(root)
    assert not proof.passed
    assert all(part in why for why in reasons(proof))


def test_a_package_without_any_proof_fails(build_scales, tmp_path):
    proof = prove(build_scales(tmp_path / "scales"))
    assert not proof.passed
    assert "neither golden samples nor a certificate" in reasons(proof)[0]


def test_golden_samples_that_are_gone_are_missed(copied):
    rest = read(copied)
    rest["golden"] = []
    shutil.rmtree(copied / "golden")
    rebuilt(copied, rest)
    proof = prove(copied)
    assert "there are none" in reasons(proof)[0]


def test_a_damaged_file_fails_before_anything_runs(copied):
    path = next(copied.glob("*.onnx"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    proof = prove(copied)
    assert not proof.passed
    assert proof.verdicts == ()
    assert "sha256" in reasons(proof)[0]


def test_an_engine_that_is_not_here_is_not_run(copied):
    data = read(copied)
    for variant in data["variants"]:
        variant["needs"]["engines"].append("another")
    rebuilt(copied, data)
    proof = prove(copied)
    assert proof.passed
    assert {each.outcome for each in proof.verdicts if each.engine == "another"} == {"not run"}


def test_a_file_that_no_engine_reads_fails(copied):
    data = read(copied)
    for path in copied.glob("*.onnx"):
        path.write_bytes(b"noise")
    rebuilt(copied, data)
    claimed(copied, machine={})
    proof = prove(copied)
    assert not proof.passed
    assert "runs in no engine here" in reasons(proof)[0]


def test_a_certificate_of_another_model_fails(copied):
    claimed(copied, model="somebody")
    assert any("is about" in why for why in reasons(prove(copied)))


def test_only_the_engines_that_are_asked_for_are_run(converted):
    proof = prove(converted, engines=["onnxruntime"])
    assert proof.passed
    assert {each.engine for each in proof.verdicts} == {"onnxruntime"}


def test_the_command_says_passed_and_ends_with_0(converted, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["prove", str(converted)])
    assert caught.value.code in (None, 0)
    assert "passed" in capsys.readouterr().out


def test_the_command_says_what_failed_and_ends_with_1(copied, capsys):
    data = read(copied)
    exchange_labels(data)
    rebuilt(copied, data)
    with pytest.raises(SystemExit) as caught:
        main(["prove", str(copied), "--json"])
    assert caught.value.code == 1
    said = json.loads(capsys.readouterr().out)
    assert said["passed"] is False
    assert said["verdicts"][0]["outcome"] == "failed"


def test_the_command_refuses_what_is_no_package(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["prove", str(tmp_path)])
    assert caught.value.code == 1
    assert "model.json" in capsys.readouterr().err
