"""The thread that sends, and who waits for it: on a real disk, with hosts made of functions."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from wherever._outbox.courier import Delivered
from wherever._outbox.outbox import Limits, Outbox
from wherever._outbox.turn import Turn
from wherever_contracts.errors import RefusedError, UnreachableError, UpgradeError

LIMITS = Limits(max_bytes=1 << 24, ttl_s=3600.0, share=1.0, metered=False)


class Host:
    """Answers calls, as it is told to."""

    def __init__(self, scene):
        self.scene = scene
        self.sent: list[str] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, letter, timeout_s):
        self.gate.wait(30)
        self.sent.append(letter.entry.id)
        if self.error is not None:
            raise self.error
        return Delivered(self.scene.answer(letter).answer, "cloud", "gw:8001")


@pytest.fixture
def host(scene):
    return Host(scene)


@pytest.fixture
def outbox(tmp_path, host):
    """Opens outboxes of one home; those still open are closed with the test."""
    opened = []

    def open_outbox(send=host, limits=LIMITS, **options):
        box = Outbox(tmp_path, limits, send, **options)
        opened.append(box)
        return box

    yield open_outbox
    host.gate.set()
    for box in opened:
        box.close()


@pytest.fixture
def letter(scene):
    from wherever._outbox.clock import stamp_now

    return lambda id_="a-1", **facts: scene.letter(id_, created=stamp_now(), **facts)


def threads():
    return [each for each in threading.enumerate() if each.name == "wherever-outbox"]


def test_a_call_is_sent_beside_the_others_and_its_result_waited_for(outbox, host, letter):
    box = outbox()
    host.gate.clear()
    box.add(letter())
    assert box.result("a-1") is None
    assert box.result("a-1", timeout_s=0.05) is None
    host.gate.set()
    result = box.result("a-1", timeout_s=30)
    assert result.answer.outputs["scores"].tolist() == [1, 2]
    assert (result.place, result.host, host.sent) == ("cloud", "gw:8001", ["a-1"])
    assert box.result("a-1").recorded == result.recorded


def test_there_is_a_thread_only_while_there_is_work(outbox, letter):
    assert not threads()
    box = outbox()
    box.start()
    assert not threads()
    box.add(letter())
    assert box.result("a-1", timeout_s=30)
    for thread in threads():
        thread.join(30)
    assert not threads()
    box.add(letter("a-2"))
    assert box.result("a-2", timeout_s=30)


def test_what_waits_is_sent_after_a_restart(outbox, host, letter):
    host.error = UnreachableError("no network")
    first = outbox()
    first.add(letter())
    first.close()
    host.error = None
    second = outbox()
    second.start()
    assert second.result("a-1", timeout_s=30).answer is not None


def test_a_call_that_its_host_refuses_ends_with_the_reason(outbox, host, letter):
    host.error = RefusedError("it has no model 'm'")
    box = outbox()
    box.add(letter())
    result = box.result("a-1", timeout_s=30)
    assert result.kind == "refused"
    assert result.error == "RefusedError: it has no model 'm'"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_breaks_down_is_followed_by_another(outbox, host, letter):
    host.error = SystemExit()
    box = outbox()
    box.add(letter())
    for thread in threads():
        thread.join(30)
    host.error = None
    box.start()
    assert box.result("a-1", timeout_s=30).answer is not None


def test_why_a_call_waits_is_known(outbox, host, letter):
    host.error = UnreachableError("no network")
    box = outbox()
    box.add(letter())
    while not host.sent:
        time.sleep(0.01)
    assert box.result("a-1", timeout_s=0.1) is None
    assert box.why_waiting("a-1") == "no network"
    host.error = None
    box.hurry()
    assert box.result("a-1", timeout_s=30)


def test_one_broken_call_does_not_stop_the_others(outbox, host, letter):
    class OddHost(Host):
        def __call__(self, letter, timeout_s):
            if letter.entry.id == "a-1":
                raise ZeroDivisionError("a mistake")
            return super().__call__(letter, timeout_s)

    box = outbox(OddHost(host.scene))
    box.add(letter())
    box.add(letter("a-2"))
    assert box.result("a-2", timeout_s=30)
    assert "ZeroDivisionError" in box.why_waiting("a-1")


def test_a_call_that_is_not_known_is_said_to_be_so(outbox):
    with pytest.raises(UpgradeError, match="knows no call nobody") as caught:
        outbox().result("nobody", timeout_s=1)
    assert caught.value.kind == "unknown"


def test_a_damaged_call_is_said_to_be_so(outbox, host, letter, tmp_path):
    host.gate.clear()
    box = outbox(metered=lambda: True)
    box.add(letter())
    (tmp_path / "outbox" / "pending" / "a-1.call").write_bytes(b"WVF\x01rubbish")
    assert box.box.letter("a-1") is None
    with pytest.raises(UpgradeError, match="damaged on the disk"):
        box.result("a-1", timeout_s=1)


def test_nothing_is_sent_over_a_metered_link_unless_it_may_be(outbox, host, letter):
    looked = threading.Event()

    def metered():
        looked.set()
        return True

    box = outbox(metered=metered)
    box.add(letter())
    assert looked.wait(30)
    assert box.result("a-1", timeout_s=0.1) is None
    assert host.sent == []
    box.close()
    free = outbox(limits=LIMITS._replace(metered=True), metered=metered)
    free.start()
    assert free.result("a-1", timeout_s=30)


def test_a_call_that_waited_too_long_ends_on_a_metered_link_too(outbox, host, letter):
    box = outbox(metered=lambda: True)
    box.add(letter(ttl_s=1e-6))
    result = box.result("a-1", timeout_s=30)
    assert (result.kind, result.answer, host.sent) == ("expired", None, [])


def test_callbacks_are_called_once_they_returned_never_again(outbox, letter):
    told = []
    done = threading.Event()

    def on_upgrade(result):
        told.append(result.entry.id)
        done.set()

    first = outbox(on_upgrade=on_upgrade)
    first.add(letter())
    assert done.wait(30)
    for thread in threads():
        thread.join(30)
    second = outbox(on_upgrade=on_upgrade)
    second.start()
    assert not threads()
    assert told == ["a-1"]


def test_a_callback_that_failed_is_called_again_after_a_restart(outbox, letter):
    called, good = [], threading.Event()

    def fails(result):
        called.append(result)
        raise ValueError("no database")

    first = outbox(on_upgrade=fails)
    first.add(letter())
    assert first.result("a-1", timeout_s=30)
    while not called:
        time.sleep(0.01)
    first.close()
    second = outbox(on_upgrade=lambda result: good.set())
    second.start()
    assert good.wait(30)


def test_results_of_another_process_are_told_and_seen_here(outbox, host, letter, tmp_path):
    told = threading.Event()
    other = Turn(tmp_path / "outbox" / ".turn")
    quiet = outbox(on_upgrade=lambda result: told.set())
    (tmp_path / "outbox").mkdir(mode=0o700)
    assert other.take()  # another process sends
    quiet.add(letter())
    assert quiet.result("a-1", timeout_s=0.1) is None
    box = Outbox(tmp_path, LIMITS, host).box
    box.record(host.scene.answer(box.letter("a-1")))
    assert quiet.result("a-1", timeout_s=30)
    assert told.wait(30)
    assert host.sent == []
    other.give_back()


def test_the_turn_is_free_as_soon_as_its_process_ends_even_with_children(tmp_path):
    path = tmp_path / ".turn"
    program = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from wherever._outbox.turn import Turn\n"
        f"turn = Turn(Path({str(path)!r}))\n"
        "assert turn.take()\n"
        "if not os.fork(): print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        turn = Turn(path)
        assert not turn.take()
        process.kill()
        process.wait()
        assert turn.take()
        assert turn.mine
        turn.give_back()
        os.kill(child, signal.SIGKILL)


def test_an_outbox_that_nobody_has_any_more_ends_its_thread(tmp_path, host, letter):
    host.error = UnreachableError("no network")
    box = Outbox(tmp_path, LIMITS, host)
    box.add(letter())
    (thread,) = threads()
    while not host.sent:
        time.sleep(0.01)
    wake = box._worker._wake
    del box
    until = time.monotonic() + 30
    while thread.is_alive():
        assert time.monotonic() < until
        gc.collect()
        wake.set()
        thread.join(0.05)


def test_what_waits_is_sent_by_hand_in_order_until_no_host_answers(outbox, host, letter):
    box = outbox(metered=lambda: True)
    for id_, priority in (("b", "background"), ("a", "interactive"), ("c", "batch")):
        box.add(letter(id_, priority=priority))
    box.close()
    tried = list(box.send_all(share=1.0))
    assert [each.waiting.entry.id for each in tried] == ["a", "c", "b"]
    assert all(each.result for each in tried)
    assert list(box.send_all(share=1.0)) == []
    box.add(letter("d"))
    box.add(letter("e"))
    host.error = UnreachableError("no network")
    (tried,) = box.send_all(share=1.0)
    assert (tried.result, str(tried.error)) == (None, "no network")


def test_two_processes_do_not_send_by_hand_at_once(outbox, letter, tmp_path):
    box = outbox(metered=lambda: True)
    box.add(letter())
    other = Turn(tmp_path / "outbox" / ".turn")
    assert other.take()
    with pytest.raises(UpgradeError, match="is being sent already"):
        list(box.send_all(share=1.0))
    other.give_back()


def test_the_directory_is_its_owners_alone(outbox, letter, tmp_path):
    outbox(metered=lambda: True).add(letter())
    for path in [tmp_path / "outbox", *(tmp_path / "outbox").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_process_that_reaches_no_host_lets_another_one_send(outbox, host, letter):
    lost = outbox(Host(host.scene))
    lost._courier._send.error = UnreachableError("no gateway is set here")
    lost.add(letter())
    reaches = outbox()
    reaches.start()
    assert lost.result("a-1", timeout_s=30)
    assert host.sent == ["a-1"]
