"""Two machines of a site, as network namespaces joined by a wire: a box here, a device there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

PROGRAMS = Path(__file__).parent / "site"
BOX_ADDRESS, DEVICE_ADDRESS = "10.77.0.1", "10.77.0.2"
MEGABYTE = 1 << 20


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Site:
    """Two namespaces and the wire between them."""

    def __init__(self) -> None:
        self.box, self.device = (f"wherever-{end}-{os.getpid()}" for end in ("box", "device"))
        self.wire = (f"wb{os.getpid()}", f"wd{os.getpid()}")

    def make(self) -> None:
        ends = list(zip((self.box, self.device), self.wire, strict=True))
        for namespace, _ in ends:
            ip("netns", "add", namespace)
        ip("link", "add", self.wire[0], "type", "veth", "peer", "name", self.wire[1])
        for (namespace, end), address in zip(ends, (BOX_ADDRESS, DEVICE_ADDRESS), strict=True):
            ip("link", "set", end, "netns", namespace)
            ip("-n", namespace, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", namespace, "link", "set", "lo", "up")
            ip("-n", namespace, "link", "set", end, "up")

    def remove(self) -> None:
        for namespace in (self.box, self.device):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)

    def plug(self, *, into: bool) -> None:
        ip("-n", self.box, "link", "set", self.wire[0], "up" if into else "down")


class Program:
    """A program in a namespace; each line that it is told is answered by a line of JSON."""

    def __init__(self, namespace: str, *command: str) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, **words: object) -> dict:
        self.process.stdin.write(f"{json.dumps(words)}\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> dict:
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait()}"
        return json.loads(line)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def site():
    if os.geteuid() != 0:
        pytest.fail("namespaces need root")
    site = Site()
    try:
        site.make()
        yield site
    finally:
        site.remove()


@pytest.fixture
def run(site):
    with ExitStack() as stack:

        def start(namespace: str, *command: str) -> Program:
            program = Program(namespace, *command)
            stack.callback(program.kill)
            return program

        yield start


@pytest.fixture
def box(run, site, scales_package, tmp_path):
    options = ["--host", "0.0.0.0", "--name", "back-office", "--home", str(tmp_path / "box")]
    packages = ["--packages", str(scales_package.root)]
    program = run(site.box, "-m", "wherever", "serve", "--json", *options, *packages)
    program.ready = program.hear()
    return program


def wherever_there(site, *arguments: str) -> dict:
    command = ["ip", "netns", "exec", site.device, sys.executable, "-m", "wherever"]
    done = subprocess.run([*command, *arguments, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def device(run, site, box, scales_package):
    """A device that is paired with the box, and has had its first answers from there."""
    wherever_there(site, "pair", "back-office", "--code", box.ready["code"])
    program = run(
        site.device, str(PROGRAMS / "box_calls.py"), str(scales_package.root), DEVICE_ADDRESS
    )
    assert program.tell(count=20, pause_s=0)["places"] == {"nearby": 20}
    return program


def test_a_box_is_found_across_a_wire_and_answers(site, box, device):
    (found,) = wherever_there(site, "discover", "--timeout-s", "2")["boxes"]
    assert (found["id"], found["state"]) == (box.ready["id"], "paired")
    assert found["address"] == f"{BOX_ADDRESS}:8011"


@pytest.mark.alone
@pytest.mark.parametrize("how", ["killed", "frozen", "unplugged"])
def test_a_box_that_is_gone_costs_one_slow_call_at_most(site, box, device, how):
    if how == "unplugged":
        site.plug(into=False)
    else:
        os.kill(box.ready["pid"], signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    outcome = device.tell(count=200, pause_s=0.01)
    print(how, outcome)
    assert outcome["slow"] <= 1
    assert outcome["last"] == "device"
    if how == "unplugged":
        site.plug(into=True)
        assert comes_back(device)


@pytest.mark.alone
def test_a_thousand_false_boxes_get_nothing_and_take_little_memory(run, site, box, device):
    flood = run(
        site.box, str(PROGRAMS / "box_flood.py"), BOX_ADDRESS, site.wire[0], box.ready["id"]
    )
    assert flood.hear() == {"ready": True}
    before = device.tell(count=100, pause_s=0.001)
    flood.tell(strangers=900, claiming=100)
    during = device.tell(count=100, pause_s=0.001)
    # one that the flood holds up may be answered by the device instead, in time
    assert during["places"]["nearby"] > during["places"].get("device", 0)
    assert sum(during["places"].values()) == 100
    os.kill(box.ready["pid"], signal.SIGSTOP)
    flood.tell(strangers=900, claiming=100)
    away = device.tell(count=300, pause_s=0.01)
    os.kill(box.ready["pid"], signal.SIGCONT)
    report = flood.tell(strangers=20_000, claiming=0, pause_s=0)
    after = device.tell(count=100, pause_s=0.001)
    print(before, during, away, after, report, sep="\n")
    assert report["stranger"] == [0, 0]
    assert report["claiming"][0] > 0
    assert report["decrypted"] == 0
    assert away["slow"] <= 1
    assert after["resident_bytes"] - before["resident_bytes"] < 40 * MEGABYTE
    assert comes_back(device)


def comes_back(device: Program) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if device.tell(count=1, pause_s=0.1)["last"] == "nearby":
            return True
    return False
