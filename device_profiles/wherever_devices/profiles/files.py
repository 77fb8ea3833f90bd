"""Reads profiles: those that come along, and a site's own."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from wherever_contracts.errors import SettingsError
from wherever_devices.profiles import Profile
from wherever_devices.profiles.fields import faults, merged, profile_of

_BUILT_IN = Path(__file__).parent
_SUFFIX = ".toml"


def load_profile(name: str, home: Path | None = None) -> Profile:
    """Read a profile, with those that it extends.

    Args:
        name: a built-in profile's name, or that of a site's own, HOME/profiles/NAME.toml, which
            wins; or the path of a file that ends with ".toml".
        home: where state is kept; None to look among the built-in ones alone.

    Raises:
        SettingsError: there is none of that name, its file cannot be read, or says what no
            profile can; the message names the file and the field.
    """
    path = _find(name, home, ())
    said = _content(path, home, ())
    try:
        return profile_of(path.stem, said)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error


def profile_names(home: Path | None = None) -> tuple[str, ...]:
    """The names of the profiles that there are, in order."""
    return tuple(sorted({path.stem for folder in _folders(home) for path in _files(folder)}))


def _files(folder: Path) -> Sequence[Path]:
    return [path for path in folder.glob(f"*{_SUFFIX}") if path.is_file()]


def _folders(home: Path | None) -> tuple[Path, ...]:
    return (_BUILT_IN,) if home is None else (home / "profiles", _BUILT_IN)


def _find(name: str, home: Path | None, before: tuple[Path, ...]) -> Path:
    """The file of a profile; one that extends its own name means the next of that name."""
    if name.endswith(_SUFFIX):
        return (before[-1].parent if before else Path()) / Path(name).expanduser()
    known = profile_names(home)
    if name in known:
        places = (folder / f"{name}{_SUFFIX}" for folder in _folders(home))
        found = [place for place in places if place.is_file()]
        return next((path for path in found if path not in before), found[0])
    near = get_close_matches(name, known, n=1)
    there = f"there are {', '.join(known)}, and paths that end with {_SUFFIX}"
    hint = f"did you mean {near[0]!r}?" if near else there
    asked = f"{before[-1]}: extends" if before else "profile"
    raise SettingsError(f"{asked}: no profile is called {name!r}: {hint}")


def _content(path: Path, home: Path | None, before: tuple[Path, ...]) -> dict[str, Any]:
    if path in before:
        way = " -> ".join(str(one) for one in (*before, path))
        raise SettingsError(f"{path}: a profile extends itself: {way}")
    said = _read(path)
    wrong = next(faults(said), None)
    if wrong:
        raise SettingsError(f"{path}: {wrong}")
    if "extends" not in said:
        return said
    so_far = (*before, path)
    return merged(_content(_find(said["extends"], home, so_far), home, so_far), said)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"profile {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"profile {path} is no TOML: {error}") from error
