"""A device that goes offline, comes back, or pays by the byte, at the level of one host.

The kernel's files are a tree of the test's; the host is at an address of this machine that is not
loopback, so that only the files say that nothing leads there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest

import wherever
from wherever._remotes import Remote
from wherever._routing.hints import OFFLINE, WAS_OFFLINE
from wherever._surroundings import NETWORK_FRESH_S, Surroundings
from wherever._watch import Watch
from wherever_contracts.receipts import Answer
from wherever_contracts.tensors import TensorSpec
from wherever_contracts.wire.messages import decode_request, encode_response
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array
from wherever_edge.host_health.forecast import Work
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.link import HEALTH_CHECK, INFER

NUMBERS = from_array("numbers", np.array([1, 1.2, 1], np.float32))
REQUEST = InferRequest("scales", "", "id", {}, (NUMBERS,), boundary="anywhere")
OUTPUTS = (TensorSpec("scores", "float32", (3,)),)
WORK = Work("scales", "", len(NUMBERS.data))
UNSURE = np.array([1, 1.2, 1], np.float32)
# Linux takes it for this machine's own, and no rule says so.
ELSEWHERE = "0.0.0.0"
# "SERVING", as a message of gRPC's health service
SERVES = b"\x08\x01"
NAMES = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
WAY_OUT = "up0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"


class Kernel:
    """What a kernel says of a device with one interface, which is a modem if one likes."""

    def __init__(self, root: Path, *, modem: bool = False) -> None:
        self.root = root
        self._write("sys/class/net/lo/operstate", "unknown\n")
        self._write("sys/class/net/up0/uevent", "DEVTYPE=wwan\n" if modem else "INTERFACE=up0\n")
        self.plug(into=True)

    def plug(self, *, into: bool) -> None:
        self._write("sys/class/net/up0/operstate", "up\n" if into else "down\n")
        self._write("proc/net/route", NAMES + (WAY_OUT if into else ""))

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def kernel(tmp_path):
    return Kernel(tmp_path / "kernel")


def ask(remote: Remote) -> object:
    """One call; why it was not sent, if it was not."""
    return remote.admit(last_hope=False) or remote.infer(REQUEST, OUTPUTS, 1.0, WORK)


def eventually(true: Callable[[], object], within_s: float = 20.0) -> bool:
    ends = time.monotonic() + within_s
    while not (done := bool(true())) and time.monotonic() < ends:
        time.sleep(0.002)
    return done


def _scores(data: bytes, _context: grpc.ServicerContext) -> bytes:
    asked = decode_request(data)
    answer = from_array("scores", np.array([0.1, 0.8, 0.1], np.float32))
    return encode_response(InferResponse(asked.model, "1", asked.id, {}, (answer,)))


@pytest.fixture(scope="module")
def port():
    """The port of a server that is well and answers."""
    answers = {INFER: _scores, HEALTH_CHECK: lambda _data, _context: SERVES}
    server = grpc.server(ThreadPoolExecutor(4))
    for method, answer in answers.items():
        service, name = method.strip("/").split("/")
        handlers = {name: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    found = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield found
    server.stop(0).wait()


@pytest.fixture
def connect(port, kernel):
    """Makes the server's remote, at an address that is not known to be this machine's."""
    with ExitStack() as stack:

        def make(host: str = ELSEWHERE, watch: Watch | None = None) -> Remote:
            watch = watch or Watch(surroundings=Surroundings(root=kernel.root))
            stack.callback(watch.close)
            endpoint = Endpoint.parse(f"grpc://{host}:{port}?rest=off")
            remote = Remote(RemoteHost(endpoint), "cloud", 0.5, watch=watch)
            return stack.enter_context(closing(remote))

        yield make


def test_offline_nothing_is_sent_and_back_online_the_host_answers_within_a_second(kernel, connect):
    remote = connect()
    assert isinstance(ask(remote), Answer)
    kernel.plug(into=False)
    time.sleep(NETWORK_FRESH_S)
    assert {ask(remote) for _ in range(50)} == {OFFLINE}
    assert remote.admit(last_hope=True) == OFFLINE
    kernel.plug(into=True)
    back = time.monotonic()
    assert eventually(lambda: isinstance(ask(remote), Answer))
    assert time.monotonic() - back < 1.0


def test_a_host_that_was_never_asked_is_probed_as_soon_as_the_device_is_online(kernel, connect):
    kernel.plug(into=False)
    remote = connect()
    assert ask(remote) == OFFLINE
    kernel.plug(into=True)
    assert eventually(lambda: remote.health.cost.samples or not remote.admit(last_hope=False))
    assert isinstance(ask(remote), Answer)


def test_who_has_nobody_else_is_let_through_at_once_when_the_device_is_online(kernel, connect):
    remote = connect()
    kernel.plug(into=False)
    assert ask(remote) == OFFLINE
    kernel.plug(into=True)
    assert eventually(lambda: not remote.admit(last_hope=True))
    assert isinstance(remote.infer(REQUEST, OUTPUTS, 1.0, WORK), Answer)


def test_a_call_that_has_another_choice_waits_for_the_probe_that_follows(kernel, connect):
    remote = connect()
    kernel.plug(into=False)
    assert ask(remote) == OFFLINE
    kernel.plug(into=True)
    seen = []
    assert eventually(lambda: seen.append(ask(remote)) or isinstance(seen[-1], Answer))
    assert set(seen[:-1]) <= {OFFLINE, f"{WAS_OFFLINE}, and it is being probed"}


def test_a_host_of_this_machine_is_asked_also_offline(kernel, connect):
    kernel.plug(into=False)
    remote = connect("127.0.0.1")
    assert isinstance(ask(remote), Answer)
    assert remote.cut_off() == ""
    away = RemoteHost(Endpoint.parse("grpc://gateway.example:8001"))
    remote.move(away).close()
    assert remote.admit(last_hope=True) == OFFLINE


@pytest.mark.parametrize("said", ["auto", "yes", "no"])
@pytest.mark.parametrize("modem", [True, False])
def test_a_modem_costs_by_the_byte_unless_somebody_knows_better(tmp_path, connect, modem, said):
    kernel = Kernel(tmp_path / "another", modem=modem)
    watch = Watch(surroundings=Surroundings(said, kernel.root), quiet_s=0.0)
    remote, here = connect(watch=watch), connect("127.0.0.1", watch)
    costs = modem if said == "auto" else said == "yes"
    assert (remote.costs, here.costs) == (costs, False)


def test_where_each_byte_costs_a_host_that_is_quiet_is_not_probed(kernel, connect):
    for said, probed in (("yes", False), ("no", True)):
        watch = Watch(surroundings=Surroundings(said, kernel.root), quiet_s=0.0)
        remote = connect(watch=watch)
        remote.asked_at = time.monotonic()
        watch.tend()
        assert (remote.quiet_s() < 1.0) is probed


def test_whether_it_is_on_battery_is_looked_up_seldom(tmp_path):
    root = tmp_path / "laptop"
    battery = root / "sys/class/power_supply/BAT0"
    battery.mkdir(parents=True)
    (battery / "type").write_text("Battery\n")
    (battery / "status").write_text("Discharging\n")
    surroundings = Surroundings(root=root)
    assert surroundings.on_battery()
    (battery / "status").write_text("Charging\n")
    assert surroundings.on_battery()
    assert not Surroundings(root=root).on_battery()
    assert not Surroundings(root=tmp_path / "server").on_battery()


def test_the_network_is_looked_up_again_and_again(kernel):
    surroundings = Surroundings(root=kernel.root)
    assert surroundings.network().offline is False
    kernel.plug(into=False)
    assert eventually(lambda: surroundings.network().offline)


@pytest.fixture
def client(kernel, monkeypatch, scales_package):
    """A client of a gateway that is not on this machine."""
    monkeypatch.setattr("wherever._client.Surroundings", partial(Surroundings, root=kernel.root))
    with wherever.Client(["grpc://203.0.113.1:8001"], packages=[scales_package.root]) as client:
        yield client


def test_offline_calls_are_answered_here_and_the_receipt_says_why(kernel, client):
    kernel.plug(into=False)
    for mode, degraded in (("prefer_in_cloud", True), ("auto", True)):
        prediction = client.predict("scales", UNSURE, mode=mode)
        assert (prediction.place, prediction.degraded) == ("device", degraded)
        assert OFFLINE in prediction.explain()
        assert [attempt.place for attempt in prediction.receipt.attempts] == ["device"]
    with pytest.raises(wherever.NoRouteError, match=OFFLINE):
        client.predict("scales", UNSURE, mode="only_in_cloud")
    status = client.status()
    assert (status.network.offline, status.places[1].state) == (True, "offline")
    assert "offline, not known to be metered" in str(status)
    kernel.plug(into=True)
    assert eventually(lambda: client.status().network.offline is False)
    assert client.status().places[1].state != "offline"


def test_looking_at_the_status_changes_nothing(kernel, client):
    kernel.plug(into=False)
    assert client.status().places[1].state == "offline"
    kernel.plug(into=True)
    assert eventually(lambda: client.status().places[1].state == "ready")
