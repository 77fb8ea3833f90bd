"""How long this device is known to take."""

from __future__ import annotations

from wherever._routing.pace import AT_ONCE_S, DevicePace
from wherever_edge.host_health.forecast import Forecast


def test_nothing_is_known_before_the_first_call_but_what_was_measured():
    assert DevicePace(0.0).forecast(0.5, 0.0).samples == 0
    assert DevicePace(0.03).forecast(0.5, 0.0).latency_s > 0


def test_a_quick_device_is_known_by_its_slowest_answer_which_fades():
    pace = DevicePace(0.0)
    pace.took(0.001, 0.0)
    pace.took(0.0001, 1.0)
    assert pace.forecast(0.5, 1.0) == Forecast(0.00095, 1.0)


def test_a_slow_device_is_known_by_what_it_took():
    pace = DevicePace(0.0)
    for number in range(50):
        pace.took(0.1, float(number))
    known = pace.forecast(0.5, 50.0)
    assert 0.08 < known.latency_s < 0.12
    assert known.samples > 3


def test_one_slow_answer_of_a_quick_device_counts_until_it_has_faded():
    pace = DevicePace(0.0)
    pace.took(2 * AT_ONCE_S, 0.0)
    assert pace.forecast(0.99, 0.0).latency_s >= AT_ONCE_S
    for number in range(20):
        pace.took(0.0001, float(number))
    assert pace.forecast(0.99, 20.0).latency_s < AT_ONCE_S
