"""Hosts are probed on the virtual clock as the watch probes them in real time."""

from __future__ import annotations

from itertools import pairwise

from wherever._routing.pace import DevicePace
from wherever._routing.plan import Candidate
from wherever._whatif.hosts import QUIET_S, Hosts
from wherever._whatif.virtual import Clock
from wherever_contracts.errors import RefusedError, UnreachableError
from wherever_edge.host_health.forecast import Traffic, Work

WORK = Work("m", "", 1000)
BOXES = [Candidate("a", "nearby"), Candidate("b", "nearby")]


def hosts_of(round_trip_s=lambda *_: 0.05):
    clock, asked = Clock(), []

    def answered(host, at):
        asked.append((host, at))
        return round_trip_s(host, at)

    places = {"a": "nearby", "b": "nearby"}
    return clock, Hosts(clock, places, answered, lambda: 0.3, 2.0), asked


def sent(hosts, host="a"):
    return hosts.began(host, WORK)


def test_a_host_that_failed_is_probed_until_it_is_back():
    clock, hosts, asked = hosts_of(lambda _, at: 0.05 if at > 5.0 else None)
    senses = hosts.senses(DevicePace(0.0), lambda _: None)
    assert senses.admit(BOXES[0], False) == ""
    hosts.failed("a", sent(hosts), UnreachableError("a: gone"), 2.0)
    assert senses.admit(BOXES[0], False)
    clock.run(lambda: senses.admit(BOXES[0], True) == "")
    assert clock.now > 5.0
    assert len(asked) > 5


def test_a_host_that_is_used_and_quiet_is_probed_and_one_that_is_not_used_is_left_alone():
    clock, hosts, asked = hosts_of()
    hosts.answered("a", sent(hosts), Traffic(WORK, 40, 0.01))
    sent(hosts, "a")
    clock.run(lambda: clock.now > 2 * QUIET_S)
    assert asked == []  # a call is on its way
    clock, hosts, asked = hosts_of()
    hosts.answered("a", sent(hosts), Traffic(WORK, 40, 0.01))
    clock.run(lambda: False)
    assert {host for host, _ in asked} == {"a"}
    assert 5 < len(asked) < 15
    assert clock.now < 40.0


def test_a_host_that_is_overdue_is_probed_when_it_is_next_wanted():
    clock, hosts, asked = hosts_of()
    hosts.answered("a", sent(hosts), Traffic(WORK, 40, 0.01))
    late = sent(hosts)
    clock.at(2.0, lambda: None)
    clock.run(lambda: False)
    senses = hosts.senses(DevicePace(0.0), lambda _: None)
    assert "overdue" in senses.admit(BOXES[0], False)
    assert senses.admit(BOXES[0], False)
    hosts.given_up("a", late)
    clock.run(lambda: bool(asked))
    assert asked[0][0] == "a"


def test_a_host_whose_probe_is_under_way_is_not_probed_twice():
    clock, hosts, asked = hosts_of(lambda *_: None)
    hosts.failed("a", sent(hosts), UnreachableError("a: gone"), 2.0)
    clock.run(lambda: clock.now > 3 * QUIET_S)
    moments = [at for _, at in asked]
    assert all(after - before >= 0.2 for before, after in pairwise(moments))


def test_what_no_retry_can_mend_costs_no_token():
    _, hosts, _ = hosts_of()
    senses = hosts.senses(DevicePace(0.0), lambda _: None)
    for _ in range(9):
        hosts.failed("a", sent(hosts), RefusedError("a: no"), 2.0)
    assert senses.spend()
    for _ in range(9):
        hosts.failed("b", sent(hosts, "b"), UnreachableError("b: gone"), 2.0)
    assert not senses.spend()


def test_the_less_burdened_host_goes_first():
    _, hosts, _ = hosts_of()
    senses = hosts.senses(DevicePace(0.0), lambda _: None)
    for _ in range(5):
        sent(hosts, "a")
    assert senses.arrange(BOXES, WORK)[0].host == "b"


def test_a_quick_device_is_known_by_its_slowest_and_a_slow_one_by_all():
    quick, slow = DevicePace(0.0), DevicePace(0.0)
    quick.took(0.001, 1.0)
    quick.took(0.0005, 2.0)
    assert quick.forecast(0.5, 3.0).latency_s == 0.00095
    for at in range(20):
        slow.took(0.1, float(at))
    assert abs(slow.forecast(0.5, 20.0).latency_s - 0.1) < 0.02
    _, hosts, _ = hosts_of()
    senses = hosts.senses(slow, lambda _: None)
    assert senses.forecast(Candidate("device", "device"), WORK, 0.5).latency_s > 0.08
    assert senses.forecast(BOXES[0], WORK, 0.5).latency_s > 0.0
