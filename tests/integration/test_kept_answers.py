"""Calls that keep their answers: looked for before an attempt is made, on device and gateway."""

from __future__ import annotations

import asyncio
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

import wherever
from wherever._cache import ResultCache
from wherever_contracts.errors import NoRouteError
from wherever_contracts.wire.messages import decode_request, encode_response
from wherever_contracts.wire.tensors import InferResponse, from_array

CLOSE, CLEAR = [0.3, 0.4, 0.3], [0.0, 9.0, 0.0]


@pytest.fixture
def device(scales_package):
    with wherever.Client(packages=[scales_package.root]) as client:
        yield client


@pytest.fixture
def slow_gateway(serve_infer):
    """A gateway that answers when it is let go, and counts its calls."""

    class Gateway:
        def __init__(self):
            self.asked = threading.Semaphore(0)
            self.go = threading.Event()
            self.calls = 0
            self.address = f"{serve_infer(self.answer)}?rest=off"

        def answer(self, data, context):
            self.calls += 1
            self.asked.release()
            assert self.go.wait(30)
            request = decode_request(data)
            scores = from_array("scores", np.float32([0, 1, 0]))
            return encode_response(InferResponse(request.model, "1", request.id, {}, (scores,)))

    return Gateway()


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


# The reference first.


def test_the_references_answer_is_given_where_the_plan_could_have_led_to_it_and_nobody_is_asked(
    scales_package, start_gateway
):
    gateway = start_gateway(scales_package.root)
    with wherever.Client([gateway.address], packages=[scales_package.root]) as client:
        scales = client.model("scales")
        first = scales(np.float32(CLEAR), cache=True, mode="only_in_cloud")
        gateway.kill()
        for again in (
            scales(np.float32(CLEAR), cache=True),
            asyncio.run(scales.aio(np.float32(CLEAR), cache=True)),
            *scales.map([np.float32(CLEAR)], cache=True, progress=False),
        ):
            receipt = again.receipt
            assert outcome(again) == (first.value, first.confidence, "hit")
            assert (receipt.variant, again.place, again.degraded) == ("large", "cloud", False)
            assert (receipt.host, receipt.attempts) == (first.receipt.host, ())
            assert receipt.reason == "the reference's answer to the same call was kept"
        for narrower in ({"mode": "only_on_device"}, {"boundary": "device"}):
            here = scales(np.float32(CLEAR), cache=True, **narrower)
            assert (here.place, here.receipt.variant) == ("device", "small")
            assert scales(np.float32(CLEAR), cache=True, **narrower).receipt.cache == "hit"


def test_the_input_of_a_call_is_digested_once(scales_package, slow_gateway, monkeypatch):
    digested = []

    class Counted(ResultCache):
        def call_digest(self, *given):
            digested.append(given)
            return super().call_digest(*given)

    monkeypatch.setattr("wherever._cache.ResultCache", Counted)
    slow_gateway.go.set()
    with wherever.Client([slow_gateway.address], packages=[scales_package.root]) as client:
        answer = client.predict("scales", np.float32(CLOSE), cache=True)
        assert len(answer.receipt.attempts) == 2
    assert len(digested) == 1


def test_answers_that_are_too_old_are_not_given(scales_package):
    with wherever.Client(packages=[scales_package.root], cache=True, cache_ttl_s=1e-9) as client:
        for _ in range(2):
            assert client.predict("scales", np.float32(CLEAR)).receipt.cache == "miss"


def test_the_references_answer_is_not_a_lesser_one_wherever_it_came_from(
    build_scales, tmp_path, unused_address
):
    package = build_scales(tmp_path / "scales", reference="small")
    with wherever.Client([unused_address], packages=[package.root], cache=True) as client:
        scales = client.model("scales")
        here = scales(np.float32(CLEAR), mode="prefer_in_cloud")
        assert (here.place, here.degraded, here.receipt.cache) == ("device", True, "miss")
        again = scales(np.float32(CLEAR), mode="prefer_in_cloud")
        assert (again.place, again.degraded, again.receipt.cache) == ("device", False, "hit")


# Refusals.


def test_a_call_that_a_host_refused_is_not_sent_to_it_again_at_once(scales_package, serve_infer):
    asked = []

    def refuse(data, context):
        asked.append(data)
        context.abort(grpc.StatusCode.NOT_FOUND, "no model 'scales' here")

    address = serve_infer(refuse)
    with wherever.Client([f"{address}?rest=off"], packages=[scales_package.root]) as client:
        scales = client.model("scales")
        first = scales(np.float32(CLOSE), cache=True)
        assert [record.outcome for record in first.receipt.attempts] == ["answered", "refused"]
        again = scales(np.float32(CLOSE), cache=True)
        assert [record.outcome for record in again.receipt.attempts] == ["answered"]
        (why,) = again.receipt.alternatives.values()
        assert why.startswith("it refused the same call 0 s ago: ")
        assert "no model 'scales' here" in why
        with pytest.raises(NoRouteError):  # other places are another route, which does not know
            scales(np.float32(CLOSE), cache=True, mode="only_in_cloud")
        with pytest.raises(NoRouteError) as caught:
            scales(np.float32(CLOSE), cache=True, mode="only_in_cloud")
        assert (caught.value.causes, len(asked)) == ((), 2)
        scales(np.float32([0.4, 0.3, 0.3]), cache=True)
        scales(np.float32(CLOSE))
        assert len(asked) == 4


# Identical calls at one time.


def waiting_for_one(scales, mode, threads, tasks):
    """Wait until so many calls wait for the one that is under way."""
    kept = scales.edition.routes[mode, None, None, None].kept()
    (flight,) = kept.flights._under_way.values()
    end = flight._end
    while len(end._condition._waiters) < threads or len(end._done_callbacks) < tasks:
        threading.Event().wait(0.001)


def test_identical_calls_at_one_time_are_sent_once(scales_package, slow_gateway):
    arguments = {"cache": True, "mode": "only_in_cloud"}
    with (
        wherever.Client(
            [slow_gateway.address], packages=[scales_package.root], remote_timeout_s=30.0
        ) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        scales = client.model("scales")
        first = pool.submit(scales, np.float32(CLOSE), **arguments)
        slow_gateway.asked.acquire()
        others = [pool.submit(scales, np.float32(CLOSE), **arguments) for _ in range(4)]
        task = pool.submit(asyncio.run, scales.aio(np.float32(CLOSE), **arguments))
        waiting_for_one(scales, "only_in_cloud", threads=4, tasks=1)
        slow_gateway.go.set()
        led = first.result()
        shared = [other.result() for other in (*others, task)]
        assert slow_gateway.calls == 1
    assert led.receipt.cache == "miss"
    assert [answer.receipt.cache for answer in shared] == ["hit"] * 5
    assert {answer.value for answer in shared} == {led.value}
    assert len({answer.id for answer in (*shared, led)}) == 6
    assert all(answer.receipt.reason.startswith("an identical call") for answer in shared)
    shared[0].outputs["scores"][:] = 7
    assert led.outputs["scores"].tolist() == [0, 1, 0]


def test_a_deadline_is_not_spent_on_waiting_for_another_call(scales_package, slow_gateway):
    with (
        wherever.Client(
            [slow_gateway.address], packages=[scales_package.root], remote_timeout_s=30.0
        ) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        scales = client.model("scales")
        first = pool.submit(scales, np.float32(CLOSE), cache=True, mode="prefer_in_cloud")
        slow_gateway.asked.acquire()
        other = scales(np.float32(CLOSE), cache=True, mode="prefer_in_cloud", deadline_s=0.2)
        assert (other.place, other.degraded) == ("device", True)
        slow_gateway.go.set()
        first.result()


def test_a_call_is_made_once_in_a_batch_however_often_it_is_in_it(device):
    scales = device.model("scales")
    rows = [np.float32(row) for row in (CLEAR, [5, 0, 0], CLEAR, CLEAR)]
    found = list(scales.map(rows, cache=True, progress=False))
    assert [p.receipt.cache for p in found] == ["miss", "miss", "hit", "hit"]
    assert [p.value for p in found] == ["middle", "left", "middle", "middle"]
    assert found[2].receipt.reason.startswith("the same call was made in this batch")
    assert len({p.id for p in found}) == 4
    found[2].outputs["scores"][:] = 7
    assert (found[0].outputs["scores"] <= 1).all()
    assert list(scales.map([], cache=True)) == []
