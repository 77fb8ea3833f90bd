"""Calls that keep their answers: looked for before an attempt is made, on device and gateway."""

from __future__ import annotations

import asyncio
import stat

import numpy as np
import pytest

import wherever
from wherever_contracts.errors import NoRouteError

CLOSE, CLEAR = [0.3, 0.4, 0.3], [0.0, 9.0, 0.0]


@pytest.fixture
def device(scales_package):
    with wherever.Client(packages=[scales_package.root]) as client:
        yield client


def outcome(prediction):
    return prediction.value, prediction.confidence, prediction.receipt.cache


def test_nothing_is_kept_unless_somebody_asks(device, own_home):
    scales = device.model("scales")
    for _ in range(2):
        assert scales(np.float32(CLEAR)).receipt.cache == "off"
    assert not (own_home / "cache").exists()


def test_the_second_call_is_answered_without_the_engine(device):
    scales = device.model("scales")
    first = scales(np.float32(CLEAR), cache=True)
    second = scales(np.float32(CLEAR), cache=True)
    assert (first.receipt.cache, second.receipt.cache) == ("miss", "hit")
    assert outcome(first)[:2] == outcome(second)[:2]
    assert second.receipt.engine_s == 0
    assert second.receipt.variant_digest == first.receipt.variant_digest
    assert "kept" in second.explain()
    other = scales(np.float32([0, 9, 0.001]), cache=True)
    assert other.receipt.cache == "miss"


def test_it_survives_the_client_and_is_closed_to_others(scales_package, own_home):
    for expected in ("miss", "hit"):
        with wherever.Client(packages=[scales_package.root], cache=True) as client:
            assert client.predict("scales", np.float32(CLEAR)).receipt.cache == expected
            told = client.predict("scales", np.float32(CLEAR), cache=False)
            assert told.receipt.cache == "off"
    assert stat.S_IMODE((own_home / "cache").stat().st_mode) == 0o700


def test_coroutines_and_batches_keep_and_find_answers_too(device):
    scales = device.model("scales")
    rows = [np.float32(row) for row in (CLEAR, [5, 0, 0], CLEAR, [0, 0, 5])]
    assert asyncio.run(scales.aio(rows[0], cache=True)).receipt.cache == "miss"
    assert asyncio.run(scales.aio(rows[0], cache=True)).receipt.cache == "hit"
    found = list(scales.map(rows, batch=4, cache=True, progress=False))
    assert [p.receipt.cache for p in found] == ["hit", "miss", "hit", "miss"]
    again = list(scales.map(rows, batch=4, cache=True, progress=False))
    assert [p.receipt.cache for p in again] == ["hit"] * 4
    assert [outcome(p)[:2] for p in found] == [outcome(p)[:2] for p in again]


def test_an_escalated_answer_is_found_without_asking_the_gateway(scales_package, start_gateway):
    gateway = start_gateway(scales_package.root)
    with wherever.Client([gateway.address], packages=[scales_package.root]) as client:
        scales = client.model("scales")
        first = scales(np.float32(CLOSE), cache=True)
        assert (first.place, first.receipt.variant, first.receipt.cache) == (
            "cloud",
            "large",
            "miss",
        )
        gateway.send(19)  # SIGSTOP: a call that is sent would wait for its whole timeout
        second = scales(np.float32(CLOSE), cache=True)
        gateway.send(18)
        assert (second.place, second.receipt.variant, second.receipt.cache) == (
            "cloud",
            "large",
            "hit",
        )
        assert outcome(first)[:2] == outcome(second)[:2]


def test_what_the_device_keeps_is_not_taken_for_the_references_answer(
    scales_package, start_gateway
):
    gateway = start_gateway(scales_package.root)
    with wherever.Client([gateway.address], packages=[scales_package.root]) as client:
        scales = client.model("scales")
        assert scales(np.float32(CLOSE), cache=True, mode="only_on_device").receipt.cache == "miss"
        cloud = scales(np.float32(CLOSE), cache=True, mode="only_in_cloud")
        assert (cloud.receipt.cache, cloud.receipt.variant) == ("miss", "large")


def test_a_failure_is_not_kept(scales_package, unused_address):
    with wherever.Client([unused_address], packages=[scales_package.root]) as client:
        scales = client.model("scales")
        for _ in range(2):
            with pytest.raises(NoRouteError):
                scales(np.float32(CLEAR), cache=True, mode="only_in_cloud")
