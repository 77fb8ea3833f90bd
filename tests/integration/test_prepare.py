"""Preparing a handle: fetched, verified, loaded, warmed, and each stage told."""

from __future__ import annotations

import numpy as np
import pytest

import wherever
from wherever_contracts.errors import DigestError, NoRouteError
from wherever_edge.packages.install import Installer


@pytest.fixture
def stages():
    told = []
    return told, lambda stage, done, total: told.append((stage, done, total))


def test_each_stage_is_told_and_the_engine_has_run(stages):
    told, progress = stages
    with wherever.Client() as client:
        client.model("digits").prepare(progress)
    assert told == [(s, n, 1) for s in ("verify", "load", "warm") for n in (0, 1)]


def test_a_model_of_the_catalogue_has_its_signature_before_it_is_here():
    with wherever.Client() as client:
        model = client.model("fastestdet")
        assert model.signature.value.kind == "detections"
        with pytest.raises(NoRouteError, match=r"wherever add fastestdet"):
            model(np.zeros((8, 8, 3), np.uint8))


def test_preparing_fetches_what_is_not_here_and_uses_it(stages, test_data):
    told, progress = stages
    with wherever.Client(mirror=test_data / "models") as client:
        model = client.model("fastestdet")
        model.prepare(progress)
        fetched = [(done, total) for stage, done, total in told if stage == "fetch"]
        assert fetched[-1][0] == fetched[-1][1] > 900_000
        assert [stage for stage, done, _ in told if stage != "fetch" and done] == [
            "verify",
            "load",
            "warm",
        ]
        image = test_data / "images/coco_val2017/images/000000000885.jpg"
        assert "person" in [found.label for found in model(image).value]
        told.clear()
        model.prepare(progress)
        assert "fetch" not in [stage for stage, _, _ in told]
    with wherever.Client() as another:
        assert "fastestdet" in [each.name for each in another.status().models]


def test_what_was_changed_on_the_disk_since_is_not_loaded(test_data, own_home):
    package = Installer(own_home, mirror=test_data / "models").install("fastestdet")
    (file,) = (entry for variant in package.present() for entry in variant.files)
    path = package.root / file.path
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with wherever.Client() as client, pytest.raises(DigestError, match=file.path):
        client.model("fastestdet").prepare()
