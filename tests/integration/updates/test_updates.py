"""Signed updates on a device, from a registry behind a real web server."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from wherever import Client
from wherever_contracts.errors import ModelNotFoundError, UpdateError
from wherever_edge.box.server import Box, BoxOptions
from wherever_edge.host import LocalHost
from wherever_edge.packages.store import Store
from wherever_edge.updates.agent import UpdateAgent
from wherever_edge.updates.disk import locked, read_state
from wherever_edge.updates.watching import Watcher, update_state
from wherever_gateway.gateway import Gateway, GatewayOptions


def flip(path, position=-1):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def installed(fleet, version):
    (folder,) = (fleet.home / "signed" / "packages").glob(f"scales-{version}-*")
    return folder


def test_an_update_brings_the_next_version_and_keeps_the_one_before(fleet):
    fleet.publish("1.1.0")
    (result,) = fleet.update().models
    assert (result.before, result.version, result.outcome) == ("1.0.0", "1.1.0", "updated")
    assert (result.trust, result.bytes > 1000) == ("signed", True)
    assert fleet.serves() == "1.1.0"
    assert fleet.store().get("scales@1.0.0").trust == "signed"
    assert fleet.update().models[0].outcome == "current"


def test_a_third_version_sends_the_first_away(fleet):
    for version in ("1.1.0", "1.2.0"):
        fleet.publish(version)
        fleet.update()
    left = sorted(p.name[:12] for p in (fleet.home / "signed" / "packages").iterdir())
    assert left == ["scales-1.1.0", "scales-1.2.0"]
    assert not (fleet.home / "signed" / "staging").exists()


def test_what_is_up_to_date_costs_two_small_files(fleet):
    fleet.server.asked.clear()
    fleet.update()
    assert fleet.server.asked == ["/metadata/2.root.json", "/metadata/timestamp.json"]


def test_names_resolve_by_channel_and_by_version(fleet):
    fleet.publish("2.0.0", "canary")
    fleet.update("scales@canary")
    store = fleet.store()
    versions = {
        name: store.get(name).version
        for name in ("scales", "scales@stable", "scales@canary", "scales@1", "scales@2.0")
    }
    assert versions == {
        "scales": "1.0.0",
        "scales@stable": "1.0.0",
        "scales@canary": "2.0.0",
        "scales@1": "1.0.0",
        "scales@2.0": "2.0.0",
    }


def test_a_device_of_the_canary_channel_takes_canaries_for_bare_names(fleet):
    fleet.publish("2.0.0", "canary")
    fleet.update(channel="canary")
    assert fleet.serves() == "2.0.0"
    fleet.publish("2.1.0", "canary")
    assert {m.channel: m.version for m in fleet.agent().update().models} == {
        "canary": "2.1.0",
        "stable": "1.0.0",
    }
    assert fleet.serves() == "2.1.0"


def test_a_channel_may_go_back_to_a_lower_version(fleet):
    fleet.publish("1.1.0")
    fleet.update()
    fleet.repository.point("scales", "1.0.0", "stable")
    (result,) = fleet.update().models
    assert (result.before, result.version, result.outcome) == ("1.1.0", "1.0.0", "updated")
    assert fleet.serves() == "1.0.0"


def test_a_rolled_back_version_stays_away_until_the_next_one(fleet):
    fleet.publish("1.1.0")
    fleet.update()
    back = fleet.agent().rollback("scales")
    assert (back.before, back.version) == ("1.1.0", "1.0.0")
    assert fleet.serves() == "1.0.0"
    (held,) = fleet.update().models
    assert (held.outcome, fleet.serves()) == ("held", "1.0.0")
    assert "rolled back" in held.why
    fleet.publish("1.1.1")
    assert fleet.update().models[0].outcome == "updated"
    assert fleet.serves() == "1.1.1"


def test_rolling_back_twice_returns(fleet):
    fleet.publish("1.1.0")
    fleet.update()
    for expected in ("1.0.0", "1.1.0"):
        fleet.agent().rollback("scales")
        assert fleet.serves() == expected
    assert fleet.update().models[0].outcome == "current"


def test_there_is_nothing_to_roll_back_to_after_the_first_version(fleet):
    with pytest.raises(UpdateError, match=r"scales 1\.0\.0 has no earlier version"):
        fleet.agent().rollback("scales")
    with pytest.raises(UpdateError, match="no signed version of 'people'"):
        fleet.agent().rollback("people")


def test_a_damaged_previous_version_is_not_rolled_back_to(fleet):
    fleet.publish("1.1.0")
    fleet.update()
    flip(installed(fleet, "1.0.0") / "small.onnx")
    with pytest.raises(UpdateError, match="the version before, is damaged"):
        fleet.agent().rollback("scales")
    assert fleet.serves() == "1.1.0"


@pytest.mark.parametrize("file", ["small.onnx", "model.json"])
def test_a_damaged_active_version_gives_way_to_the_one_before_until_it_is_mended(fleet, file):
    fleet.publish("1.1.0")
    fleet.update()
    flip(installed(fleet, "1.1.0") / file)
    store = fleet.store()
    assert store.get("scales").version == "1.0.0"
    assert any("scales-1.1.0" in str(path) for path, _ in store.refused())
    assert [p.version for p in store.list() if p.name == "scales"] == ["1.0.0"]
    assert fleet.update().models[0].outcome == "updated"
    assert fleet.serves() == "1.1.0"


def test_a_package_that_the_list_does_not_name_is_refused(fleet):
    packages = fleet.home / "signed" / "packages"
    fleet.build("9.0.0").root.rename(packages / "scales-9.0.0-planted")
    store = fleet.store()
    assert store.get("scales").version == "1.0.0"
    with pytest.raises(ModelNotFoundError):
        store.get("scales@9")
    ((path, _),) = store.refused()
    assert path.name == "scales-9.0.0-planted"


def test_an_exchanged_package_is_refused(fleet):
    place = installed(fleet, "1.0.0")
    place.rename(fleet.root / "aside")
    fleet.build("1.0.0", name="scales").root.rename(place)
    data = json.loads((place / "model.json").read_bytes())
    (place / "model.json").write_text(json.dumps({**data, "summary": "another"}))
    store = fleet.store()
    with pytest.raises(ModelNotFoundError, match="the signed"):
        store.get("scales")
    fleet.update()
    assert fleet.serves() == "1.0.0"


def test_named_directories_win_over_signed_packages_and_those_over_added_ones(fleet):
    other = fleet.build("0.5.0")
    signed = fleet.home / "signed"
    assert Store([other.root], signed=signed).get("scales").version == "0.5.0"
    newer = fleet.build("7.0.0")
    store = Store(signed=signed, added=[newer.root])
    assert store.get("scales").version == "1.0.0"
    assert store.get("scales@7").trust == "local"


def test_a_channel_without_signed_packages_says_so(fleet):
    with pytest.raises(ModelNotFoundError, match="no signed update gave 'digits' a canary"):
        fleet.store().get("digits@canary")


def test_the_first_root_is_kept_and_no_other_taken(fleet, tmp_path):
    agent = UpdateAgent(tmp_path / "other", fleet.server.url)
    with pytest.raises(UpdateError, match="--root") as caught:
        agent.update(["scales"])
    assert caught.value.kind == "no_root"
    with pytest.raises(UpdateError) as caught:
        fleet.update(root=b"{}")
    assert caught.value.kind == "wrong_key"


@pytest.mark.parametrize("file", ["timestamp.json", "root.txt"])
def test_a_root_that_is_none_is_refused_and_not_kept(fleet, tmp_path, file):
    given = fleet.root / "repo" / "metadata" / file
    data = given.read_bytes() if given.exists() else b"the root"
    agent = UpdateAgent(tmp_path / "other", fleet.server.url, root=data)
    with pytest.raises(UpdateError, match="given as the root") as caught:
        agent.update(["scales"])
    assert caught.value.kind == "no_root"
    assert not (tmp_path / "other" / "signed" / "root.json").exists()


def test_a_root_can_be_taken_from_the_registry_when_its_digest_is_known(fleet, tmp_path):
    right = hashlib.sha256(fleet.first_root.read_bytes()).hexdigest()
    with pytest.raises(UpdateError) as caught:
        UpdateAgent(tmp_path / "other", fleet.server.url, root_sha256="0" * 64).update(["scales"])
    assert caught.value.kind == "wrong_key"
    assert not (tmp_path / "other" / "signed" / "root.json").exists()
    agent = UpdateAgent(tmp_path / "other", fleet.server.url, root_sha256=right)
    assert agent.update(["scales"]).models[0].outcome == "updated"


def test_a_wrong_name_hinders_nobody_else(fleet):
    fleet.publish("1.1.0")
    results = {m.name: m for m in fleet.update("scale", "scales").models}
    assert results["scales"].outcome == "updated"
    assert results["scale"].why == "the registry has no model 'scale' (it has: scales)"
    assert not update_state(fleet.home).stale


def test_every_model_of_the_registry_can_be_taken(fleet):
    fleet.publish("3.0.0", name="weights")
    report = fleet.agent().update(everything=True)
    assert [(m.name, m.outcome) for m in report.models] == [
        ("scales", "current"),
        ("weights", "updated"),
    ]


def test_a_registry_may_be_a_directory_on_a_stick(fleet, tmp_path):
    agent = UpdateAgent(
        tmp_path / "other", (tmp_path / "repo").as_uri(), root=fleet.first_root.read_bytes()
    )
    assert agent.update(["scales"]).models[0].outcome == "updated"


def test_a_device_that_cannot_refresh_serves_on_and_says_so(fleet):
    seen = update_state(fleet.home)
    assert (seen.stale, seen.active) == (False, {"scales": "1.0.0"})
    fleet.server.close()
    with pytest.raises(
        UpdateError, match=r"cannot refresh.*scales 1\.0\.0, verified on 20"
    ) as caught:
        fleet.update()
    assert caught.value.kind == "unreachable"
    assert fleet.serves() == "1.0.0"
    state = update_state(fleet.home)
    assert (state.stale, state.kind, state.active) == (True, "unreachable", {"scales": "1.0.0"})
    assert state.refreshed_at == seen.refreshed_at
    assert "cannot refresh" in state.problem


def test_an_interrupted_download_goes_on_where_it_stopped(fleet):
    fleet.publish("1.1.0")
    fleet.server.budget = fleet.server.sent + 4500
    assert fleet.refusal() == "download"
    ((_, size),) = [
        (p.name, p.stat().st_size) for p in (fleet.home / "signed" / "staging").glob("*.partial")
    ]
    assert size > 0
    sent = fleet.server.sent
    fleet.server.heal()
    (result,) = fleet.update().models
    assert result.outcome == "updated"
    assert fleet.server.sent - sent < result.bytes


def test_a_registry_may_have_moved(fleet, second_server):
    fleet.publish("1.1.0")
    fleet.server.moved_to = second_server.url
    assert fleet.update().models[0].outcome == "updated"
    fleet.server.moved_to = fleet.server.url
    assert fleet.refusal() == "unreachable"
    assert fleet.serves() == "1.1.0"


def test_another_address_of_the_same_registry_is_remembered(fleet, second_server):
    UpdateAgent(fleet.home, second_server.url).update()
    fleet.server.close()
    assert UpdateAgent(fleet.home).update().models[0].outcome == "current"
    assert update_state(fleet.home).registry == second_server.url


def test_one_update_at_a_time(fleet):
    with (
        locked(fleet.home / "signed" / "lock", "an update"),
        pytest.raises(UpdateError, match="under way") as caught,
    ):
        fleet.update()
    assert caught.value.kind == "busy"
    fleet.update()


def test_a_damaged_list_is_read_from_its_copy(fleet):
    state = fleet.home / "signed" / "state.json"
    state.write_bytes(b"{")
    assert fleet.serves() == "1.0.0"
    assert fleet.update().models[0].outcome == "current"


@pytest.mark.parametrize("damage", [b"", b"\0" * 500, b"[]", b'{"models": {"scales": 3}}'])
def test_a_lost_list_is_made_anew_from_what_was_signed(fleet, damage):
    for name in ("state.json", "state.copy.json"):
        (fleet.home / "signed" / name).write_bytes(damage)
    store = fleet.store()
    assert any("state.json" in str(error) for _, error in store.refused())
    assert update_state(fleet.home).stale
    fleet.server.asked.clear()
    assert fleet.agent().update().models[0].outcome == "updated"
    assert not any("packages" in path for path in fleet.server.asked)
    assert fleet.serves() == "1.0.0"


def test_a_home_that_never_updated_has_nothing_to_say(tmp_path):
    state = update_state(tmp_path)
    assert (state.registry, state.stale, state.active) == ("", False, {})
    assert Store(signed=tmp_path / "signed").get("digits").trust == "wheel"


def test_a_watcher_hears_of_an_update_and_a_host_goes_over_to_it(fleet):
    heard = threading.Event()
    store = fleet.store()
    host = LocalHost(store, distance="device")
    before = host.resolve("scales")
    with Watcher(fleet.home, heard.set, every_s=0.01):
        fleet.publish("1.1.0")
        fleet.update()
        assert heard.wait(10)
    store.rescan()
    host.refresh()
    after = host.resolve("scales")
    assert (before.ran.version, after.ran.version, after.ran.trust) == ("1.0.0", "1.1.0", "signed")
    assert before.ran.package_digest != after.ran.package_digest
    host.close()


def test_a_box_goes_over_to_an_update_while_it_serves(fleet):
    options = BoxOptions(home=fleet.home, name="box", port=0, advertise=False)
    box = Box(options, show=lambda _: None)
    box.start()
    try:
        assert "1.0.0" in [m.ran.version for m in box.models if m.ran.model == "scales"]
        fleet.publish("1.1.0")
        fleet.update()
        until = time.monotonic() + 10
        while "1.1.0" not in [m.ran.version for m in box.models if m.ran.model == "scales"]:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert box.host.resolve("scales").ran.version == "1.1.0"
    finally:
        assert box.drain()


def test_a_gateway_goes_over_to_an_update_and_a_channel_asks_it_for_its_version(fleet):
    gateway = Gateway(GatewayOptions(home=fleet.home, grpc_port=0, http_port=None))
    gateway.start()
    try:
        fleet.publish("1.1.0")
        fleet.publish("1.2.0", "canary")
        fleet.update("scales", "scales@canary")
        until = time.monotonic() + 10
        while "1.2.0" not in [model["version"] for model in gateway.served()["models"]]:
            assert time.monotonic() < until
            time.sleep(0.05)
        with Client([gateway.grpc], home=fleet.home) as client:
            for name, version in (("scales", "1.1.0"), ("scales@canary", "1.2.0")):
                answer = client.predict(name, np.array([3, 1, 2], "f4"), mode="only_in_cloud")
                assert (answer.place, answer.receipt.version) == ("cloud", version)
    finally:
        assert gateway.drain()


def test_a_watcher_hears_of_what_came_before_it(fleet):
    heard = threading.Event()
    seen = fleet.store().generation
    fleet.publish("1.1.0")
    fleet.update()
    with Watcher(fleet.home, heard.set, seen=seen, every_s=0.01):
        assert heard.wait(10)


def test_a_watcher_hears_nothing_when_nothing_new_serves(fleet):
    heard: list[int] = []
    with Watcher(fleet.home, lambda: heard.append(1), every_s=0.01):
        before = read_state(fleet.home / "signed").generation
        fleet.update()
        fleet.publish("1.1.0")
        fleet.update()
    assert read_state(fleet.home / "signed").generation == before + 1
    assert len(heard) <= 1


def test_a_forked_process_closes_a_watcher_that_it_inherited(fleet):
    script = """
import os, pathlib, sys
from wherever_edge.updates.watching import Watcher
watcher = Watcher(pathlib.Path(sys.argv[1]), print, every_s=0.001)
child = os.fork()
watcher.close()
if not child:
    os._exit(7)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-W", "ignore", "-c", script, str(fleet.home)]
    assert subprocess.run(command, timeout=30, check=False).returncode == 7


def test_a_watcher_outlives_a_callback_that_fails(fleet, caplog):
    heard = threading.Semaphore(0)

    def fail():
        heard.release()
        raise RuntimeError("on purpose")

    with Watcher(fleet.home, fail, every_s=0.01):
        for version in ("1.1.0", "1.2.0"):
            fleet.publish(version)
            fleet.update()
            assert heard.acquire(timeout=10)
    assert "what follows an update failed" in caplog.text


def test_running_calls_go_over_to_an_update_and_back_and_none_fails(fleet):
    ended, failures, versions = threading.Event(), [], []

    def call(client):
        while not ended.is_set():
            try:
                prediction = client.predict("scales", np.array([3, 1, 2], "f4"))
                assert int(np.argmax(prediction.outputs["scores"])) == 0
            except Exception as error:
                failures.append(error)
                return
            versions.append((prediction.receipt.version, prediction.receipt.trust))

    def served(version):
        deadline = time.monotonic() + 20
        while versions[-1:] != [(version, "signed")] and time.monotonic() < deadline:
            assert not failures, failures
            time.sleep(0.01)
        return versions[-1]

    with Client(home=fleet.home, nearby=False) as client:
        callers = [threading.Thread(target=call, args=(client,)) for _ in range(4)]
        for caller in callers:
            caller.start()
        try:
            assert served("1.0.0") == ("1.0.0", "signed")
            fleet.publish("1.1.0")
            fleet.update()
            assert served("1.1.0") == ("1.1.0", "signed")
            fleet.agent().rollback("scales")
            assert served("1.0.0") == ("1.0.0", "signed")
        finally:
            ended.set()
            for caller in callers:
                caller.join()
    assert failures == []
