"""`wherever demo`: one model on a device, a gateway and a box, and all that may happen to it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever_contracts.errors import SettingsError
from wherever_edge.cli import FAILED, JsonFlag, Output, run

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever.cli._demo_gateway import DemoGateway
    from wherever.cli._demo_modes import Digit, Escalations, ModeResult
    from wherever.cli._demo_story import Story
    from wherever.cli._demo_stream import PhaseResult, Stream
    from wherever.cli._demo_view import View
    from wherever_edge.packages.store import Package

MODEL = "digits"
# All that could change the figures; the user's own settings are not asked.
SETTINGS: dict[str, Any] = {
    "packages": (),
    "mode": "auto",
    "boundary": "anywhere",
    "deadline_s": 2.0,
    "remote_timeout_s": 2.0,
    "probe_timeout_s": 0.5,
    "channel": "stable",
    "cache": False,
    "nearby": False,
}
# What is to be 0.
BAD = ("failed_calls", "lost_answers", "mixed_answers", "wrong_answers", "broken_promises")
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
    """Show what it does, with gateways, boxes, engines and updates that come, go and break.

    Takes about 45 seconds, uses nothing but this machine, and leaves nothing on it.
    """
    if save is not None:
        _check_save(save)
    from rich.console import Console  # noqa: PLC0415 (all of it only when it runs: 150 ms)

    from wherever.cli._demo_view import View  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all is tidied up
    view = View(Console(quiet=json, highlight=False))
    data, stream = _demo(view)
    if save is not None:
        from wherever.cli._timeline_picture import save_timeline  # noqa: PLC0415

        save_timeline(stream.recording, save)
        view.saved(str(save))
        data["saved"] = str(save)
    if json:
        Output(json=True).emit(data, "")
    if any(data[what] for what in BAD):
        sys.exit(FAILED)


def _demo(view: View) -> tuple[dict[str, Any], Stream]:
    from wherever.cli._demo_modes import held_out_digits  # noqa: PLC0415
    from wherever.cli._demo_process import apart  # noqa: PLC0415

    digits = held_out_digits()
    with _scratch() as root, apart(root):
        settings = {**SETTINGS, "home": root / "device"}
        story, package, stream = _with_gateway(view, digits, root, settings)
        _with_box_and_updates(view, story, digits, root, settings, package)
        _with_engines(view, story, digits, root, package)
    view.closing(story)
    return story.to_dict(), stream


@contextmanager
def _scratch() -> Generator[Path]:
    """A directory for everything that the demo writes."""
    # what a process that is being ended still writes is no reason to fail
    with TemporaryDirectory(prefix="wherever-demo-", ignore_cleanup_errors=True) as directory:
        yield Path(directory).resolve()


def _with_gateway(
    view: View, digits: Sequence[Digit], root: Path, settings: dict[str, Any]
) -> tuple[Story, Package, Stream]:
    from wherever._client import Client  # noqa: PLC0415
    from wherever.cli._demo_gateway import DemoGateway  # noqa: PLC0415
    from wherever.cli._demo_later import show_later  # noqa: PLC0415
    from wherever.cli._demo_promise import show_promise  # noqa: PLC0415
    from wherever.cli._demo_story import Story  # noqa: PLC0415

    with DemoGateway(root / "gateway") as gateway:
        with view.waiting("starting a gateway on this machine ..."):
            gateway.start()
            gateway.wait_ready()
        with Client([gateway.address], **settings) as client:
            package = client.store.get(MODEL)
            view.opening(package, len(digits), gateway.address, gateway.pids[-1])
            modes, escalations = _measure_modes(view, client, digits)
            stream, phases = _stream(view, client, digits, gateway)
        example = escalations.example
        view.example(example, None if example is None else digits[example.position].ink)
        story = Story(MODEL, len(digits), modes, phases, stream.error, example, gateway.pids)
        story.later = show_later(view, digits, root, settings, MODEL, gateway)
        said: dict[str, Sequence[str]] = {mode.mode: mode.answers for mode in modes}
        story.promise = show_promise(view, digits, said, root, settings, gateway)
    return story, package, stream


def _with_box_and_updates(
    view: View,
    story: Story,
    digits: Sequence[Digit],
    root: Path,
    settings: dict[str, Any],
    package: Package,
) -> None:
    from wherever.cli._demo_box import show_box  # noqa: PLC0415
    from wherever.cli._demo_convert import show_conversion  # noqa: PLC0415
    from wherever.cli._demo_update import next_minor, show_updates  # noqa: PLC0415

    story.box = show_box(view, digits, root, settings, MODEL)
    alone = {**settings, "mode": "only_on_device"}
    version = next_minor(package.version)
    story.conversion = show_conversion(view, digits, root, alone, package, version)
    made = story.conversion.package if story.conversion else None
    story.updates = show_updates(view, digits, root, alone, package, made)


def _with_engines(
    view: View, story: Story, digits: Sequence[Digit], root: Path, package: Package
) -> None:
    from wherever.cli._demo_crashes import show_crashes  # noqa: PLC0415
    from wherever.cli._demo_plans import show_plans  # noqa: PLC0415

    alone: dict[str, Any] = {**SETTINGS, "mode": "only_on_device"}
    story.plans = show_plans(view, digits, root, alone, MODEL)
    story.crashes = show_crashes(view, digits, root, alone, package)


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


def _check_save(path: Path) -> None:
    """Refuse what cannot be saved, or drawn without matplotlib, before any work is done."""
    if path.suffix.lower() not in PICTURES:
        raise SettingsError(f"--save {path}: the file's name must end in {', '.join(PICTURES)}")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"--save {path}: there is no directory {path.absolute().parent}")
    import_module("wherever.cli._timeline_picture")
