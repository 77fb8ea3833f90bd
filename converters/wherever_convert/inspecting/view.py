"""What was found in a thing, for people."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console, Group
from rich.table import Column, Table

from wherever_contracts.durations import duration
from wherever_edge.cli import human_size, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherever_convert.inspecting import Inspection

_FORMATS = {"onnx": "ONNX", "tflite": "TFLite", "openvino": "OpenVINO IR"}
_MOST_OPERATORS = 12
_MOST_LABELS = 5
_MOST_WORDS = 240


def view_of(found: Inspection) -> RenderableType:
    """A view of an inspection."""
    views = {"model": _model, "package": _package, "hugging-face": _folder}
    return views[found.kind](found.data)


def as_text(view: RenderableType, width: int) -> str:
    """What a view looks like on a terminal of `width` columns."""
    printed = io.StringIO()
    console = Console(file=printed, width=width, markup=False, highlight=False, emoji=False)
    console.print(view, crop=False)
    return "\n".join(line.rstrip() for line in printed.getvalue().splitlines())


def _rows(entries: Sequence[tuple[str, str]]) -> Table:
    """Names and values in two columns; a name that repeats is shown once."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for name, value in entries:
        if value:
            table.add_row("" if name == before else f"  {name}", printable(value))
            before = name
    return table


def _model(data: Mapping[str, Any]) -> RenderableType:
    head = (
        f"{PurePath(data['path']).name}: {_FORMATS[data['format']]}, {data['precision']}, "
        f"{human_size(data['bytes'])}"
    )
    return Group(printable(head), _rows(_model_rows(data)))


def _model_rows(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    weights = sorted(data["weights"].items(), key=lambda item: -item[1]["bytes"])
    engines = data["engines"].items()
    return [
        ("version", data["version"]),
        ("producer", data["producer"]),
        *(("metadata", f"{key}: {_short(value)}") for key, value in data["metadata"].items()),
        ("parameters", f"{data['parameters']:,}"),
        *(("weights", _weights(name, each)) for name, each in weights),
        *(("inputs", _port(each)) for each in data["inputs"]),
        *(("outputs", _port(each)) for each in data["outputs"]),
        ("rows", _counted_rows(data)),
        ("operators", _operators(data["operators"])),
        ("labels", _labels(data["labels"])),
        ("pixels", _pixels(data["pixels"])),
        ("carries", ", ".join(data["carries"])),
        *(("note", note) for note in data["notes"]),
        *(("engines", f"{name}: {_short(why) or 'opens it'}") for name, why in engines),
    ]


def _counted_rows(data: Mapping[str, Any]) -> str:
    if data["any_rows"]:
        return "any number at once"
    one = all(each["shape"][:1] == [1] for each in data["inputs"])
    return "one at a time" if one else "as many as its inputs say"


def _weights(name: str, each: Mapping[str, int]) -> str:
    numbers, tensors = _counted(each["numbers"], "number"), _counted(each["tensors"], "tensor")
    return f"{name}: {numbers} in {tensors}, {human_size(each['bytes'])}"


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def _port(port: Mapping[str, Any]) -> str:
    return f"{port['name']} {port['dtype']}[{', '.join(map(str, port['shape']))}]"


def _operators(operators: Mapping[str, int]) -> str:
    if not operators:
        return "none"
    shown = [f"{name} {count}" for name, count in operators.items()]
    more = len(shown) - _MOST_OPERATORS
    rest = f", and {more} other kinds" if more > 0 else ""
    return f"{sum(operators.values())}: {', '.join(shown[:_MOST_OPERATORS])}{rest}"


def _labels(labels: Sequence[str] | None) -> str:
    if labels is None:
        return ""
    more = ", ..." if len(labels) > _MOST_LABELS else ""
    return f"{len(labels)}: {', '.join(labels[:_MOST_LABELS])}{more}"


def _pixels(pixels: Mapping[str, Any] | None) -> str:
    if pixels is None:
        return ""
    return ", ".join(f"{name} {value}" for name, value in pixels.items())


def _folder(data: Mapping[str, Any]) -> RenderableType:
    architecture = ", ".join(data["architectures"]) or "no architecture"
    head = f"{PurePath(data['path']).name}: a Hugging Face folder, {architecture}"
    entries = [
        ("cannot be converted", data["refusal"]),
        ("task", data["task"] and f"{data['task']} ({data['takes']})"),
        ("labels", _labels(data.get("labels"))),
        ("tokens", str(data.get("most_tokens") or "")),
        ("passed over", ", ".join(data.get("passed_over", ()))),
        ("note", "config.json names Python code, which is never run" if data["names_code"] else ""),
    ]
    parts: list[RenderableType] = [printable(head), _rows(entries)]
    if data["model"] is not None:
        parts.append(_model(data["model"]))
    return Group(*parts)


def _package(data: Mapping[str, Any]) -> RenderableType:
    signature = data["signature"]
    takes = ", ".join(f"{each['name']} ({each['kind']})" for each in signature["inputs"])
    value = signature["value"]
    entries = [
        ("summary", data["summary"]),
        ("licence", data["licence"]),
        ("boundary", data["boundary"]),
        ("takes", takes),
        ("gives", value["kind"]),
        ("labels", _labels(value.get("labels"))),
        ("reference", data["reference"]),
        ("golden", f"{data['golden']} samples"),
        ("files", ", ".join(data["files"])),
        ("digest", data["digest"]),
        *_provenance(data["provenance"]),
    ]
    parts: list[RenderableType] = [
        printable(f"{data['name']} {data['version']}: a package"),
        _rows(entries),
        "",
        _variants(data["variants"]),
    ]
    if data["certificates"]:
        parts += ["", _certificates(data["certificates"])]
    return Group(*parts)


def _provenance(said: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the conversion wrote of the source, the samples and the tools, one line for each."""
    lines: list[tuple[str, str]] = []
    for part in ("source", "samples", "tools"):
        values = said.get(part)
        if isinstance(values, Mapping):
            named = cast("Mapping[str, Any]", values).items()
            words = [f"{key} {value}" for key, value in named if _is_plain(key, value)]
            lines.append((part, _short(", ".join(words))))
    return lines


def _is_plain(key: str, value: object) -> bool:
    """Whether a fact is for people: --json has the digests, and what has parts."""
    return key != "sha256" and value != "" and isinstance(value, str | int | float)


def _variants(variants: Sequence[Mapping[str, Any]]) -> Table:
    variant = Column("variant", overflow="fold")
    table = Table(variant, "form", "size", "quality", "for", box=None, padding=(0, 2, 0, 0))
    for each in variants:
        form = f"{_FORMATS[each['format']]} {each['precision']}"
        quality = "; ".join(_quality(entry) for entry in each["quality"]) or "not measured"
        notes = [", ".join(each["places"])]
        notes += [] if each["here"] else ["(its files are not here)"]
        calibration = each["calibration"]
        notes += [] if calibration is None else [f"calibrated on {calibration['n']} pairs"]
        cells = (each["id"], form, human_size(each["bytes"]), quality, "; ".join(notes))
        table.add_row(*map(printable, cells))
    return table


def _quality(entry: Mapping[str, Any]) -> str:
    low, high = entry.get("low"), entry.get("high")
    interval = "" if low is None or high is None else f" ({low:.3f}-{high:.3f})"
    return f"{entry['metric']} {entry['value']:.3f}{interval}, n {entry['n']}"


def _certificates(certificates: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("engine", "metric", "drop", "agreement", "median", "peak")
    certified = Column("certified", overflow="fold")
    table = Table(certified, *columns, box=None, padding=(0, 2, 0, 0))
    for each in certificates:
        cells = (
            each["variant"] if each["valid"] else f"{each['variant']} (of another package)",
            each["engine"],
            f"{each['metric']} {each['value']:.3f}",
            f"{each['drop']:+.3f}",
            f"{each['agreement']:.1%}",
            duration(each["latency_s"]),
            human_size(each["memory_peak_bytes"]),
        )
        table.add_row(*map(printable, cells))
    return table


def _short(text: str) -> str:
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]} ..."
