"""`wherever update`."""

from __future__ import annotations

import random
import re
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from wherever_contracts.errors import UpdateError
from wherever_contracts.places import Place
from wherever_edge.cli import (
    FAILED,
    HomeOption,
    JsonFlag,
    Output,
    error_data,
    printable,
    progress,
    run,
)
from wherever_edge.configured import configured, home_or_configured

if TYPE_CHECKING:
    from wherever_edge.downloads import Progress
    from wherever_edge.updates.agent import ModelUpdate, UpdateReport
    from wherever_edge.updates.state import Channel
    from wherever_edge.updates.watching import UpdateState

_Round = Callable[[bool], "UpdateReport"]


@run
def update(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Models, as people or people@canary, besides those installed."),
    ] = None,
    *,
    registry: Annotated[
        str | None,
        typer.Option(
            envvar="WHEREVER_REGISTRY",
            help="The registry's address, or its directory; kept once given.",
        ),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(envvar="WHEREVER_CHANNEL", help="What a bare name means: stable or canary."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The registry's root, to begin with.", exists=True)
    ] = None,
    root_sha256: Annotated[
        str | None,
        typer.Option(help="Its sha256, as `repo init` printed it: the root is fetched then."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every model that the registry has.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until told to end, a round every --every-s.")
    ] = False,
    every_s: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two rounds, give or take a fifth.")
    ] = 60.0,
    rollback: Annotated[
        str | None, typer.Option(help="Let the version before serve again, of this model.")
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Show what is installed, and ask nobody.")
    ] = False,
    place: Annotated[
        str, typer.Option(help="What this machine is to its callers: device, nearby or cloud.")
    ] = "device",
    home: HomeOption = None,
    json: JsonFlag = False,
) -> None:
    """Bring signed models up to date; what serves goes on serving until the next one passed."""
    from wherever_edge.updates.agent import UpdateAgent  # noqa: PLC0415 (pydantic: 40 ms)

    where = home_or_configured(home)
    output = Output(json=json)
    if status:
        _show_status(where, output)
        return
    agent = UpdateAgent(
        where,
        _address(registry) or configured("registry"),
        root=root.read_bytes() if root else None,
        root_sha256=_digest(root_sha256),
        channel=_channel(channel or configured("channel")),
        distance=_place(place),
    )
    if rollback is not None:
        done = agent.rollback(rollback)
        text = f"{done.name} {done.version} serves again instead of {done.before}"
        output.emit(asdict(done), text)
        return

    def one_round(thorough: bool) -> UpdateReport:  # noqa: FBT001 (a callback of two lines)
        with _bar() as moved:
            return agent.update(names, everything=everything, thorough=thorough, progress=moved)

    if watch:
        _watch(one_round, every_s, output)
        return
    report = one_round(True)  # noqa: FBT003
    output.emit(asdict(report), lambda: _report_text(report))
    if report.refused:
        raise typer.Exit(FAILED)


def _watch(one_round: _Round, every_s: float, output: Output) -> None:
    """Round after round until SIGTERM or Ctrl-C; what is the same as before is not said again."""
    ended = threading.Event()

    def end(number: int, frame: object) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    said, thorough = "", True
    while not ended.is_set():
        try:
            report = one_round(thorough)
            data, text, fresh = asdict(report), _report_text(report), _news(report)
        except UpdateError as error:
            data, text = {"error": error_data(error)}, printable(str(error))
            fresh = text
        if fresh != said:
            output.emit(data, text)
            said = fresh
        thorough = False
        ended.wait(every_s * random.uniform(0.8, 1.2))  # noqa: S311 (so that devices spread out)


def _news(report: UpdateReport) -> str:
    """What tells one round from another: without how long it took."""
    return repr(
        [(m.name, m.channel, m.version, m.outcome == "refused", m.why) for m in report.models]
    )


def _report_text(report: UpdateReport) -> str:
    if not report.models:
        return "no model is installed from this registry yet: name one, or say --all"
    return "\n".join(map(_model_text, report.models))


def _model_text(model: ModelUpdate) -> str:
    name = f"{model.name} ({model.channel})"
    if model.outcome == "current":
        return f"{name}: {model.version} is up to date"
    if model.outcome == "updated":
        step = f"{model.before} -> {model.version}" if model.before else model.version
        return f"{name}: {step}, {model.trust}, {model.bytes} bytes, {model.elapsed_s:.1f} s"
    return printable(f"{name}: {model.outcome}: {model.why}")


def _show_status(home: Path, output: Output) -> None:
    from wherever_edge.updates.watching import update_state  # noqa: PLC0415 (pydantic)

    state = update_state(home)
    output.emit(asdict(state), lambda: _status_text(state))


def _status_text(state: UpdateState) -> str:
    from wherever_edge.updates.state import day  # noqa: PLC0415 (pydantic)

    rows = [f"{model} {version} serves, signed" for model, version in sorted(state.active.items())]
    if state.refreshed_at:
        rows.append(f"{state.registry}: last seen right on {day(state.refreshed_at)}")
    rows += [f"problem: {state.problem}"] if state.problem else []
    return printable("\n".join(rows)) or "no signed model is installed here"


@contextmanager
def _bar() -> Generator[Progress]:
    with progress(None, "update") as advance:
        at = 0

        def moved(done: int, _: int | None) -> None:
            nonlocal at
            advance(max(0, done - at))
            at = done

        yield moved


def _channel(word: str | None) -> Channel | None:
    if word is None or word in {"stable", "canary"}:
        return cast("Channel | None", word)
    raise typer.BadParameter(f"{word!r} is neither stable nor canary")


def _address(registry: str | None) -> str | None:
    if registry is None or "://" in registry:
        return registry
    directory = Path(registry)
    if directory.is_dir():
        return directory.resolve().as_uri()
    raise typer.BadParameter(
        f"--registry takes http://..., https://..., file:///... or a directory, not {registry!r}"
    )


def _digest(text: str | None) -> str | None:
    if text is None or re.fullmatch("[0-9a-fA-F]{64}", text):
        return text
    raise typer.BadParameter(
        f"--root-sha256 takes the 64 digits and letters that `wherever repo init` printed, "
        f"not {text!r}"
    )


def _place(word: str) -> Place:
    if word not in get_args(Place):
        raise typer.BadParameter(f"{word!r} is none of {', '.join(get_args(Place))}")
    return cast("Place", word)
