"""The command line: `wherever COMMAND ...`.

Commands are the entry points of the group `wherever.commands`, ours and those of other
distributions alike; one named `repo.init` is called as `wherever repo init`. Running one imports
its module and no other; only `wherever --help` needs all.

Exit codes: 0 for success, 1 for an error that is said in words, 2 for wrong usage, 130 when
interrupted. With `--json` an error too is one JSON object on standard output, and the exit code
stays what it is.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from wherever_contracts.errors import WhereverError
from wherever_edge import plugins
from wherever_edge.cli import JsonFlag, Output, run

GROUP = "wherever.commands"
USAGE = 2

# click's UsageError; some versions of typer carry click inside themselves, others need it beside
_UsageError = cast("type[Exception]", typer.BadParameter.__base__)
_NO_HELP = "(cannot be loaded; run it to see why)"


class Commands(TyperGroup):
    """The installed commands, each imported when somebody asks for it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands, imported or not."""
        return sorted({name.partition(".")[0] for name in plugins.entry_points(GROUP)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        if cmd_name not in plugins.entry_points(GROUP):
            return self._family(ctx, cmd_name)
        try:
            also = [f"wherever {name.replace('.', ' ')}" for name in _members(cmd_name)]
            epilog = f"See also: {', '.join(also)}." if also else None
            return _as_command(cmd_name, plugins.load(GROUP, cmd_name), epilog)
        except WhereverError as error:
            return _broken(cmd_name, error)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments begin with, or name those that are near."""
        name = args[0]
        if len(args) > 1 and f"{name}.{args[1]}" in plugins.entry_points(GROUP):
            return f"{name} {args[1]}", self.get_command(ctx, f"{name}.{args[1]}"), args[2:]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            near = difflib.get_close_matches(name, known, n=2)
            hint = (
                f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known)}."
            )
            ctx.fail(f"There is no command '{_printable(name)}'. {hint}")
        return super().resolve_command(ctx, args)

    def _family(self, ctx: Any, name: str) -> Any:
        """The group of the commands `name.*`, or None when there are none."""
        members = _members(name)
        if not members:
            return None
        parts = {full.partition(".")[2]: self.get_command(ctx, full) for full in members}
        words = f"Has commands of its own: {', '.join(parts)}."
        return TyperGroup(name=name, commands=parts, no_args_is_help=True, help=words)


_HELP = {"help_option_names": ["--help", "-h"]}

app: typer.Typer = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name, and exit with its code.

    Args:
        arguments: what follows `wherever`; the process's own by default.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    # or gRPC notes failed handshakes and ports on standard error; our errors say what it means
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    _ready_streams()
    try:
        code = app(args=list(arguments), prog_name="wherever", standalone_mode=not as_json)
    except _UsageError as error:
        message = error.format_message()  # type: ignore[attr-defined]  # click's, see above
        Output(json=True).emit({"error": {"code": "usage", "message": message}}, "")
        code = USAGE
    sys.exit(code)


def _version(wanted: bool) -> None:  # noqa: FBT001 (typer's hook)
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 (28 ms)

        print(f"wherever {version('wherever')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]  # registered by the decorator
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run a model wherever it fits: on this device, on a box of this site, or on a gateway.

    Try `wherever demo`, then `wherever predict digits FILE`.
    """


def _as_command(
    name: str, function: Callable[..., None], epilog: str | None = None, **settings: Any
) -> Any:
    one = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    context = {**_HELP, **settings}
    one.command(name.rpartition(".")[2], context_settings=context, epilog=epilog)(function)
    return get_command(one)


def _members(name: str) -> list[str]:
    """The full names of a command's sub-commands."""
    return sorted(full for full in plugins.entry_points(GROUP) if full.startswith(f"{name}."))


def _broken(name: str, error: WhereverError) -> Any:
    """A command that only says why it cannot be loaded, so that one bad plug-in hides no other."""

    @run
    def command(*, json: JsonFlag = False) -> None:
        raise error

    command.__doc__ = _NO_HELP
    return _as_command(name, command, allow_extra_args=True, ignore_unknown_options=True)


def _ready_streams() -> None:
    """Make printing safe: output may be closed, or of an encoding that lacks a character."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
