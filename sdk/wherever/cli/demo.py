"""`wherever demo`: one model on this device and on a gateway, and what happens when that dies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever_contracts.errors import SettingsError
from wherever_edge.cli import FAILED, JsonFlag, Output, run

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever.cli._demo_gateway import DemoGateway
    from wherever.cli._demo_modes import Digit, Escalations, Example, ModeResult
    from wherever.cli._demo_stream import PhaseResult, Stream
    from wherever.cli._demo_view import View

MODEL = "digits"
# All that could change the figures; the user's own settings are not asked.
SETTINGS: dict[str, Any] = {
    "packages": (),
    "mode": "auto",
    "boundary": "anywhere",
    "deadline_s": 2.0,
    "remote_timeout_s": 2.0,
    "probe_timeout_s": 0.5,
}
PICTURES = (".png", ".svg", ".pdf")


@run
def command(
    *,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Save a picture of the timeline."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show what it does: a gateway is started, killed, restarted and frozen under steady calls.

    Takes about 15 seconds, and uses nothing but this machine.
    """
    if save is not None:
        _check_save(save)
    from rich.console import Console  # noqa: PLC0415 (all of it only when it runs: 150 ms)

    from wherever.cli._demo_view import View  # noqa: PLC0415

    view = View(Console(quiet=json, highlight=False))
    data, stream = _demo(view)
    if save is not None:
        from wherever.cli._timeline_picture import save_timeline  # noqa: PLC0415

        save_timeline(stream.recording, save)
        view.saved(str(save))
        data["saved"] = str(save)
    if json:
        Output(json=True).emit(data, "")
    if data["failed_calls"]:
        sys.exit(FAILED)


def _demo(view: View) -> tuple[dict[str, Any], Stream]:
    from wherever._client import Client  # noqa: PLC0415
    from wherever.cli._demo_gateway import DemoGateway  # noqa: PLC0415
    from wherever.cli._demo_modes import held_out_digits  # noqa: PLC0415

    digits = held_out_digits()
    with DemoGateway() as gateway:
        with view.waiting("starting a gateway on this machine ..."):
            gateway.start()
            gateway.wait_ready()
        with Client([gateway.address], **SETTINGS) as client:
            view.opening(client.store.get(MODEL), len(digits), gateway.address, gateway.pids[-1])
            modes, escalations = _measure_modes(view, client, digits)
            stream, phases = _stream(view, client, digits, gateway)
    example = escalations.example
    view.example(example, None if example is None else digits[example.position].ink)
    data = _figures(len(digits), modes, phases, example)
    data["measured"]["gateway_pids"] = gateway.pids
    error = next((result.error for result in modes if result.error), stream.error)
    view.closing(data["measured"]["calls"], data["failed_calls"], error, phases)
    return data, stream


def _measure_modes(
    view: View, client: Client, digits: Sequence[Digit]
) -> tuple[list[ModeResult], Escalations]:
    from wherever.cli._demo_modes import MODES, Escalations, measure  # noqa: PLC0415

    model = client.model(MODEL)
    for mode in MODES:
        model(digits[0].ink, mode=mode)
    escalations = Escalations()
    results: list[ModeResult] = []
    for mode in MODES:
        with view.waiting(f"{len(digits)} digits, mode {mode} ..."):
            results.append(measure(model, digits, mode, escalations))
    manifest = client.store.get(MODEL).manifest
    threshold = next(v.escalate_below for v in manifest.variants if v.escalate_below is not None)
    view.modes(results, threshold)
    return results, escalations


def _stream(
    view: View, client: Client, digits: Sequence[Digit], gateway: DemoGateway
) -> tuple[Stream, list[PhaseResult]]:
    from wherever.cli._demo_stream import CALLS_PER_S, PHASES, Stream  # noqa: PLC0415

    acts = [phase.mark for phase in PHASES if phase.mark]
    results: list[PhaseResult] = []
    with view.streaming(CALLS_PER_S, ", ".join(acts)) as watch:
        stream = Stream(client.model(MODEL), digits, gateway, watch)
        for result in stream.run(PHASES):
            view.phase(result)
            results.append(result)
    view.streamed(stream.recording, results)
    return stream, results


def _figures(
    digits: int,
    modes: Sequence[ModeResult],
    phases: Sequence[PhaseResult],
    example: Example | None,
) -> dict[str, Any]:
    """Everything as plain data; only what is `measured` differs from run to run."""
    failed = sum(mode.failed for mode in modes) + sum(phase.failed for phase in phases)
    calls = sum(len(mode.answers) for mode in modes) + sum(phase.calls for phase in phases)
    return {
        "model": MODEL,
        "digits": digits,
        "failed_calls": failed,
        "modes": [result.to_dict() for result in modes],
        "phases": [result.to_dict() for result in phases],
        "example": None if example is None else example.to_dict(),
        "measured": {"calls": calls},
    }


def _check_save(path: Path) -> None:
    """Refuse what cannot be saved, or drawn without matplotlib, before any work is done."""
    if path.suffix.lower() not in PICTURES:
        raise SettingsError(f"--save {path}: the file's name must end in {', '.join(PICTURES)}")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"--save {path}: there is no directory {path.absolute().parent}")
    import_module("wherever.cli._timeline_picture")
