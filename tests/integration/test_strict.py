"""Nothing is substituted silently: receipts and counts tell, and strict calls refuse it."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

import wherever
from wherever_contracts.errors import NoRouteError, SettingsError, SubstitutedError
from wherever_edge.counters import COUNTERS
from wherever_edge.host import LocalHost
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store

SURE = [0.1, 0.8, 0.1]
COUNT = 'wherever_substitutions_total{model="scales",variant="large"}'


@pytest.fixture
def damaged(build_scales, tmp_path):
    """Scales whose preferred variant has a file that no engine can load."""
    package = build_scales(tmp_path / "scales")
    nonsense = b"not a model"
    (package.root / "small.onnx").write_bytes(nonsense)
    manifest = json.loads((package.root / "model.json").read_bytes())
    for entry in manifest["variants"]:
        if entry["id"] == "small":
            digest = hashlib.sha256(nonsense).hexdigest()
            entry["files"][0] |= {"sha256": digest, "bytes": len(nonsense)}
    (package.root / "model.json").write_text(json.dumps(manifest))
    return package


@pytest.fixture
def client(damaged):
    with wherever.Client(packages=[damaged.root]) as client:
        yield client


def test_a_substitution_is_on_the_receipt_in_the_words_and_in_the_counts(client):
    before = COUNTERS.snapshot().get(COUNT, 0)
    prediction = client.predict("scales", SURE)
    (event,) = prediction.receipt.substituted
    assert event.startswith("small: onnxruntime cannot load the model")
    assert prediction.receipt.variant == "large"
    assert prediction.receipt.to_dict()["substituted"] == (event,)
    assert "not as planned  small: onnxruntime cannot load" in prediction.explain()
    assert client.status().counts[COUNT] == before + 1


def test_what_went_as_planned_says_nothing_and_satisfies_a_strict_call(scales_package):
    with wherever.Client(packages=[scales_package.root]) as client:
        receipt = client.predict("scales", SURE, strict=True).receipt
    assert (receipt.variant, receipt.substituted) == ("small", ())


def refusal(call):
    with pytest.raises(SubstitutedError, match="the call is strict") as caught:
        call()
    assert "small: onnxruntime cannot load the model" in str(caught.value)
    assert isinstance(caught.value.__cause__, NoRouteError)


def test_a_strict_call_refuses_what_was_substituted_in_every_form_of_calling(client):
    scales = client.model("scales")
    refusal(lambda: scales(SURE, strict=True))
    refusal(lambda: list(scales.map([SURE, SURE], strict=True)))
    refusal(lambda: asyncio.run(scales.aio(SURE, strict=True)))
    refusal(lambda: scales(SURE, strict=True, cache=True))
    assert scales(SURE).value == "middle"


def test_a_strict_client_refuses_unless_a_call_says_otherwise(damaged):
    with wherever.Client(packages=[damaged.root], strict=True) as client:
        refusal(lambda: client.predict("scales", SURE))
        assert client.predict("scales", SURE, strict=False).receipt.substituted


def test_a_kept_answer_tells_what_was_substituted_too(client):
    first = client.predict("scales", SURE, cache=True)
    again = client.predict("scales", SURE, cache=True)
    assert (first.receipt.cache, again.receipt.cache) == ("miss", "hit")
    assert first.receipt.substituted == again.receipt.substituted != ()
    refusal(lambda: client.predict("scales", SURE, cache=True, strict=True))


def test_what_a_gateway_substituted_is_told_to_its_caller_too(damaged):
    host = LocalHost(Store([damaged.root], builtin=False), distance="nearby")
    server = InferenceServer(host, address="127.0.0.1", port=0)
    server.start()
    try:
        with wherever.Client([f"127.0.0.1:{server.port}"], packages=[damaged.root]) as client:
            far = client.predict("scales", SURE, mode="only_in_cloud")
            refusal(lambda: client.predict("scales", SURE, mode="only_in_cloud", strict=True))
    finally:
        server.drain(1)
    assert far.place == "cloud"
    (event,) = far.receipt.substituted
    assert event.startswith("small: onnxruntime cannot load the model")


def test_a_priority_that_does_not_exist_is_refused_with_those_that_do(scales_package):
    with wherever.Client(packages=[scales_package.root]) as client:
        scales = client.model("scales")
        with pytest.raises(SettingsError, match="interactive, batch, background"):
            scales(SURE, priority="urgent")
        with pytest.raises(SettingsError, match="interactive, batch, background"):
            scales.map([SURE], priority="urgent")
        for priority in ("interactive", "batch", "background"):
            assert scales(SURE, priority=priority).value == "middle"
