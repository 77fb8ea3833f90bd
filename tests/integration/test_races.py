"""Hosts race: the device begins just in time, the first good answer wins, the others are told."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from contextlib import suppress

import grpc
import numpy as np
import pytest

from wherever_contracts.errors import NoRouteError
from wherever_contracts.wire.messages import encode_response
from wherever_contracts.wire.tensors import InferResponse, from_array

SURE = np.array([0, 9, 0], np.float32)
UNSURE = np.array([1, 1.2, 1], np.float32)
SCORES = np.array([0.1, 0.8, 0.1], np.float32)


class Hanging:
    """A gateway whose calls never end by themselves; it notices when they are given up."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.given_up = threading.Semaphore(0)

    def __call__(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        over = threading.Event()
        context.add_callback(over.set)
        self.asked.release()
        over.wait(30)
        self.given_up.release()
        return b""


def at_once(_request: bytes, _context: grpc.ServicerContext) -> bytes:
    return encode_response(
        InferResponse("scales", "1.0.0", "", {}, (from_array("scores", SCORES),))
    )


def outcomes(prediction) -> list[tuple[str, str]]:
    return [(record.place, record.outcome) for record in prediction.receipt.attempts]


@pytest.mark.alone
def test_the_device_answers_by_the_deadline_and_the_gateway_is_told_to_stop(
    connect, serve_infer, ask
):
    hanging = Hanging()
    client = connect(serve_infer(hanging), remote_timeout_s=20.0)
    client.predict("scales", SURE)
    prediction = ask(client, SURE, mode="prefer_in_cloud", deadline_s=0.4)
    assert (prediction.place, prediction.degraded) == ("device", True)
    assert outcomes(prediction) == [("device", "answered"), ("cloud", "given_up")]
    assert prediction.receipt.total_s <= 0.4
    assert "no answer yet after" in prediction.receipt.reason
    assert hanging.asked.acquire(timeout=10)
    assert hanging.given_up.acquire(timeout=10), "the gateway still works on a call nobody wants"


def test_without_a_deadline_a_gateway_that_hangs_costs_what_it_usually_takes(
    connect, start_gateway, scales_package, ask
):
    gateway = start_gateway(scales_package.root)
    client = connect(gateway.address, remote_timeout_s=20.0)
    scales = client.model("scales")
    for _ in range(30):
        assert scales(SURE, mode="only_in_cloud").place == "cloud"
    gateway.send(signal.SIGSTOP)
    try:
        prediction = ask(client, SURE, mode="prefer_in_cloud")
        assert (prediction.place, prediction.degraded) == ("device", True)
        assert prediction.receipt.total_s < 5.0  # what it usually takes is milliseconds
    finally:
        gateway.send(signal.SIGCONT)


def test_the_device_is_not_begun_while_the_gateway_is_well(
    connect, start_gateway, scales_package, ask
):
    client = connect(start_gateway(scales_package.root).address)
    client.predict("scales", SURE)
    for _ in range(3):
        prediction = ask(client, SURE, mode="prefer_in_cloud", deadline_s=30.0)
        assert outcomes(prediction) == [("cloud", "answered")]


def test_a_second_gateway_answers_for_one_that_hangs(connect, serve_infer, ask):
    hanging, address = Hanging(), serve_infer(at_once)
    # one that has answered before is expected to answer as soon again
    client = connect(serve_infer(hanging), address, remote_timeout_s=20.0)
    predictions = [ask(client, SURE, mode="only_in_cloud") for _ in range(4)]
    assert {p.receipt.host for p in predictions} == {address}
    assert all(p.receipt.total_s < 10.0 for p in predictions)
    while hanging.asked.acquire(blocking=False):
        assert hanging.given_up.acquire(timeout=10)


def test_a_host_with_no_room_is_asked_again_when_it_says(connect, serve_infer, ask):
    calls = []

    def full_once(request, context):
        calls.append(request)
        if len(calls) == 1:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "30"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
        return at_once(request, context)

    client = connect(serve_infer(full_once))
    prediction = ask(client, SURE, mode="only_in_cloud")
    assert outcomes(prediction) == [("cloud", "overloaded"), ("cloud", "answered")]
    assert prediction.receipt.total_s >= 0.03


def test_many_rows_race_together_and_each_gets_its_own_answer(connect, serve_infer):
    client = connect(serve_infer(Hanging()), remote_timeout_s=20.0)
    rows = [np.eye(3, dtype=np.float32)[i % 3] * 9 for i in range(12)]
    found = list(client.model("scales").map(rows, mode="prefer_in_cloud", deadline_s=0.5, batch=12))
    assert [int(p.outputs["scores"].argmax()) for p in found] == [i % 3 for i in range(12)]
    assert {p.place for p in found} == {"device"}


@pytest.mark.parametrize(
    ("ask", "mode"),
    [
        ("call_sync", "only_on_device"),
        ("call_mapped", "only_on_device"),
        ("call_sync", "only_in_cloud"),
    ],
    indirect=["ask"],
)
def test_inputs_are_let_go_with_what_came_of_them(connect, unused_address, ask, mode):
    client = connect(unused_address)
    with suppress(NoRouteError):  # it alone looks for the way to the host
        ask(client, SURE, mode=mode, boundary="anywhere")
    row = SURE.copy()
    watched = weakref.ref(row)
    gc.disable()  # it would find what holds itself, and later
    try:
        with suppress(NoRouteError):
            ask(client, row, mode=mode, boundary="anywhere")
        del row
        assert watched() is None
    finally:
        gc.enable()
