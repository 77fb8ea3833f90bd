"""What a server protects: by where it listens, and by what it was told."""

from __future__ import annotations

from itertools import product

import pytest

from wherever_contracts.errors import SettingsError
from wherever_edge.oip.listening import Asked, Protection, protection

HERE = ["127.0.0.1", "::1", "localhost"]
EVERYWHERE = "0.0.0.0"


def test_on_loopback_nothing_is_needed_and_all_can_be_had():
    assert protection(HERE, Asked()) == Protection(tls=False, keys=False)
    assert protection(HERE, Asked(keys=True)) == Protection(tls=False, keys=True)
    assert protection(HERE, Asked(tls=True)) == Protection(tls=True, keys=False)
    assert protection(HERE, Asked(certificate=True)).tls


@pytest.mark.parametrize("address", [EVERYWHERE, "::", "192.168.1.5", "gateway.example"])
def test_one_listener_that_others_reach_needs_both(address):
    assert protection([*HERE, address], Asked()) == Protection(tls=True, keys=True)


@pytest.mark.parametrize(
    "asked", [Asked(tls=False), Asked(keys=False), Asked(tls=False, keys=False)]
)
def test_going_without_is_refused_until_it_is_called_by_its_name(asked):
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0.*--insecure"):
        protection([EVERYWHERE], asked)


def test_insecure_allows_and_warns_and_changes_nothing_by_itself():
    assert protection([EVERYWHERE], Asked(insecure=True)) == Protection(tls=True, keys=True)
    without = protection([EVERYWHERE], Asked(tls=False, insecure=True))
    assert (without.tls, without.keys) == (False, False)
    assert "whoever reaches 0.0.0.0" in without.warning
    open_to_all = protection([EVERYWHERE], Asked(keys=False, insecure=True))
    assert (open_to_all.tls, open_to_all.keys) == (True, False)
    assert "without keys" in open_to_all.warning
    assert without.exposed
    assert open_to_all.exposed
    assert not protection([EVERYWHERE], Asked()).exposed


def test_keys_are_never_taken_unencrypted_off_loopback():
    choices = product((None, False, True), (None, False, True), (False, True), (False, True))
    for tls, keys, certificate, insecure in choices:
        try:
            found = protection([EVERYWHERE], Asked(tls, keys, certificate, insecure))
        except SettingsError:
            continue
        assert found.tls or not found.keys
        assert (found.tls and found.keys) or (insecure and found.warning)
    with pytest.raises(SettingsError, match="keys need TLS"):
        protection([EVERYWHERE], Asked(tls=False, keys=True, insecure=True))


def test_on_loopback_keys_are_needed_where_others_reach_it_all_the_same():
    def found(**asked):
        return protection(HERE, Asked(reached_by="a trusted proxy", **asked))

    assert found() == found(keys=True) == Protection(tls=False, keys=True)
    assert found(tls=True) == Protection(tls=True, keys=True)
    with pytest.raises(SettingsError, match=r"a trusted proxy.*--insecure"):
        found(keys=False)
    without = found(keys=False, insecure=True)
    assert not without.keys
    assert without.exposed
    assert "a trusted proxy" in without.warning


def test_a_certificate_and_no_tls_contradict_each_other():
    with pytest.raises(SettingsError, match="leave one of them out"):
        protection(HERE, Asked(tls=False, certificate=True))
