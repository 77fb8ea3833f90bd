"""Counted calls as Prometheus reads them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from wherever_edge.oip.admission import Served
from wherever_gateway.watching.cells import BOUNDS_S, OTHER
from wherever_gateway.watching.exposition import exposition
from wherever_gateway.watching.metrics import Metrics

SECONDS = st.floats(0, 100, allow_nan=False)
NAMES = st.text(max_size=12).filter(lambda name: name != OTHER)  # what is counted together


def samples(metrics):
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition(metrics.counted()))
        for sample in family.samples
    }


@given(st.lists(st.tuples(NAMES, NAMES, SECONDS, SECONDS, SECONDS), max_size=20))
def test_every_name_and_number_is_read_back(calls):
    metrics = Metrics(lambda _: True)
    sums: dict[tuple[str, str], float] = {}
    for model, tenant, total_s, queue_s, engine_s in calls:
        metrics.began()
        metrics.answered(Served(model, "1", "", queue_s, engine_s), tenant, total_s, 7)
        sums[model, tenant] = sums.get((model, tenant), 0.0) + total_s
    found = samples(metrics)
    for (model, tenant), sum_s in sums.items():
        labels = {"model": model, "version": "1", "tenant": tenant}.items()
        number = sum(call[:2] == (model, tenant) for call in calls)
        name = "wherever_call_total_seconds"
        assert found[f"{name}_sum", frozenset(labels)] == sum_s
        assert found[f"{name}_count", frozenset(labels)] == number
        assert found[f"{name}_bucket", frozenset([*labels, ("le", "+Inf")])] == number
        below = [found[f"{name}_bucket", frozenset([*labels, ("le", f"{b:g}")])] for b in BOUNDS_S]
        assert below == sorted(below)
        assert found["wherever_received_bytes_total", frozenset(labels)] == 7 * number


def test_the_kinds_of_all_families_are_said():
    metrics = Metrics(lambda _: True)
    for _ in range(3):
        metrics.began()
    metrics.gave_kept("ann")
    metrics.failed("m", "", "ann", "engine", 0.1)
    kinds = {
        family.name: family.type
        for family in text_string_to_metric_families(exposition(metrics.counted()))
    }
    assert kinds == {
        "wherever_call_total_seconds": "histogram",
        "wherever_call_queue_seconds": "histogram",
        "wherever_call_engine_seconds": "histogram",
        "wherever_received_bytes": "counter",
        "wherever_calls_failed": "counter",
        "wherever_calls_kept": "counter",
        "wherever_calls_in_flight": "gauge",
    }
    assert samples(metrics)["wherever_calls_in_flight", frozenset()] == 1
