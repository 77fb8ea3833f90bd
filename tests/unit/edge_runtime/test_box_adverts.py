from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.box.adverts import (
    MAX_ADDRESSES,
    SERVICE,
    Advert,
    Ignored,
    coarse,
    id_in,
    is_name,
    name_from,
    read_advert,
)

ID = "0123456789abcdef"
GOOD = Advert(ID, "back-office", ("10.0.0.7",), 8011, ("digits@1.0.0", "people@2.1.0"), 0, 0.25)


def received(advert: Advert) -> dict[bytes, bytes | None]:
    return {key.encode(): value.encode() for key, value in advert.txt.items()}


def test_what_a_box_says_is_read_back() -> None:
    assert read_advert(GOOD.instance, received(GOOD), GOOD.addresses, GOOD.port) == GOOD
    assert id_in(GOOD.instance) == ID
    assert id_in("printer._ipp._tcp.local.") == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"v", b"2"),
        (b"id", b"ffffffffffffffff"),
        (b"name", b"other"),
        (b"models", b"digits@1.0.0,\x1b[31m"),
        (b"models", b"digits@1.0.0\xff"),
        (b"models", b"a@1," * 100),
        (b"more", b"-1"),
        (b"more", b"9" * 30),
        (b"load", b"nan"),
        (b"load", b"7"),
    ],
)
def test_an_advert_with_a_damaged_field_is_ignored(key: bytes, value: bytes) -> None:
    damaged = {**received(GOOD), key: value}
    assert isinstance(read_advert(GOOD.instance, damaged, GOOD.addresses, 8011), Ignored)


@pytest.mark.parametrize(
    "instance",
    [
        "",
        SERVICE,
        f"back-office.{SERVICE}",
        f"back office-{ID}.{SERVICE}",
        f"{'x' * 41}-{ID}.{SERVICE}",
        f"back-office-{ID}._other._tcp.local.",
    ],
)
def test_an_instance_with_another_name_than_a_box_is_ignored(instance: str) -> None:
    assert isinstance(read_advert(instance, received(GOOD), GOOD.addresses, 8011), Ignored)


def test_more_fields_than_a_box_has_are_ignored() -> None:
    flood = {**received(GOOD), **{f"x{number}".encode(): b"" for number in range(16)}}
    assert isinstance(read_advert(GOOD.instance, flood, GOOD.addresses, 8011), Ignored)


@pytest.mark.parametrize(
    "address",
    ["", "x", "224.0.0.251", "0.0.0.0", "255.255.255.255", "::", "ff02::fb", "fe80::1"],
)
def test_an_address_that_no_box_can_have_is_left_out(address: str) -> None:
    assert isinstance(read_advert(GOOD.instance, received(GOOD), [address], 8011), Ignored)
    both = read_advert(GOOD.instance, received(GOOD), [address, "10.0.0.7"], 8011)
    assert isinstance(both, Advert)
    assert both.addresses == ("10.0.0.7",)


def test_loopback_addresses_come_last_and_few_are_kept() -> None:
    many = ["127.0.0.1", *(f"10.0.0.{number}" for number in range(1, 9))]
    found = read_advert(GOOD.instance, received(GOOD), many, 8011)
    assert isinstance(found, Advert)
    assert found.addresses == ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    assert len(found.addresses) == MAX_ADDRESSES


@pytest.mark.parametrize("port", [None, 0, -1, 65536])
def test_an_advert_without_a_port_is_ignored(port: int | None) -> None:
    assert isinstance(read_advert(GOOD.instance, received(GOOD), GOOD.addresses, port), Ignored)


def test_models_that_do_not_fit_into_a_record_are_counted() -> None:
    models = tuple(f"model-number-{number:03d}@1.0.0" for number in range(50))
    advert = GOOD._replace(models=models)
    assert len(f"models={advert.txt['models']}") <= 255
    found = read_advert(advert.instance, received(advert), advert.addresses, 8011)
    assert isinstance(found, Advert)
    assert found.models == models[: len(found.models)]
    assert found.unlisted == 50 - len(found.models) > 0


@given(load=st.floats(-1, 2))
def test_a_load_has_five_steps(load: float) -> None:
    assert coarse(load) in (0, 0.25, 0.5, 0.75, 1)


@given(text=st.text())
def test_every_host_name_gives_a_name(text: str) -> None:
    assert is_name(name_from(text))


@given(
    instance=st.text() | st.just(GOOD.instance),
    txt=st.dictionaries(
        st.binary(max_size=300) | st.sampled_from(sorted(received(GOOD))),
        st.none() | st.binary(max_size=300),
    ),
    addresses=st.lists(st.text() | st.ip_addresses().map(str)),
    port=st.none() | st.integers(),
)
def test_nothing_that_comes_raises(
    instance: str, txt: dict[bytes, bytes | None], addresses: list[str], port: int | None
) -> None:
    found = read_advert(instance, {**received(GOOD), **txt}, addresses, port)
    assert isinstance(found, Ignored) or (found.id == id_in(instance) and is_name(found.name))
