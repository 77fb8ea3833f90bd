"""Random calls under random faults: no byte of a call is seen beyond its boundary.

Every call has a canary in its input. Between this process and its gateways and box stand
recorders, which keep every byte that comes from it, and play the faults.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import random
import re
import select
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image as Pillow

import wherever
from wherever._remotes import Remote
from wherever._routing import plan as planning
from wherever_contracts.errors import WhereverError
from wherever_contracts.places import BOUNDARIES, PLACES, Boundary, Place, stricter
from wherever_convert.builder import build_package
from wherever_edge.counters import COUNTERS
from wherever_edge.egress import guard
from wherever_edge.host_health.health import HostHealth
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint

SOAK = int(os.environ.get("BOUNDARY_SEQUENCES", "1000000"))
SEED = int(os.environ.get("BOUNDARY_SEED", "0"))
SEQUENCES_OF_A_CLIENT = 250
REMOTE_TIMEOUT_S = 0.04
# what a canary begins with on the wire, and how long it is: a float32 that no other input has
MARK = struct.pack("<f", 0.3141592)
CANARY_BYTES = 12
GOAWAY = b"\0\0\x08\x07\0\0\0\0\0" + struct.pack(">II", 2**31 - 1, 0)
FAULTS = ("refuse", "hang", "reset", "goaway", "silence")


class Recorder:
    """A TCP proxy that keeps what comes in, and passes it on as its `mode` says.

    One thread serves all connections. `refuse` breaks connections off, `hang` passes nothing on,
    `silence` passes no answer on, `reset` breaks off when a call comes in, `goaway` asks the client
    to go.
    """

    def __init__(self, behind: str, place: Place) -> None:
        host, _, port = behind.rpartition(":")
        self.behind = host, int(port)
        self.place = place
        self.mode = "pass"
        self.seen: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listening.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._wake, self._woken = socket.socketpair()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._from_client: dict[socket.socket, list[bytes]] = {}
        self._spoilt: set[socket.socket] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        self._wake.send(b"x")
        self._thread.join(5)
        for each in (*self._pairs.copy(), self._listening, self._wake, self._woken):
            each.close()

    def taken(self) -> list[bytes]:
        """What came in since the last time, by connection; the end of each is kept for the next."""
        streams: list[bytes] = []
        for parts in list(self._from_client.values()):
            data = b"".join(parts)
            parts[:] = [data[-CANARY_BYTES:]]
            streams.append(data)
        ended, self.seen = self.seen, []
        return streams + ended

    def _serve(self) -> None:
        while not self._closed:
            ready, _, _ = select.select([self._listening, self._woken, *self._pairs], [], [], 1)
            for each in ready:
                if each is self._listening:
                    self._accept()
                elif each in self._pairs:
                    self._pass(each)

    def _accept(self) -> None:
        near, _ = self._listening.accept()
        if self.mode == "refuse":
            _break_off(near)
            return
        try:
            far = socket.create_connection(self.behind)
        except OSError:  # the gateway is gone, which its fixture tells
            _break_off(near)
            return
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs[near], self._pairs[far] = far, near
        self._from_client[near] = []

    def _pass(self, source: socket.socket) -> None:
        target = self._pairs[source]
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        near = source if source in self._from_client else target
        if data and near is source:
            self._from_client[near].append(data)
        if not data or self._breaks(near):
            self._end(near)
            return
        if self.mode == "hang" or (self.mode == "silence" and near is target):
            self._spoilt.add(near)
            return
        with suppress(OSError):
            if self.mode == "goaway" and near is target:
                near.sendall(GOAWAY)
            target.sendall(data)

    def _breaks(self, near: socket.socket) -> bool:
        spoilt = self.mode == "pass" and near in self._spoilt
        return spoilt or self.mode in ("refuse", "reset")

    def _end(self, near: socket.socket) -> None:
        far = self._pairs.pop(near)
        del self._pairs[far]
        self._spoilt.discard(near)
        self.seen.append(b"".join(self._from_client.pop(near)))
        far.close()
        _break_off(near)


def _break_off(near: socket.socket) -> None:
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.close()


def canary(number: int, boundary: Boundary, *, sure: bool) -> bytes:
    """Three float32, all above 0, that say which input they are and how far it may travel.

    When they are `sure`, the last one stands out.
    """
    said = struct.pack("<I", 3 * number + BOUNDARIES.index(boundary))
    return MARK + said[:2] + b"\x40\x3f" + said[2:] + (b"\x41\x42" if sure else b"\x30\x3f")


def read_canary(data: bytes) -> tuple[int, Boundary] | None:
    """What a canary says; None when it is none."""
    if len(data) != CANARY_BYTES or data[6:8] != b"\x40\x3f":
        return None
    number, boundary = divmod(struct.unpack("<I", data[4:6] + data[8:10])[0], len(BOUNDARIES))
    return number, BOUNDARIES[boundary]


class Sequences:
    """Draws calls, makes them, and looks for them where they must not be."""

    def __init__(
        self, recorders: dict[str, Recorder], packages: Path, home: Path, seed: int
    ) -> None:
        self.chance = random.Random(seed)
        self.recorders = recorders
        self.packages = packages
        self.home = home
        self.counts: Counter[str] = Counter()
        self.seen: Counter[tuple[Boundary, Place]] = Counter()
        self.leaks: list[str] = []
        self.log = io.StringIO()
        self._last: tuple[str, Boundary | None, list[Any]] = ("", None, [])

    def run(self, sequences: int) -> None:
        handler = logging.StreamHandler(self.log)
        logging.getLogger().addHandler(handler)
        try:
            while sequences > 0:
                self._with_one_client(min(sequences, SEQUENCES_OF_A_CLIENT))
                sequences -= SEQUENCES_OF_A_CLIENT
            self._send_what_waits()
        finally:
            logging.getLogger().removeHandler(handler)

    def _with_one_client(self, sequences: int) -> None:
        limit: Boundary = self.chance.choice(["site", "anywhere", "anywhere", "anywhere"])
        with self._client(limit, rest=self.chance.random() < 0.25) as client:
            models: dict[str, Any] = {name: client.model(name) for name in MODELS}
            for name, (gate, then) in CHAINS.items():
                models[name] = wherever.chain(models[gate], models[then], send="input")
            self._last = ("", None, [])
            for _ in range(sequences):
                self._sequence(client, models, limit)
            self._inspect(client)
        self._look()

    def _client(self, limit: Boundary, *, rest: bool) -> wherever.Client:
        """A client of a box and two gateways, all behind recorders."""
        addresses = {name: recorder.address for name, recorder in self.recorders.items()}
        first = f"http://{addresses['rest']}" if rest else f"grpc://{addresses['one']}?rest=off"
        client = wherever.Client(
            gateways=[first, f"grpc://{addresses['two']}?rest=off"],
            packages=[self.packages],
            home=self.home,
            boundary=limit,
            remote_timeout_s=REMOTE_TIMEOUT_S,
            probe_timeout_s=REMOTE_TIMEOUT_S,
            nearby=False,
            outbox_share=1.0,
            outbox_metered=True,
        )
        box = RemoteHost(Endpoint.parse(f"grpc://{addresses['box']}?rest=off"), place="nearby")
        client._remotes = {box.name: Remote(box, "nearby", REMOTE_TIMEOUT_S), **client._remotes}
        return client

    def _send_what_waits(self) -> None:
        """What the faults kept in the outbox is sent now that there are none."""
        with self._client("anywhere", rest=False) as client:
            self._heal(client)
            for tried in client.outbox().send_all(1.0):
                assert tried.result is not None, tried
        self._look()
        counts = COUNTERS.snapshot()
        ended = [name for name in counts if name.startswith("wherever_outbox_ended_total")]
        self.counts["sent later"] = sum(counts[name] for name in ended)

    def _sequence(self, client: Any, models: dict[str, Any], limit: Boundary) -> None:
        chance = self.chance
        if chance.random() < 0.15:
            recorder = chance.choice(list(self.recorders.values()))
            recorder.mode = chance.choice(FAULTS)
            self.counts[recorder.mode] += 1
        elif chance.random() < 0.5:
            self._heal(client)
        name, asked, values = self._wish(limit)
        arguments = {
            "boundary": asked,
            "mode": chance.choice(["auto", "auto", *planning.MODES]),
            "places": chance.choice([None, None, None, ["cloud", "device"], ["nearby"], ["cloud"]]),
            "deadline_s": chance.choice([None, None, None, 0.03, 0.1]),
            "cache": chance.random() < 0.2,
            "priority": chance.choice(["interactive", "batch", "background"]),
        }
        self.counts["calls"] += len(values)
        try:
            predictions = self._ask(models[name], values, arguments)
        except WhereverError as error:
            self._told(f"{error}")
            self.counts["failed"] += 1
            return
        for prediction in predictions:
            self.counts[prediction.place] += 1
            receipt = prediction.receipt
            self._told(json.dumps(receipt.to_dict()) if chance.random() < 0.1 else "")
            if name in CHAINS:
                self.counts["chained"] += len(receipt.parts)
                continue
            self.counts["released"] += bool(receipt.released)
            self.counts["kept"] += receipt.cache == "hit"
            self.counts["raced"] += len(receipt.attempts) > 1
            self.counts["put off"] += "waits" in receipt.later

    def _wish(self, limit: Boundary) -> tuple[str, Boundary | None, list[Any]]:
        """A model, the call's own boundary, and inputs: the last ones now and then."""
        chance = self.chance
        if not self._last[2] or chance.random() > 0.1:
            name = chance.choices([*MODELS, *CHAINS], [6, 6, 6, 2, 2, 1, 1])[0]
            asked: Boundary | None = chance.choice([None, None, *BOUNDARIES])
            within = stricter(limit, asked or "anywhere")
            for part in CHAINS.get(name, (name,)):
                within = stricter(within, MODELS[part])
            count = chance.choice([1, 1, 1, 1, 2, 3])
            self._last = name, asked, [self._input(name, within) for _ in range(count)]
        return self._last

    def _ask(self, model: Any, values: list[Any], arguments: dict[str, Any]) -> list[Any]:
        if len(values) > 1:
            return list(model.map(values, **arguments))
        if isinstance(model, wherever.Model) and self.chance.random() < 0.05:
            arguments |= {"later": True, "places": None}
        if self.chance.random() < 0.1:
            return [asyncio.run(model.aio(values[0], **arguments))]
        return [model(values[0], **arguments)]

    def _input(self, name: str, boundary: Boundary) -> Any:
        """An input with a canary of its own."""
        self.counts["inputs"] += 1
        data = canary(self.counts["inputs"], boundary, sure=self.chance.random() < 0.5)
        if name.startswith("picture"):
            return picture_with(data, self.chance.randrange(256))
        return np.frombuffer(data, "<f4")

    def _heal(self, client: Any) -> None:
        for recorder in self.recorders.values():
            recorder.mode = "pass"
        if self.chance.random() < 0.5:
            for remote in client._remotes.values():
                remote._health = HostHealth(remote.place)

    def _look(self) -> None:
        """Search what the recorders have for canaries, and for each whether it may be there."""
        for name, recorder in self.recorders.items():
            for stream in recorder.taken():
                self.counts["bytes"] += len(stream)
                for found in re.finditer(re.escape(MARK), stream):
                    self._found(stream[found.start() : found.start() + CANARY_BYTES], name)

    def _found(self, data: bytes, name: str) -> None:
        said, place = read_canary(data), self.recorders[name].place
        if said is None:  # most of all one that is cut off by the end of what has come so far
            self.counts["cut off"] += 1
            return
        number, boundary = said
        self.seen[boundary, place] += 1
        if PLACES.index(place) > BOUNDARIES.index(boundary):
            self.leaks.append(f"input {number} with the boundary {boundary} came to {name}")

    def _inspect(self, client: Any) -> None:
        """Look at what else of this process may leave: status, logs, other connections."""
        self._told(f"{client.status()}")
        self._told(self.log.getvalue())
        self.log.truncate(0)
        ports = {each.port for each in self.recorders.values()}
        ports |= {each.behind[1] for each in self.recorders.values()}
        strangers = [each for each in connections() if not ports & {each[0][1], each[1][1]}]
        self.leaks += [f"a connection to {far}" for _, far in strangers]

    def _told(self, words: str) -> None:
        """Words of ours must hold no canary, neither as bytes nor as numbers."""
        if "canary" in words or "0.3141592" in words:
            self.leaks.append(words[:300])


def connections() -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """Both ends of every TCP connection of this process; addresses as Linux writes them."""
    own = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it was closed meanwhile
            own.add(link.readlink().name.removeprefix("socket:[").rstrip("]"))
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
            _, near, far, state, *rest = line.split()
            if rest[5] in own and state == "01":
                ends = (end.partition(":") for end in (near, far))
                yield tuple((host, int(port, 16)) for host, _, port in ends)


def blocked() -> int:
    counts = COUNTERS.snapshot()
    return sum(count for name, count in counts.items() if name.startswith(guard.BLOCKED))


# model -> how far its package lets its input travel
MODELS: dict[str, Boundary] = {
    "scales-device": "device",
    "scales-site": "site",
    "scales-anywhere": "anywhere",
    "picture-device": "device",
    "picture-anywhere": "anywhere",
}


# chain -> its gate, and whom that asks about the same input
CHAINS = {
    "chain-site": ("scales-site", "scales-anywhere"),
    "chain-device": ("scales-anywhere", "scales-device"),
}


def picture_with(canary: bytes, shade: int) -> bytes:
    """A PNG with a canary beside its pixels."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add(b"caNa", canary)
    buffer = io.BytesIO()
    Pillow.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def build_picture(root: Path, name: str, boundary: Boundary, release: list[dict]) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("Softmax", ["mean"], ["probabilities"]),
        ],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3, 4, 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    root.mkdir(parents=True)
    (root / "small.onnx").write_bytes(model.SerializeToString())
    build_package(
        root,
        {
            "name": name,
            "version": "1.0.0",
            "boundary": boundary,
            "release": release,
            "reference": "small",
            "signature": {
                "inputs": [{"name": "image", "kind": "image"}],
                "outputs": [{"name": "scores", "dtype": "float32", "shape": [3]}],
                "value": {"kind": "label", "scores": "scores", "labels": ["r", "g", "b"]},
            },
            "variants": [
                {
                    "id": "small",
                    "format": "onnx",
                    "precision": "float32",
                    "files": [{"path": "small.onnx"}],
                    "tensors": {
                        "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 3, 4, 4]}],
                        "outputs": [
                            {"name": "probabilities", "dtype": "float32", "shape": [-1, 3]}
                        ],
                    },
                    "pipeline": {
                        "pre": [{"op": "image_tensor", "name": "image", "to": "x", "size": [4, 4]}],
                        "post": [
                            {"op": "first_row", "name": "probabilities", "to": "scores"},
                            {"op": "max_confidence", "name": "scores"},
                        ],
                    },
                }
            ],
        },
    )


@pytest.fixture(scope="module")
def packages(tmp_path_factory, build_scales) -> Path:
    root = tmp_path_factory.mktemp("boundaries")
    for name, boundary in MODELS.items():
        if name.startswith("scales"):
            build_scales(root / name, name=name, boundary=boundary)
    blurred = {
        "name": "small",
        "input": "image",
        "steps": [{"op": "downscale", "max_side": 2}],
        "boundary": "anywhere",
    }
    build_picture(root / "picture-device", "picture-device", "device", [blurred])
    build_picture(root / "picture-anywhere", "picture-anywhere", "anywhere", [])
    return root


@pytest.fixture(scope="module")
def gateway(packages, tmp_path_factory) -> Iterator[dict]:
    """A gateway with gRPC and HTTP in a process of its own."""
    command = [sys.executable, "-m", "wherever", "gateway", "--json", "--packages", str(packages)]
    environment = {**os.environ, "WHEREVER_HOME": str(tmp_path_factory.mktemp("gateway"))}
    process = subprocess.Popen(
        [*command, "--grpc-port", "0", "--http-port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    yield json.loads(process.stdout.readline())
    ended = process.poll()
    process.terminate()
    process.wait(30)
    process.stdout.close()
    assert ended is None, f"the gateway ended by itself, with {ended}"


@pytest.fixture
def sequences(gateway, packages, own_home) -> Iterator[Any]:
    with ExitStack() as stack:
        behind = {
            "one": (gateway["grpc"], "cloud"),
            "two": (gateway["grpc"], "cloud"),
            "rest": (gateway["http"].rpartition("/")[2], "cloud"),
            "box": (gateway["grpc"], "nearby"),
        }
        recorders = {
            name: stack.enter_context(closing(Recorder(address, place)))
            for name, (address, place) in behind.items()
        }
        yield lambda seed=SEED: Sequences(recorders, packages, own_home, seed)


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(20_000, marks=[pytest.mark.full, pytest.mark.timeout(300)]),
        pytest.param(SOAK, marks=[pytest.mark.soak, pytest.mark.timeout(0)]),
    ],
)
def test_no_byte_of_a_call_is_seen_beyond_its_boundary(sequences, count):
    before = blocked()
    made = sequences()
    made.run(count)
    print(dict(made.counts), dict(made.seen))
    assert made.leaks == []
    assert blocked() == before
    # and what may travel does, also to the ends of its boundary
    for boundary, place in (("anywhere", "cloud"), ("anywhere", "nearby"), ("site", "nearby")):
        assert made.seen[boundary, place] > count / 200, (boundary, place)
    assert made.counts["inputs"] > count
    assert made.counts["cut off"] < 10
    for kind in (*FAULTS, *PLACES, "failed", "released", "kept", "raced", "chained", "sent later"):
        assert made.counts[kind] > 0, kind


@pytest.fixture
def careless_planner(monkeypatch):
    """Plans that hold every host, whatever the boundary."""
    monkeypatch.setattr(planning, "_release_for", lambda *_: "")
    monkeypatch.setattr(planning.Plan, "__post_init__", lambda _: None)


@pytest.fixture
def careless_guard(monkeypatch):
    monkeypatch.setattr(guard, "check", lambda *_: None)


@pytest.mark.full
def test_without_the_planners_check_the_guard_blocks_and_counts(sequences, careless_planner):
    before = blocked()
    made = sequences()
    made.run(SEQUENCES_OF_A_CLIENT)
    assert blocked() > before + 20
    assert made.leaks == []


@pytest.mark.full
def test_without_the_guard_the_planner_still_keeps_all_within(sequences, careless_guard):
    made = sequences()
    made.run(SEQUENCES_OF_A_CLIENT)
    assert made.leaks == []


@pytest.mark.full
def test_without_both_bytes_are_seen_where_they_must_not_be(
    sequences, careless_planner, careless_guard
):
    made = sequences()
    made.run(SEQUENCES_OF_A_CLIENT)
    assert len(made.leaks) > 20
    beyond = {(b, p) for b, p in made.seen if PLACES.index(p) > BOUNDARIES.index(b)}
    assert beyond == {("device", "nearby"), ("device", "cloud"), ("site", "cloud")}


@pytest.mark.full
def test_without_the_guard_its_own_tests_fail():
    program = (
        "import sys, pytest\n"
        "from wherever_edge.egress import guard\n"
        "guard.check = lambda *_: None\n"
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '--maxfail=2', sys.argv[1]]))\n"
    )
    tests = Path(__file__).parents[1] / "integration" / "test_egress.py"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tests)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout
    assert "2 failed" in done.stdout
