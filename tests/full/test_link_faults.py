"""A gateway behind a link that goes silent, is unplugged, or whose name is not known for a while.

Two network namespaces, real processes. No call fails, one at most waits, and the gateway is asked
again soon after the link is back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from wherever._surroundings import NETWORK_FRESH_S

pytestmark = [pytest.mark.full, pytest.mark.alone]

PROGRAM = Path(__file__).parent / "site" / "gateway_calls.py"
GATEWAY, DEVICE = "10.78.0.1", "10.78.0.2"
NAME = "gateway.test"
OUTAGE_S = 6.0


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Link:
    """Two namespaces and a wire; the device's end has a hosts file of its own."""

    def __init__(self) -> None:
        self.gateway, self.device = (f"wherever-{end}-{os.getpid()}" for end in ("gw", "dev"))
        self._wire = f"wg{os.getpid()}"
        self._hosts = Path("/etc/netns") / self.device / "hosts"

    def make(self) -> None:
        self._hosts.parent.mkdir(parents=True)
        self.name(known=True)
        far = f"{self._wire}d"
        for namespace in (self.gateway, self.device):
            ip("netns", "add", namespace)
        ip("link", "add", self._wire, "type", "veth", "peer", "name", far)
        ends = ((self.gateway, self._wire, GATEWAY), (self.device, far, DEVICE))
        for namespace, end, address in ends:
            ip("link", "set", end, "netns", namespace)
            ip("-n", namespace, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", namespace, "link", "set", "lo", "up")
            ip("-n", namespace, "link", "set", end, "up")

    def remove(self) -> None:
        for namespace in (self.gateway, self.device):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)
        with suppress(FileNotFoundError):
            self._hosts.unlink()
            self._hosts.parent.rmdir()

    def silent(self, *, silent: bool) -> None:
        """Let nothing of the gateway's travel, not even that it is not there."""
        ip("-n", self.gateway, "route", "add" if silent else "del", "blackhole", f"{DEVICE}/32")

    def unplugged(self, *, unplugged: bool) -> None:
        ip("-n", self.gateway, "link", "set", self._wire, "down" if unplugged else "up")

    def offline(self, *, offline: bool) -> None:
        """Switch the device's own interface off."""
        ip("-n", self.device, "link", "set", f"{self._wire}d", "down" if offline else "up")

    def name(self, *, known: bool) -> None:
        self._hosts.write_text(f"127.0.0.1 localhost\n{f'{GATEWAY} {NAME}' if known else ''}\n")


class Program:
    """A program in a namespace; each line that it is told is answered by a line of JSON."""

    def __init__(self, namespace: str, *command: str) -> None:
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def calls(self, seconds: float, until: str = "") -> dict:
        self._process.stdin.write(f"{json.dumps({'seconds': seconds, 'until': until})}\n")
        self._process.stdin.flush()
        return self.hear()

    def hear(self) -> dict:
        line = self._process.stdout.readline()
        assert line, f"the program ended with {self._process.wait()}"
        return json.loads(line)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture
def link():
    if os.geteuid() != 0:
        pytest.fail("namespaces need root")
    link = Link()
    try:
        link.make()
        yield link
    finally:
        link.remove()


@pytest.fixture
def device(link):
    """A device that asks the gateway, which answers."""
    with ExitStack() as stack:
        plain = ["--no-http", "--host", "0.0.0.0", "--no-tls", "--no-keys", "--insecure"]
        gateway = Program(link.gateway, "-m", "wherever", "gateway", "--json", *plain)
        stack.callback(gateway.kill)
        gateway.hear()

        def start() -> Program:
            program = Program(link.device, str(PROGRAM), f"grpc://{NAME}:8001?rest=off")
            stack.callback(program.kill)
            return program

        yield start


@pytest.mark.parametrize("fault", ["silent", "unplugged"])
def test_a_cut_link_costs_one_slow_call_and_no_failed_one(link, device, fault):
    program = device()
    assert program.calls(20, until="cloud")["last"] == "cloud"
    program.calls(1)
    cut = getattr(link, fault)
    cut(**{fault: True})
    during = program.calls(OUTAGE_S)
    cut(**{fault: False})
    back_at = time.monotonic()
    after = program.calls(20, until="cloud")
    print(fault, during, after, f"first cloud answer {after['at'] - back_at:.3f} s after")
    assert during["failed"] == after["failed"] == []
    assert len(during["slow"] + after["slow"]) <= 1
    assert during["last"] == "device"
    assert after["last"] == "cloud"


def test_a_device_that_is_offline_pays_nothing_and_asks_the_gateway_within_a_second_of_its_return(
    link, device
):
    program = device()
    assert program.calls(20, until="cloud")["last"] == "cloud"
    for outage_s in (0.3, OUTAGE_S):
        program.calls(1)
        link.offline(offline=True)
        time.sleep(NETWORK_FRESH_S)  # what is known of the network is as old at most
        during = program.calls(outage_s)
        link.offline(offline=False)
        back_at = time.monotonic()
        after = program.calls(20, until="cloud")
        print(during, after, f"first cloud answer {after['at'] - back_at:.3f} s after")
        assert during["failed"] == after["failed"] == during["slow"] == after["slow"] == []
        assert list(during["places"]) == ["device"]
        assert (after["last"], after["at"] - back_at < 1.0) == ("cloud", True)


def test_a_gateway_of_this_machine_is_asked_also_offline(link):
    with ExitStack() as stack:
        plain = ["--no-http", "--no-tls", "--no-keys"]
        gateway = Program(link.device, "-m", "wherever", "gateway", "--json", *plain)
        stack.callback(gateway.kill)
        gateway.hear()
        link.offline(offline=True)
        program = Program(link.device, str(PROGRAM), "localhost:8001?rest=off")
        stack.callback(program.kill)
        assert program.calls(20, until="cloud")["last"] == "cloud"


def test_a_name_that_is_not_known_for_a_while_costs_one_call(link, device):
    link.name(known=False)
    program = device()
    during = program.calls(OUTAGE_S)
    link.name(known=True)
    known_at = time.monotonic()
    after = program.calls(20, until="cloud")
    print(during, after, f"first cloud answer {after['at'] - known_at:.3f} s after")
    assert during["failed"] == after["failed"] == []
    assert len(during["slow"]) <= 1
    assert after["last"] == "cloud"
