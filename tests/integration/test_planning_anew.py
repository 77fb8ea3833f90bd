"""A model in use is planned anew, beside its calls, when the machine is to be used otherwise."""

from __future__ import annotations

import hashlib
import json
import time

import pytest

import wherever
from wherever import _edition
from wherever_contracts.errors import NoRouteError
from wherever_devices import here
from wherever_devices.conditions import Conditions
from wherever_edge.tune import guidance

SURE = [0.1, 0.8, 0.1]
PATIENCE_S = 20.0


@pytest.fixture
def conditions(monkeypatch):
    """What the machine says of itself, to be changed by the test; it is looked at all the time."""
    now = {"conditions": Conditions(on_battery=False)}
    monkeypatch.setattr(here, "conditions_now", lambda _root: now["conditions"])
    monkeypatch.setattr(guidance, "EVERY_S", 0.0)
    monkeypatch.setattr(_edition, "LOOK_EVERY_S", 0.0)
    return now


def until(holds):
    """Wait for what happens beside the calls."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it did not happen"


def large_first(build_scales, where):
    """Scales whose preferred variant is also the one of more bytes."""
    package = build_scales(where)
    file = package.root / "large.onnx"
    content = file.read_bytes() + b"\x32\x64" + b"x" * 100  # ModelProto's field 6, a comment
    file.write_bytes(content)
    manifest = json.loads((package.root / "model.json").read_bytes())
    manifest["variants"].reverse()
    for variant in manifest["variants"]:
        variant["places"] = ["device"]
    digest = hashlib.sha256(content).hexdigest()
    manifest["variants"][0]["files"][0] |= {"sha256": digest, "bytes": len(content)}
    (package.root / "model.json").write_text(json.dumps(manifest))
    return package


def test_on_battery_a_model_in_use_goes_over_to_its_smaller_variant_and_says_so(
    build_scales, tmp_path, conditions
):
    package = large_first(build_scales, tmp_path / "scales")
    with wherever.Client(packages=[package.root], profile="laptop") as client:
        scales = client.model("scales")
        before = scales(SURE)
        conditions["conditions"] = Conditions(on_battery=True, battery_share=0.4)
        until(lambda: scales(SURE).receipt.variant != before.receipt.variant)
        on_battery = scales(SURE)
        conditions["conditions"] = Conditions(on_battery=False)
        until(lambda: scales(SURE).receipt.variant == before.receipt.variant)
    assert (before.receipt.variant, on_battery.receipt.variant) == ("large", "small")
    assert on_battery.receipt.substituted == ()
    assert "battery" in on_battery.explain()
    assert "battery" not in before.explain()


def test_a_device_whose_variant_failed_to_load_tries_again_later(
    scales_package, tmp_path, conditions
):
    files = {file: file.read_bytes() for file in scales_package.root.glob("*.onnx")}
    for file, content in files.items():
        file.write_bytes(bytes(len(content)))
    with wherever.Client(packages=[scales_package.root]) as client:
        scales = client.model("scales")
        with pytest.raises(NoRouteError, match="sha256"):
            scales(SURE)
        for file, content in files.items():
            file.write_bytes(content)
        until(lambda: answers(scales))
        assert scales(SURE).value == "middle"


def answers(model):
    try:
        return model(SURE).value == "middle"
    except NoRouteError:
        return False


def test_what_does_not_change_is_not_planned_anew(scales_package, conditions):
    with wherever.Client(packages=[scales_package.root]) as client:
        scales = client.model("scales")
        scales(SURE)
        edition = scales._edition
        for _ in range(50):
            scales(SURE)
        client._threads._pool.shutdown(wait=True)
        assert scales._edition is edition


def test_the_status_says_what_was_loaded_and_how_it_runs(scales_package):
    with wherever.Client(packages=[scales_package.root]) as client:
        assert client.status().loaded == ()
        client.predict("scales", SURE)
        status = client.status()
    (loaded,) = status.loaded
    assert (loaded.model, loaded.version, loaded.variant) == ("scales", "1.0.0", "small")
    assert loaded.in_memory
    assert "loaded  scales 1.0.0, small in onnxruntime on cpu, float32, " in str(status)
