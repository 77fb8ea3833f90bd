"""What files of settings say to commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherever_contracts.errors import SettingsError
from wherever_edge import configured


@pytest.fixture(autouse=True)
def empty_places(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "config" / "wherever").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def test_the_directory_wins_over_the_users_file_and_both_over_nothing(empty_places):
    users = configured.settings_files()[1]
    assert configured.configured("registry") is None
    users.write_text('registry = "https://users"\nhome = "users-home"\n')
    assert configured.configured("registry") == "https://users"
    Path("wherever.toml").write_text('registry = "https://here"\n')
    assert configured.configured("registry") == "https://here"
    assert configured.home_or_configured(None) == Path("users-home")
    assert configured.home_or_configured(Path("given")) == Path("given")


def test_without_a_word_the_home_is_the_platforms():
    assert configured.home_or_configured(None) == configured.default_home()


@pytest.mark.parametrize("text", ["home = [", "home = 7", "home = ['a']"])
def test_what_cannot_be_read_is_said_with_the_file(text):
    Path("wherever.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"wherever\.toml"):
        configured.home_or_configured(None)
