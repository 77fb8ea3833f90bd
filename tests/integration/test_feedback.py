"""What people say of answers is checked, joined to the call, and counted once."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

import wherever
from wherever._ledger import Key, Ledger
from wherever._records.journal import read_feedback
from wherever.cli import main
from wherever_edge.builtin import digits_test_split
from wherever_edge.counters import COUNTERS

INPUTS, TRUTH = digits_test_split()
LATER = """
import json, sys
import wherever
for id_, said in json.loads(sys.argv[1]):
    try:
        wherever.feedback(id_, **said)
    except wherever.WhereverError as error:
        print(type(error).__name__, error)
print(json.dumps([facts.to_dict() for facts in wherever.status().promises]))
"""


@pytest.fixture
def client():
    with wherever.Client() as client:
        yield client


def counted(outcome: str) -> int:
    name = f'wherever_feedback_total{{model="digits",outcome="{outcome}"}}'
    return COUNTERS.snapshot().get(name, 0)


def later(said: list[tuple[str, dict]]) -> list[str]:
    """What another process prints that is told these things."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LATER, json.dumps(said)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_labels_and_acceptance_count_in_the_accuracy_of_what_was_given(client):
    for number in range(20):
        prediction = client.predict("digits", INPUTS[number])
        prediction.feedback(label=str(TRUTH[number]))
    prediction = client.predict("digits", INPUTS[20])
    prediction.feedback(accepted=False)
    (facts,) = client.status().promises
    assert (facts.model, facts.variant) == ("digits", prediction.receipt.variant)
    assert (facts.feedback.n, facts.feedback.right) == (21, 20.0)
    assert facts.feedback.low < 20 / 21 < facts.feedback.high
    assert "right in the 21 calls with feedback" in str(client.status())


def test_the_same_word_counts_once_and_another_takes_its_place(client):
    before = counted("right"), counted("wrong")
    prediction = client.predict("digits", INPUTS[0])
    for _ in range(3):
        prediction.feedback(label=str(prediction.value))
    prediction.feedback(accepted=False)
    (facts,) = client.status().promises
    assert (facts.feedback.n, facts.feedback.right) == (1, 0.0)
    assert (counted("right") - before[0], counted("wrong") - before[1]) == (1, 1)


def test_what_makes_no_sense_is_refused_and_counts_nothing(own_home, client):
    prediction = client.predict("digits", INPUTS[0])
    for said, words in (
        ({}, "one of label= and accepted=, found neither"),
        ({"label": "7", "accepted": True}, "found both"),
        ({"label": "seven"}, "one of '0', '1'"),
        ({"label": 7}, "perhaps '7', found 7"),
        ({"accepted": "yes"}, "True or False"),
    ):
        with pytest.raises(wherever.InputError, match=words):
            prediction.feedback(**said)
    assert client.status().promises == ()
    assert not (own_home / "evidence").exists()


def test_a_later_process_without_a_network_joins_its_word_to_the_recorded_call(own_home):
    with wherever.Client() as client:
        recorded = [client.predict("digits", row, record=True) for row in INPUTS[:3]]
        forgotten = client.predict("digits", INPUTS[3])
    first, second, third = (prediction.id for prediction in recorded)
    said = [
        (first, {"label": str(recorded[0].value)}),
        (first, {"label": str(recorded[0].value)}),
        (second, {"accepted": False}),
        (third, {"label": "77"}),
        (forgotten.id, {"accepted": True}),
    ]
    typo, unknown, facts = later(said)
    assert typo.startswith("InputError argument 'label': expected one of the model's labels")
    assert unknown.startswith("InputError argument 'id': expected the id of a call that was")
    assert forgotten.id in unknown
    (known,) = json.loads(facts)
    assert (known["feedback"]["n"], known["feedback"]["right"]) == (2, 1.0)
    heard = [(each.id, each.label, each.accepted) for each in read_feedback(own_home)]
    assert heard == [(first, str(recorded[0].value), None), (second, None, False)]

    with wherever.Client() as client:  # and a third process hears of it all
        client.feedback(second, label=str(recorded[1].value))
        (facts,) = client.status().promises
        assert (facts.feedback.n, facts.feedback.right) == (2, 2.0)
        with pytest.raises(wherever.InputError, match="id of a call that was recorded"):
            client.feedback(7, accepted=True)


def test_of_an_escalated_call_both_answers_are_judged(digits_gateway, own_home):
    address = f"grpc://{digits_gateway.address}"
    with wherever.Client([address], min_confidence=1.0, record=1.0) as client:
        near, later_on = client.predict("digits", INPUTS[0]), client.predict("digits", INPUTS[1])
        near.feedback(label=str(TRUTH[0]))
    assert (near.receipt.variant, near.place) == ("cnn", "cloud")
    with wherever.Client() as client:
        client.feedback(later_on.id, label=str(TRUTH[1]))
        (facts,) = client.status().promises
    assert (facts.variant, facts.feedback.right) == ("mlp-int8", 2.0)
    key = Key("digits", near.receipt.package_digest, "mlp-int8")
    both, one = Ledger(own_home).events(key)
    assert (both.right, both.right_reference, both.escalated) == (1.0, 1.0, True)
    # the variant's own answer to the other call is in no record
    assert (one.right, one.right_reference, one.escalated) == (None, 1.0, True)
    own = [attempt.confidence for attempt in later_on.receipt.attempts if attempt.place == "device"]
    assert [one.confidence] == own
    assert 0 < both.confidence < 1


def test_promises_that_are_not_kept_are_in_status_at_once(client):
    for row in (INPUTS[0] * 0, INPUTS[0] * 0):
        assert client.predict("digits", row, max_disagreement=0.02).degraded
    (facts,) = client.status().promises
    assert facts.unkept == 2
    assert "not kept in 2 calls" in str(client.status())


UNSURE = """
import sys
import numpy as np
import wherever

digits = wherever.model("digits")
for _ in range(3):
    digits(np.zeros((8, 8), np.float32), max_disagreement=0.02)
print("asked", flush=True)
sys.stdin.read()
"""


def test_others_see_that_a_promise_is_not_kept_while_the_process_runs_and_after_it_was_killed():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", UNSURE], **pipes) as running:
        running.stdout.readline()
        with wherever.Client() as client:
            end = time.monotonic() + 20
            while not any(each.unkept for each in client.status().promises):
                assert time.monotonic() < end, "nobody is told"
                time.sleep(0.02)
            running.kill()
            running.wait()
            # the first is told at once, and what comes within a minute after that together
            assert client.status().promises[0].unkept == 1


def test_an_unwritable_home_costs_the_evidence_and_no_call(own_home, client):
    prediction = client.predict("digits", INPUTS[0])
    own_home.mkdir(exist_ok=True)
    (own_home / "evidence").write_text("in the way")
    prediction.feedback(accepted=True)
    client._witness.ledger().flush()
    assert any("evidence was not kept (1 event)" in each for each in client.status().problems)


def test_the_command_shows_what_is_known_and_gives_it_to_a_monitor(answered, capsys):
    with wherever.Client() as client:
        client.predict("digits", INPUTS[0]).feedback(accepted=True)
    (facts,) = answered("status")["promises"]
    assert facts["feedback"]["n"] == 1
    assert "right in the 1 call with feedback" in shown(capsys, "status")
    lines = shown(capsys, "status", "--metrics").splitlines()
    assert "# TYPE wherever_evidence_feedback_calls gauge" in lines
    (gauge,) = (line for line in lines if line.startswith("wherever_evidence_feedback_calls{"))
    assert gauge.endswith("} 1.0")


def shown(capsys, *arguments: str) -> str:
    """What a command prints."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert not caught.value.code
    return capsys.readouterr().out


def test_a_home_that_nobody_may_look_into_is_named_by_whoever_needs_it(tmp_path):
    with wherever.Client(home=tmp_path / ("h" * 300)) as client:
        for ask in (client.status, lambda: client.predict("digits", INPUTS[0])):
            with pytest.raises(wherever.SettingsError, match="WHEREVER_HOME names another"):
                ask()
        with pytest.raises(wherever.InputError, match="a call that was recorded"):
            client.feedback("abc", accepted=True)
