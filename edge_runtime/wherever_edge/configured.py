"""What `wherever.toml` says to commands that stand below the SDK, where all settings are read.

A command's own option wins over the environment, which wins over `./wherever.toml`, which wins
over `wherever.toml` in the user's configuration directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wherever_contracts.errors import SettingsError

SETTINGS_FILE = "wherever.toml"


def settings_files() -> tuple[Path, Path]:
    """The files of settings, the one that wins first; neither needs to be there."""
    from platformdirs import user_config_path  # noqa: PLC0415 (not for every command)

    return Path(SETTINGS_FILE), user_config_path("wherever", appauthor=False) / SETTINGS_FILE


def default_home() -> Path:
    """Where state is kept when nobody says otherwise."""
    from platformdirs import user_data_path  # noqa: PLC0415 (not for every command)

    return user_data_path("wherever", appauthor=False)


def home_or_configured(given: Path | None) -> Path:
    """Where state is kept: what was given, what a file of settings says, or the default.

    Raises:
        SettingsError: a file of settings cannot be read.
    """
    if given is not None:
        return given
    said = configured("home")
    return default_home() if said is None else Path(said)


def configured(name: str) -> str | None:
    """The text that the files of settings have under a name; None when they have none.

    Raises:
        SettingsError: a file cannot be read, or has something else than text there.
    """
    for path in settings_files():
        found = _read(path).get(name)
        if isinstance(found, str):
            return found
        if found is not None:
            raise SettingsError(f"{path}: {name} must be text, found {found!r}")
    return None


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 (only where there is a file)

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
