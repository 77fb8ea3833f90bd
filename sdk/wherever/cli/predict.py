"""`wherever predict`: answer for one input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from wherever._routing.plan import MODES
from wherever.cli._file import FileOptions, Labels, Pixels, Task, is_file
from wherever.cli._options import Gateways, Packages
from wherever_contracts.errors import SettingsError, WhereverError
from wherever_contracts.places import BOUNDARIES, PLACES, Boundary, Mode
from wherever_edge.cli import JsonFlag, Output, run

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherever._client import Client
    from wherever._handle import Model
    from wherever._prediction import Prediction
    from wherever_contracts.places import Place
    from wherever_contracts.tensors import Array
    from wherever_contracts.values import Detection

# What a call takes besides the model's own options.
_OF_CALLS = (
    *("mode", "boundary", "deadline_s", "places", "cache", "strict", "priority", "later"),
    *("max_disagreement", "confidence", "min_confidence", "budget", "record"),
)
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@run
def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The model's name, for example digits or digits@1.0; or a model file with --task.",
        ),
    ],
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="An image or other file; text; numbers (a .npy file, a JSON array, or with commas "
            "or spaces between them); - for standard input; name=INPUT where there are several.",
            show_default=False,
        ),
    ] = None,
    *,
    mode: Annotated[
        Mode | None,
        typer.Option(metavar="MODE", help=f"Which places, in which order: {', '.join(MODES)}."),
    ] = None,
    boundary: Annotated[
        Boundary | None,
        typer.Option(
            metavar="BOUNDARY", help=f"How far the data may travel: {', '.join(BOUNDARIES)}."
        ),
    ] = None,
    deadline_s: Annotated[
        float | None, typer.Option(help="Seconds in which the answer is wanted.")
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE", help=f"Ask here alone: {', '.join(PLACES)}; may be repeated."
        ),
    ] = None,
    max_disagreement: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="The share of calls, such as 0.02, whose answers may differ from the reference's.",
        ),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(metavar="SHARE", help="How sure that is to hold (0.95).")
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Ask the reference about an answer with less."),
    ] = None,
    record: Annotated[
        bool | None,
        typer.Option("--record/--no-record", help="Write the call's receipt to the disk."),
    ] = None,
    cache: Annotated[
        bool | None,
        typer.Option("--cache/--no-cache", help="Keep the answer, and take one that was kept."),
    ] = None,
    later: Annotated[
        bool,
        typer.Option(
            "--later",
            help="Answer now from this device; the reference's answer comes into the outbox.",
        ),
    ] = False,
    gateway: Gateways = None,
    packages: Packages = None,
    task: Task = None,
    labels: Labels = None,
    pixels: Pixels = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A number that the model takes; may be repeated."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Save the image with the answer drawn on it."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say in full where the answer came from and why.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Answer for one input.

    The first line is the answer; what follows says where it came from and why.
    """
    from wherever._client import Client  # noqa: PLC0415 (numpy and grpc; not for --help)

    options = _options(option or [])
    about_file = FileOptions(task, labels, pixels or [])
    with Client(gateway or None, packages=packages or None) as client:
        _warn_of_refused(client, packages or [])
        handle = _handle(client, model, about_file)
        _check_plot(handle, plot)
        value = _value(handle, given or [])
        if deadline_s is not None:
            _prepare(handle)
        prediction = handle(
            value,
            mode=mode,
            boundary=boundary,
            deadline_s=deadline_s,
            places=cast("list[Place]", place) or None,
            max_disagreement=max_disagreement,
            confidence=confidence,
            min_confidence=min_confidence,
            record=record,
            cache=cache,
            later=later,
            **options,
        )
    data = prediction.to_dict()
    if plot is not None:
        prediction.plot().save(plot)
        data["plot"] = str(plot)
    Output(json=json).emit(
        data, lambda: _view(prediction, explain=explain, record=bool(record), plot=plot)
    )


def _handle(client: Client, model: str, about_file: FileOptions) -> Model:
    if is_file(model):
        return about_file.open(client, model)
    about_file.refuse(model)
    return client.model(model)


def _prepare(handle: Model) -> None:
    """Load the model first, so that the deadline is the call's alone."""
    with suppress(WhereverError):  # the call says what is wrong
        handle.prepare()


def _value(handle: Model, given: Sequence[str]) -> Any:
    from wherever.cli._given import read_inputs, takes  # noqa: PLC0415 (numpy)

    if not given:
        what = takes(handle.signature)
        raise typer.BadParameter(f"model {handle.name!r} takes {what}", param_hint="INPUT")
    return read_inputs(handle.signature, given)


def _options(given: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            options[name] = float(value)
        except ValueError:
            message = f"{text!r} is not NAME=VALUE with a number for VALUE"
            raise typer.BadParameter(message, param_hint="--option") from None
        if name in _OF_CALLS:
            raise typer.BadParameter(f"{name} is not a model's option", param_hint="--option")
    return options


def _warn_of_refused(client: Client, packages: Sequence[Path]) -> None:
    """What the user named and cannot be used is said, although the call may go on without it."""
    for path, error in client.store.refused() if packages else ():
        print(f"warning: {path} is refused: {error}", file=sys.stderr)  # noqa: T201


def _check_plot(handle: Model, plot: Path | None) -> None:
    """Refuse what cannot be drawn or saved before any work is done."""
    if plot is None:
        return
    if plot.suffix.lower() not in PICTURES:
        raise SettingsError(f"--plot {plot}: the file's name must end in {', '.join(PICTURES)}")
    if not plot.absolute().parent.is_dir():
        raise SettingsError(f"--plot {plot}: there is no directory {plot.absolute().parent}")
    if all(entry.kind != "image" for entry in handle.signature.inputs):
        raise SettingsError(
            f"--plot: model {handle.name!r} takes no image, so there is none to draw"
        )


def _view(
    prediction: Prediction, *, explain: bool, record: bool, plot: Path | None
) -> str | RenderableType:
    answer = "\n".join(value_lines(prediction.value))
    rest = prediction.explain() if explain else f"  {_where(prediction)}"
    if prediction.receipt.later:
        rest += f"\n  later: {prediction.receipt.later}{_where_it_waits(prediction)}"
    if record:
        rest += f"\n  recorded; to run it again: wherever replay {prediction.id}"
    if plot is not None:
        rest += f"\n  picture saved as {plot}"
    if not sys.stdout.isatty():
        return f"{answer}\n{rest}"
    from rich.text import Text  # noqa: PLC0415 (60 ms)

    return Text.assemble((answer, "bold"), "\n", (rest, "" if explain else "dim"))


def _where_it_waits(prediction: Prediction) -> str:
    from wherever._outbox.later import WAITS  # noqa: PLC0415 (numpy; not for --help)

    waits = prediction.receipt.later == WAITS
    return f" (wherever outbox show {prediction.id})" if waits else ""


def value_lines(value: Any) -> list[str]:
    """A model's value, one line for each part of it."""
    if isinstance(value, str):
        return [str(value)]
    if isinstance(value, list):
        found = cast("list[Detection]", value)
        return [_detection(each) for each in found] or ["nothing found"]
    if isinstance(value, dict):
        tensors = cast("dict[str, Array]", value)
        return [f"{name}: {_numbers(array)}" for name, array in tensors.items()]
    return [_numbers(value)]


def _where(prediction: Prediction) -> str:
    receipt = prediction.receipt
    sure = "" if prediction.confidence is None else f", confidence {prediction.confidence:.3f}"
    lesser = ", degraded" if prediction.degraded else ""
    host = "" if receipt.host == receipt.place else f" ({receipt.host})"
    return f"{receipt.place}{host}{sure}{lesser}: {receipt.reason}"


def _detection(found: Detection) -> str:
    box = found.box
    corners = ", ".join(f"{n:.0f}" for n in (box.left, box.top, box.right, box.bottom))
    return f"{found.label} {found.score:.2f} [{corners}]"


def _numbers(array: Array) -> str:
    import numpy as np  # noqa: PLC0415

    from wherever_contracts.tensors import describe  # noqa: PLC0415

    shown = np.array2string(array, precision=4, threshold=8, edgeitems=3, separator=", ")
    return f"{describe(array)} {' '.join(shown.split())}"
