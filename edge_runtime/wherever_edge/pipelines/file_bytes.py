"""Steps for models that tell what a file is from its bytes, laid out as Magika's are."""

from __future__ import annotations

import numpy as np

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import MANIFEST_NAME, LabelValue
from wherever_contracts.tensors import shape_fits
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory


def file_ends(
    context: StepContext,
    *,
    name: str,
    to: str,
    start: int = 512,
    end: int = 512,
    block: int = 4096,
    pad: int = 256,
) -> Step:
    """Take the first and the last bytes of a file as numbers.

    Formula:
        Of the first `block` bytes, without the whitespace before them, the first `start`, filled
        up with `pad` after them; then, of the last `block` bytes, without the whitespace after
        them, the last `end`, filled up with `pad` before them. Both blocks are the whole file where
        it is shorter. Whitespace is space, tab, line feed, vertical tab, form feed and carriage
        return.

    Cost:
        About 3 us, whatever the size of the file.

    Args:
        context: the signature and the variant. An input whose `ends_bytes` is `block` or more gives
            the same numbers as the whole file.
        name: the input, bytes.
        to: where to leave int32 [1, start + end].
        start: how many numbers from the start.
        end: how many numbers from the end.
        block: how far from either end bytes are looked for.
        pad: the number that stands for no byte.

    Raises:
        ValueError: a parameter is not one of those, or the input keeps less of a file.
    """
    width = start + end
    if min(start, end) < 0 or width < 1 or block < max(start, end):
        raise ValueError(f"start and end must be 0 to block, not {start} and {end} of {block}")
    _check_kept(context, name, block)
    for entry in context.variant.tensors.inputs:
        if entry.name == to and not shape_fits(entry.shape, (1, width)):
            raise ValueError(f"the variant takes {list(entry.shape)}, not [1, {width}]")

    def step(state: State) -> None:
        data: bytes = state[name]
        first = data[:block].lstrip()[:start]
        last = data[-block:].rstrip()[-end:] if end else b""
        numbers = np.full((1, width), pad, np.int32)
        numbers[0, : len(first)] = np.frombuffer(first, np.uint8)
        numbers[0, width - len(last) :] = np.frombuffer(last, np.uint8)
        state[to] = numbers

    return step


def few_bytes(
    context: StepContext,
    *,
    name: str,
    scores: str,
    text: str,
    binary: str,
    empty: str,
    least: int = 8,
    block: int = 4096,
) -> Step:
    """Answer by rule for files of so few bytes that a model has nothing to go by.

    Formula:
        With fewer than `least` bytes in the first `block`, the whitespace before them not counted,
        one score is 1 and the others 0: that of `empty` for a file of no bytes, of `text` where the
        block is UTF-8, of `binary` elsewhere. With as many or more, the scores stay.

    Cost:
        About 0.3 us.

    Args:
        context: the signature, whose value is a label.
        name: the input, bytes.
        scores: the scores, float32 [labels], of the signature's labels in their order.
        text: a label.
        binary: a label.
        empty: a label.
        least: see above.
        block: see above.

    Raises:
        ManifestError: the signature is not one of a label, or lacks one of the three.
    """
    labels = labels_of(context)
    where = {label: position_of(labels, label) for label in (text, binary, empty)}

    def step(state: State) -> None:
        data: bytes = state[name]
        first = data[:block]
        if len(first.lstrip()) < least:
            label = empty if not data else text if _is_utf8(first) else binary
            state[scores] = np.zeros(len(labels), np.float32)
            state[scores][where[label]] = 1

    return step


def labels_of(context: StepContext) -> tuple[str, ...]:
    """The labels of the signature.

    Raises:
        ManifestError: the signature's value is not a label.
    """
    value = context.signature.value
    if not isinstance(value, LabelValue):
        raise ManifestError(MANIFEST_NAME, "signature.value.kind", "'label'", repr(value.kind))
    return value.labels


def position_of(labels: tuple[str, ...], label: str) -> int:
    """Where a label stands.

    Raises:
        ManifestError: the signature has no such label.
    """
    if label not in labels:
        field = "signature.value.labels"
        raise ManifestError(MANIFEST_NAME, field, f"{label!r} among them", f"{len(labels)} others")
    return labels.index(label)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_kept(context: StepContext, name: str, block: int) -> None:
    for entry in context.signature.inputs:
        kept = entry.ends_bytes if entry.name == name else None
        if kept is not None and kept < block:
            raise ValueError(f"block must be at most the {kept} bytes that {name!r} keeps")


STEPS: dict[str, StepFactory] = {"file_ends": file_ends, "few_bytes": few_bytes}
