"""Where settings come from, which wins, and what is refused."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from wherever._settings import Settings, load_settings
from wherever_contracts.errors import SettingsError


@pytest.fixture(autouse=True)
def empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_without_any_there_are_defaults(own_home):
    settings = load_settings()
    assert settings.gateways == ()
    assert (settings.mode, settings.boundary, settings.deadline_s) == ("auto", "anywhere", None)
    assert settings.home == own_home


def test_lists_in_the_environment_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("WHEREVER_GATEWAYS", "one:8001, two:8001,")
    monkeypatch.setenv("WHEREVER_PACKAGES", "/a,/b")
    settings = load_settings()
    assert settings.gateways == ("one:8001", "two:8001")
    assert settings.packages == (Path("/a"), Path("/b"))


def test_a_keyword_wins_over_the_environment_and_that_over_the_file(monkeypatch, tmp_path):
    (tmp_path / "wherever.toml").write_text(
        'deadline_s = 3.0\nmode = "only_on_device"\nthreads = 2\n'
    )
    monkeypatch.setenv("WHEREVER_DEADLINE_S", "2.0")
    settings = load_settings(threads=1)
    assert (settings.deadline_s, settings.mode, settings.threads) == (2.0, "only_on_device", 1)


def test_the_file_beside_the_program_wins_over_the_users(tmp_path):
    (tmp_path / "config" / "wherever").mkdir(parents=True)
    (tmp_path / "config" / "wherever" / "wherever.toml").write_text("threads = 4\ndeadline_s = 9\n")
    (tmp_path / "wherever.toml").write_text("threads = 2\n")
    settings = load_settings()
    assert (settings.threads, settings.deadline_s) == (2, 9.0)


def test_no_key_shows_wherever_settings_show(monkeypatch, tmp_path):
    secret = "whv_aaaaaaaa_" + "s" * 52
    settings = load_settings(api_key=secret)
    assert settings.api_key.get_secret_value() == secret
    assert secret not in repr(settings) + str(settings) + settings.model_dump_json()
    wrong = [{"api_key": [secret]}, {"api_keys": secret}, {"proxy": f"socks5://u:{secret}@proxy"}]
    for given in wrong:
        with pytest.raises(SettingsError) as caught:
            load_settings(**given)
        assert secret not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "fast"}, "'mode'"),
        ({"deadline_s": 0}, "greater than 0"),
        ({"remote_timeout_s": -1}, "greater than 0"),
        ({"threads": 0}, "'threads'"),
        ({"gateway": ["typo:8001"]}, "no setting 'gateway'.*did you mean 'gateways'"),
        ({"frobnicate": 1}, "no setting 'frobnicate'.*there are: gateways, "),
    ],
)
def test_a_wrong_setting_is_named(given, words):
    with pytest.raises(SettingsError, match=words):
        load_settings(**given)


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / "wherever.toml").write_text("this is not toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings()


def test_settings_do_not_change_once_read():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().mode = "only_on_device"


def test_every_setting_is_documented():
    undocumented = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undocumented == []


def test_who_knows_what_the_network_costs_says_so(monkeypatch):
    assert load_settings().metered == "auto"
    monkeypatch.setenv("WHEREVER_METERED", "yes")
    assert load_settings().metered == "yes"
    with pytest.raises(SettingsError, match=r"'metered'.*'auto', 'yes' or 'no'.*'often'"):
        load_settings(metered="often")


@pytest.mark.parametrize(
    ("said", "share"), [("true", 1.0), ("No", 0.0), ("0.25", 0.25), (True, 1.0), (0.5, 0.5)]
)
def test_what_is_recorded_is_a_share_or_a_switch(said, share):
    assert load_settings(record=said).record == share
