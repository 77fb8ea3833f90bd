"""The training script makes the package that is committed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from wherever_edge.builtin import digits_test_split
from wherever_edge.packages.pairs import read_pairs
from wherever_edge.packages.store import Store, open_package

pytestmark = pytest.mark.full

SCRIPT = Path(__file__).parents[2] / "examples/digits/train.py"
NO_PYTHON = (
    "WHEREVER_TRAIN_PYTHON names no Python that has examples/digits/requirements.txt "
    "(`make test-full` sets one up)"
)


@pytest.fixture(scope="module")
def train_python() -> str:
    given = os.environ.get("WHEREVER_TRAIN_PYTHON", "")
    if given and Path(given).is_file():
        return given
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI this may not be skipped: {NO_PYTHON}")
    pytest.skip(NO_PYTHON)


@pytest.fixture(scope="module")
def retrained(train_python, tmp_path_factory):
    into = tmp_path_factory.mktemp("trained")
    command = [train_python, str(SCRIPT), "--into", str(into)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=540)
    assert done.returncode == 0, done.stderr
    return into


def accuracies(package):
    return {
        (variant.id, quality.dataset): quality.value
        for variant in package.manifest.variants
        for quality in variant.quality
    }


@pytest.mark.timeout(600)
def test_training_again_gives_the_committed_accuracies_within_a_point(retrained):
    again = open_package(retrained / "digits")
    again.verify()
    committed = accuracies(Store().get("digits"))
    assert len(committed) == 8
    assert accuracies(again) == pytest.approx(committed, abs=0.01)


@pytest.mark.timeout(600)
def test_training_again_gives_pairs_that_agree_as_the_committed_ones(retrained):
    again, committed = open_package(retrained / "digits"), Store().get("digits")
    for variant in committed.manifest.variants:
        if variant.id != committed.manifest.reference:
            one, other = (
                read_pairs(package, package.manifest.variant(variant.id))
                for package in (again, committed)
            )
            assert one.agreement.mean() == pytest.approx(other.agreement.mean(), abs=0.01)
            assert one.confidence.mean() == pytest.approx(other.confidence.mean(), abs=0.02)


@pytest.mark.timeout(600)
def test_training_again_writes_the_same_test_split(retrained):
    with np.load(retrained / "digits-test.npz", allow_pickle=False) as split:
        images, labels = digits_test_split()
        assert (split["images"] == images).all()
        assert (split["labels"] == labels).all()


def test_no_digit_is_in_two_splits_and_each_split_has_its_share_of_every_digit(train_python):
    show = (
        f"import sys, json; sys.path.insert(0, {str(SCRIPT.parent)!r}); import train; print("
        "json.dumps({name: [[image.tobytes().hex() for image in split.images],"
        " split.labels.tolist()] for name, split in train.load_splits().items()}))"
    )
    shown = subprocess.run([train_python, "-c", show], capture_output=True, text=True, check=True)
    splits = json.loads(shown.stdout)
    everything = [image for images, _ in splits.values() for image in images]
    assert len(everything) == len(set(everything)) == 1797
    of_all = np.bincount([label for _, labels in splits.values() for label in labels])
    for _, labels in splits.values():
        np.testing.assert_allclose(np.bincount(labels), of_all * len(labels) / 1797, atol=1)
