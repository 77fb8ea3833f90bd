"""A recording as a picture of 80 columns: one lane for each place, time from left to right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wherever.cli._recording import GatewayState, Mark, Recording, Where, slices

LABELS = 13
SLICE_S = 0.2

COLOURS: dict[Where, str] = {
    "device": "#4caf7d",
    "cloud": "#4a90e2",
    "kept": "#f5a623",
    "failed": "#e0245e",
}
LANES: dict[Where, str] = {
    "device": "on device",
    "cloud": "in the cloud",
    "kept": "unsure, kept",
    "failed": "failed",
}
_STATES: dict[GatewayState, tuple[str, str]] = {
    "up": ("━", COLOURS["cloud"]),
    "killed": ("✗", COLOURS["failed"]),
    "starting": ("╌", "grey62"),
    "frozen": ("░", "#7fd6e8"),
    "waking": ("╌", "grey62"),
}
_BARS = " ▁▂▃▄▅▆▇█"


def timeline(recording: Recording, width: int = 80, slice_s: float = SLICE_S) -> RenderableType:
    """Draw the recording.

    Args:
        recording: what happened so far.
        width: columns to use.
        slice_s: seconds in one column; more when the recording would not fit.
    """
    columns = max(10, width - LABELS - 3)
    slice_s = max(slice_s, recording.end_s / columns)
    used = min(columns, int(recording.end_s / slice_s) + 1)
    counts = slices(recording.calls, slice_s, columns)
    unsure = max(1, *counts["cloud"], *counts["kept"])
    rows = [
        *_labels(recording.marks, slice_s, columns),
        _gateway(recording, slice_s, used),
        Text(),
        *_lane("device", counts["device"][:used], max(1, *counts["device"]), 1),
        *_lane("cloud", counts["cloud"][:used], unsure, 2),
        *_lane("kept", counts["kept"][:used], unsure, 2),
    ]
    if any(counts["failed"]):
        rows += _lane("failed", counts["failed"][:used], max(counts["failed"]), 1)
    return Group(*rows, _axis(slice_s, columns), Text(), totals(recording))


def totals(recording: Recording) -> Text:
    """How many calls there were, and how they ended."""
    text = Text.assemble((f"{len(recording.calls):>{LABELS - 6},} calls: ", "bold"))
    for where, name in LANES.items():
        n = recording.count(where)
        text.append(f"{n:,} {name}   ", style=COLOURS[where] if n or where != "failed" else "bold")
    return text


def _labels(marks: Sequence[Mark], slice_s: float, columns: int) -> Iterator[Text]:
    """What was done, above when it was: in a row further up where the rows below are taken."""
    lines: list[list[str]] = []
    for mark in marks:
        start = min(int(mark.at_s / slice_s), columns - 1)
        label = f"▾{mark.text}"[: columns - start]
        cells = slice(max(0, start - 1), start + len(label))
        line = next((line for line in lines if not "".join(line[cells]).strip()), None)
        if line is None:
            line = [" "] * columns
            lines.append(line)
        line[start : start + len(label)] = label
    for line in reversed(lines or [[" "]]):
        yield Text(" " * (LABELS + 2) + "".join(line).rstrip(), style="bold")


def _gateway(recording: Recording, slice_s: float, used: int) -> Text:
    row = _named("gateway", "dim")
    for column in range(used):
        symbol, colour = _STATES[recording.state_at((column + 0.5) * slice_s)]
        row.append(symbol, style=colour)
    return row


def _lane(where: Where, counts: Sequence[int], most: int, height: int) -> list[Text]:
    """Bars of `height` rows of text, an eighth of a row the smallest step."""
    rows: list[Text] = []
    for row in range(height):
        base = (height - 1 - row) * 8
        eighths = [_eighths(count, most, height) - base for count in counts]
        name = LANES[where] if row == height - 1 else ""
        line = _named(name, COLOURS[where])
        line.append("".join(_BARS[max(0, min(8, n))] for n in eighths), style=COLOURS[where])
        rows.append(line)
    return rows


def _eighths(count: int, most: int, height: int) -> int:
    """Full height for `most`; whatever is not nothing can be seen."""
    return max(1, round(count / most * height * 8)) if count else 0


def _axis(slice_s: float, columns: int) -> Text:
    line = [" "] * (columns + 4)
    for second in range(0, int(columns * slice_s) + 1, 2):
        start = int(second / slice_s)
        label = f"{second} s"
        line[start : start + len(label)] = label
    return Text(" " * (LABELS + 2) + "".join(line[:columns]).rstrip(), style="dim")


def _named(name: str, style: str) -> Text:
    return Text.assemble((f"{name:>{LABELS}}  ", style))
