"""The protocol's statistics, out of what was counted."""

from __future__ import annotations

from wherever_contracts.wire.repository import BatchStatistics, Spent
from wherever_edge.oip.admission import Served
from wherever_gateway.watching.metrics import Metrics
from wherever_gateway.watching.statistics import Statistics


def metrics() -> Metrics:
    return Metrics(lambda model: model in ("m", "n"), now=lambda: 1_700_000_000.5)


def answer(counting: Metrics, served: Served, total_s: float = 0.010, tenant: str = "ann") -> None:
    counting.began()
    counting.answered(served, tenant, total_s, 100)


def test_nothing_was_asked_of_anything():
    assert Statistics(metrics()).of("", "") == []


def test_calls_of_all_tenants_are_told_together():
    counting = metrics()
    for tenant in ("ann", "bob"):
        answer(counting, Served("m", "1", "v", queue_s=0.002, engine_s=0.005), tenant=tenant)
    (told,) = Statistics(counting).of("m", "1")
    assert told.name == "m"
    assert told.version == "1"
    assert told.last_ms == 1_700_000_000_500
    assert told.inferences == told.executions == 2
    assert told.success == Spent(2, 20_000_000)
    assert told.queue == Spent(2, 4_000_000)
    assert told.compute_infer == Spent(2, 10_000_000)
    assert told.compute_input == Spent(2, 6_000_000)
    assert told.compute_output == Spent(2, 0)
    assert told.fail == Spent()


def test_calls_that_shared_runs_are_fewer_executions():
    counting = metrics()
    for _ in range(8):
        answer(counting, Served("m", "1", "v", engine_s=0.004, rows=4))
    answer(counting, Served("m", "1", "v", engine_s=0.001))
    (told,) = Statistics(counting).of("m", "")
    assert told.inferences == 9
    assert told.executions == 3
    assert told.batches == (
        BatchStatistics(1, Spent(1, 1_000_000)),
        BatchStatistics(4, Spent(2, 8_000_000)),
    )


def test_failures_count_for_their_model_and_take_their_time():
    counting = metrics()
    for model in ("m", "made-up"):
        counting.began()
        counting.failed(model, "", "ann", "engine", 0.003)
    (told,) = Statistics(counting).of("", "")
    assert (told.name, told.version, told.fail) == ("m", "", Spent(1, 3_000_000))
    assert told.success == Spent()


def test_models_and_versions_are_told_apart():
    counting = metrics()
    for model, version in (("n", "1"), ("m", "2"), ("m", "1")):
        answer(counting, Served(model, version))
    told = Statistics(counting).of
    assert [each[:2] for each in told("", "")] == [("m", "1"), ("m", "2"), ("n", "1")]
    assert [each[:2] for each in told("m", "2")] == [("m", "2")]
    assert told("other", "") == []


def test_what_runs_is_neither_answered_nor_failed():
    counting = metrics()
    counting.began()
    assert counting.in_flight == 1
    counting.gave_kept("ann")
    assert counting.in_flight == 0
    assert counting.counted().kept == {"ann": 1}
