"""Lines about calls: which are written, and what they say."""

from __future__ import annotations

import json
import threading

import pytest

from wherever_contracts.wire.traceparent import Parent
from wherever_gateway.watching.behind import Behind
from wherever_gateway.watching.call import Ended
from wherever_gateway.watching.log import CallLog, Spell, line

ANSWERED = Ended("scales", "1.0.0", "large", "ann", "", 1_700_000_000.5, 0.0123, 0.001, 0.01, 99, 4)
FAILED = ANSWERED._replace(reason="quota", variant="")


def written(detail, *calls):
    lines = []
    log = CallLog(detail, lines.append)
    for call in calls:
        log.add(call)
    log.close()
    return [json.loads(each) for each in "".join(lines).splitlines()]


def test_a_line_says_who_called_what_and_how_long_it_took():
    assert json.loads(line(ANSWERED)) == {
        "time": "2023-11-14T22:13:20.500+00:00",
        "tenant": "ann",
        "model": "scales",
        "version": "1.0.0",
        "variant": "large",
        "status": "ok",
        "queue_ms": 1.0,
        "engine_ms": 10.0,
        "total_ms": 12.3,
        "bytes": 99,
        "rows": 4,
    }


def test_a_line_says_what_is_not_usual():
    unusual = ANSWERED._replace(kept=True, backend="triton", trace=Parent(15, 1, sampled=True))
    said = json.loads(line(unusual, left_out=7))
    assert said["kept"] is True
    assert said["backend"] == "triton"
    assert said["trace_id"] == f"{15:032x}"
    assert said["left_out"] == 7


def test_names_of_any_length_and_kind_stay_on_a_short_line():
    one = line(FAILED._replace(model="a\nb" * 1000, tenant='"' * 1000, version="\0" * 1000))
    assert "\n" not in one
    assert len(one) < 3000


@pytest.mark.parametrize(
    ("detail", "statuses"), [("calls", ["ok", "quota"]), ("refused", ["quota"]), ("off", [])]
)
def test_the_lines_are_those_that_were_asked_for(detail, statuses):
    assert [said["status"] for said in written(detail, ANSWERED, FAILED)] == statuses


def test_of_many_refusals_ten_in_a_second_are_written_and_the_others_counted():
    calls = [FAILED._replace(at_s=at_s) for at_s in (100.0, 101.5) for _ in range(30)]
    said = written("refused", *calls)
    assert len(said) == 20
    assert [each["left_out"] for each in said if "left_out" in each] == [20]


def test_what_is_asked_for_can_change():
    lines = []
    log = CallLog("off", lines.append)
    log.add(ANSWERED)
    log.detail = "calls"
    log.add(ANSWERED)
    log.close()
    assert "".join(lines).count("\n") == 1


def test_a_spell_begins_anew_each_second():
    spell = Spell(2)
    passed = [spell.pass_(now_s) for now_s in (0.0, 0.1, 0.2, 0.9, 1.0, 1.1, 1.2, 5.0)]
    assert passed == [0, 0, None, None, 2, 0, None, 1]


def test_a_log_that_cannot_be_written_loses_lines_and_nothing_else():
    def broken(_lines):
        raise OSError("no space left on device")

    log = CallLog("calls", broken)
    for _ in range(3):
        log.add(ANSWERED)
    log.close()
    assert log.lost == 3


def test_a_log_that_hangs_loses_lines_and_holds_nobody_up():
    hanging, done = threading.Event(), threading.Event()

    def work(_items):
        hanging.set()
        done.wait(10)

    behind = Behind(work, "test", every_s=0.001, most=5)
    behind.put(0)
    hanging.wait(10)
    for number in range(100):
        behind.put(number)
    assert behind.lost == 95
    done.set()
    behind.close()


def test_what_was_put_aside_is_handed_over_in_order_at_the_end():
    taken = []
    behind = Behind(taken.extend, "test", every_s=60.0)
    for number in range(100):
        behind.put(number)
    behind.close()
    behind.close()
    assert taken == list(range(100))


def test_what_comes_after_the_end_is_lost():
    taken = []
    behind = Behind(taken.extend, "test", every_s=60.0)
    behind.close()
    behind.put(1)
    assert (taken, behind.lost) == ([], 1)
