"""What the demo makes of what it saw: versions, messages, sums."""

from __future__ import annotations

import pytest

from wherever.cli._demo_asker import Asked
from wherever.cli._demo_calls import Heard, version_result
from wherever.cli._demo_later import LaterResult
from wherever.cli._demo_modes import ModeResult
from wherever.cli._demo_process import last_words
from wherever.cli._demo_promise import ALARM_WITHIN, Lost, PromiseResult, Shifted, Usual
from wherever.cli._demo_story import Story
from wherever.cli._demo_update import Refusal, UpdateResult, next_minor, shortened
from wherever.cli.demo import BAD
from wherever_contracts.receipts import Ran

TRUTHS = ["3", "5"]


def ran(version, trust="signed"):
    engine = ("onnxruntime", "1.0", "CPU", "int8", 1)
    return Ran("digits", version, "int8", f"package {version}", "variant", trust, *engine)


def heard(*answers):
    return [Heard(digit, value, ran(version), 0.0) for version, digit, value in answers]


def test_answers_of_one_version_after_the_other_are_not_mixed():
    all_heard = heard(("1.0.0", 0, "3"), ("1.0.0", 1, "8"), ("1.1.0", 0, "3"), ("1.1.0", 1, "5"))
    old = version_result("1.0.0", all_heard, ["3", "8"], TRUTHS)
    new = version_result("1.1.0", all_heard, ["3", "5"], TRUTHS)
    assert (old.mixed, old.calls, old.digits, old.right) == (0, 2, 2, 1)
    assert (new.mixed, new.calls, new.digits, new.right) == (0, 2, 2, 2)


@pytest.mark.parametrize(
    "all_heard",
    [
        pytest.param(heard(("1.0.0", 1, "5")), id="another version's answer"),
        pytest.param(
            heard(("1.0.0", 0, "3"), ("1.1.0", 0, "3"), ("1.0.0", 0, "3")),
            id="after a later version's",
        ),
        pytest.param(
            [*heard(("1.0.0", 0, "3")), Heard(0, "3", ran("1.0.0", "wheel"), 0.0)],
            id="of another package of that version",
        ),
    ],
)
def test_a_mixed_answer_is_counted(all_heard):
    assert version_result("1.0.0", all_heard, ["3", "8"], TRUTHS).mixed == 1


def test_a_version_that_nobody_published_gives_mixed_answers_alone():
    assert version_result("9.0.0", heard(("9.0.0", 0, "3")), (), TRUTHS).mixed == 1


def test_the_next_minor_version_begins_anew():
    assert next_minor("1.0.3") == "1.1.0"
    assert next_minor("2.9.0-rc.1+5") == "2.10.0"


def test_a_refusal_is_said_without_addresses_and_with_short_digests():
    digest, other = "0123456789ab" + 52 * "c", "ba9876543210" + 52 * "d"
    why = f"refused: http://127.0.0.1:80/a/{digest}.m-1.wherever: sha256: expected {digest}, "
    assert shortened(f"{why}found {other}") == (
        "refused: m-1.wherever: sha256: expected 0123456789ab, found ba9876543210"
    )


def test_the_last_words_of_a_command_are_its_error_or_its_last_line():
    error = ["{", '"error": {', '"message": "no room"', "}", "}"]
    assert last_words(["warning: full", *error]) == "no room"
    assert last_words([*error, "Killed"]) == "Killed"
    assert last_words(["one", "two"]) == "two"
    assert last_words([]) == ""


def test_calls_that_wait_are_lost_until_their_answer_came():
    waiting = [("a", 0, "3"), ("b", 1, "8")]
    in_time = Asked("prefer_in_cloud", calls=2, device=2, wrong=1)
    better = Asked("later=True", calls=2, failed=1, device=1, waiting=waiting, error="gone")
    result = LaterResult([in_time, better], came=1, corrected=1)
    assert (result.calls, result.failed, result.waiting, result.lost) == (4, 1, 2, 1)
    assert (in_time.right, better.right, result.wrong) == (1, 1, 0)
    assert [phase["waiting"] for phase in result.to_dict()["phases"]] == [0, 2]
    story = Story("digits", 2, [], [], "", None, [7], later=result)
    assert (story.calls, story.failed, story.lost, story.error) == (4, 1, 1, "gone")
    assert story.to_dict()["lost_answers"] == 1


def test_the_story_sums_up_every_act():
    modes = [ModeResult("auto", ["3", ""], 1, 0, [0.1], "no answer")]
    all_heard = heard(("1.0.0", 0, "5"))
    versions = [version_result("1.0.0", all_heard, ["3", "8"], TRUTHS)]
    story = Story("digits", 2, modes, [], "", None, [7])
    assert (story.calls, story.failed, story.mixed, story.error) == (2, 1, 0, "no answer")
    story.updates = UpdateResult(versions, 2, "gone", Refusal("tampered", "sha256"), [1.0])
    assert (story.calls, story.failed, story.mixed, story.error) == (5, 3, 1, "no answer")
    data = story.to_dict()
    assert (data["failed_calls"], data["mixed_answers"]) == (3, 1)
    assert data["box"] is data["conversion"] is None
    assert data["updates"]["refused"]["kind"] == "tampered"


def test_whatever_is_not_as_promised_is_named_and_counted():
    spoilt = PromiseResult(
        297,
        Usual(calls=100, escalated=9, differ=3, alone=5),
        Shifted(calls=120, alarm="shift: ...", after=ALARM_WITHIN + 1, given=1),
        Lost(calls=100, unsure=9, degraded=8, counted=7),
        receipts=220,
        identical=219,
    )
    assert len(spoilt.broken) == 5
    story = Story("digits", 2, [], [], "", None, [7], promise=spoilt)
    assert story.to_dict()["broken_promises"] == 5
    assert "broken_promises" in BAD
