"""Write docs/steps.md from the docstrings of the installed steps: python docs/make_steps.py."""  # noqa: INP001

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from wherever_edge.pipelines.pipeline import StepFactory, known_steps

PAGE = Path(__file__).with_name("steps.md")
SECTIONS = ("Formula", "Cost", "Args", "Raises")
# these modules first, in the order in which a pipeline needs them; others by name
FIRST = (
    "image",
    "crops",
    "words",
    "tokens",
    "file_bytes",
    "quantized",
    "basic",
    "ranking",
    "relabel",
    "embedding",
    "yolo",
    "heads",
    "fractions",
    "detect",
)
HEAD = """# Steps of pipelines

Made by `python docs/make_steps.py` of the steps' docstrings; do not edit.

A variant's pipeline stands in `model.json`: steps before the engine (`pre`), which make the
variant's tensors of what people give, and steps after it (`post`), which make the signature's
outputs of what the engine gives. The same code runs them on device, box and gateway. A step is an
operation (`op`) with its parameters beside it; one that is not known, or does not fit the
signature and the variant's tensors, is refused when the package is loaded. This is a detector of
small things: photos are cut into tiles, and what two tiles found twice is dropped.

```json
{
  "pre": [
    {"op": "tiles", "name": "image", "to": "parts", "size": [416, 416], "overlap": 0.25},
    {"op": "image_tensor", "name": "parts", "to": "images", "size": [416, 416],
     "fit": "letterbox_top_left", "pad": 114, "order": "bgr"}
  ],
  "post": [
    {"op": "yolox_boxes", "name": "output", "size": [416, 416]},
    {"op": "class_nms", "iou": 0.5, "over": "smaller"},
    {"op": "best_detections"}
  ]
}
```

Images arrive at the first step decoded: upright (EXIF orientation applied), 8-bit RGB, transparent
pixels over white, 16-bit values by their upper 8 bits, the first frame of an animation; more than
64 megapixels, or more bytes than the input's `max_bytes` (32 MiB), are refused before a pixel is
decoded. Colour profiles are not applied.

**The way to resize is part of a model.** On the test photos one model that says whether a person is
there is right 84 times in 100 with `antialias`, and 72 times with `linear`; a small ImageNet
classifier 49 times and 53 times. Take the way that the model was trained with.

Costs are the least of 15 rounds of `benchmarks/steps.py`, on one core of a virtual machine that
others shared: good for the order of magnitude, and to compare steps.

| step | what it does |
|---|---|
"""


def page() -> str:
    """The whole of docs/steps.md."""
    groups = _groups()
    steps = [(op, factory) for _, members in groups for op, factory in members]
    rows = [f"| [`{op}`](#{op}) | {_sections(factory)[''][0]} |" for op, factory in steps]
    parts = [HEAD + "\n".join(rows)]
    for title, members in groups:
        parts += [f"## {title}", *(_entry(op, factory) for op, factory in members)]
    return "\n\n".join(parts) + "\n"


def _groups() -> list[tuple[str, list[tuple[str, StepFactory]]]]:
    """The title of each module, and its steps."""
    modules: dict[str, list[tuple[str, StepFactory]]] = {}
    for op, factory in known_steps().by_name.items():
        if factory.__module__.startswith("wherever_edge."):
            modules.setdefault(factory.__module__, []).append((op, factory))
    return [
        (_title(name), sorted(modules[name], key=lambda member: _line(member[1])))
        for name in sorted(modules, key=_place)
    ]


def _place(module: str) -> tuple[int, str]:
    name = module.rpartition(".")[2]
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def _title(module: str) -> str:
    text = inspect.getdoc(sys.modules[module]) or module
    return text.splitlines()[0].rstrip(".")


def _line(factory: StepFactory) -> int:
    return inspect.getsourcelines(factory)[1]


def _entry(op: str, factory: StepFactory) -> str:
    sections = _sections(factory)
    parts = [f"### {op}", *sections[""]]
    for name in ("Formula", "Cost"):
        first, *more = sections[name]
        parts += [f"*{name}.* {first}", *more]
    return "\n\n".join([*parts, "\n".join(_parameters(factory, sections.get("Args", [])))])


def _parameters(factory: StepFactory, described: list[str]) -> Iterator[str]:
    """A line for each parameter, with its default and what the docstring says of it."""
    pairs = (text.partition(": ") for text in described)
    known = {name: text for name, _, text in pairs}
    for name, parameter in list(inspect.signature(factory).parameters.items())[1:]:
        default = parameter.default
        given = "required" if default is inspect.Parameter.empty else f"default `{_plain(default)}`"
        yield f"- `{name}` ({given})" + (f": {known[name]}" if name in known else "")


def _plain(default: Any) -> str:
    """A default as JSON would have it."""
    if isinstance(default, tuple):
        return f"[{', '.join(map(str, cast('tuple[Any, ...]', default)))}]"
    words = {None: "null", True: "true", False: "false"}
    if default is None or isinstance(default, bool):
        return words[default]
    return f'"{default}"' if isinstance(default, str) else repr(default)


def _sections(factory: StepFactory) -> dict[str, list[str]]:
    """Section -> its paragraphs, each on one line; what comes before any section is under ""."""
    text = inspect.getdoc(factory) or ""
    found: dict[str, list[str]] = {}
    for part in re.split(rf"^(?=(?:{'|'.join(SECTIONS)}):$)", text, flags=re.MULTILINE):
        head, _, body = part.partition("\n")
        name = head.rstrip(":") if head.rstrip(":") in SECTIONS else ""
        lines = inspect.cleandoc(body if name else part)
        # an argument begins at the margin; what continues one stands further in
        parted = re.split(r"\n(?=\S)" if name in ("Args", "Raises") else r"\n\s*\n", lines)
        found[name] = [" ".join(paragraph.split()) for paragraph in parted]
    return found


if __name__ == "__main__":
    PAGE.write_text(page())
