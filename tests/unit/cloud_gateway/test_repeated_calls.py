"""What makes a call the same call, and answers that are kept for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import InputError, OverloadedError, RefusedError
from wherever_contracts.wire.asked import IDEMPOTENCY_KEY
from wherever_contracts.wire.tensors import InferRequest, InferResponse, WireTensor
from wherever_gateway.state.kept import MAX_ANSWER_BYTES, Kept, KeptAnswers
from wherever_gateway.tenants.digests import sameness
from wherever_gateway.tenants.repeats import Repeats

NUMBERS = WireTensor("x", "FP32", (2,), b"12345678")
CALL = InferRequest("m", "", "", {IDEMPOTENCY_KEY: "k"}, (NUMBERS,))
ANSWER = InferResponse("m", "1.0.0", "", {"ran": "here"}, (WireTensor("y", "INT8", (2,), b"ab"),))


def said(call: InferRequest = CALL, **parameters: object) -> InferRequest:
    return call._replace(parameters={**call.parameters, **parameters})


def tensor(**changes: object) -> InferRequest:
    return CALL._replace(inputs=(NUMBERS._replace(**changes),))


class Held:
    """Kept answers without a database, and a clock to turn."""

    def __init__(self, **options: object) -> None:
        self.now_s = 1000.0
        self.woken = 0
        self.elsewhere: dict[str, Kept] = {}
        self.answers = KeptAnswers(
            self.elsewhere.get, self._wake, clock=lambda: self.now_s, **options
        )

    def _wake(self) -> None:
        self.woken += 1


# --- sameness ---


@pytest.mark.parametrize(
    "same",
    [
        CALL._replace(id="another try"),
        said(priority="background"),
        said(timeout=5),
        said(binary_data_output=True),
        tensor(data=memoryview(b"12345678")),
    ],
)
def test_what_does_not_change_the_answer_leaves_it_the_same_call(same):
    assert sameness("ann", same) == sameness("ann", CALL)


@pytest.mark.parametrize(
    "other",
    [
        tensor(data=b"12345679"),
        tensor(name="z"),
        tensor(datatype="INT32"),
        tensor(shape=(2, 1)),
        tensor(content_type="image/png"),
        CALL._replace(inputs=(NUMBERS, NUMBERS)),
        CALL._replace(version="2.0.0"),
        CALL._replace(outputs=("y",)),
        said(variant="small"),
        said(threshold=0.5),
        said(threshold="0.5"),
    ],
)
def test_what_changes_the_answer_makes_it_another_call_with_the_same_key(other):
    one, two = sameness("ann", CALL), sameness("ann", other)
    assert one.id == two.id
    assert one.inputs != two.inputs


def test_tenants_models_and_keys_are_told_apart():
    others = [
        sameness("bob", CALL),
        sameness("", CALL),
        sameness("ann", CALL._replace(model="n")),
        sameness("ann", said(**{IDEMPOTENCY_KEY: "l"})),
    ]
    assert len({sameness("ann", CALL).id, *(each.id for each in others)}) == 5


def test_bytes_that_move_from_one_input_to_the_next_are_noticed():
    def split(at: int) -> InferRequest:
        parts = (b"abcdef"[:at], b"abcdef"[at:])
        return CALL._replace(inputs=tuple(NUMBERS._replace(data=part) for part in parts))

    assert len({sameness("ann", split(at)).inputs for at in range(7)}) == 7


def test_neither_the_key_nor_the_inputs_can_be_read_from_what_is_kept():
    same = sameness("ann", said(**{IDEMPOTENCY_KEY: "secret-key"}))
    assert "secret-key" not in same.id + same.inputs
    # the same short input under another key has another digest
    assert same.inputs != sameness("ann", CALL).inputs


@given(key=st.text(min_size=1, max_size=255))
def test_every_text_can_be_a_key(key):
    assert len(sameness("ann", said(**{IDEMPOTENCY_KEY: key})).id) == 64


@pytest.mark.parametrize("key", ["", "x" * 256, 7, True, 1.5])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(InputError, match="a text of 1 to 255 characters"):
        sameness("ann", said(**{IDEMPOTENCY_KEY: key}))


# --- repeats ---


def test_a_call_is_answered_once_and_told_the_same_again():
    repeats, same = Repeats(Held().answers), sameness("ann", CALL)
    assert repeats.begin(same) is None
    with pytest.raises(OverloadedError):
        repeats.begin(same)
    repeats.end(same, ANSWER)
    for _ in range(2):
        assert repeats.begin(same) == ANSWER
    assert repeats.at_work == 0


def test_a_call_without_an_answer_is_answered_when_it_comes_again():
    repeats, same = Repeats(Held().answers), sameness("ann", CALL)
    for _ in range(2):
        assert repeats.begin(same) is None
        repeats.end(same)


def test_another_call_with_the_same_key_is_refused_while_and_after_it_is_answered():
    repeats, same = Repeats(Held().answers), sameness("ann", CALL)
    other = sameness("ann", tensor(data=b"another!"))
    repeats.begin(same)
    with pytest.raises(RefusedError):
        repeats.begin(other)
    repeats.end(same, ANSWER)
    with pytest.raises(RefusedError):
        repeats.begin(other)
    assert repeats.at_work == 0


def test_an_answer_from_another_gateway_is_given_as_well():
    held, same = Held(), sameness("ann", CALL)
    here = Held()
    first = Repeats(here.answers)
    first.begin(same)
    first.end(same, ANSWER)
    held.elsewhere.update(here.answers.unwritten())
    assert Repeats(held.answers).begin(same) == ANSWER


def test_an_answer_that_is_too_large_is_not_kept():
    held, same = Held(), sameness("ann", CALL)
    repeats = Repeats(held.answers)
    large = WireTensor("y", "UINT8", (MAX_ANSWER_BYTES + 1,), bytes(MAX_ANSWER_BYTES + 1))
    repeats.begin(same)
    repeats.end(same, ANSWER._replace(outputs=(large,)))
    assert repeats.begin(same) is None


# --- kept answers ---


def test_answers_are_forgotten_when_they_are_too_old():
    held = Held(ttl_s=60)
    held.answers.keep("a", "inputs", b"answer")
    held.now_s += 60
    assert held.answers.find("a") == Kept("inputs", b"answer", 1000.0)
    held.now_s += 1
    assert held.answers.find("a") is None
    held.elsewhere["b"] = Kept("inputs", b"answer", 1000.0)
    assert held.answers.find("b") is None


def test_answers_are_held_until_they_are_written():
    held = Held()
    held.answers.keep("a", "inputs", b"answer")
    assert held.woken == 1
    waiting = held.answers.unwritten()
    held.answers.keep("b", "inputs", b"answer")
    held.answers.written(waiting)
    assert list(held.answers.unwritten()) == ["b"]


def test_an_answer_that_changed_while_it_was_written_is_written_again():
    held = Held()
    held.answers.keep("a", "inputs", b"one")
    waiting = held.answers.unwritten()
    held.answers.keep("a", "inputs", b"two")
    held.answers.written(waiting)
    assert held.answers.unwritten()["a"].answer == b"two"


@given(sizes=st.lists(st.integers(0, 40), max_size=60))
def test_memory_is_bounded_and_the_latest_stay(sizes):
    held = Held(max_bytes=100)
    for number, size in enumerate(sizes):
        held.answers.keep(str(number % 20), "inputs", bytes(size))
        assert held.answers._bytes == sum(len(k.answer) for k in held.answers._held.values())
        assert held.answers._bytes <= 100
        assert held.answers.unwritten().keys() <= held.answers._held.keys()
    if sizes:
        assert held.answers.find(str((len(sizes) - 1) % 20)) is not None
    assert not held.answers.fits(101)
    assert held.answers.fits(100)
