"""Calls that are taken straight from gRPC's completion queue."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc
import pytest

from wherever_contracts.urgency import Urgency
from wherever_contracts.wire.messages import decode_request, encode_request
from wherever_contracts.wire.schema import INFERENCE_SERVICE
from wherever_contracts.wire.tensors import InferRequest
from wherever_edge.host import LocalHost
from wherever_edge.oip.completion import Status, possible
from wherever_edge.oip.direct import DirectCall, DirectCalls
from wherever_edge.oip.keys import KeyChecker, KeyInfo, KeyStore
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store
from wherever_gateway.state.state import State
from wherever_gateway.tenants.admission import Tenants
from wherever_gateway.tenants.rules import Rules
from wherever_gateway.watching.cells import OTHER
from wherever_gateway.watching.metrics import Metrics
from wherever_gateway.watching.watched import Watched

Ask: TypeAlias = Callable[..., Any]

PATH = "/test.Service/Infer"
SOON_S = 10.0
REFUSED, FULL, FAILED = 16, 8, 13


class Method:
    """Answers with the model's name and how many calls were answered with it.

    Calls of `slow` wait for `go`; those of `many` gain by company, those of `brief` are brief.
    """

    def __init__(self) -> None:
        self.go = threading.Event()
        self.slow_ones = threading.Semaphore(0)
        self.callers: list[DirectCall] = []
        self.cut: int | None = None

    def enter(self, authorization: str | None) -> KeyInfo:
        if authorization == "wrong":
            raise PermissionError("wrong key")
        return KeyInfo("id", authorization or "", "use", "")

    def read(self, data: bytes) -> InferRequest:
        return decode_request(data[: self.cut])

    def together(self, request: InferRequest) -> int:
        return {"many": 8, "brief": 0}.get(request.model, 1)

    def answer(
        self, requests: Sequence[InferRequest], callers: Sequence[DirectCall]
    ) -> Iterator[bytes | Exception]:
        self.callers += callers
        if requests[0].model in ("slow", "many"):
            self.slow_ones.release()
            assert self.go.wait(SOON_S)
        for request in requests:
            if request.id == "fails":
                yield ValueError("no answer")
            else:
                yield f"{request.model} {len(requests)}".encode()

    def status(self, error: Exception) -> Status:
        codes = {PermissionError: REFUSED, OverflowError: FULL}
        return Status(codes.get(type(error), FAILED), str(error), (("kind", type(error).__name__),))

    def full(self, _key: KeyInfo | None) -> Exception:
        return OverflowError("full")


@pytest.fixture
def method() -> Method:
    return Method()


@pytest.fixture
def ask(method: Method) -> Iterator[Ask]:
    """Asks a server with three places; gives a future."""
    server = grpc.server(ThreadPoolExecutor(1))
    assert possible(server)
    calls = DirectCalls(server, PATH, method, 3)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    calls.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH)

        def ask(model: str, id_: str = "", key: str = "right") -> Any:
            request = encode_request(InferRequest(model, "", id_, {}, (), ()))
            return stub.future(request, timeout=SOON_S, metadata=(("authorization", key),))

        yield ask
        method.go.set()
    server.stop(1).wait()
    calls.close()


def test_a_call_gets_its_answer_and_one_that_fails_its_error(ask: Ask) -> None:
    assert ask("any").result() == b"any 1"
    with pytest.raises(grpc.RpcError) as refused:
        ask("any", "fails").result()
    assert refused.value.code() is grpc.StatusCode.INTERNAL
    assert refused.value.details() == "no answer"
    trailing = refused.value.trailing_metadata()
    assert ("kind", "ValueError") in [(each.key, each.value) for each in trailing]


def test_a_call_without_the_right_key_is_refused_before_its_message_is_read(
    ask: Ask, method: Method
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask("any", key="wrong").result()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not method.callers


def test_bytes_that_are_no_request_are_refused(ask: Ask, method: Method) -> None:
    method.cut = 1
    with pytest.raises(grpc.RpcError) as refused:
        ask("any").result()
    assert refused.value.code() is grpc.StatusCode.INTERNAL


def test_a_slow_call_holds_no_other_up(ask: Ask, method: Method) -> None:
    slow = ask("slow")
    assert method.slow_ones.acquire(timeout=SOON_S)
    assert ask("any").result() == b"any 1"
    assert ask("brief").result() == b"brief 1"
    method.go.set()
    assert slow.result() == b"slow 1"


def test_calls_that_are_there_together_are_answered_together(method: Method) -> None:
    other = KeyInfo("id", "other", "use", "")
    arrived = [_arrived("many"), _arrived("any"), _arrived("many", other), _arrived("many")]
    calls = DirectCalls(grpc.server(ThreadPoolExecutor(1)), PATH, method, 4)
    calls._ready.extend(arrived)
    assert calls._take() == [arrived[0], arrived[3]]  # of one tenant
    assert calls._take() == [arrived[1]]
    assert calls._take() == [arrived[2]]


def test_what_there_is_no_room_for_is_refused_at_once(ask: Ask, method: Method) -> None:
    slow = [ask("slow") for _ in range(3)]
    for _ in slow:
        assert method.slow_ones.acquire(timeout=SOON_S)
    with pytest.raises(grpc.RpcError) as refused:
        ask("any").result()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    method.go.set()
    assert [each.result() for each in slow] == [b"slow 1"] * 3


def test_a_tenant_that_fills_the_house_keeps_no_other_out(ask: Ask, method: Method) -> None:
    slow = [ask("slow") for _ in range(3)]
    for _ in slow:
        assert method.slow_ones.acquire(timeout=SOON_S)
    assert ask("brief", key="other").result() == b"brief 1"
    with pytest.raises(grpc.RpcError, match="full"):
        ask("brief").result()
    method.go.set()
    assert [each.result() for each in slow] == [b"slow 1"] * 3


def test_a_caller_that_hangs_up_is_seen_to_have_gone(ask: Ask, method: Method) -> None:
    slow = ask("slow")
    assert method.slow_ones.acquire(timeout=SOON_S)
    (caller,) = method.callers
    assert caller.is_active()
    # gRPC rounds what it sends of a deadline
    assert 0 < (caller.time_remaining() or 0) <= 1.1 * SOON_S
    assert caller.header("authorization") == "right"
    assert caller.header("other") is None
    slow.cancel()
    while caller.is_active():
        assert ask("brief").result() == b"brief 1"


def test_a_grpcio_without_what_is_needed_serves_in_its_own_way() -> None:
    assert not possible(SimpleNamespace())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "tried"),
    [("1.79.9", False), ("1.80.0", True), ("1.85.1", True), ("1.86.0rc1", False), ("dev0", False)],
)
def test_a_grpcio_that_this_was_not_tried_with_serves_in_its_own_way(
    version: str, tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc, "__version__", version)
    assert possible(grpc.server(ThreadPoolExecutor(1))) is tried


def test_brief_calls_that_are_there_together_are_answered_together_by_the_thread_that_polls(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = [*(_arrived("brief") for _ in range(17)), _arrived("any")]
    calls = DirectCalls(grpc.server(ThreadPoolExecutor(1)), PATH, method, 4)
    answered: list[int] = []
    monkeypatch.setattr(calls, "_answer", lambda taken: answered.append(len(taken)))
    calls._ready.extend(arrived)
    assert calls._take() == [arrived[-1]]
    assert answered == [16, 1]


def test_what_is_quick_with_little_is_not_answered_by_the_thread_that_polls_when_it_is_large(
    method: Method,
) -> None:
    arrived = [_arrived("brief"), _arrived("brief", n_bytes=1 << 20)]
    calls = DirectCalls(grpc.server(ThreadPoolExecutor(1)), PATH, method, 4)
    calls._ready.extend(arrived)
    assert calls._take() == arrived


def _arrived(model: str, key: KeyInfo | None = None, n_bytes: int = 0) -> Any:
    request = InferRequest(model, "", "", {}, (), ())
    return SimpleNamespace(request=request, call=SimpleNamespace(key=key, n_bytes=n_bytes))


def test_a_call_that_is_refused_unread_is_counted_for_its_tenant(
    echo_package: Any, tmp_path: Path
) -> None:
    store, state, metrics = KeyStore(tmp_path), State(None), Metrics()
    key = f"Bearer {store.add('ann')}"
    host = LocalHost(Store([echo_package.root]), distance="cloud", runs=1, max_waiting=8)
    admission = Watched(Tenants(lambda: Rules({}), state), metrics)
    server = InferenceServer(host, port=0, keys=KeyChecker(store), admission=admission)
    server.start()
    limit = host.queue._limit
    limit.level, limit._refused_at = 1, math.inf  # as after a refusal, for as long as this takes
    with ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        for _ in range(2):
            stack.enter_context(host.queue.admit(Urgency(tenant="ann")))
        infer = channel.unary_unary(f"/{INFERENCE_SERVICE}/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            infer(b"no request", timeout=SOON_S, metadata=(("authorization", key),))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    server.drain(0)
    ((failure, tally),) = metrics.counted().failed.items()
    assert (*failure, tally.count) == (OTHER, "", "ann", "overloaded", 1)
    assert metrics.in_flight == 0
    ((cell, usage),) = state.usage.take().items()
    assert (cell.tenant, cell.model, usage.refused) == ("ann", "", 1)
