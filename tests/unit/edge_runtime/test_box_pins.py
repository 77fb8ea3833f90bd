from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from wherever_contracts.errors import PairingError, SettingsError
from wherever_edge.box.adverts import Advert
from wherever_edge.box.finding import judge
from wherever_edge.box.interfaces import address_of, reach_of
from wherever_edge.box.pins import FILE, PinnedBox, Pins
from wherever_edge.oip.certificates import make_identity
from wherever_edge.oip.security import fingerprint


def box(name: str = "back-office", address: str = "10.0.0.7:8011") -> PinnedBox:
    pem = make_identity([]).certificate_pem
    return PinnedBox(fingerprint(pem)[:16], name, pem.decode(), "whv_a_secret", address)


def test_a_box_is_kept_and_only_its_owner_can_read_its_key(tmp_path: Path) -> None:
    kept = box()
    Pins.load(tmp_path).add(kept)
    assert Pins.load(tmp_path).boxes == (kept,)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert "secret" not in repr(kept)


def test_a_box_is_reached_by_tls_and_never_by_rest() -> None:
    endpoint = box(address="127.0.0.1:8011").endpoint
    assert (endpoint.tls, endpoint.rest_ports) == (True, ())


def test_pairing_again_replaces_the_key_and_two_processes_lose_nothing(tmp_path: Path) -> None:
    one, other = Pins.load(tmp_path), Pins.load(tmp_path)
    first, second = box("first"), box("second")
    one.add(first)
    other.add(second)
    one.add(replace(first, api_key="whv_b_secret"))
    assert Pins.load(tmp_path).boxes == (second, replace(first, api_key="whv_b_secret"))


def test_another_box_does_not_take_a_name_over(tmp_path: Path) -> None:
    pins = Pins.load(tmp_path)
    pins.add(box())
    with pytest.raises(PairingError, match="--forget back-office"):
        pins.add(box())
    pins.forget("back-office")
    pins.add(box())
    with pytest.raises(PairingError, match="there are: back-office"):
        pins.forget("cellar")


def test_a_box_that_moved_is_remembered_where_it_is(tmp_path: Path) -> None:
    pins = Pins.load(tmp_path)
    kept = box()
    pins.add(kept)
    pins.moved(kept.id, "10.0.0.9:8011")
    assert Pins.load(tmp_path).boxes == (replace(kept, address="10.0.0.9:8011"),)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: "{",
        lambda data: "[]",
        lambda data: json.dumps({**data, "schema": 2}),
        lambda data: json.dumps({"schema": 1, "boxes": [{"name": "x"}]}),
        lambda data: json.dumps({"schema": 1, "boxes": [{**data["boxes"][0], "id": "0" * 16}]}),
        lambda data: json.dumps({"schema": 1, "boxes": [{**data["boxes"][0], "id": ""}]}),
        lambda data: json.dumps({"schema": 1, "boxes": [{**data["boxes"][0], "address": "no no"}]}),
        lambda data: json.dumps(
            {"schema": 1, "boxes": [{**data["boxes"][0], "certificate_pem": "none"}]}
        ),
    ],
)
def test_a_damaged_file_is_refused_in_words(tmp_path: Path, damage) -> None:
    Pins.load(tmp_path).add(box())
    file = tmp_path / FILE
    file.write_text(damage(json.loads(file.read_text())))
    with pytest.raises(PairingError, match="pair the boxes again"):
        Pins.load(tmp_path)


def test_an_advert_is_judged_by_its_id_and_not_by_its_name() -> None:
    known = box()
    advert = Advert(known.id, "renamed", ("10.0.0.7",), 8011)
    assert judge(advert, [known]).state == "paired"
    assert judge(advert._replace(id="0" * 16, name=known.name), [known]).state == "CHANGED"
    assert judge(advert._replace(id="0" * 16), [known]).state == "not paired"


def test_a_box_on_loopback_is_advertised_on_loopback_alone() -> None:
    assert reach_of("127.0.0.1", "") == reach_of("localhost", "") == reach_of("0.0.0.0", "lo")
    assert reach_of("10.0.0.7", "").addresses == ("10.0.0.7",)
    assert reach_of("::1", "") == (("127.0.0.1",), ("::1",))
    with pytest.raises(SettingsError, match=r"'shop\.example'"):
        reach_of("shop.example", "")


def test_an_interface_is_named_by_name_or_address_and_others_are_refused() -> None:
    assert address_of("lo") == address_of("127.0.0.1") == "127.0.0.1"
    with pytest.raises(SettingsError, match="'eth99'"):
        address_of("eth99")
