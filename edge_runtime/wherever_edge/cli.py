"""What all commands share: output as text or JSON, errors in plain words, progress.

A command is a plain function with typer annotations:

    @run
    def command(name: str, json: JsonFlag = False) -> None:
        "List models."
        Output(json=json).emit({"name": name}, name)
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, Protocol, TypeAlias

import typer

from wherever_contracts.errors import WhereverError

if TYPE_CHECKING:
    from rich.console import RenderableType

P = ParamSpec("P")

JsonFlag: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of text.")
]

HomeOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--home", envvar="WHEREVER_HOME", help="Where wherever keeps its state."),
]
ProfileOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--profile",
        envvar="WHEREVER_PROFILE",
        help="Use the machine as this profile says: a name, or a file; else the one that fits.",
    ),
]
IsolationOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--isolation",
        envvar="WHEREVER_ISOLATION",
        help='"process" runs each engine in a process of its own, which may die alone.',
    ),
]
MemoryOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--memory-max-mib", min=1, help="The most memory that loaded models may take."),
]
PinOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--pin", metavar="MODEL", help="Keep a model in memory once it was used; may be repeated."
    ),
]
BatchingOption: TypeAlias = Annotated[
    bool,
    typer.Option("--batching/--no-batching", help="Let calls that wait for a model share a run."),
]
InterfaceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--interface",
        envvar="WHEREVER_INTERFACE",
        help="Only this network interface (name or address).",
    ),
]

FAILED = 1
INTERRUPTED = 130


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, steps: int = 1) -> None:
        """`steps` more are done."""
        ...


class Output:
    """Standard output, as text for people or as JSON for programs.

    Args:
        json: print JSON.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    def emit(self, data: Mapping[str, Any], view: str | Callable[[], str | RenderableType]) -> None:
        """Print a result.

        Args:
            data: the result as plain data, printed as one JSON object.
            view: the result as text, or what makes it; made only when it is printed.
        """
        if self.json:
            print(_as_json(data), flush=True)  # noqa: T201 (a pipe may be watched)
            return
        shown = view if isinstance(view, str) else view()
        if isinstance(shown, str):
            print(shown, flush=True)  # noqa: T201
            return
        from rich.console import Console  # noqa: PLC0415 (60 ms)

        # "pip install 'wherever[image]'" is text, not markup.
        Console(highlight=False, markup=False, emoji=False).print(shown, crop=False)


def run(function: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command, so that what goes wrong as expected is said without a traceback.

    Exit codes: 1 for an error, 130 when interrupted; typer gives 2 for wrong usage. The parameter
    `json` of the command decides how an error is printed.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            _leave_broken_pipe()
        except (WhereverError, OSError) as error:
            _fail(error, as_json=bool(kwargs.get("json")))
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    return guarded


def printable(text: str) -> str:
    """Text from a package or a peer, without characters that would steer the terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def error_data(error: BaseException) -> dict[str, Any]:
    """An error as plain data: code, message, retryable, and the error's own attributes."""
    if isinstance(error, WhereverError):
        own = {name: value for name, value in vars(error).items() if not name.startswith("_")}
        return {
            "code": error.code,
            "message": str(error),
            "retryable": error.retryable,
            **own,
        }
    return {"code": "os", "message": _words(error), "retryable": False}


@contextmanager
def progress(total: int | None, description: str) -> Generator[Advance, None, None]:
    """Show a bar on standard error while the block runs, when that is a terminal.

    Args:
        total: how many steps there are; None when that is not known.
        description: what is done, in a word or two.

    Yields:
        A function to call after each step.
    """
    if not sys.stderr.isatty():
        yield _no_advance
        return
    from rich.console import Console  # noqa: PLC0415 (60 ms)
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)

        def advance(steps: int = 1) -> None:
            bar.advance(task, steps)

        yield advance


@contextmanager
def byte_progress(description: str) -> Generator[Callable[[int, int | None], None], None, None]:
    """Show a bar of bytes, with their rate, as `progress` shows steps.

    Yields:
        A function to call with the bytes that are done and the bytes in all (None: not known).
    """
    if not sys.stderr.isatty():
        yield _no_bytes
        return
    from rich import progress as bars  # noqa: PLC0415 (60 ms)
    from rich.console import Console  # noqa: PLC0415

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)

        def tell(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield tell


@contextmanager
def stages(description: str) -> Generator[tuple[Advance, Callable[[str], None]], None, None]:
    """Show on standard error what is being done and for how long, when that is a terminal.

    Yields:
        A function to call after each step, and one to call with what is done from then on.
    """
    if not sys.stderr.isatty():
        yield _no_advance, _no_words
        return
    from rich import progress as bars  # noqa: PLC0415 (60 ms)
    from rich.console import Console  # noqa: PLC0415

    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
        bars.TextColumn("{task.fields[steps]}", markup=False),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None, steps="")
        done = 0

        def advance(steps: int = 1) -> None:
            nonlocal done
            done += steps
            bar.update(task, steps=f"{done} answers")

        def tell(words: str) -> None:
            bar.update(task, description=words, refresh=True)  # also what lasts but a moment

        yield advance, tell


def human_size(size: int) -> str:
    """A number of bytes for people: "98 kB", "3.6 MB"."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"


def _no_advance(steps: int = 1) -> None:
    """Nobody is looking."""


def _no_words(words: str) -> None:
    """Nobody is looking."""


def _no_bytes(done: int, total: int | None) -> None:
    """Nobody is looking."""


def _fail(error: WhereverError | OSError, *, as_json: bool) -> NoReturn:
    if as_json:
        Output(json=True).emit({"error": error_data(error)}, "")
    else:
        print(f"error: {printable(_words(error))}", file=sys.stderr)  # noqa: T201
    sys.exit(FAILED)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, WhereverError):
        if not error.filename:
            return error.strerror
        return f"{error.filename}: {error.strerror}{_home_advice(str(error.filename))}"
    return str(error) or type(error).__name__


def _home_advice(path: str) -> str:
    """What to do when state cannot be kept; nothing for files of other places."""
    from wherever_edge.configured import home_or_configured  # noqa: PLC0415 (only for an error)

    said = os.environ.get("WHEREVER_HOME")
    home = home_or_configured(Path(said) if said else None)
    if not Path(path).is_relative_to(home):
        return ""
    return f"; state is kept in {home}, and WHEREVER_HOME names another directory for it"


def _leave_broken_pipe() -> NoReturn:
    """Whoever read our output has left; Python would complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(FAILED)


def _as_json(data: Mapping[str, Any]) -> str:
    """JSON for every reader: numbers that it cannot say, such as NaN, become null."""
    text = json.dumps(data, default=_plain)
    return json.dumps(json.loads(text, parse_constant=lambda _: None), indent=2)


def _plain(value: object) -> object:
    """What `json` cannot print, as something that it can."""
    if isinstance(value, BaseException):
        return error_data(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)
