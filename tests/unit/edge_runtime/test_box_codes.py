from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import PairingError
from wherever_edge.box.codes import (
    MAX_WRONG_TRIES,
    PIN_LIFETIME_S,
    Code,
    PinDesk,
    box_id,
    identity_of,
    read_code,
)

CODE = Code(identity_of("00ff" * 16), "ABCD1234")


def desk(now: float = 0.0) -> PinDesk:
    numbers = itertools.count(1)
    return PinDesk(lambda count: next(numbers).to_bytes(count), now)


def test_a_code_is_read_however_it_is_typed() -> None:
    text = str(CODE)
    assert text.count("-") == 5
    for typed in (text, text.lower(), text.replace("-", ""), f" {text.replace('-', ' ')} "):
        assert read_code(typed) == CODE


def test_letters_that_look_like_digits_count_as_those() -> None:
    assert read_code("OIL0" * 6) == read_code("0110" * 6)


@pytest.mark.parametrize("text", ["", "ABCD", "U" * 24, "é" * 24, "A" * 25, f"{'A' * 23}*"])
def test_what_cannot_be_a_code_is_refused_in_words(text: str) -> None:
    with pytest.raises(PairingError, match="expected 24"):
        read_code(text)


@given(one=st.binary(min_size=32, max_size=32), other=st.binary(min_size=32, max_size=32))
def test_the_identity_spells_the_first_80_bits(one: bytes, other: bytes) -> None:
    same = identity_of(one.hex()) == identity_of(other.hex())
    assert same == (one[:10] == other[:10])


@given(digest=st.binary(min_size=32, max_size=32))
def test_a_code_names_the_id_of_the_box(digest: bytes) -> None:
    assert box_id(Code(identity_of(digest.hex()), "")) == digest.hex()[:16]


def test_a_pin_is_good_once() -> None:
    pins = desk()
    pin = pins.pin(0.0)
    assert pins.take(pin, 1.0)
    assert not pins.take(pin, 2.0)
    assert pins.pin(2.0) != pin


def test_a_pin_expires_and_another_takes_its_place() -> None:
    pins = desk()
    pin = pins.pin(0.0)
    assert pins.pin(PIN_LIFETIME_S - 1) == pin
    assert not pins.take(pin, PIN_LIFETIME_S)
    assert pins.pin(PIN_LIFETIME_S) != pin


def test_too_many_wrong_tries_make_a_new_pin() -> None:
    pins = desk()
    pin = pins.pin(0.0)
    for _ in range(MAX_WRONG_TRIES - 1):
        assert not pins.take("wrong", 0.0)
    assert pins.pin(0.0) == pin
    assert not pins.take("wrong", 0.0)
    assert not pins.take(pin, 0.0)
