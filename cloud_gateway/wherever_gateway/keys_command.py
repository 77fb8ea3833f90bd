"""`wherever gateway keys`: making, listing and revoking API keys."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from wherever_contracts.errors import SettingsError
from wherever_edge.cli import (
    HomeOption,
    JsonFlag,
    Output,
    printable,
    run,
)
from wherever_edge.configured import home_or_configured

if TYPE_CHECKING:
    from wherever_edge.oip.keys import KeyInfo, KeyStore


class Action(StrEnum):
    """What to do with keys."""

    ADD = "add"
    LIST = "list"
    REVOKE = "revoke"


class RoleName(StrEnum):
    """What a key may do."""

    USE = "use"
    ADMIN = "admin"


@run
def keys(
    action: Annotated[Action, typer.Argument(help="What to do.", show_default=False)],
    name: Annotated[
        str | None,
        typer.Argument(help="Whom a new key is for; what to revoke, by name or id."),
    ] = None,
    *,
    role: Annotated[
        RoleName, typer.Option("--role", help="use: calls; admin: administrative calls too.")
    ] = RoleName.USE,
    home: HomeOption = None,
    json: JsonFlag = False,
) -> None:
    """Make, list and revoke the API keys of a gateway, also while it runs.

    A key is shown once, on standard output, when it is made:
    KEY=$(wherever gateway keys add phone). Only its hash is kept. Clients give
    it as api_key (WHEREVER_API_KEY), or in a header: authorization: Bearer KEY.
    """
    from wherever_edge.oip.keys import KeyStore  # noqa: PLC0415 (not for --help)

    store = KeyStore(home_or_configured(home) / "keys")
    output = Output(json=json)
    if action is Action.LIST:
        _list(store, output)
    elif name is None:
        raise SettingsError(f"say which: wherever gateway keys {action.value} NAME")
    elif action is Action.ADD:
        _add(store, name, role, output)
    else:
        revoked = store.revoke(name)
        output.emit(revoked._asdict(), f"{revoked.id} ({printable(revoked.name)}) counts no more")


def _add(store: KeyStore, name: str, role: RoleName, output: Output) -> None:
    key = store.add(name, role.value)
    output.emit({"key": key, "name": name, "role": role.value}, key)
    if not output.json:
        print("this is shown once; only its hash is kept", file=sys.stderr)  # noqa: T201


def _list(store: KeyStore, output: Output) -> None:
    found = store.list()
    rows = [_row(info) for info in found] or ["there is no key yet"]
    output.emit({"keys": [info._asdict() for info in found]}, "\n".join(rows))


def _row(info: KeyInfo) -> str:
    state = f"revoked {info.revoked}" if info.revoked else f"made {info.created}"
    return f"{info.id}  {info.role:5}  {state:28}  {printable(info.name)}"
