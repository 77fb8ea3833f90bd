"""Servers behind the gateway, for real: killed, frozen, busy, refusing, unlike, added, removed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from wherever_contracts.errors import (
    DeadlineError,
    ForbiddenError,
    InputError,
    ModelNotFoundError,
    OverloadedError,
    RefusedError,
    RemoteError,
    SettingsError,
    UnreachableError,
    WhereverError,
)
from wherever_contracts.urgency import Urgency
from wherever_contracts.wire.messages import decode_request, encode_response
from wherever_contracts.wire.metadata import encode_ready
from wherever_contracts.wire.schema import INFERENCE_SERVICE
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array, to_array
from wherever_edge.host import LocalHost
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store
from wherever_gateway.backends.backends import Backends

NUMBERS = from_array("numbers", np.array([1, 3, 2], np.float32))
SCALES = InferRequest("scales", "", "mine", {}, (NUMBERS,), boundary="anywhere")
READY = encode_ready(ready=True)
SERVER = """
import sys
from pathlib import Path
from wherever_edge.host import LocalHost
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store
host = LocalHost(Store([Path(sys.argv[2])]), distance="cloud")
host.queue.runs, host.queue.max_waiting = 2, 64
server = InferenceServer(host, port=int(sys.argv[1]))
server.start()
print(server.port, flush=True)
sys.stdin.read()
"""


class ServerProcess:
    """A server of ours in a process of its own; keeps its port when started again."""

    def __init__(self, package: Path) -> None:
        self._package = package
        self._port = "0"
        self.start()

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self._port}?rest=off"

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, self._port, str(self._package)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        self._port = self._process.stdout.readline().strip()
        assert self._port

    def send(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(30)
        self._process.stdout.close()
        self._process.stdin.close()


@pytest.fixture(scope="module")
def pair(scales_package) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two servers with the package `scales`; a test leaves both of them well."""
    servers = ServerProcess(scales_package.root), ServerProcess(scales_package.root)
    for server in servers:
        server.wait_until_ready()
    yield servers
    for server in servers:
        server.kill()


def backend(*endpoints: str, models: Any = None, **changes: Any) -> Any:
    """What a gateway's configuration says of a backend."""
    said = {"place": "cloud", "api_key_file": None, "ca_file": None, "timeout_s": 10.0, **changes}
    return SimpleNamespace(endpoints=endpoints, models=models or {"scales": None}, **said)


@pytest.fixture
def behind() -> Iterator[Callable[..., Backends]]:
    """Makes backends; they are closed with the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(closing(Backends(settings)))


@pytest.fixture
def serve_infer() -> Iterator[Callable[..., str]]:
    """Starts servers of others that are well, and whose ModelInfer is the given function."""
    with ExitStack() as stack:

        def serve(infer: Callable[[bytes, grpc.ServicerContext], bytes]) -> str:
            methods = {"ModelInfer": infer, "ServerReady": lambda _data, _context: READY}
            handlers = {
                name: grpc.unary_unary_rpc_method_handler(method)
                for name, method in methods.items()
            }
            server = grpc.server(ThreadPoolExecutor(16))
            generic = grpc.method_handlers_generic_handler(INFERENCE_SERVICE, handlers)
            server.add_generic_rpc_handlers((generic,))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            stack.callback(lambda: server.stop(0).wait())
            return f"127.0.0.1:{port}"

        yield serve


@dataclass
class Caller:
    """Who calls, with all the time there is."""

    key: Any = None
    n_bytes: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    active: bool = True

    def time_remaining(self) -> float | None:
        return None

    def is_active(self) -> bool:
        return self.active

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


def grant(
    caller: Caller,
    timeout_s: float = 10.0,
    boundary: str = "anywhere",
    headers: tuple[tuple[str, str], ...] = (),
    **urgency,
) -> Any:
    until = time.perf_counter() + timeout_s
    urgent = Urgency(deadline=until, gone=lambda: not caller.is_active(), **urgency)
    return SimpleNamespace(urgency=urgent, boundary=boundary, kept=None, headers=headers)


def ask(backends: Backends, request: InferRequest = SCALES, **given: Any) -> InferResponse:
    caller = given.pop("caller", None) or Caller()
    found = backends.find(request.model)
    assert found is not None
    return found.infer(request, grant(caller, **given)).response


def eventually(true: Callable[[], object], within_s: float = 20.0) -> bool:
    ends = time.monotonic() + within_s
    while not (done := bool(true())) and time.monotonic() < ends:
        time.sleep(0.005)
    return done


def servers_of(backends: Backends, name: str = "far") -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in backends.status()[name]["servers"]}


def outcomes(backends: Backends, stop: threading.Event, **given: Any) -> list[Any]:
    """Ask until told to stop; what came of each call."""
    ended: list[Any] = []
    while not stop.is_set():
        try:
            ended.append(ask(backends, **given))
        except WhereverError as error:
            ended.append(error)
    return ended


class Under:
    """Four callers under way; what came of their calls once they are stopped."""

    def __init__(self, backends: Backends, **given: Any) -> None:
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(4)
        self._running = [
            self._pool.submit(outcomes, backends, self._stop, **given) for _ in range(4)
        ]

    def stop(self) -> list[Any]:
        self._stop.set()
        ended = [outcome for each in self._running for outcome in each.result(60)]
        self._pool.shutdown()
        return ended


# --- a call that is passed on ---


def test_through_a_gateway_the_answer_is_that_of_the_server_behind_it(pair, behind, echo_package):
    backends = behind(far=backend(*(each.address for each in pair), models={"judge": "scales"}))
    host = LocalHost(Store([echo_package.root]), distance="cloud")
    host.queue.runs, host.queue.max_waiting = 2, 16
    gateway = InferenceServer(host, port=0, elsewhere=backends.find)
    gateway.start()
    with closing(RemoteHost(Endpoint.parse(f"grpc://127.0.0.1:{gateway.port}?rest=off"))) as client:
        response = client.infer(SCALES._replace(model="judge"), 10.0)
        assert (response.model, response.version, response.id) == ("judge", "1.0.0", "mine")
        assert to_array(response.outputs[0]).argmax() == 1
        assert json.loads(response.parameters["wherever_ran"])["variant"] == "large"
        assert "wherever_load" not in response.parameters
        assert client.model_ready("judge", "", 5.0)
        assert not client.model_ready("judge", "7.0.0", 5.0)
        metadata = client.model_metadata("judge", "", 5.0)
        assert (metadata.name, metadata.inputs[0].shape) == ("judge", (3,))
        with pytest.raises(RefusedError, match=r"INVALID_ARGUMENT.*takes at the backend 'far'"):
            client.infer(SCALES._replace(model="judge", inputs=()), 10.0)
        with pytest.raises(RefusedError, match="NOT_FOUND"):
            client.infer(SCALES, 10.0)
    gateway.drain(0)


def test_what_is_counted_names_the_backend_and_what_ran(pair, behind):
    backends = behind(far=backend(pair[0].address))
    caller = Caller()
    served = backends.find("scales").infer(SCALES, grant(caller)).served
    assert (served.model, served.version, served.variant) == ("scales", "1.0.0", "large")
    assert (served.backend, served.rows) == ("far", 1)
    assert served.engine_s > 0


def test_calls_are_spread_over_the_servers(pair, behind):
    backends = behind(far=backend(*(each.address for each in pair)))
    for _ in range(40):
        ask(backends)
    assert all(each["usual_s"] > 0 for each in servers_of(backends).values())


def test_a_model_that_no_backend_names_is_answered_by_none(behind, unused_address):
    assert behind(far=backend(f"grpc://{unused_address}")).find("digits") is None


# --- outages ---


def test_no_call_is_lost_to_a_server_that_is_killed_and_it_is_asked_again_once_it_is_back(
    pair, behind
):
    backends = behind(far=backend(*(each.address for each in pair)))
    for _ in range(30):
        ask(backends)
    callers = Under(backends)
    pair[0].kill()
    assert eventually(lambda: servers_of(backends)[pair[0].name]["state"] == "open")
    ended = callers.stop()
    assert [each for each in ended if isinstance(each, Exception)] == []
    pair[0].start()
    pair[0].wait_until_ready()
    assert eventually(
        lambda: ask(backends) and servers_of(backends)[pair[0].name]["state"] == "closed"
    )


def test_no_call_is_lost_to_a_server_that_hangs(pair, behind):
    backends = behind(far=backend(*(each.address for each in pair)))
    for _ in range(30):
        ask(backends)
    callers = Under(backends, timeout_s=8.0)
    pair[0].send(signal.SIGSTOP)
    try:
        assert eventually(lambda: servers_of(backends)[pair[0].name]["state"] == "open")
        ended = callers.stop()
    finally:
        pair[0].send(signal.SIGCONT)
    assert [each for each in ended if isinstance(each, Exception)] == []
    assert eventually(lambda: servers_of(backends)[pair[0].name]["state"] != "open")


def test_when_no_server_is_left_only_the_log_says_where_they_are_and_what_is_known_stays_known(
    behind, scales_package, caplog
):
    host = LocalHost(Store([scales_package.root]), distance="cloud")
    host.queue.runs, host.queue.max_waiting = 2, 16
    servers = [InferenceServer(host, port=0) for _ in range(2)]
    for server in servers:
        server.start()
    names = [f"127.0.0.1:{server.port}" for server in servers]
    backends = behind(far=backend(*(f"grpc://{name}?rest=off" for name in names)))
    found = backends.find("scales")
    described = found.metadata("scales", "")
    assert found.ready("scales", "")
    for server in servers:
        server.drain(0)
    with pytest.raises(UnreachableError) as caught:
        ask(backends)
    assert "the backend 'far'" in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    assert all(name in caplog.text for name in names)
    assert set(servers_of(backends)) == set(names)
    assert eventually(lambda: not found.ready("scales", ""))
    assert found.metadata("scales", "") == described
    with pytest.raises(UnreachableError, match="no server of the backend 'far'"):
        found.metadata("scales", "1.0.0")


def test_the_restart_of_the_only_server_costs_no_call(behind, scales_package):
    host = LocalHost(Store([scales_package.root]), distance="cloud")
    host.queue.runs, host.queue.max_waiting = 2, 16
    server = InferenceServer(host, port=0)
    server.start()
    backends = behind(far=backend(f"grpc://127.0.0.1:{server.port}?rest=off"))
    for _ in range(5):
        ask(backends)
    callers = Under(backends)
    server.drain(0.5)
    again = InferenceServer(host, port=server.port)
    again.start()
    assert eventually(lambda: ask(backends).version == "1.0.0")
    ended = callers.stop()
    again.drain(0)
    assert [each for each in ended if isinstance(each, Exception)] == []


# --- servers that are unlike ---


def test_a_server_without_the_model_is_passed_over(pair, behind, echo_package):
    host = LocalHost(Store([echo_package.root]), distance="cloud")
    host.queue.runs, host.queue.max_waiting = 2, 16
    other = InferenceServer(host, port=0)
    other.start()
    backends = behind(far=backend(pair[0].address, f"grpc://127.0.0.1:{other.port}?rest=off"))
    assert all(ask(backends).version == "1.0.0" for _ in range(20))
    with pytest.raises(ModelNotFoundError, match="has the model 'scales' ready now"):
        ask(backends, SCALES._replace(version="7.0.0"))
    other.drain(0)


def test_wrong_inputs_are_the_caller_s_fault_and_are_not_sent_twice(behind, serve_infer):
    asked = []

    def refuse(data: bytes, context: grpc.ServicerContext) -> bytes:
        asked.append(data)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "three numbers, please")

    address = serve_infer(refuse)
    backends = behind(far=backend(f"grpc://{address}?rest=off"))
    with pytest.raises(InputError, match="three numbers, please") as caught:
        ask(backends)
    assert address not in str(caught.value)
    assert len(asked) == 1


def test_a_server_that_is_full_is_relieved_by_another(behind, serve_infer):
    full, roomy = serve_infer(no_room), serve_infer(echo)
    backends = behind(far=backend(f"grpc://{full}?rest=off", f"grpc://{roomy}?rest=off"))
    assert [ask(backends).version for _ in range(20)] == ["1"] * 20
    both = behind(far=backend(f"grpc://{full}?rest=off"))
    with pytest.raises(OverloadedError) as caught:
        ask(both)
    assert 0 < caught.value.retry_after_s <= 0.3


def test_a_server_that_fails_its_calls_costs_none_of_them(behind, serve_infer):
    bad, good = serve_infer(fail), serve_infer(echo)
    backends = behind(far=backend(f"grpc://{bad}?rest=off", f"grpc://{good}?rest=off"))
    assert [ask(backends).version for _ in range(40)] == ["1"] * 40
    with pytest.raises(RemoteError, match="broken"):
        ask(behind(far=backend(f"grpc://{bad}?rest=off")))


def test_a_server_that_wants_another_key_is_not_the_caller_s_concern(behind, serve_infer):
    def refuse(_data: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

    backends = behind(far=backend(f"grpc://{serve_infer(refuse)}?rest=off"))
    with pytest.raises(RemoteError, match="another key"):
        ask(backends)


def test_a_server_that_speaks_rest_alone_answers_too(behind, serve_http):
    said = {
        "model_name": "scales",
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [3], "data": [0.1, 0.8, 0.1]}],
    }
    server = serve_http(lambda _path, _headers, _body: (200, {}, json.dumps(said).encode()))
    response = ask(behind(far=backend(f"http://{server.address}")))
    assert to_array(response.outputs[0]).argmax() == 1
    assert b'"name":"numbers"' in server.posted[0]


# --- time ---


def test_the_deadline_travels_on_and_who_has_left_is_not_worked_for(behind, serve_infer):
    given: list[float] = []
    began, ended, release = threading.Event(), threading.Event(), threading.Event()

    def slow(_data: bytes, context: grpc.ServicerContext) -> bytes:
        given.append(context.time_remaining())
        context.add_callback(ended.set)
        began.set()
        release.wait(20)
        return b""

    address = serve_infer(slow)
    backends = behind(far=backend(f"grpc://{address}?rest=off"))
    with pytest.raises(DeadlineError):
        ask(backends, timeout_s=1.0)
    assert 0 < given[0] <= 1.0
    assert ended.wait(10)
    began.clear()
    ended.clear()
    backends = behind(far=backend(f"grpc://{address}?rest=off"))
    caller = Caller()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(ask, backends, caller=caller, timeout_s=15.0)
        assert began.wait(10)
        caller.active = False
        assert ended.wait(10)
        with pytest.raises(DeadlineError, match="nobody waits"):
            call.result()
    release.set()


def test_there_is_no_more_room_than_the_servers_answer_well(behind, serve_infer):
    release = threading.Event()

    def wait(data: bytes, context: grpc.ServicerContext) -> bytes:
        release.wait(20)
        return echo(data, context)

    settings = {"far": backend(f"grpc://{serve_infer(wait)}?rest=off")}
    with closing(Backends(settings, most=2)) as backends, ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(ask, backends, tenant=name) for name in ("one", "two")]
        assert eventually(lambda: backends.status()["far"]["calls"] == 2)
        with pytest.raises(OverloadedError, match="2 calls are on their way"):
            ask(backends, tenant="three")
        release.set()
        assert [call.result().version for call in calls] == ["1", "1"]


def test_a_slow_backend_leaves_places_to_the_others(behind, serve_infer):
    release = threading.Event()

    def wait(data: bytes, context: grpc.ServicerContext) -> bytes:
        release.wait(20)
        return echo(data, context)

    settings = {
        "slow": backend(f"grpc://{serve_infer(wait)}?rest=off", models={"slow": None}),
        "quick": backend(f"grpc://{serve_infer(echo)}?rest=off"),
    }
    slow = SCALES._replace(model="slow")
    with closing(Backends(settings, most=8)) as backends, ThreadPoolExecutor(7) as pool:
        calls = [pool.submit(ask, backends, slow) for _ in range(7)]
        assert eventually(lambda: backends.status()["slow"]["calls"] == 7)
        with pytest.raises(OverloadedError):
            ask(backends, slow)
        assert ask(backends).version == "1"
        release.set()
        assert [call.result().version for call in calls] == ["1"] * 7


# --- what travels ---


def test_nothing_travels_beyond_the_callers_boundary(behind, silent_listener):
    backends = behind(far=backend(f"grpc://{silent_listener.address}?rest=off", models={"*": None}))
    with pytest.raises(ForbiddenError, match="beyond the boundary 'site'"):
        ask(backends, boundary="site")
    assert not [each for each in (silent_listener.received,) if each > 10_000]


def test_of_the_caller_only_the_call_and_its_trace_travel(behind, serve_infer):
    seen: list[tuple[InferRequest, dict[str, str]]] = []

    def look(data: bytes, context: grpc.ServicerContext) -> bytes:
        seen.append((decode_request(data), dict(context.invocation_metadata())))
        return echo(data, context)

    backends = behind(far=backend(f"grpc://{serve_infer(look)}?rest=off"))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    caller = Caller(headers={"authorization": "Bearer secret", "traceparent": trace})
    ours = {"signature": "s", "priority": "batch", "idempotency_key": "k"}
    asked = SCALES._replace(parameters={**ours, "threshold": 0.5})
    ask(backends, asked, caller=caller, headers=(("traceparent", trace),))
    request, metadata = seen[0]
    assert request.parameters == {"threshold": 0.5}
    assert request.inputs == (NUMBERS,)
    assert "authorization" not in metadata
    assert metadata["traceparent"] == trace
    with pytest.raises(RefusedError, match="knows no variants"):
        ask(backends, SCALES._replace(parameters={"variant": "large"}))
    with pytest.raises(RefusedError, match="sequence"):
        ask(backends, SCALES._replace(parameters={"sequence_id": 7}))
    assert len(seen) == 1


def test_a_server_of_ours_is_told_which_variant_and_signature_are_meant(pair, behind):
    backends = behind(far=backend(pair[0].address))
    response = ask(backends, SCALES._replace(parameters={"variant": "small"}))
    assert json.loads(response.parameters["wherever_ran"])["variant"] == "small"
    with pytest.raises(RefusedError, match="signature"):
        ask(backends, SCALES._replace(parameters={"signature": "another"}))


# --- changes ---


def test_servers_come_and_go_without_a_lost_call(pair, behind):
    one, two = (each.address for each in pair)
    backends = behind(far=backend(one))
    ask(backends)
    callers = Under(backends)
    for endpoints in ((one, two), (two,), (one,), (one, two)):
        backends.reconfigure({"far": backend(*endpoints)})
        assert len(servers_of(backends)) == len(endpoints)
        assert all(ask(backends) for _ in range(5))
    ended = callers.stop()
    assert [each for each in ended if isinstance(each, Exception)] == []
    backends.reconfigure({})
    assert backends.find("scales") is None
    assert backends.status() == {}


def test_settings_that_cannot_be_used_change_nothing(pair, behind, tmp_path):
    backends = behind(far=backend(pair[0].address))
    key = tmp_path / "key"
    key.write_text("secret\n")
    for wrong, words in (
        (backend("grpc://10.0.0.1:8001", api_key_file=key), "everybody on the way"),
        (backend(pair[1].address, ca_file=tmp_path / "none"), "cannot be read"),
    ):
        with pytest.raises(SettingsError, match=words):
            backends.reconfigure({"near": backend(pair[1].address), "far": wrong})
    assert list(backends.status()) == ["far"]
    assert ask(backends).version == "1.0.0"


def echo(data: bytes, _context: grpc.ServicerContext) -> bytes:
    asked = decode_request(data)
    return encode_response(InferResponse(asked.model, "1", asked.id, {}, asked.inputs))


def no_room(_data: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata((("grpc-retry-pushback-ms", "300"),))
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")


def fail(_data: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.INTERNAL, "broken")
