"""The demo, for real: what it shows is true, it repeats, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from wherever.cli._demo_gateway import DemoGateway
from wherever_contracts.errors import WhereverError
from wherever_contracts.manifest import parse_manifest
from wherever_edge.builtin import PACKAGES

DEMO = [sys.executable, "-m", "wherever", "demo"]
WITHIN_S = 60
COUNTED = ["gateway up", "killed", "back", "frozen", "back again"]
ALL = ["gateway up", "killed", "restarting", "back", "frozen", "waking", "back again"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """One run on a terminal, in words."""
    home = tmp_path_factory.mktemp("terminal")
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"}
    with subprocess.Popen(DEMO, stdout=follower, env=environment, cwd=home) as process:
        os.close(follower)
        parts = []
        try:
            while part := os.read(leader, 65536):
                parts.append(part)
        except OSError:
            pass  # Linux says EIO when the other side has closed
        process.wait(WITHIN_S)
    os.close(leader)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(parts).decode())
    assert process.returncode == 0, text
    return text


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """One run as JSON, with a picture."""
    folder = tmp_path_factory.mktemp("json")
    done = subprocess.run(
        [*DEMO, "--json", "--save", "timeline.png"],
        capture_output=True,
        timeout=WITHIN_S,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return {**json.loads(done.stdout), "folder": folder}


@pytest.fixture(scope="module")
def qualities():
    """Variant -> accuracy on the test split, as the package promises."""
    manifest = parse_manifest((PACKAGES / "digits" / "model.json").read_bytes())
    return {
        variant.id: next(q for q in variant.quality if "test" in q.dataset)
        for variant in manifest.variants
    }


def test_no_call_fails_while_the_gateway_is_killed_and_frozen(figures):
    assert figures["failed_calls"] == 0
    assert [phase["name"] for phase in figures["phases"]] == ALL
    assert all(phase["failed"] == 0 for phase in figures["phases"])
    assert figures["measured"]["calls"] > 8 * figures["digits"]


def test_each_place_is_as_right_as_the_package_promises(figures, qualities):
    modes = {mode["mode"]: mode for mode in figures["modes"]}
    small, large = qualities["mlp-int8"], qualities["cnn"]
    assert figures["digits"] == small.n
    assert modes["only_on_device"]["accuracy"] == pytest.approx(small.value, abs=1e-6)
    assert modes["only_in_cloud"]["accuracy"] == pytest.approx(large.value, abs=1e-6)
    assert modes["auto"]["accuracy"] > modes["only_on_device"]["accuracy"]
    shares = [modes[name]["cloud_share"] for name in ("only_on_device", "auto", "only_in_cloud")]
    assert shares[0] == 0
    assert 0 < shares[1] < 0.5
    assert shares[2] == 1


def test_escalations_stop_with_the_gateway_and_return_with_it(figures):
    modes = {mode["mode"]: mode for mode in figures["modes"]}
    phases = {phase["name"]: phase for phase in figures["phases"]}
    escalated = modes["auto"]["cloud"]
    for name in ("gateway up", "back", "back again"):
        assert phases[name]["cloud"] == escalated
        assert phases[name]["kept"] == 0
        assert phases[name]["right"] == modes["auto"]["right"]
    for name in ("killed", "frozen"):
        assert phases[name]["cloud"] == 0
        assert phases[name]["kept"] == escalated
        assert phases[name]["right"] == modes["only_on_device"]["right"]


def test_the_example_was_escalated_and_is_explained(figures):
    example = figures["example"]
    assert example["place"] == "cloud"
    assert example["answer"] == example["truth"] != example["device_said"]
    assert "escalated: confidence" in example["measured"]["explain"]


def test_a_picture_of_the_timeline_is_saved(figures):
    from PIL import Image

    with Image.open(figures["folder"] / "timeline.png") as picture:
        assert picture.width > 1000


def without_measurements(value):
    if isinstance(value, dict):
        return {k: without_measurements(v) for k, v in value.items() if k != "measured"}
    return [without_measurements(v) for v in value] if isinstance(value, list) else value


def test_on_a_terminal_the_same_figures_are_shown(figures, shown):
    """Two runs, so this also shows that all but the latencies repeats."""
    for mode in figures["modes"]:
        assert re.search(rf"{mode['mode']} +{mode['accuracy']:.1%}", shown)
    for phase in without_measurements(figures["phases"]):
        if phase["name"] in COUNTED:
            counts = [phase["calls"], phase["failed"], f"{phase['accuracy']:.1%}"]
            counts += [phase["device"], phase["cloud"], phase["kept"]]
            row = " +".join(map(str, [phase["name"], *counts]))
            assert re.search(row, shown), row
    example = figures["example"]
    assert f"digit {example['position']} is a {example['truth']}" in shown
    assert re.search(r"0 of [0-9,]+ calls failed", shown)


def test_the_terminal_shows_a_lane_for_each_place_and_every_act(shown):
    for word in ("on device", "in the cloud", "unsure, kept"):
        assert word in shown
    for word in ("killed", "restarted", "frozen", "thawed"):
        assert f"▾{word}" in shown


def test_nothing_that_is_shown_is_wider_than_80_columns(shown):
    assert max(len(line) for line in re.split(r"[\r\n]+", shown)) <= 80


def is_served(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


def first_address(lines):
    found = (re.search(r" at ([0-9.]+:[0-9]+)", line) for line in lines)
    return next((match[1] for match in found if match), None)


def wait_until_gone(address):
    ends = time.monotonic() + 15
    while is_served(address):
        assert time.monotonic() < ends, f"{address} is still served"
        time.sleep(0.05)


def test_no_gateway_is_left_after_a_run(shown):
    wait_until_gone(first_address(shown.splitlines()))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_the_gateway_ends_with_a_demo_that_is_ended(number, code, tmp_path):
    with subprocess.Popen(
        DEMO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        cwd=tmp_path,
    ) as process:
        address = first_address(process.stdout)
        assert address, process.stderr.read()
        assert is_served(address)
        process.send_signal(number)
        assert process.wait(WITHIN_S) == code
        assert "Traceback" not in process.stderr.read()
    wait_until_gone(address)


def test_a_frozen_gateway_ends_with_the_process_that_froze_it():
    program = (
        "from wherever.cli._demo_gateway import DemoGateway\n"
        "gateway = DemoGateway()\n"
        "gateway.start()\n"
        "gateway.wait_ready()\n"
        "gateway.freeze()\n"
        "print(gateway.address, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        address = process.stdout.readline().strip()
        assert is_served(address)
        process.kill()
        process.wait()
    wait_until_gone(address)


def test_a_gateway_that_cannot_start_says_why():
    with socket.create_server(("127.0.0.1", 0)) as taken, DemoGateway() as gateway:
        gateway.address = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway.start()
        with pytest.raises(WhereverError, match=r"gateway ended with exit code 1: .+"):
            gateway.wait_ready()


def test_a_gateway_does_not_outlive_an_error_in_its_block():
    gateway = DemoGateway()

    def fail_inside():
        with gateway:
            gateway.start()
            gateway.wait_ready()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert not is_served(gateway.address)
