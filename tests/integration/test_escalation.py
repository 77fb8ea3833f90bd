"""Promises about answers, with a real gateway: kept, audited, watched, said when they are not."""

from __future__ import annotations

import asyncio
import copy
import inspect
import itertools
import logging
import pickle
import threading
import time

import numpy as np
import pytest

import wherever
from wherever._edition import ARGUMENTS
from wherever._records.journal import read_inputs, read_records
from wherever_edge.builtin import digits_test_split
from wherever_edge.counters import COUNTERS

INPUTS, _ = digits_test_split()
PROMISE = 0.02


@pytest.fixture
def connected(digits_gateway):
    """Makes clients of a gateway; they are closed."""
    made = []

    def make(address=digits_gateway.address, **settings):
        made.append(wherever.Client([f"grpc://{address}"], **settings))
        return made[-1]

    yield make
    for client in made:
        client.close()


def counted(name: str, **labels: str) -> int:
    inner = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return COUNTERS.snapshot().get(f"{name}{{{inner}}}", 0)


def promises(client):
    return {facts.variant: facts for facts in client.status().promises if facts.aim}


def audits(client):
    return promises(client)["mlp-int8"].audits


def goes_further(prediction):
    """Whether an answer was not sure enough, whoever gave the other in the end."""
    return prediction.place == "cloud" or prediction.degraded


def until(condition, patience_s=10.0):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


class _Asks(logging.Handler):
    """Asks the client that a message is about for its status."""

    def __init__(self, client):
        super().__init__()
        self.client = client
        self.heard = []

    def emit(self, record):
        self.client.status()
        self.heard.append(record.getMessage())


def test_answers_given_are_the_references_but_for_the_share_that_is_promised(connected):
    client = connected(audit_share=0.0)
    digits = client.model("digits")
    given = [digits(each, max_disagreement=PROMISE) for each in INPUTS]
    reference = [
        p.value for p in digits.map(INPUTS, mode="only_in_cloud", max_disagreement=PROMISE)
    ]
    escalated = sum(p.place == "cloud" for p in given)
    assert 0 < escalated < 0.2 * len(INPUTS)
    differ = sum(p.value != other for p, other in zip(given, reference, strict=True))
    assert differ <= PROMISE * len(INPUTS)
    assert not any(p.degraded for p in given)
    unsure = next(p for p in given if p.place == "cloud")
    assert "(at most 2 % may differ)" in unsure.receipt.reason
    assert unsure.receipt.variant == "cnn"


def test_the_ways_to_ask_promise_alike(connected):
    client = connected(audit_share=0.0, max_disagreement=PROMISE, mode="prefer_on_device")
    digits = client.model("digits")
    plain = [goes_further(digits(each)) for each in INPUTS[:100]]
    mapped = [goes_further(p) for p in digits.map(INPUTS[:100])]

    async def one_by_one():
        return [goes_further(await digits.aio(each)) for each in INPUTS[:100]]

    assert plain == mapped == asyncio.run(one_by_one())
    assert any(plain)


def test_audits_and_escalations_are_evidence_that_outlives_the_client(connected):
    client = connected(audit_share=0.5)
    digits = client.model("digits")
    inputs = itertools.cycle(INPUTS)

    def compared():
        digits(next(inputs), max_disagreement=PROMISE)
        return audits(client) >= 5 and promises(client)["mlp-int8"].escalated > 0

    until(compared)
    client.close()
    (facts,) = promises(connected()).values()
    assert facts.aim == "at most 2 % may differ, 0.95 sure"
    assert facts.audits >= 5
    assert facts.escalated > 0
    assert facts.agreement is not None
    assert facts.agreement.low <= facts.agreement.value <= facts.agreement.high
    assert facts.unkept == 0


def test_an_audit_is_of_the_input_that_was_answered_whatever_becomes_of_its_array(connected):
    client = connected(audit_share=1 - 1e-9)
    digits = client.model("digits")
    first = digits(INPUTS[0], max_disagreement=PROMISE)
    other = next(each for each in INPUTS if digits(each).value != first.value)
    until(lambda: audits(client) == 1)
    go = threading.Event()
    for _ in range(2):  # so that audits begin when the array is another one
        client._threads.behind(go.wait)
    frame = INPUTS[0].astype(np.float32)  # as the model takes it, without a copy
    for _ in range(3):
        frame[:] = INPUTS[0]
        digits(frame, max_disagreement=PROMISE)
        frame[:] = other
    go.set()
    until(lambda: audits(client) == 3)
    assert promises(client)["mlp-int8"].agreement.value == 1.0


def test_a_prediction_goes_to_other_processes_and_is_judged_where_it_was_made(connected):
    prediction = connected(audit_share=0.0).predict("digits", INPUTS[0], max_disagreement=PROMISE)
    copied, sent = copy.deepcopy(prediction), pickle.loads(pickle.dumps(prediction))
    assert sent.receipt == copied.receipt == prediction.receipt
    copied.feedback(accepted=True)
    with pytest.raises(wherever.InputError, match="a call of this process"):
        sent.feedback(accepted=True)


def test_without_the_gateway_unsure_answers_are_degraded_and_counted(connected, start_gateway):
    gateway = start_gateway()
    client = connected(gateway.address, max_disagreement=PROMISE)
    digits = client.model("digits")
    before = [digits(each) for each in INPUTS[:150]]
    unsure = [n for n, p in enumerate(before) if p.place == "cloud"]
    gateway.kill()
    unkept = counted("wherever_promises_unkept_total", model="digits")
    after = [digits(each) for each in INPUTS[:150]]
    assert [n for n, p in enumerate(after) if p.degraded] == unsure
    assert all(p.place == "device" for p in after)
    assert counted("wherever_promises_unkept_total", model="digits") == unkept + len(unsure)
    assert after[unsure[0]].receipt.reason.startswith("kept although confidence ")
    assert "degraded" in after[unsure[0]].explain()


def test_a_chain_keeps_promises_about_what_it_asks_further_and_makes_none_about_its_gate(connected):
    client = connected(audit_share=0.0, max_disagreement=PROMISE)
    digits = client.model("digits")
    chained = wherever.chain(digits, digits, send="input")
    unkept = counted("wherever_promises_unkept_total", model="digits")
    given = list(chained.map(INPUTS[:100]))
    assert not any(each.gate.degraded for each in given)
    assert counted("wherever_promises_unkept_total", model="digits") == unkept
    further = [each.parts[0].end for each in given]
    assert any(each.place == "cloud" for each in further)
    assert not any(each.degraded for each in further)


def test_too_few_pairs_escalate_everything_and_explain_says_why(connected):
    client = connected(audit_share=0.0)
    prediction = client.predict("digits", INPUTS[0], max_disagreement=0.001)
    assert prediction.place == "cloud"
    said = prediction.explain()
    assert "pairs are needed to promise 0.1 % even if none differs; there are 593" in said


def test_a_package_without_pairs_learns_from_its_calls(connect, start_gateway, scales_package):
    client = connect(start_gateway(scales_package.root).address, mode="prefer_on_device")
    scales = client.model("scales")
    sure = np.array([0, 9, 0], np.float32)
    first = scales(sure, max_disagreement=0.2)
    assert "no pairs are known of this variant" in first.explain()
    for _ in range(100):
        last = scales(sure, max_disagreement=0.2)
    assert (first.place, last.place) == ("cloud", "device")


def test_calls_unlike_the_calibrations_raise_an_alarm_and_are_escalated_until_more_is_known(
    connected, request
):
    client = connected(audit_share=0.0, max_disagreement=PROMISE)
    digits = client.model("digits")
    asks = _Asks(client)
    logging.getLogger("wherever").addHandler(asks)
    request.addfinalizer(lambda: logging.getLogger("wherever").removeHandler(asks))
    chance = np.random.default_rng(1)
    alarmed = None
    for number in range(500):
        noisy = np.clip(INPUTS[number] + chance.normal(0, 6, (8, 8)), 0, 16).astype(np.float32)
        prediction = digits(noisy)
        if promises(client)["mlp-int8"].alarms:
            alarmed = number
            break
    assert alarmed is not None
    assert any("shift" in said for said in asks.heard)
    assert any("calibrate with such as these" in said for said in asks.heard)
    assert promises(client)["mlp-int8"].why == "since the alarm: shift"
    (alarm,) = promises(client)["mlp-int8"].alarms
    assert alarm.startswith("shift: ")
    sure = digits(INPUTS[3])
    assert sure.place == "cloud"
    assert alarm.partition(": ")[2] in sure.receipt.reason
    assert counted("wherever_alarms_total", model="digits", kind="shift") >= 1
    assert prediction is not sure


def test_a_budget_is_kept_and_goes_to_the_least_sure(connected):
    client = connected()
    digits = client.model("digits")
    given = [digits(each, budget={"calls": 5}, min_confidence=1.0) for each in INPUTS[:80]]
    assert 0 < sum(p.place == "cloud" for p in given) <= 5
    here = [p for p in given if p.place == "device"]
    assert all("budget" in p.receipt.reason for p in here)


def test_no_budget_breaks_a_promise_in_silence(connected):
    client = connected(audit_share=0.0)
    digits = client.model("digits")
    aim = {"max_disagreement": PROMISE, "budget": {"calls": 3}}
    given = [digits(each, **aim) for each in INPUTS[:200]]
    assert sum(p.place == "cloud" for p in given) == 3
    short = [p for p in given if p.degraded]
    assert short
    assert all("the budget of 3 calls an hour" in p.receipt.reason for p in short)


def test_how_sure_promises_are_to_be_promises_nothing_by_itself(connected):
    digits = connected(confidence=0.5, audit_share=0.0, mode="prefer_on_device").model("digits")
    assert {digits(each).place for each in INPUTS[:60]} == {"device"}
    asked = digits(INPUTS[0], max_disagreement=PROMISE)
    assert asked.place == "device"
    (facts,) = promises(digits.client).values()
    assert facts.aim == "at most 2 % may differ, 0.5 sure"


@pytest.mark.parametrize("mode", ["auto", "prefer_on_device"])
def test_a_least_confidence_is_asked_in_each_mode_that_may(connected, mode):
    digits = connected().model("digits")
    given = [digits(each, min_confidence=0.99, mode=mode) for each in INPUTS[:60]]
    assert {p.place for p in given} == {"device", "cloud"}
    assert all(p.confidence >= 0.99 for p in given if p.place == "device")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_disagreement": 2}, "'max_disagreement': expected a share between 0 and 1"),
        ({"max_disagreement": "few"}, "'max_disagreement': expected a share between 0 and 1"),
        ({"max_disagreement": True}, "'max_disagreement': expected a share between 0 and 1"),
        ({"confidence": 1.0}, "'confidence': expected a share between 0 and 1, such as 0.95"),
        ({"confidence": 0.9}, "'confidence': expected max_disagreement beside it, .* 0.9 alone"),
        ({"min_confidence": -0.1}, "'min_confidence': expected a share from 0 to 1"),
        ({"min_confidence": True}, "'min_confidence': expected a share from 0 to 1, found True"),
        ({"budget": {"cals": 3}}, "'budget': expected calls, bytes or cost per hour"),
        ({"budget": {}}, "'budget': expected calls, bytes or cost per hour"),
    ],
)
def test_wrong_aims_are_refused_with_what_was_found(wrong, said):
    with wherever.Client() as client, pytest.raises(wherever.InputError, match=said):
        client.predict("digits", INPUTS[0], **wrong)


def test_a_misspelled_argument_is_refused_with_the_right_one():
    taken = inspect.signature(wherever.Model.__call__).parameters.values()
    assert [each.name for each in taken if each.kind is each.KEYWORD_ONLY] == list(ARGUMENTS)
    with wherever.Client() as client:
        with pytest.raises(wherever.InputError, match="did you mean 'max_disagreement'"):
            client.predict("digits", INPUTS[0], max_dissagreement=0.02)
        with pytest.raises(wherever.InputError, match=r"found an unknown name$"):
            client.predict("digits", INPUTS[0], temperature=0.02)


@pytest.mark.parametrize("wrong", ["yes", "0.5", -1, 2, float("nan"), [1]])
def test_what_is_no_share_of_calls_to_record_is_refused_by_each_way_to_call(wrong):
    with wherever.Client() as client:
        digits = client.model("digits")
        for ask in (digits, digits.map, lambda x, **o: asyncio.run(digits.aio(x, **o))):
            with pytest.raises(wherever.InputError, match="'record': expected True, False, or"):
                ask(INPUTS[0], record=wrong)


def test_a_recorded_call_is_written_with_what_was_expected_of_each_host(connected, own_home):
    client = connected(record_inputs=True)
    digits = client.model("digits")
    digits(INPUTS[0], min_confidence=1.0)
    recorded = digits(INPUTS[1], min_confidence=1.0, record=True)
    client.close()
    (record,) = read_records(own_home / "receipts")
    assert record.receipt == recorded.receipt
    host = recorded.receipt.host
    assert set(record.receipt.expected) == {"device", host}
    assert record.receipt.expected[host].up_bytes == 256
    here, there = record.receipt.attempts
    assert (here.variant, there.variant) == ("mlp-int8", "cnn")
    assert here.confidence < 1.0
    assert (there.up_bytes, there.down_bytes) == (256, 40)
    (kept,) = read_inputs(own_home / "receipts", record.input_digest).values()
    assert np.array_equal(kept, INPUTS[1])


def test_a_share_of_the_calls_is_recorded_when_the_settings_say_so(own_home):
    with wherever.Client(record=1.0) as client:
        list(client.model("digits").map(INPUTS[:10]))
        list(client.model("digits").map(INPUTS[:10], record=1e-12))
        client.predict("digits", INPUTS[0], record=False)
    assert len(list(read_records(own_home / "receipts"))) == 10


def test_whoever_asks_for_something_else_each_time_takes_no_more_memory_for_it(connected):
    digits = connected(audit_share=0.0).model("digits")
    for number in range(80):
        digits(INPUTS[0], max_disagreement=0.02 + number / 1000, budget={"calls": 1 + number})
    assert len(digits.edition.routes) == 64
    witness = digits.client._witness
    assert (len(witness._assured), len(witness._purses)) == (64, 64)


def test_a_call_of_a_coroutine_is_noted_beside_the_loop(connected, monkeypatch):
    digits = connected(audit_share=0.0).model("digits")
    noted, journal = [], digits.client._witness.journal()
    keep = journal.put

    def put(*arguments):
        noted.append(threading.current_thread())
        keep(*arguments)

    monkeypatch.setattr(journal, "put", put)
    asyncio.run(digits.aio(INPUTS[0], record=True, max_disagreement=PROMISE))
    assert len(noted) == 1
    assert noted[0] is not threading.main_thread()
