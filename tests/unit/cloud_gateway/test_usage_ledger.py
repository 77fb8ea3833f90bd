"""Usage: counted by tenant, model and hour, and lost neither between hours nor between writes."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.wire.tensors import InferResponse, WireTensor
from wherever_edge.oip.admission import Served
from wherever_gateway.state import ledger as ledger_module
from wherever_gateway.state.ledger import Cell, Ledger, Usage

OUTPUTS = (WireTensor("a", "UINT8", (3,), b"abc"), WireTensor("b", "UINT8", (2,), b"de"))
ANSWER = InferResponse("m", "1.0.0", "", {}, OUTPUTS)


class Clock:
    now_s = 7200.0

    def __call__(self) -> float:
        return self.now_s


def test_everything_that_becomes_of_a_call_is_counted():
    ledger = Ledger(Clock())
    ledger.answered("ann", Served("m", "1", "onnx", 0.5, 3.0, rows=4), 100, ANSWER)
    ledger.failed("ann", "m")
    ledger.refused("ann", "m")
    ledger.repeated("ann", "m", 100)
    expected = Usage(1, 1, 1, 1, 200, 5, engine_s=0.75, queue_s=0.5)
    assert ledger.take() == {Cell("ann", "m", 7200): expected}
    assert ledger.take() == {}


def test_each_hour_tenant_and_model_is_by_itself():
    clock = Clock()
    ledger = Ledger(clock)
    for tenant, model, now_s in (
        ("ann", "m", 7200),
        ("bob", "m", 7200),
        ("ann", "n", 10799.9),
        ("ann", "m", 10800),
    ):
        clock.now_s = now_s
        ledger.failed(tenant, model)
    assert [cell.hour for cell in ledger.take()] == [7200, 7200, 7200, 10800]


def test_what_could_not_be_written_is_counted_again():
    ledger = Ledger(Clock())
    ledger.failed("ann", "m")
    taken = ledger.take()
    ledger.failed("ann", "m")
    ledger.refused("bob", "m")
    ledger.put_back(taken)
    counted = ledger.take()
    assert counted[Cell("ann", "m", 7200)].failed == 2
    assert counted[Cell("bob", "m", 7200)].refused == 1


def test_when_too_much_waits_the_oldest_hours_are_given_up(monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_CELLS", 3)
    cells = {Cell("ann", "m", hour): Usage(calls=1) for hour in (5, 1, 4, 2, 3)}
    given_up: list[int] = []
    ledger = Ledger(Clock(), given_up.append)
    ledger.put_back(cells)
    assert given_up == [2]
    assert {cell.hour for cell in ledger.take()} == {3, 4, 5}


def test_where_nobody_writes_the_room_is_bounded_and_the_newest_hours_stay(monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_CELLS", 20)
    clock, given_up = Clock(), []
    ledger = Ledger(clock, given_up.append)
    for hour in range(100):
        clock.now_s = 3600.0 * hour
        for _ in range(2):
            ledger.failed("ann", "m")
    counted = ledger.take()
    assert [cell.hour // 3600 for cell in counted] == list(range(100 - len(counted), 100))
    assert len(counted) in (19, 20)
    assert sum(given_up) == 100 - len(counted)
    assert set(given_up) == {2}
    assert all(usage.failed == 2 for usage in counted.values())


def test_no_call_is_lost_between_threads():
    ledger, taken = Ledger(Clock()), []

    def work() -> None:
        for _ in range(500):
            ledger.failed("ann", "m")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += ledger.take().values()
    taken += ledger.take().values()
    assert sum(usage.failed for usage in taken) == 2000


counts = st.integers(0, 2**40)
usages = st.builds(Usage, *[counts] * len(Usage._fields))


@given(one=usages, other=usages)
def test_usage_adds_up(one, other):
    assert one.plus(other).calls == one.calls + other.calls
    assert one.plus(other) == other.plus(one)
    assert one.plus(Usage()) == one
