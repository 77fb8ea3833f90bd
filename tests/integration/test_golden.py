"""Golden samples: made where a package is made, checked where it is used."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from wherever_contracts.errors import DigestError, GoldenError, InputError
from wherever_contracts.frames import pack_frame, unpack_frame
from wherever_convert.builder import build_package, build_with_golden
from wherever_devices.machine import probe
from wherever_edge.host import LocalHost
from wherever_edge.packages.agreement import Tolerance
from wherever_edge.packages.archive import unpack, write_archive
from wherever_edge.packages.golden import Allowed, check_golden, extend_golden, make_golden
from wherever_edge.packages.package import open_directory
from wherever_edge.packages.store import Store

SAMPLES = [[0.1, 0.2, 0.3], [3, 1, 2], [0, 5, 1]]


@pytest.fixture
def plain(build_scales, tmp_path):
    return build_scales(tmp_path / "plain")


@pytest.fixture
def package(plain):
    return build_with_golden(plain.root, described(plain), [np.array(s, "f4") for s in SAMPLES])


def described(package):
    return json.loads((package.root / "model.json").read_bytes())


def loaded(package, variant="small"):
    host = LocalHost(Store(), distance="device", machine=probe())
    return host.load(package, package.manifest.variant(variant))


def with_sample(package, root, change):
    """The package with its first sample's arrays and facts changed."""
    shutil.copytree(package.root, root)
    path = root / package.manifest.golden[0].file.path
    arrays, meta = unpack_frame(path.read_bytes())
    arrays = dict(arrays)
    change(arrays, meta)
    path.write_bytes(pack_frame(arrays, meta))
    data = json.loads((root / "model.json").read_bytes())
    data["golden"][0]["file"] = {"path": data["golden"][0]["file"]["path"]}
    return build_package(root, data)


@pytest.mark.parametrize("variant", ["small", "large"])
def test_every_variant_gives_its_golden_answers(package, variant):
    report = check_golden(loaded(package, variant))
    assert report.n == len(SAMPLES)
    assert report.worst <= 0.01
    assert report.elapsed_s > 0


def test_a_package_without_samples_checks_nothing(plain):
    report = check_golden(loaded(plain))
    assert (report.n, report.worst) == (0, 0.0)


def test_golden_samples_leave_variant_digests_alone(plain, package):
    for variant in ("small", "large"):
        assert package.variant_digest(variant) == plain.variant_digest(variant)
    assert package.digest != plain.digest


def test_golden_samples_travel_with_an_archive(package, tmp_path):
    write_archive(package, tmp_path / "scales.wherever")
    root = unpack(tmp_path / "scales.wherever", tmp_path / "unpacked")
    unpacked = open_directory(root)
    unpacked.verify()
    assert check_golden(loaded(unpacked)).n == len(SAMPLES)


def test_golden_samples_stay_when_a_variant_is_left_out(package):
    (package.root / "large.onnx").unlink()
    rest = open_directory(package.root)
    assert sorted(entry.path for entry in rest.files()) == [
        "golden/00.frame",
        "golden/01.frame",
        "golden/02.frame",
        "small.onnx",
    ]
    assert check_golden(loaded(rest)).n == len(SAMPLES)


def test_building_again_replaces_the_samples(package):
    again = build_with_golden(package.root, described(package), [np.zeros(3, "f4")])
    assert [sample.file.path for sample in again.manifest.golden] == ["golden/00.frame"]
    assert sorted(path.name for path in (package.root / "golden").iterdir()) == ["00.frame"]
    assert check_golden(loaded(again)).n == 1


def test_a_sample_that_cannot_be_made_leaves_a_whole_package(package):
    with pytest.raises(InputError):
        build_with_golden(package.root, described(package), [np.zeros(3, "f4"), np.zeros(4, "f4")])
    rest = open_directory(package.root)
    rest.verify()
    assert rest.manifest.golden == ()
    again = build_with_golden(package.root, described(rest), [])
    assert check_golden(loaded(again)).n == 0


def test_another_answer_is_refused_with_sample_output_expected_and_found(package, tmp_path):
    def turn(arrays, meta):
        arrays["outputs/small/scores"] = arrays["outputs/small/scores"][::-1]

    bad = with_sample(package, tmp_path / "bad", turn)
    with pytest.raises(GoldenError) as caught:
        check_golden(loaded(bad))
    error = caught.value
    assert (error.file, error.field) == ("golden/00.frame", "outputs/small/scores")
    assert error.expected.startswith("'left' (0.3")
    assert error.found.startswith("'right' (0.3")
    assert check_golden(loaded(bad, "large")).n == len(SAMPLES)


def test_weights_that_changed_do_not_pass(package, build_scales, tmp_path):
    other = build_scales(tmp_path / "other")
    shutil.copy(other.root / "small.onnx", other.root / "large.onnx")
    shutil.copytree(package.root / "golden", other.root / "golden")
    data = described(other)
    data["golden"] = described(package)["golden"]
    data["variants"][1]["files"] = [{"path": "large.onnx"}]
    swapped = build_package(other.root, data)
    assert check_golden(loaded(swapped, "small")).n == len(SAMPLES)
    with pytest.raises(GoldenError, match="given/large/probabilities"):
        check_golden(loaded(swapped, "large"))


def drop_output(arrays, meta):
    del arrays["outputs/small/scores"]


def reshape_output(arrays, meta):
    arrays["outputs/small/scores"] = arrays["outputs/small/scores"][:2]


def drop_input(arrays, meta):
    del arrays["inputs/numbers"]


def unknown_option(arrays, meta):
    meta["options"] = {"min_score": 0.5}


def wild_tolerance(arrays, meta):
    meta["tolerances"]["small"] = {"atol": -1}


def strange_tolerance(arrays, meta):
    meta["tolerances"]["small"] = ["atol", 1]


def no_facts(arrays, meta):
    meta.clear()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (drop_output, "outputs/small/scores"),
        (reshape_output, "outputs/small/scores"),
        (drop_input, "inputs/numbers"),
        (unknown_option, "inputs/min_score"),
        (wild_tolerance, "tolerances/small"),
        (strange_tolerance, "tolerances/small"),
        (no_facts, ""),
    ],
)
def test_a_sample_that_makes_no_sense_is_refused(package, tmp_path, change, field):
    bad = with_sample(package, tmp_path / "bad", change)
    with pytest.raises(GoldenError) as caught:
        check_golden(loaded(bad))
    assert (caught.value.file, caught.value.field) == ("golden/00.frame", field)


def test_a_sample_that_is_no_frame_is_refused(package, tmp_path):
    path = package.root / "golden" / "00.frame"
    path.write_bytes(b"no frame")
    data = described(package)
    data["golden"][0] = {"file": {"path": "golden/00.frame"}}
    with pytest.raises(GoldenError, match="golden sample"):
        check_golden(loaded(build_package(package.root, data)))


def test_a_sample_whose_bytes_changed_is_refused_like_any_file(package):
    variant = loaded(package)
    path = package.root / "golden" / "00.frame"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DigestError, match="golden"):
        check_golden(variant)


def test_a_variant_that_a_sample_does_not_know_is_passed_over(package, plain, tmp_path):
    sample = make_golden([loaded(plain, "large")], np.array([1, 2, 3], "f4"))
    shutil.copytree(plain.root, tmp_path / "part")
    (tmp_path / "part" / "one.frame").write_bytes(sample)
    shutil.rmtree(tmp_path / "part" / "golden", ignore_errors=True)
    data = {**described(plain), "golden": [{"file": {"path": "one.frame"}}]}
    part = build_package(tmp_path / "part", data)
    assert check_golden(loaded(part, "small")).n == 0
    assert check_golden(loaded(part, "large")).n == 1


def test_a_tolerance_of_ones_own_is_kept(plain):
    sample = make_golden(
        [loaded(plain)], np.array([1, 2, 3], "f4"), allowed={"small": Allowed(Tolerance(0.25))}
    )
    assert unpack_frame(sample)[1]["tolerances"]["small"]["atol"] == 0.25


def test_a_sample_takes_up_one_more_variant(plain):
    value = np.array([1, 2, 3], "f4")
    both = make_golden([loaded(plain), loaded(plain, "large")], value)
    one = make_golden([loaded(plain)], value)
    assert extend_golden(one, loaded(plain, "large")) == both
    assert extend_golden(both, loaded(plain, "large")) == both
    with pytest.raises(GoldenError, match="golden sample"):
        extend_golden(one[:-1], loaded(plain))


def test_an_input_that_does_not_fit_makes_no_sample(plain):
    with pytest.raises(InputError):
        make_golden([loaded(plain)], np.zeros(4, "f4"))


ENGINES = [
    ("mlp-int8", "onnxruntime"),
    ("mlp-int8", "openvino"),
    ("mlp-litert", "litert"),
    ("mlp-litert", "openvino"),
    ("mlp-openvino", "openvino"),
    ("cnn", "onnxruntime"),
    ("cnn", "openvino"),
]


@pytest.mark.parametrize(("variant", "engine"), ENGINES)
def test_the_digits_package_gives_its_golden_answers_in_every_engine(variant, engine):
    package = Store().get("digits")
    stated = package.manifest.variant(variant)
    assert engine in stated.needs.engines
    alone = stated.model_copy(
        update={"needs": stated.needs.model_copy(update={"engines": (engine,)})}
    )
    host = LocalHost(Store(), distance="device")
    try:
        report = check_golden(host.load(package, alone))
        assert report.n == 4
        assert report.worst < 0.5
    finally:
        host.close()


def test_an_image_is_kept_as_it_travels():
    package = open_directory(Store().get("digits").root)
    variant = loaded(package, "mlp-int8")
    drawn = np.full((40, 40), 255, np.uint8)
    drawn[8:32, 18:22] = 0
    arrays, meta = unpack_frame(make_golden([variant], drawn))
    assert bytes(arrays["inputs/image"][0]).startswith(b"\x89PNG")
    assert meta["options"] == {}
