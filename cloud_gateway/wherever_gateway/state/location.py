"""Where the state of a gateway is, when nobody says otherwise."""

from __future__ import annotations

from pathlib import Path

STATE_FILE = Path("gateway") / "state.db"


def default_url(home: Path) -> str:
    """The URL of the database in a gateway's home: a file of SQLite."""
    return sqlite_url(home / STATE_FILE)


def sqlite_url(file: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{file.absolute()}"
