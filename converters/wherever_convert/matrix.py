"""Which source can be had in which form: what conversions refuse, and docs/conversion-matrix.md."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from wherever_contracts.errors import ConversionError
from wherever_convert.targets import GIVEN, TARGETS, steps_to

if TYPE_CHECKING:
    from wherever_convert.sources import Source

Kind: TypeAlias = Literal["given", "made", "no"]


class Cell(NamedTuple):
    """Whether a source can be had in a form.

    `kind` is "given" where the source gives it, "made" where it is made of what the source gives;
    `way` then has the forms that are made, this one last. `reason` says why it is not possible.
    """

    kind: Kind
    way: tuple[str, ...] = ()
    reason: str = ""


def cell(source: Source, target: str) -> Cell:
    """Whether a source's float32 models can be had in a form, and how."""
    given = [GIVEN[each, "float32"] for each in source.formats]
    if target in given:
        return Cell("given")
    if source.limit:
        return Cell("no", reason=source.limit)
    way = steps_to(target, given)
    return Cell("no", reason=_no_way(source)) if way is None else Cell("made", way)


def check_targets(source: Source, named: Collection[str]) -> None:
    """Refuse forms that a source cannot be had in, before any work.

    Raises:
        ConversionError: one of those that were named is such a form.
    """
    for target in (each for each in TARGETS if each in named):
        reason = cell(source, target).reason
        if reason:
            title = TARGETS[target].title
            raise ConversionError(f"{source.title} is not to be had as {title}: {reason}")


def _no_way(source: Source) -> str:
    """Why: every form is made of ONNX in the end, but for those that a format's own tools make."""
    formats = " and ".join(_NAMES[each] for each in source.formats)
    return f"nothing here makes ONNX of {formats}: convert the model that it was made of"


_NAMES = {"onnx": "ONNX", "openvino": "OpenVINO IR", "tflite": "TensorFlow Lite"}
