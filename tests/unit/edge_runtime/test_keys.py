"""API keys: what is kept of them, who is let in, and that no secret ever shows."""

from __future__ import annotations

import json
import re
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import NotAllowedError, SettingsError
from wherever_edge.oip.keys import KeyChecker, KeyStore


@pytest.fixture
def store(tmp_path) -> KeyStore:
    return KeyStore(tmp_path / "keys")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def bearer(key: str) -> str:
    return f"Bearer {key}"


def refusal(checker: KeyChecker, header: str | None, role="use") -> str:
    with pytest.raises(NotAllowedError) as caught:
        checker.check(header, role)
    return str(caught.value)


def test_a_key_has_an_id_and_256_random_bits(store):
    keys = [store.add(f"name {number}") for number in range(20)]
    assert all(re.fullmatch("whv_[a-z2-7]{8}_[a-z2-7]{52}", key) for key in keys)
    assert len({key.split("_")[2] for key in keys}) == 20
    assert [info.id for info in store.list()] == [key.split("_")[1] for key in keys]


def test_what_is_kept_tells_no_secret_and_is_its_owners_alone(store):
    secret = store.add("phone").split("_")[2]
    assert secret not in store.file.read_text()
    assert secret not in repr(store.list()) + repr(store.read())
    assert stat.S_IMODE(store.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700


def test_a_key_lets_its_holder_in(store):
    key = store.add("phone")
    checker = KeyChecker(store)
    assert checker.check(bearer(key)).name == "phone"
    assert checker.check(f"bearer  {key} ").role == "use"


def test_an_admin_key_may_do_both_and_a_key_for_use_only_that(store):
    use, admin = store.add("phone"), store.add("owner", "admin")
    checker = KeyChecker(store)
    assert checker.check(bearer(admin), "admin").name == "owner"
    assert checker.check(bearer(admin), "use").name == "owner"
    assert "role 'admin'" in refusal(checker, bearer(use), "admin")


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer whv", "Bearer whv_", "Bearer whv_a", "Bearer whv_a_"],
)
def test_no_key_is_said_to_be_none(store, header):
    store.add("phone")
    assert "needed here" in refusal(KeyChecker(store), header)


@given(header=st.text())
def test_nothing_else_lets_in_and_no_secret_is_repeated(tmp_path_factory, header):
    checker = KeyChecker(KeyStore(tmp_path_factory.getbasetemp()))
    words = refusal(checker, header)
    assert len(header) < 8 or header not in words
    refusal(checker, f"Bearer {header}")
    refusal(checker, f"Bearer whv_{header}_{header}")


def test_a_wrong_secret_and_an_unknown_id_are_answered_alike(store):
    key = store.add("phone")
    checker = KeyChecker(store)
    wrong = refusal(checker, bearer(key[:-1] + ("a" if key[-1] != "a" else "b")))
    unknown = refusal(checker, bearer("whv_aaaaaaaa_" + key.split("_")[2]))
    assert wrong == unknown == "the API key is not known here"


def test_a_revoked_key_lets_nobody_in_by_id_and_by_name(store):
    first, second = store.add("phone"), store.add("tablet")
    assert store.revoke("phone").revoked
    assert store.revoke(second.split("_")[1]).name == "tablet"
    checker = KeyChecker(store)
    assert "was revoked on 20" in refusal(checker, bearer(first))
    assert "was revoked on 20" in refusal(checker, bearer(second))
    assert not checker.any


def test_a_name_can_be_given_again_once_its_key_is_revoked(store):
    store.add("phone")
    with pytest.raises(SettingsError, match="'phone' already"):
        store.add("phone")
    store.revoke("phone")
    again = store.add("phone")
    assert KeyChecker(store).check(bearer(again))
    assert store.revoke("phone")


def test_revoking_what_is_not_there_names_what_is(store):
    store.add("phone")
    with pytest.raises(SettingsError, match=r"no key 'tablet' .*phone"):
        store.revoke("tablet")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_names_that_say_nothing_are_refused(store, name):
    with pytest.raises(SettingsError, match="a key needs a name"):
        store.add(name)


def test_an_unknown_role_is_refused(store):
    with pytest.raises(SettingsError, match="'root' is no role"):
        store.add("phone", "root")


def test_changes_count_when_the_clock_says_so_and_the_file_is_left_alone_before(store):
    clock = Clock()
    checker = KeyChecker(store, clock)
    key = store.add("phone")
    assert not checker.any
    clock.now += 1
    assert checker.any
    store.revoke("phone")
    assert checker.check(bearer(key))
    clock.now += 1
    assert "revoked" in refusal(checker, bearer(key))
    store.file.unlink()
    clock.now += 1
    assert "not known" in refusal(checker, bearer(key))


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{}",
        "[]",
        '{"format": 2, "keys": []}',
        '{"format": 1, "keys": [{}]}',
        '{"format": 1, "keys": [7]}',
    ],
)
def test_a_damaged_file_lets_nobody_in_and_is_said(store, damage, caplog):
    key = store.add("phone")
    clock = Clock()
    checker = KeyChecker(store, clock)
    store.file.write_text(damage)
    clock.now += 1
    assert "not known" in refusal(checker, bearer(key))
    assert "nobody is let in" in caplog.text
    with pytest.raises(SettingsError, match="cannot be read"):
        store.add("tablet")


@pytest.mark.parametrize("change", [{"role": "root"}, {"sha256": "é" * 64}, {"name": 7}])
def test_a_field_that_does_not_fit_is_damage(store, change):
    store.add("phone")
    root = json.loads(store.file.read_text())
    root["keys"][0].update(change)
    store.file.write_text(json.dumps(root))
    with pytest.raises(SettingsError, match="cannot be read"):
        store.list()


def test_writers_at_the_same_time_lose_no_key(store):
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda number: KeyStore(store.directory).add(f"{number}"), range(40)))
    checker = KeyChecker(store)
    assert {checker.check(bearer(key)).name for key in keys} == {str(n) for n in range(40)}
    assert [file.name for file in store.directory.glob(".keys*")] == []


def test_a_checker_is_used_by_many_threads_from_its_first_call_on(store):
    key = store.add("phone")
    for _ in range(50):
        checker, start = KeyChecker(store), threading.Barrier(4)

        def ask(checker=checker, start=start) -> str:
            start.wait()
            return checker.check(bearer(key)).name

        with ThreadPoolExecutor(4) as pool:
            assert {future.result() for future in [pool.submit(ask) for _ in range(4)]} == {"phone"}
