"""A recording as a picture file: where each call ran, and how long it took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wherever.cli._recording import Recording, Where, slices
from wherever.cli._timeline import COLOURS
from wherever_contracts.errors import missing_extra

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise missing_extra("a picture of the timeline", "plot") from error

SLICE_S = 0.2

_NAMES: dict[Where, str] = {
    "device": "on the device, sure",
    "cloud": "unsure, answered by the gateway",
    "kept": "unsure, kept on the device",
    "failed": "failed",
}
_SHADES = {"killed": "#f3c4cd", "starting": "#ececec", "frozen": "#cdeaf2", "waking": "#ececec"}
_ORDER: tuple[Where, ...] = ("kept", "cloud", "device", "failed")


def save_timeline(recording: Recording, path: Path) -> None:
    """Write the picture; the format is that of the file's name.

    Raises:
        OSError: the file cannot be written.
    """
    figure: Any = Figure(figsize=(10, 5.6), dpi=150, layout="constrained")
    places, times = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    _draw_places(places, recording)
    _draw_times(times, recording)
    for axes in (places, times):
        _shade(axes, recording)
    _label_marks(places, recording)
    places.set_title(
        f"{len(recording.calls):,} calls, {recording.count('failed')} failed", loc="left", pad=18
    )
    figure.legend(loc="outside lower center", ncols=len(_NAMES), markerscale=2.5, frameon=False)
    figure.savefig(path)


def _draw_places(axes: Any, recording: Recording) -> None:
    n = int(recording.end_s / SLICE_S) + 1
    counts = slices(recording.calls, SLICE_S, n)
    starts = [i * SLICE_S for i in range(n)]
    below = [0] * n
    for where in _ORDER:
        axes.bar(
            starts, counts[where], SLICE_S, below, align="edge", color=COLOURS[where], linewidth=0
        )
        below = [a + b for a, b in zip(below, counts[where], strict=True)]
    axes.set_ylim(0, 1.1 * max(below))
    axes.set_ylabel(f"calls in {SLICE_S:g} s")


def _draw_times(axes: Any, recording: Recording) -> None:
    for where, name in _NAMES.items():
        calls = [call for call in recording.calls if call.where == where]
        if calls:
            axes.scatter(
                [call.at_s for call in calls],
                [call.took_s * 1000 for call in calls],
                s=6,
                color=COLOURS[where],
                linewidths=0,
                label=name,
            )
    axes.set_yscale("log")
    axes.set_ylabel("latency of a call, ms")
    axes.set_xlabel("seconds")
    axes.yaxis.set_major_formatter("{x:g}")


def _shade(axes: Any, recording: Recording) -> None:
    marks = recording.marks
    ends = [mark.at_s for mark in marks[1:]] + [recording.end_s]
    for mark, end_s in zip(marks, ends, strict=True):
        if mark.state in _SHADES:
            axes.axvspan(mark.at_s, end_s, color=_SHADES[mark.state], zorder=0, linewidth=0)
    axes.set_xlim(0, recording.end_s)
    axes.spines[["top", "right"]].set_visible(False)


def _label_marks(axes: Any, recording: Recording) -> None:
    for mark in recording.marks:
        if mark.state != "up":
            axes.annotate(
                mark.text,
                (mark.at_s, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(2, 3),
                textcoords="offset points",
                fontsize="small",
            )
