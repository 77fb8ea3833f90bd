"""Our client's side of streams of calls: servers that break, refuse or never answer them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import grpc
import numpy as np
import pytest

from wherever_contracts.errors import ClosedError, DeadlineError
from wherever_contracts.wire.messages import decode_request
from wherever_contracts.wire.messages import encode_response as encoded
from wherever_contracts.wire.streaming import CALLS_SERVICE
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint

INFERENCE = "inference.GRPCInferenceService"
NUMBERS = from_array("numbers", np.array([1, 3, 2], np.float32))
SCALES = InferRequest("scales", "", "", {}, (NUMBERS,), boundary="anywhere")


@pytest.fixture
def remote() -> Iterator[Callable[..., RemoteHost]]:
    """Makes hosts that use the stream of their server from the second call on."""
    with ExitStack() as stack:

        def make(port: int) -> RemoteHost:
            endpoint = Endpoint.parse(f"grpc://127.0.0.1:{port}?rest=off")
            return stack.enter_context(closing(RemoteHost(endpoint)))

        yield make


def eventually(true: Callable[[], bool], within_s: float = 30.0) -> bool:
    ends = time.monotonic() + within_s
    while not true() and time.monotonic() < ends:
        time.sleep(0.005)
    return true()


def test_a_server_without_streams_is_asked_by_single_calls(serve_infer, remote):
    asked = []

    def infer(data: bytes, _context: grpc.ServicerContext) -> bytes:
        request = decode_request(data)
        asked.append(request.id)
        return encoded(InferResponse(request.model, "1", request.id, {}, request.inputs))

    host = remote(int(serve_infer(infer).rpartition(":")[2]))
    for n in range(3):
        assert host.infer(SCALES._replace(id=str(n)), 5).id == str(n)
    assert asked == ["0", "1", "2"]


class Proxy:
    """A server that offers streams, and has `stream` for what becomes of them."""

    def __init__(self, stream: Callable[..., Any] | None) -> None:
        self.single: list[str] = []
        self.streams = 0
        self._server = grpc.server(ThreadPoolExecutor(8))
        infer = grpc.unary_unary_rpc_method_handler(self._infer)
        handlers = [grpc.method_handlers_generic_handler(INFERENCE, {"ModelInfer": infer})]
        if stream is not None:

            def counted(messages: Any, context: Any) -> Any:
                self.streams += 1
                return stream(messages, context)

            method = grpc.stream_stream_rpc_method_handler(counted)
            handlers.append(grpc.method_handlers_generic_handler(CALLS_SERVICE, {"Stream": method}))
        self._server.add_generic_rpc_handlers(tuple(handlers))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _infer(self, data: bytes, _context: Any) -> bytes:
        request = decode_request(data)
        self.single.append(request.id)
        said = {"wherever_stream": 1}
        return encoded(InferResponse(request.model, "1", request.id, said, request.inputs))

    def close(self) -> None:
        self._server.stop(0).wait()


@pytest.fixture
def proxy() -> Iterator[Callable[..., Proxy]]:
    with ExitStack() as stack:
        yield lambda stream=None: stack.enter_context(closing(Proxy(stream)))


def refuse(_messages: Any, context: grpc.ServicerContext) -> Any:
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more streams")


def end_at_once(messages: Any, _context: Any) -> Any:
    next(messages)
    return iter(())


def answer_nonsense(messages: Any, _context: Any) -> Any:
    next(messages)
    yield b"\x0a\xff"


@pytest.mark.parametrize("stream", [None, refuse, end_at_once, answer_nonsense])
@pytest.mark.parametrize("started", [False, True])
def test_calls_whose_stream_breaks_go_again_once_by_themselves(proxy, remote, stream, started):
    server = proxy(stream)
    host = remote(server.port)

    def ask(name: str) -> str:
        request = SCALES._replace(id=name)
        return host.start(request, 5).result().id if started else host.infer(request, 5).id

    assert [ask(name) for name in "abcd"] == list("abcd")
    # none twice, and a stream that was refused is not tried at every call
    assert server.single == list("abcd")
    assert server.streams <= 1


@pytest.fixture
def silent(proxy, remote) -> RemoteHost:
    """A host whose stream takes calls and never answers."""

    def stream(messages: Any, _context: Any) -> Any:
        list(messages)
        yield from ()

    host = remote(proxy(stream).port)
    host.infer(SCALES, 5)
    return host


def test_a_call_that_is_not_answered_in_its_time_ends_then(silent):
    with pytest.raises(DeadlineError, match="DEADLINE_EXCEEDED"):
        silent.infer(SCALES, 0.05)
    later = silent.start(SCALES, 5)
    soon = silent.start(SCALES, 0.1)
    with pytest.raises(DeadlineError, match=r"did not answer after 0\.1"):
        soon.result()
    assert not later.done()
    later.cancel()
    with pytest.raises(CancelledError):
        later.result()
    later.cancel()


def test_calls_that_wait_when_their_host_is_closed_end_so(silent):
    started = [silent.start(SCALES) for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(silent.infer, SCALES) for _ in range(5)]
        stream = silent._approach.chosen.links._link.stream()
        assert eventually(lambda: len(stream._pending) == 10)
        silent.close()
        for call in (*started, *waiting):
            with pytest.raises(ClosedError):
                call.result()


def test_calls_beyond_what_a_stream_carries_go_by_themselves(silent, monkeypatch):
    monkeypatch.setattr("wherever_edge.oip.call_stream._MOST_CALLS", 2)
    waiting = [silent.start(SCALES) for _ in range(2)]
    assert silent.infer(SCALES._replace(id="third"), 5).id == "third"
    assert silent.start(SCALES._replace(id="fourth"), 5).result().id == "fourth"
    assert not any(call.done() for call in waiting)
