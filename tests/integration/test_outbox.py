"""Calls that are answered now and better later, against a real gateway."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading

import numpy as np
import pytest

import wherever
from wherever._outbox.box import Box
from wherever.cli import main

UNSURE = np.array([0.1, 0.2, 0.15], np.float32)
SURE = np.array([0.0, 9.0, 0.0], np.float32)
PROGRAM = """
import json, sys, wherever
with wherever.Client() as client:
    p = client.model("scales")([0.1, 0.2, 0.15], later=True)
    print(json.dumps({"id": p.id, "place": p.place, "later": p.receipt.later}))
"""


@pytest.fixture
def client(scales_package):
    """Opens clients that know the package; they are closed with the test."""
    opened = []

    def open_client(*gateways, **arguments):
        client = wherever.Client(gateways, packages=[scales_package.root], **arguments)
        opened.append(client)
        return client

    yield open_client
    for each in opened:
        each.close()


def later(client, value=UNSURE, **options):
    return client.model("scales")(value, later=True, **options)


def test_the_device_answers_now_and_the_gateways_answer_comes(
    client, start_gateway, scales_package
):
    gateway = start_gateway(scales_package.root)
    p = later(client(gateway.address))
    assert (p.place, p.receipt.variant, p.receipt.later) == (
        "device",
        "small",
        "waits in the outbox",
    )
    better = p.upgrade(timeout_s=30)
    assert (better.place, better.receipt.variant, better.id) == ("cloud", "large", p.id)
    assert better.value == "middle"
    assert better.receipt.reason.startswith("answered later")
    assert better.upgrade() is better
    assert "answered later" in better.explain()


def test_an_answer_that_is_good_enough_is_its_own_upgrade(client):
    p = later(client(), SURE)
    assert p.upgrade() is p
    assert p.receipt.later == "not needed: it was confident enough"


def test_a_call_that_asked_for_nothing_later_says_so(client):
    p = client().model("scales")(UNSURE)
    assert p.receipt.later == ""
    with pytest.raises(wherever.UpgradeError, match="later=True") as caught:
        p.upgrade()
    assert caught.value.kind == "kept"


@pytest.mark.parametrize(
    "options", [{"boundary": "device"}, {"places": ["device"]}, {"mode": "only_on_device"}]
)
def test_a_call_that_is_kept_here_is_not_put_in(client, own_home, options):
    p = later(client(), **options)
    with pytest.raises(wherever.UpgradeError, match="keep it here") as caught:
        p.upgrade(timeout_s=1)
    assert caught.value.kind == "kept"
    assert not (own_home / "outbox").exists()


def test_a_call_that_the_device_may_not_answer_has_no_answer_now(client):
    with pytest.raises(wherever.NoRouteError, match="does not use it"):
        later(client(), mode="only_in_cloud")


def test_what_one_process_put_in_another_delivers(
    client, start_gateway, scales_package, own_home, monkeypatch
):
    monkeypatch.setenv("WHEREVER_PACKAGES", str(scales_package.root))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert (said["place"], said["later"]) == ("device", "waits in the outbox")
    gateway = start_gateway(scales_package.root)
    later_client = client(gateway.address)
    better = later_client.upgrade(said["id"], timeout_s=30)
    assert (better.place, better.value, better.id) == ("cloud", "middle", said["id"])
    assert better.to_dict()["receipt"]["variant"] == "large"
    with pytest.raises(ValueError, match="takes no image"):
        better.plot()


def test_an_outage_keeps_calls_waiting_and_they_come_when_it_ends(
    client, start_gateway, scales_package
):
    gateway = start_gateway(scales_package.root)
    with_gateway = client(gateway.address)
    gateway.kill()
    calls = [later(with_gateway) for _ in range(3)]
    assert [p.upgrade(timeout_s=0.05) for p in calls] == [None] * 3
    gateway.start()
    assert [p.upgrade(timeout_s=30).place for p in calls] == ["cloud"] * 3


def test_whoever_wants_to_know_is_called_back_also_after_a_restart(
    client, start_gateway, scales_package
):
    waits = later(client())
    gateway = start_gateway(scales_package.root)
    ends, come = {}, threading.Event()

    def on_upgrade(id_, end):
        ends[id_] = end
        come.set()

    client(gateway.address, on_upgrade=on_upgrade)
    assert come.wait(30)
    assert ends[waits.id].place == "cloud"
    assert ends[waits.id].value == "middle"


def test_a_call_that_the_gateway_refuses_ends_with_its_reason(
    client, start_gateway, scales_package, build_scales, tmp_path
):
    build_scales(tmp_path / "other", name="other")
    gateway = start_gateway(tmp_path / "other")
    p = later(client(gateway.address))
    with pytest.raises(wherever.UpgradeError, match="scales") as caught:
        p.upgrade(timeout_s=30)
    assert caught.value.kind == "refused"


def test_a_full_outbox_fails_no_call_and_says_so(client):
    tight = client(outbox_max_bytes=1 << 20)
    model = tight.model("scales")
    outbox = tight.outbox()
    outbox.box._bounds = outbox.box._bounds._replace(max_entries=1)
    model(UNSURE, later=True)
    p = model(UNSURE, later=True)
    assert p.value == "middle"
    assert p.receipt.later.startswith("not put in: the outbox in")
    with pytest.raises(wherever.OutboxFullError, match="may hold 1 and"):
        p.upgrade()


async def _later_in_a_task(model):
    return await model.aio(UNSURE, later=True)


def test_the_same_from_a_task(client, start_gateway, scales_package):
    import asyncio

    gateway = start_gateway(scales_package.root)
    p = asyncio.run(_later_in_a_task(client(gateway.address).model("scales")))
    assert p.place == "device"
    assert p.upgrade(timeout_s=30).place == "cloud"


def test_the_command_lists_shows_drops_and_drains(
    client, start_gateway, scales_package, answered, monkeypatch
):
    monkeypatch.setenv("WHEREVER_PACKAGES", str(scales_package.root))
    opened = client()
    first, second, third = (
        later(opened, priority=priority) for priority in ("background", "interactive", "batch")
    )
    opened.close()
    waiting = answered("outbox", "list")["waiting"]
    assert [each["id"] for each in waiting] == [second.id, third.id, first.id]
    assert answered("outbox", "show", second.id)["priority"] == "interactive"
    assert answered("outbox", "drop", third.id) == {"dropped": [third.id]}
    left = answered("outbox", "drain", code=1)
    assert (left["ended"], len(left["remaining"])) == ([], 2)
    assert "pair a box with" in left["why"]
    gateway = start_gateway(scales_package.root)
    done = answered("outbox", "drain", "--gateway", gateway.address)
    assert {each["id"] for each in done["ended"]} == {first.id, second.id}
    assert all(each["answered"] for each in done["ended"])
    assert done["remaining"] == []
    shown = answered("outbox", "show", first.id)
    assert (shown["place"], shown["value"]["label"]) == ("cloud", "middle")
    assert answered("outbox", "show", third.id)["kind"] == "dropped"
    assert answered("outbox", "drop", first.id, code=1)["error"]["code"] == "upgrade"
    assert answered("outbox", "list") == {"waiting": [], "results": 3}
    with pytest.raises(wherever.UpgradeError, match="owner dropped it"):
        client().upgrade(third.id)


# What is asked wrongly.


@pytest.mark.parametrize("wrong", [-1, float("nan"), "5"])
def test_a_timeout_that_is_none_is_refused(client, wrong):
    p = later(client())
    with pytest.raises(wherever.InputError, match="argument 'timeout_s': expected seconds"):
        p.upgrade(timeout_s=wrong)


@pytest.mark.parametrize("wrong", [None, 5, "", "../x"])
def test_an_id_that_is_none_is_refused(client, wrong):
    with pytest.raises(wherever.InputError, match="expected the id of a prediction"):
        client().upgrade(wrong)


def test_a_callback_that_cannot_be_called_is_refused_at_once():
    with pytest.raises(wherever.InputError, match="argument 'on_upgrade': expected a function"):
        wherever.Client(on_upgrade="print")


def test_places_that_leave_this_device_out_are_no_ground_for_a_later_answer(client):
    with pytest.raises(wherever.NoRouteError, match="later=True needs its answer now"):
        later(client(), places=["cloud"])


def test_many_inputs_at_once_have_no_later_answers_and_the_error_says_so(client):
    with pytest.raises(wherever.InputError, match=r"expected a call with one input, found map\(\)"):
        client().model("scales").map([UNSURE], later=True)


def test_the_hosts_that_answer_later_are_told_of_as_they_are(client):
    p = later(client("127.0.0.1:9"), mode="prefer_in_cloud")
    assert p.degraded
    assert p.receipt.reason.startswith("next choice of mode prefer_in_cloud")
    assert p.receipt.alternatives["127.0.0.1:9"] == "the call is for device alone"


def test_the_command_tells_people_what_waits(client, capsys):
    def printed(*arguments):
        with pytest.raises(SystemExit):
            main(list(arguments))
        return capsys.readouterr().out.strip()

    assert printed("outbox", "list") == "nothing waits; 0 results kept"
    assert printed("outbox", "drop", "--all") == "nothing waits"
    p = later(client())
    assert printed("outbox", "list").endswith("0 results kept")
    shown = printed("outbox", "show", p.id)
    assert "may go    boundary anywhere; nearby or cloud\n" in shown
    assert shown.endswith("7 days at most")


def test_the_command_says_where_a_call_waits_only_when_it_does(scales_package, capsys):
    for numbers, waits in (("0.1 0.2 0.15", True), ("0 9 0", False)):
        with pytest.raises(SystemExit):
            main(["predict", "scales", numbers, "--packages", str(scales_package.root), "--later"])
        assert ("(wherever outbox show" in capsys.readouterr().out) is waits


def test_draining_to_a_disk_that_is_full_says_so_and_loses_nothing(
    client, start_gateway, scales_package, answered, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    later(client())
    gateway = start_gateway(scales_package.root)
    with monkeypatch.context() as disk:
        disk.setattr(Box, "record", full)
        left = answered("outbox", "drain", "--gateway", gateway.address, code=1)
    assert len(left["remaining"]) == 1
    assert left["why"].endswith("outbox cannot be written: No space left on device")
    assert answered("outbox", "drain", "--gateway", gateway.address)["remaining"] == []
