"""The demo, for real: what it shows is true, it repeats, and it leaves nothing behind."""

from __future__ import annotations

import io
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
from rich.console import Console

from wherever.cli import _demo_crashes, _demo_later
from wherever.cli._demo_box import SLOW_S
from wherever.cli._demo_convert import show_conversion
from wherever.cli._demo_crashes import show_crashes
from wherever.cli._demo_gateway import DemoGateway
from wherever.cli._demo_later import show_later
from wherever.cli._demo_modes import held_out_digits
from wherever.cli._demo_promise import ALARM_WITHIN
from wherever.cli._demo_update import show_updates
from wherever.cli._demo_view import View
from wherever_contracts.errors import WhereverError
from wherever_contracts.manifest import parse_manifest
from wherever_edge.builtin import PACKAGES
from wherever_edge.packages.store import Store

DEMO = [sys.executable, "-m", "wherever", "demo"]
# The same without most of the second act, for those who look at later ones.
WITHOUT_STREAM = """
import sys
import wherever.cli._demo_box as box
import wherever.cli._demo_stream as stream
box.NAME = sys.argv[1]
stream.PHASES = stream.PHASES[:1]
from wherever.cli import main
main(["demo"])
"""
# Settings of a user's, which are not the demo's.
SETTINGS = """
proxy = "http://127.0.0.1:9"
interface = "192.0.2.1"
registry = "http://127.0.0.1:9"
channel = "canary"
home = "elsewhere"
mode = "only_in_cloud"
"""
SETTINGS_ALONE = {"mode": "only_on_device", "nearby": False}
WITHIN_S = 180
# Two demos at a time take the two cores of a small machine, and other tests take them as well.
pytestmark = pytest.mark.timeout(2 * WITHIN_S)
COUNTED = ["gateway up", "killed", "back", "frozen", "back again"]
ALL = ["gateway up", "killed", "restarting", "back", "frozen", "waking", "back again"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs at the same time: what one shows on a terminal, and the figures of the other."""
    folder = tmp_path_factory.mktemp("json")
    (folder / "wherever.toml").write_text(SETTINGS)
    with started([*DEMO, "--json", "--save", "timeline.png"], folder) as process:
        text = on_a_terminal(tmp_path_factory.mktemp("terminal"))
        printed, errors = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, printed + errors
    assert errors == ""
    assert {path.name for path in folder.iterdir()} == {"timeline.png", "wherever.toml"}
    return text, {**json.loads(printed), "folder": folder}


@pytest.fixture(scope="module")
def shown(runs):
    """One run on a terminal, in words."""
    return runs[0]


@pytest.fixture(scope="module")
def figures(runs):
    """One run as JSON, with a picture."""
    return runs[1]


def on_a_terminal(folder):
    leader, follower = pty.openpty()
    terminal = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40", "TMPDIR": str(folder)}
    environment = {**os.environ, **terminal}
    with subprocess.Popen(DEMO, stdout=follower, env=environment, cwd=folder) as process:
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
    assert list(folder.iterdir()) == []
    return text


def started(command, folder):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder)}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
    )


@pytest.fixture(scope="module")
def qualities():
    """Variant -> accuracy on the test split, as the package promises."""
    manifest = parse_manifest((PACKAGES / "digits" / "model.json").read_bytes())
    return {
        variant.id: next(q for q in variant.quality if "test" in q.dataset)
        for variant in manifest.variants
    }


@pytest.mark.alone  # as the first that looks at the runs, it makes them
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


def test_a_hanging_gateway_costs_no_answer_and_a_killed_caller_no_later_one(figures, qualities):
    later, n = figures["later"], figures["digits"]
    in_time, better = later["phases"]
    for phase in (in_time, better):
        assert (phase["calls"], phase["failed"], phase["device"]) == (n, 0, n)
        assert phase["accuracy"] == pytest.approx(qualities["mlp-int8"].value, abs=1e-6)
        assert 0 <= phase["measured"]["late"] <= n
    assert in_time["waiting"] == 0
    assert better["waiting"] == later["waiting"] == later["came"] > 0
    assert figures["lost_answers"] == later["lost"] == 0
    modes = {mode["mode"]: mode for mode in figures["modes"]}
    assert better["right"] + later["corrected"] == modes["auto"]["right"]
    assert later["wrong"] == n - better["right"]


def test_a_promise_is_kept_and_what_endangers_it_is_told(figures):
    promise = figures["promise"]
    usual, shifted, lost = promise["usual"], promise["shifted"], promise["lost"]
    assert (figures["broken_promises"], promise["broken"], promise["failed"]) == (0, [], 0)
    assert promise["calibrated"] + usual["calls"] == figures["digits"]
    assert usual["differ"] <= promise["max_disagreement"] * usual["calls"] < usual["alone"]
    assert 0 < usual["escalated"] < usual["calls"] / 3
    assert 0 < shifted["measured"]["after"] <= ALARM_WITHIN < shifted["calls"]
    assert shifted["measured"]["alarm"].startswith("shift: ")
    assert shifted["given"] == 0
    assert lost["degraded"] == lost["counted"] == usual["escalated"]
    assert promise["identical"] == promise["receipts"] == usual["calls"] + shifted["calls"]
    assert 0 < promise["measured"]["asked_if"] < promise["measured"]["asked"]


def test_a_box_is_found_paired_and_lost_without_a_failed_call(figures, qualities):
    box = figures["box"]
    assert box["found"]
    up, killed = box["phases"]
    assert (up["calls"], up["failed"], up["box"]) == (figures["digits"], 0, figures["digits"])
    assert (killed["calls"], killed["failed"]) == (figures["digits"], 0)
    assert (killed["box"], killed["device"]) == (0, figures["digits"])
    assert killed["accuracy"] == pytest.approx(qualities["mlp-int8"].value, abs=1e-6)
    assert killed["measured"]["slow"] <= 1, SLOW_S


def test_a_converted_network_keeps_its_accuracy_in_a_third_of_its_bytes(figures):
    conversion = figures["conversion"]
    variants = {variant["precision"]: variant for variant in conversion["variants"]}
    int8, float32 = variants["int8"], variants["float32"]
    assert int8["bytes"] < float32["bytes"] / 3
    assert int8["drop"] <= 0.01
    assert conversion["accuracy"] > 0.99
    assert conversion["measured"]["proven"] >= 2
    assert "certificate is about other contents" in conversion["refusal"]


def test_signed_updates_arrive_without_a_failed_or_mixed_answer(figures, qualities):
    updates = figures["updates"]
    assert figures["mixed_answers"] == updates["mixed"] == updates["failed"] == 0
    versions = {version["version"]: version for version in updates["versions"]}
    assert list(versions) == ["1.0.0", "1.1.0", "1.2.0"]
    assert [version["trust"] for version in updates["versions"]] == ["wheel", "signed", "signed"]
    assert all(version["digits"] == figures["digits"] for version in updates["versions"])
    assert versions["1.0.0"]["accuracy"] == pytest.approx(qualities["mlp-int8"].value, abs=1e-6)
    assert versions["1.1.0"]["accuracy"] == figures["conversion"]["accuracy"]


def test_an_update_that_was_tampered_with_is_refused_for_its_digest(figures):
    refused = figures["updates"]["refused"]
    assert refused["kind"] == "tampered"
    assert re.search(r"sha256: expected \w{12}, found \w{12}", refused["measured"]["why"])


def test_the_plan_that_was_measured_to_be_best_answers(figures):
    measured = figures["plans"]["measured"]
    chosen, *others = measured["plans"]
    assert chosen["chosen"]
    assert not any(plan["chosen"] for plan in others)
    assert figures["plans"]["followed"]
    assert all(plan["median_s"] > 0 for plan in measured["plans"])
    assert measured["accuracy"] > 0.9


def test_killing_and_freezing_an_engine_costs_no_answer(figures):
    crashes = figures["crashes"]
    assert [phase["name"] for phase in crashes["phases"]] == ["killed", "frozen"] * 2
    assert (crashes["failed"], crashes["wrong"], figures["wrong_answers"]) == (0, 0, 0)
    assert all(phase["measured"]["calls"] > 0 for phase in crashes["phases"])
    assert sum(phase["measured"]["instead"] for phase in crashes["phases"]) > 0


def test_an_answer_that_does_not_come_is_lost(monkeypatch, tmp_path):
    monkeypatch.setattr(_demo_later, "_COME_WITHIN_S", 0.0)
    monkeypatch.setattr(DemoGateway, "thaw", lambda _: None)
    settings = {"mode": "auto", "boundary": "anywhere", "nearby": False, "packages": ()}
    said = io.StringIO()
    view = View(Console(file=said, width=80))
    with DemoGateway(tmp_path / "gateway") as gateway:
        gateway.start()
        gateway.wait_ready()
        result = show_later(view, held_out_digits(), tmp_path, settings, "digits", gateway)
    assert (result.failed, result.came, result.corrected) == (0, 0, 0)
    assert result.lost == result.waiting > 0
    assert result.error == "no later answer came within 0 s"
    assert f"another process has 0 of {result.waiting} answers" in said.getvalue()


def test_a_system_that_cannot_freeze_a_process_leaves_the_later_answers_out(monkeypatch, tmp_path):
    monkeypatch.setattr(_demo_later, "CAN_FREEZE", False)
    said = io.StringIO()
    arguments = ([], tmp_path, {}, "digits", DemoGateway(tmp_path))
    assert show_later(View(Console(file=said, width=80)), *arguments) is None
    assert "left out: this system cannot freeze a process" in said.getvalue()


def test_answers_that_nobody_gave_count_as_wrong(monkeypatch, tmp_path):
    real = _demo_crashes.Heard

    def spoilt(digit, answer, at_s, took_s):
        return real((digit + 1) % 2, answer, at_s, took_s)

    monkeypatch.setattr(_demo_crashes, "ACTS", ("killed",))
    monkeypatch.setattr(_demo_crashes, "Heard", spoilt)
    said = io.StringIO()
    result = show_crashes(
        View(Console(file=said, width=80)),
        held_out_digits()[:2],
        tmp_path,
        SETTINGS_ALONE,
        Store().get("digits"),
    )
    assert result.failed == 0
    assert result.wrong == result.calls > 0


def test_a_system_that_cannot_have_workers_leaves_that_act_out(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    said = io.StringIO()
    arguments = (held_out_digits(), tmp_path, SETTINGS_ALONE, Store().get("digits"))
    assert show_crashes(View(Console(file=said, width=80)), *arguments) is None
    assert "left out: isolation='process' starts Python by its path" in said.getvalue()


@pytest.mark.full
def test_without_what_conversion_needs_the_update_is_another_one(tmp_path, monkeypatch):
    (tmp_path / "onnx.py").write_text("raise ModuleNotFoundError('none here', name='onnx')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = io.StringIO()
    view = View(Console(file=said, width=80))
    digits = held_out_digits()
    package = Store().get("digits")
    settings = {"home": tmp_path / "device", "mode": "only_on_device"}
    settings["home"].mkdir()
    arguments = (view, digits, tmp_path, settings, package)
    assert show_conversion(*arguments, "1.1.0") is None
    assert "left out; it takes pip install 'wherever[convert]'" in said.getvalue()
    updates = show_updates(*arguments, None)
    assert (updates.failed, updates.mixed) == (0, 0)
    assert [version.version for version in updates.versions] == ["1.0.0", "1.1.0", "1.2.0"]
    assert {version.right for version in updates.versions} == {564}


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
    for phase in figures["later"]["phases"]:
        counts = [phase["calls"], 0, "[0-9]+", f"{phase['accuracy']:.1%}", phase["device"]]
        row = [re.escape(phase["name"]), *counts, phase["waiting"]]
        assert re.search(" +".join(map(str, row)), shown)
    came = figures["later"]["came"]
    assert f"another process has {came} of {came} answers" in shown
    usual, n = figures["promise"]["usual"], figures["promise"]["receipts"]
    row = ["max_disagreement=0.02", usual["calls"], usual["escalated"]]
    assert re.search(" +".join(map(str, row)), shown)
    assert f"{n} receipts: {n} identical, bit by bit" in shown
    for phase in figures["box"]["phases"]:
        counts = [phase["calls"], 0, f"{phase['accuracy']:.1%}", phase["box"], phase["device"]]
        assert re.search(" +".join(map(str, [phase["name"], *counts])), shown)
    for version in figures["updates"]["versions"]:
        row = [version["version"], version["trust"], version["variant"], "[0-9]+", 0]
        assert re.search(" +".join(map(str, [*row, f"{version['accuracy']:.1%}"])), shown)
    for act in ("killed", "frozen"):
        assert len(re.findall(rf"{act} +[0-9]+ +0 +0 +[0-9]+ +[0-9.]+ ms +[0-9.]+ s", shown)) == 2
    assert re.search(r"\* \S+ +\S+ +\S+ +[0-9]+ +[0-9.]+ \w?s", shown)
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
    with started(DEMO, tmp_path) as process:
        address = first_address(process.stdout)
        assert address, process.stderr.read()
        assert is_served(address)
        process.send_signal(number)
        assert (process.wait(WITHIN_S), process.stderr.read()) == (code, "")
    wait_until_gone(address)


@pytest.mark.full
@pytest.mark.parametrize(
    ("number", "line"), [(signal.SIGINT, "wherever discover"), (signal.SIGTERM, "wherever publish")]
)
def test_a_demo_that_is_ended_leaves_neither_box_nor_files(number, line, tmp_path):
    addresses = []
    with started([sys.executable, "-c", WITHOUT_STREAM, "demo-box"], tmp_path) as process:
        for shown_line in process.stdout:
            addresses += re.findall(r" (?:at|http://) ?(127\.0\.0\.1:[0-9]+)", shown_line)
            if line in shown_line:
                break
        process.send_signal(number)
        code, errors = process.wait(WITHIN_S), process.stderr.read()
        assert (code, errors) == (130, "")
    assert len(addresses) >= 2
    for address in addresses:
        wait_until_gone(address)
    assert list(tmp_path.iterdir()) == []


def test_an_act_that_fails_ends_the_demo_with_a_sentence(tmp_path):
    with started([sys.executable, "-c", WITHOUT_STREAM, "no such name"], tmp_path) as process:
        _, errors = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 1
    sentence = r"error: the demo's box ended with exit code 1: 'no such name' is no name .*\n"
    assert re.fullmatch(sentence, errors)
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_gateway_ends_with_the_process_that_froze_it(tmp_path):
    program = (
        "from pathlib import Path\n"
        "from wherever.cli._demo_gateway import DemoGateway\n"
        "gateway = DemoGateway(Path('gateway'))\n"
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
        cwd=tmp_path,
    ) as process:
        address = process.stdout.readline().strip()
        assert is_served(address)
        process.kill()
        process.wait()
    wait_until_gone(address)


def test_a_gateway_that_cannot_start_says_why(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, DemoGateway(tmp_path) as gateway:
        gateway.address = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway.start()
        with pytest.raises(WhereverError, match=r"gateway ended with exit code 1: .*in use"):
            gateway.wait_ready()


def test_a_gateway_does_not_outlive_an_error_in_its_block(tmp_path):
    gateway = DemoGateway(tmp_path)

    def fail_inside():
        with gateway:
            gateway.start()
            gateway.wait_ready()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert not is_served(gateway.address)
