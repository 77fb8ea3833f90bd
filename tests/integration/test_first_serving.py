"""A package serves only after its golden samples passed on this machine, once."""

from __future__ import annotations

import json
import shutil
import threading

import numpy as np
import pytest

from wherever_contracts.errors import GoldenError, MissingExtraError
from wherever_contracts.frames import pack_frame, unpack_frame
from wherever_convert.builder import build_package, build_with_golden
from wherever_edge import proving
from wherever_edge.counters import COUNTERS
from wherever_edge.host import LocalHost
from wherever_edge.packages import golden
from wherever_edge.packages.install import Installer
from wherever_edge.packages.store import Store
from wherever_edge.proving import budget_s

SAMPLES = [[0.1, 0.2, 0.3], [3, 1, 2], [0, 5, 1]]


@pytest.fixture
def package(build_scales, tmp_path):
    plain = build_scales(tmp_path / "plain")
    data = json.loads((plain.root / "model.json").read_bytes())
    return build_with_golden(plain.root, data, [np.array(s, "f4") for s in SAMPLES])


@pytest.fixture
def checks(monkeypatch):
    """The names of the variants whose golden samples were run."""
    ran = []
    check = golden.check_golden

    def counted(loaded, *arguments):
        ran.append(loaded.variant.id)
        return check(loaded, *arguments)

    monkeypatch.setattr(golden, "check_golden", counted)
    return ran


def host(home=None, distance="device"):
    return LocalHost(Store(builtin=False), distance=distance, home=home)


def with_wrong_answers(package, root, *variants):
    """The package with golden answers that these variants do not give."""
    shutil.copytree(package.root, root)
    data = json.loads((root / "model.json").read_bytes())
    for entry in data["golden"]:
        path = root / entry["file"]["path"]
        arrays, meta = unpack_frame(path.read_bytes())
        turned = {
            name: array[::-1].copy()
            if name.startswith(tuple(f"outputs/{v}" for v in variants))
            else array
            for name, array in arrays.items()
        }
        path.write_bytes(pack_frame(turned, {**meta, "stages": {}}))
        entry["file"] = {"path": entry["file"]["path"]}
    return build_package(root, data)


def test_samples_are_run_before_the_first_answer_and_then_never_again(package, own_home, checks):
    first = host(own_home)
    first.resolve_package(package)
    first.resolve_package(package)
    assert checks == ["small"]
    host(own_home).resolve_package(package)
    assert checks == ["small"]


def test_without_a_home_each_process_runs_them(package, checks):
    alone = host()
    alone.resolve_package(package)
    alone.resolve_package(package)
    assert checks == ["small"]


def test_a_home_that_cannot_be_written_to_stops_nothing(package, tmp_path, checks):
    (tmp_path / "home").write_text("a file where the home should be")
    blocked = host(tmp_path / "home")
    blocked.resolve_package(package)
    blocked.resolve_package(package)
    assert checks == ["small"]


def test_other_samples_are_run_again(package, own_home, checks):
    host(own_home).resolve_package(package)
    data = json.loads((package.root / "model.json").read_bytes())
    fewer = build_with_golden(package.root, data, [np.array([9, 1, 1], "f4")])
    del checks[:]
    host(own_home).resolve_package(fewer)
    assert checks == ["small"]


def test_a_variant_with_other_answers_is_passed_over_and_told(package, own_home, tmp_path):
    wrong = with_wrong_answers(package, tmp_path / "wrong", "small")
    loaded = host(own_home).resolve_package(wrong)
    assert loaded.variant.id == "large"
    assert any("golden/00.frame: outputs/small/scores" in words for words in loaded.substituted)
    counts = COUNTERS.snapshot()
    assert counts['wherever_golden_failures_total{model="scales",variant="small"}'] >= 1


def test_a_package_whose_every_variant_gives_other_answers_does_not_serve(
    package, own_home, tmp_path
):
    wrong = with_wrong_answers(package, tmp_path / "wrong", "small", "large")
    serving = host(own_home)
    for _ in range(2):
        with pytest.raises(GoldenError, match="outputs/"):
            serving.resolve_package(wrong)
    assert all(not each.in_memory for each in serving.loaded())


def test_a_failure_is_not_remembered_beyond_the_process(package, own_home, tmp_path, checks):
    wrong = with_wrong_answers(package, tmp_path / "wrong", "small", "large")
    for _ in range(2):
        with pytest.raises(GoldenError):
            host(own_home).resolve_package(wrong)
    assert checks == ["small", "large"] * 2


def test_what_was_installed_serves_at_once(package, own_home, checks):
    added = Installer(own_home).install(str(package.root))
    assert checks
    del checks[:]
    host(own_home).resolve_package(added)
    assert checks == []


def test_a_sample_that_needs_what_is_not_installed_is_run_when_it_is(
    package, own_home, monkeypatch, checks
):
    def missing(loaded, within_s):
        raise MissingExtraError("images need Pillow")

    with monkeypatch.context() as bare:
        bare.setattr(proving, "find_spec", lambda name: None)
        bare.setattr(golden, "check_golden", missing)
        assert host(own_home).resolve_package(package).variant.id == "small"
    assert checks == []
    host(own_home).resolve_package(package)
    assert checks == ["small"]


def test_callers_that_come_together_wait_for_one_check(package, own_home, checks):
    serving = host(own_home)
    barrier = threading.Barrier(4)

    def call():
        barrier.wait()
        serving.resolve_package(package)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert checks == ["small"]


def test_samples_take_a_second_or_a_fiftieth_of_loading():
    assert budget_s(0.1) == 1.0
    assert budget_s(200.0) == 4.0


def test_a_budget_leaves_samples_but_never_the_first(package):
    loaded = host().resolve_package(package)
    report = golden.check_golden(loaded, 0.0)
    assert (report.n, report.left) == (1, len(SAMPLES) - 1)
    assert golden.check_golden(loaded).left == 0
