"""Boxes for real, on loopback: found, paired, asked, killed, changed and moved."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

import wherever
from wherever_contracts.errors import PairingError, UntrustedPeerError
from wherever_edge.box.advertising import Beacon
from wherever_edge.box.adverts import Advert
from wherever_edge.box.browsing import Browser
from wherever_edge.box.codes import read_code
from wherever_edge.box.finding import judge, locate
from wherever_edge.box.interfaces import reach_of
from wherever_edge.box.pairing import pair
from wherever_edge.box.pins import Pins
from wherever_edge.oip.certificates import make_identity
from wherever_edge.oip.endpoints import Endpoint

LOOPBACK = "127.0.0.1"
UNSURE = np.array([1, 1.2, 1], np.float32)
# a call this slow was held up; one that falls back at once takes milliseconds
SLOW_S = 0.25
PATIENCE_S = 20.0


class BoxProcess:
    """`wherever serve` in a process of its own."""

    def __init__(self, home: Path, packages: Path, *, name: str, port: int = 0) -> None:
        command = [sys.executable, "-m", "wherever", "serve", "--json", "--name", name]
        options = ["--port", str(port), "--home", str(home), "--packages", str(packages)]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        line = self.process.stdout.readline()
        assert line, f"the box ended with {self.process.wait()} before it was ready"
        self.ready = json.loads(line)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint.parse(f"grpcs://{self.ready['grpc']}?rest=off")

    def next_code(self) -> str:
        return json.loads(self.process.stdout.readline())["code"]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def start_box(tmp_path, scales_package):
    """Starts a box; the same home is the same box. It is ended with the test."""
    with ExitStack() as stack:

        def start(home="box", **options):
            options.setdefault("name", "back-office")
            box = BoxProcess(tmp_path / home, scales_package.root, **options)
            stack.callback(box.kill)
            return box

        yield start


@pytest.fixture
def paired_box(start_box, own_home):
    """A box that this test's home is paired with."""
    box = start_box()
    Pins.load(own_home).add(pair(box.endpoint, read_code(box.ready["code"]), device="till"))
    return box


@pytest.fixture(scope="module")
def shared_box(tmp_path_factory, scales_package):
    """A box for tests that leave it well, and the file of a home that is paired with it."""
    home = tmp_path_factory.mktemp("shared")
    box = BoxProcess(home / "box", scales_package.root, name="back-office")
    Pins.load(home).add(pair(box.endpoint, read_code(box.ready["code"]), device="till"))
    yield box, home / "boxes.json"
    box.kill()


@pytest.fixture
def well_box(shared_box, own_home):
    """The shared box, paired with this test's home."""
    box, pins = shared_box
    shutil.copy(pins, own_home)
    return box


@pytest.fixture
def connect(scales_package):
    """Makes clients of this test's home."""
    with ExitStack() as stack:

        def make(**arguments):
            client = wherever.Client(
                packages=[scales_package.root], interface=LOOPBACK, **arguments
            )
            return stack.enter_context(client)

        yield make


def ask(client, **arguments):
    """One call that a box answers when it can; who answered, and how long it took."""
    started = time.monotonic()
    prediction = client.predict("scales", UNSURE, mode="prefer_in_cloud", **arguments)
    return prediction, time.monotonic() - started


def ask_until(client, place):
    until = time.monotonic() + PATIENCE_S
    while (prediction := ask(client)[0]).place != place:
        assert time.monotonic() < until, prediction.explain()
        time.sleep(0.05)
    return prediction


def adverts_of(*ids):
    """What these boxes say, once all have said it."""
    heard = {}
    everyone = threading.Event()

    def saw(advert):
        heard[advert.id] = advert
        if heard.keys() >= set(ids):
            everyone.set()

    browser = Browser(saw, lambda _: None, interface=LOOPBACK, wanted=ids)
    with closing(browser):
        browser.start()
        assert everyone.wait(PATIENCE_S), heard
    return [heard[box_id] for box_id in ids]


class TlsRecorder:
    """A host with another certificate than the box; keeps every byte that it is sent."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        made = make_identity([LOOPBACK])
        file = directory / "recorder.pem"
        file.write_bytes(made.certificate_pem + made.key_pem)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(file)
        self._context.set_alpn_protocols(["h2"])
        self._socket = socket.create_server((LOOPBACK, port))
        self.port = self._socket.getsockname()[1]
        self.received = b""
        self.connected = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            self.connected.set()
            try:
                with self._context.wrap_socket(plain, server_side=True) as secure:
                    self.received += secure.recv(65536)
            except OSError:
                plain.close()

    def close(self) -> None:
        self._socket.close()


def test_a_box_is_found_and_says_what_it_serves(start_box):
    box = start_box(name="till-side")
    (advert,) = adverts_of(box.ready["id"])
    found = judge(advert, ())
    assert (found.name, found.address, found.state) == (
        "till-side",
        box.ready["grpc"],
        "not paired",
    )
    assert "scales@1.0.0" in found.models


def wherever_says(*arguments, code=0):
    command = [sys.executable, "-m", "wherever", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == code, done.stdout
    return json.loads(done.stdout)


def test_status_shows_a_paired_box(well_box):
    status = wherever_says("status")
    assert ("nearby", "back-office") in [(p["place"], p["host"]) for p in status["places"]]


def test_a_device_whose_key_was_taken_back_gets_no_answer(paired_box, connect, tmp_path):
    client = connect()
    assert ask(client)[0].place == "nearby"
    home = ("--home", str(tmp_path / "box"))
    (device,) = wherever_says("serve", "devices", *home)["devices"]
    assert device["name"].startswith("till-")
    wherever_says("serve", "devices", "--revoke", device["id"], *home)
    attempts = ask_until(client, "device").receipt.attempts
    assert attempts[0].host == "back-office"


def test_the_commands_discover_pair_list_and_forget(start_box):
    box = start_box(name="cellar")
    here = ("--interface", "lo")
    found = {each["id"]: each["state"] for each in wherever_says("discover", *here)["boxes"]}
    assert found[box.ready["id"]] == "not paired"
    paired = wherever_says("pair", "cellar", "--code", box.ready["code"], *here)["paired"]
    assert paired == {"name": "cellar", "id": box.ready["id"], "address": box.ready["grpc"]}
    assert wherever_says("pair", "--list")["boxes"] == [paired]
    assert wherever_says("pair", "--forget", "cellar")["forgotten"] == paired
    refused = wherever_says("pair", "cellar", "--code", box.ready["code"], *here, code=1)
    assert refused["error"]["code"] == "pairing"


def test_a_box_that_ends_says_goodbye(start_box):
    box = start_box()
    came, left = threading.Event(), threading.Event()
    browser = Browser(
        lambda _: came.set(), lambda _: left.set(), interface="lo", wanted={box.ready["id"]}
    )
    with closing(browser):
        browser.start()
        assert came.wait(PATIENCE_S)
        assert box.end() == 0
        assert left.wait(PATIENCE_S)


def test_a_paired_box_answers(well_box, connect):
    prediction, _ = ask(connect())
    assert (prediction.place, prediction.receipt.host) == ("nearby", "back-office")


def test_an_unsure_answer_is_escalated_to_the_box(well_box, connect):
    prediction = connect().predict("scales", UNSURE)
    assert (prediction.place, prediction.receipt.variant) == ("nearby", "large")


def test_data_of_the_site_may_go_to_a_box_and_data_of_the_device_may_not(well_box, connect):
    client = connect()
    assert ask(client, boundary="site")[0].place == "nearby"
    assert ask(client, boundary="device")[0].place == "device"
    assert ask(connect(nearby=False))[0].place == "device"


def test_the_box_is_found_by_its_name_and_code(start_box):
    box = start_box(name="attic")
    code = read_code(box.ready["code"])
    assert locate("attic", code, timeout_s=5, interface="lo") == box.endpoint
    assert locate(box.ready["grpc"], code, timeout_s=5) == box.endpoint
    with pytest.raises(PairingError, match="no box 'cellar'"):
        locate("cellar", code, timeout_s=0.2, interface="lo")


def test_what_pairing_leaves_can_be_read_by_its_owner_alone(well_box, own_home):
    file = own_home / "boxes.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (box,) = Pins.load(own_home).boxes
    assert box.id == well_box.ready["id"]
    assert box.api_key not in repr(box)


def test_a_code_is_good_once_and_the_box_shows_the_next(start_box):
    box = start_box()
    code = read_code(box.ready["code"])
    assert pair(box.endpoint, code, device="till").name == "back-office"
    with pytest.raises(PairingError, match="did not take the code"):
        pair(box.endpoint, code, device="till")
    following = read_code(box.next_code())
    assert pair(box.endpoint, following, device="till").id == box.ready["id"]


def test_a_host_with_another_certificate_than_the_codes_is_told_nothing(start_box, tmp_path):
    code = read_code(start_box().ready["code"])
    with closing(TlsRecorder(tmp_path)) as stranger:
        endpoint = Endpoint(LOOPBACK, stranger.port)
        with pytest.raises(PairingError, match="nothing was sent"):
            pair(endpoint, code, device="till")
        assert stranger.connected.is_set()
        assert stranger.received == b""


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_box_that_is_gone_costs_one_slow_call_at_most(paired_box, connect, number):
    client = connect()
    assert ask(client)[0].place == "nearby"
    os.kill(paired_box.process.pid, number)
    outcomes = [ask(client) for _ in range(200)]
    assert sum(took_s > SLOW_S for _, took_s in outcomes) <= 1
    assert outcomes[-1][0].place == "device"
    assert outcomes[-1][0].degraded
    if number == signal.SIGSTOP:
        os.kill(paired_box.process.pid, signal.SIGCONT)
        assert ask_until(client, "nearby").receipt.host == "back-office"


def test_a_changed_box_gets_no_byte_of_a_call(paired_box, connect, tmp_path):
    port = paired_box.endpoint.port
    paired_box.kill()
    with closing(TlsRecorder(tmp_path, port)) as changed:
        client = connect()
        for _ in range(20):
            assert ask(client)[0].place == "device"
        with pytest.raises(wherever.NoRouteError) as caught:
            connect().predict("scales", UNSURE, places=["nearby"])
        assert isinstance(caught.value.causes[0], UntrustedPeerError)
        assert changed.connected.is_set()
        assert changed.received == b""


def test_a_box_under_a_paired_name_with_another_certificate_is_shown_as_changed(
    well_box, start_box, own_home
):
    other = start_box("other-home")
    boxes = Pins.load(own_home).boxes
    adverts = adverts_of(well_box.ready["id"], other.ready["id"])
    assert [judge(advert, boxes).state for advert in adverts] == ["paired", "CHANGED"]
    changed = pair(other.endpoint, read_code(other.ready["code"]), device="till")
    with pytest.raises(PairingError, match="--forget back-office"):
        Pins.load(own_home).add(changed)


def test_an_unpaired_box_is_never_connected_to(well_box, connect, silent_listener):
    port = int(silent_listener.address.rpartition(":")[2])
    advert = Advert("0" * 16, "free-cookies", (LOOPBACK,), port, ("scales@1.0.0",))
    with closing(Beacon(advert, reach_of(LOOPBACK, ""))) as beacon:
        beacon.start()
        client = connect()
        assert all(ask(client)[0].place == "nearby" for _ in range(20))
        assert adverts_of(advert.id) == [advert]
    assert silent_listener.connections == 0


def test_a_false_advert_takes_no_paired_box_away(paired_box, connect, tmp_path):
    with closing(TlsRecorder(tmp_path)) as liar:
        advert = Advert(paired_box.ready["id"], "back-office", (LOOPBACK,), liar.port)
        with closing(Beacon(advert, reach_of(LOOPBACK, ""))) as beacon:
            client = connect()
            assert ask(client)[0].place == "nearby"
            beacon.start()
            os.kill(paired_box.process.pid, signal.SIGSTOP)
            assert liar.connected.wait(PATIENCE_S)
            os.kill(paired_box.process.pid, signal.SIGCONT)
            assert ask_until(client, "nearby").receipt.host == "back-office"
        assert liar.received == b""


def test_a_box_that_moved_is_followed_and_remembered(paired_box, start_box, connect, own_home):
    client = connect()
    assert ask(client)[0].place == "nearby"
    paired_box.kill()
    moved = start_box()
    assert moved.ready["id"] == paired_box.ready["id"]
    assert moved.endpoint != paired_box.endpoint
    ask_until(client, "nearby")
    (box,) = Pins.load(own_home).boxes
    assert box.endpoint == moved.endpoint


def test_damaged_pins_leave_the_device_at_work_and_are_a_problem(own_home, connect):
    (own_home / "boxes.json").write_text('{"schema": 1, "boxes": [{"name": "x"}]}')
    client = connect()
    assert ask(client)[0].place == "device"
    assert any("boxes.json is damaged" in problem for problem in client.status().problems)
