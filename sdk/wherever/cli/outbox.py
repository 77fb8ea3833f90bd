"""`wherever outbox`: the calls that wait for a later answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever.cli._options import Gateways
from wherever_contracts.durations import duration
from wherever_contracts.errors import UpgradeError
from wherever_edge.cli import FAILED, JsonFlag, Output, human_size, printable, progress, run

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherever._outbox.box import Box, Waiting
    from wherever._outbox.entry import Result
    from wherever._outbox.outbox import Tried

Id = Annotated[str, typer.Argument(metavar="ID", help="A call's id, as its prediction has it.")]


@run
def list_waiting(*, json: JsonFlag = False) -> None:
    """List the calls that wait, in the order in which they are sent."""
    from wherever._outbox.drain import turn_of  # noqa: PLC0415 (numpy; not for --help)

    box = _box()
    waiting = sorted(box.waiting(), key=lambda each: turn_of(each.entry))
    over = len(box.over())
    data = {"waiting": [_facts(box, each) for each in waiting], "results": over}
    Output(json=json).emit(data, lambda: _table(box, waiting, over))


@run
def show(id_: Id, *, json: JsonFlag = False) -> None:
    """Show one call: what waits of it, or what came of it."""
    from wherever._outbox.later import upgraded  # noqa: PLC0415 (numpy; not for --help)

    box = _box()
    result = box.result(id_)
    output = Output(json=json)
    if result is not None and result.answer is not None:
        prediction = upgraded(result)
        output.emit(prediction.to_dict(), lambda: printable(prediction.explain()))
    elif result is not None:
        output.emit(
            _about(result), f"{id_} ended without an answer ({result.kind}): {result.error}"
        )
    else:
        facts = _facts(box, _waiting(box, id_))
        output.emit(facts, lambda: _shown(facts))


@run
def drop(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Calls that are to wait no more.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Drop every call that waits.")] = False,
    json: JsonFlag = False,
) -> None:
    """Give up calls that wait; whoever asks for their answer is told so."""
    from wherever._outbox.clock import stamp_now  # noqa: PLC0415 (numpy; not for --help)
    from wherever._outbox.entry import Result  # noqa: PLC0415

    if bool(ids) == every:
        raise typer.BadParameter("name the calls to drop, or give --all")
    box = _box()
    named = [_waiting(box, id_) for id_ in ids or ()]
    dropped: list[str] = []
    for entry, _ in box.waiting() if every else named:
        letter = box.letter(entry.id)
        if letter is not None:
            why = "its owner dropped it"
            box.drop(Result(entry, letter.signature, stamp_now(), None, kind="dropped", error=why))
            dropped.append(entry.id)
    text = "\n".join(f"dropped {id_}" for id_ in dropped) or "nothing waits"
    Output(json=json).emit({"dropped": dropped}, text)


@run
def drain(
    *,
    gateway: Gateways = None,
    share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="How much of the uplink may be used.")
    ] = 1.0,
    json: JsonFlag = False,
) -> None:
    """Send what waits now, also over a metered network; says what remains, and why."""
    from wherever._client import Client  # noqa: PLC0415 (numpy and grpc; not for --help)

    with Client(gateway or None) as client:
        outbox = client.outbox()
        total = len(outbox.box.waiting())
        ended: list[Result] = []
        why = ""
        with progress(total, "sending") as advance:
            try:
                for tried in outbox.send_all(share):
                    ended += [tried.result] if tried.result is not None else []
                    why = why or _why(tried)
                    advance()
            except OSError as error:
                why = f"{outbox.box.root} cannot be written: {error.strerror or error}"
        left = [_facts(outbox.box, each) for each in outbox.box.waiting()]
    data = {"ended": [_about(each) for each in ended], "remaining": left, "why": why}
    Output(json=json).emit(data, lambda: _drained(ended, len(left), why))
    if left:
        raise typer.Exit(FAILED)


def _box() -> Box:
    from wherever._outbox.opening import limits_of  # noqa: PLC0415 (numpy; not for --help)
    from wherever._outbox.outbox import open_box  # noqa: PLC0415
    from wherever._settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    return open_box(settings.home, limits_of(settings))


def _waiting(box: Box, id_: str) -> Waiting:
    for each in box.waiting():
        if each.entry.id == id_:
            return each
    if box.result(id_) is not None:
        raise UpgradeError(f"call {id_} waits no more: 'wherever outbox show {id_}'", "unknown")
    raise UpgradeError(f"no call {id_} waits in {box.root}: 'wherever outbox list'", "unknown")


def _facts(box: Box, waiting: Waiting) -> dict[str, Any]:
    entry, size = waiting
    return {
        "id": entry.id,
        "model": entry.model,
        "version": entry.version,
        "variant": entry.variant,
        "priority": entry.priority,
        "boundary": entry.boundary,
        "places": list(entry.places),
        "release": entry.release,
        "bytes": size,
        "age_s": round(box.age_s(entry.created), 3),
        "ttl_s": entry.ttl_s,
    }


def _shown(facts: dict[str, Any]) -> str:
    """What waits of a call, for a person."""
    limits = f"boundary {facts['boundary']}; {' or '.join(facts['places'])}"
    release = f", as release rule {facts['release']!r} makes it" if facts["release"] else ""
    waits, longest = _long(facts["age_s"]), _long(facts["ttl_s"])
    rows = {
        "id": facts["id"],
        "model": f"{facts['model']} {facts['version']}, variant {facts['variant']}",
        "may go": limits + release,
        "priority": facts["priority"],
        "size": human_size(facts["bytes"]),
        "waits": f"for {waits}, {longest} at most",
    }
    return "\n".join(f"{name:<10}{printable(str(value))}" for name, value in rows.items())


def _long(seconds: float) -> str:
    """A time that may be days: "7 days", "3.5 hours", "1.2 s"."""
    for unit, size in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return duration(seconds)


def _about(result: Result) -> dict[str, Any]:
    entry = result.entry
    end = {"place": result.place, "host": result.host} if result.answer is not None else {}
    return {"id": entry.id, "model": entry.model, "answered": bool(end), **end, **_error(result)}


def _error(result: Result) -> dict[str, str]:
    return {"kind": result.kind, "error": result.error} if result.kind else {}


def _why(tried: Tried) -> str:
    return str(tried.error) if tried.result is None and tried.error is not None else ""


def _drained(ended: list[Result], left: int, why: str) -> str:
    answered = sum(each.answer is not None for each in ended)
    lines = [f"{answered} answered, {len(ended) - answered} ended without an answer, {left} left"]
    lines += [f"{each.entry.id}  {each.kind}: {each.error}" for each in ended if each.kind]
    lines += [f"left: {why}"] if why else []
    return printable("\n".join(lines))


def _table(box: Box, waiting: list[Waiting], over: int) -> str | RenderableType:
    from rich.console import Group  # noqa: PLC0415 (60 ms)
    from rich.table import Table  # noqa: PLC0415

    table = Table.grid(padding=(0, 2, 0, 0))
    for entry, size in waiting:
        age = _long(box.age_s(entry.created))
        model = printable(f"{entry.model} {entry.version}")
        table.add_row(entry.id, model, entry.priority, human_size(size), f"for {age}")
    taken = human_size(sum(each.size for each in waiting))
    waits = f"{len(waiting)} waiting ({taken})" if waiting else "nothing waits"
    said = f"{waits}; {over} {'result' if over == 1 else 'results'} kept"
    return Group(table, said) if waiting else said
