"""Figures are added up, compared and told, with what of them is a guess."""

from __future__ import annotations

import json

import pytest

from wherever._escalation.words import NOTHING_IS_SURE, Bar
from wherever._whatif.aims import Measure
from wherever._whatif.endings import Ending
from wherever._whatif.outcome import outcome_of, quantile
from wherever._whatif.report import Report, view


def ending(place="device", elapsed_s=0.1, **more):
    told = {
        "deadline_s": None,
        "remote_calls": 0,
        "up_bytes": 0,
        "down_bytes": 0,
        "cost": 0.0,
        "escalated": False,
        "degraded": False,
    }
    return Ending(place, elapsed_s, **{**told, **more})


ENDS = [
    ending(),
    ending("cloud", 0.3, remote_calls=1, up_bytes=1000, down_bytes=40, cost=0.5, escalated=True),
    ending("nearby", 0.2, deadline_s=0.1),
    ending("", 9.0, degraded=False),
]


def report(**more):
    told = {"estimated": 0, "guessed": 0, "beyond": 0, "measures": {}}
    return Report(outcome_of(ENDS[:1]), outcome_of(ENDS), **{**told, **more})


def test_figures_are_added_up_and_what_failed_took_no_time():
    found = outcome_of(ENDS)
    assert (found.calls, found.failed, found.device, found.nearby, found.cloud) == (4, 1, 1, 1, 1)
    assert (found.remote_calls, found.up_bytes, found.down_bytes, found.cost) == (1, 1000, 40, 0.5)
    assert (found.escalated, found.late, found.degraded) == (0.25, 1, 0)
    assert (found.mean_s, found.p50_s, found.p99_s) == (pytest.approx(0.2), 0.2, 0.3)


def test_where_all_failed_nothing_took_any_time():
    assert outcome_of(ENDS[3:]).mean_s == 0.0


def test_a_quantile_is_one_of_the_values():
    assert [quantile([1, 2, 3, 4], share) for share in (0.0, 0.5, 0.75, 1.0)] == [1, 3, 4, 4]


def test_it_is_ready_for_json():
    measures = {"m": Measure(Bar(0.5), "x"), "n": Measure(None, "y")}
    data = json.loads(json.dumps(report(estimated=3, measures=measures, unasked=["box"]).to_dict()))
    assert data["difference"]["calls"] == 3
    assert data["thresholds"] == {
        "m": {"threshold": 0.5, "source": "x"},
        "n": {"threshold": None, "source": "y"},
    }
    assert (data["estimated"], data["unasked"]) == (3, ["box"])


def test_it_is_told_in_lines_with_every_doubt():
    measures = {
        "m": Measure(Bar(0.5), "the policy says it"),
        "n": Measure(Bar(NOTHING_IS_SURE), "no pairs"),
        "o": Measure(None, "nobody knows"),
        "p": Measure(Bar(0.6, promised=True), "90 pairs"),
    }
    doubts = {
        "estimated": 3,
        "guessed": 2,
        "beyond": 1,
        "unasked": ["box"],
        "left_out": ["f: torn"],
        "others": 7,
    }
    text = "\n".join(view(report(measures=measures, **doubts)))
    assert "threshold of m: 0.500 (the policy says it)" in text
    assert "threshold of n: everything is taken further (no pairs)" in text
    assert "threshold of o: none (nobody knows)" in text
    assert "estimated: 3 of 4 calls" in text
    assert "how sure the device would be: 2" in text
    assert "1 calls may take longer" in text
    assert "7 calls asked something else of escalation than most" in text
    assert "remote calls of the policy hold its audits" in text
    assert "box is left out" in text
    assert "1 lines could not be read; the first: f: torn" in text
    assert "+1.0 kB" in text or "+1 kB" in text


def test_without_doubts_there_are_none():
    text = "\n".join(view(report()))
    assert "left out" not in text
    assert "how sure" not in text
    assert "audits" not in text
    assert "asked something else" not in text
