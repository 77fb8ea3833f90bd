"""The best classes of an output in place of its numbers ("Classification Extension" of Triton)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wherever_contracts.errors import InputError
from wherever_contracts.manifest import LabelValue, Signature
from wherever_contracts.tensors import Array

# parameter of an output that is asked for: how many classes
CLASSIFICATION = "classification"


def with_classes(
    outputs: Mapping[str, Array], wanted: Mapping[str, int], signature: Signature
) -> dict[str, Array]:
    """The outputs, with the best classes in place of the numbers of those that are named.

    A class is the text `VALUE:INDEX:LABEL` in UTF-8, the best one first, as Triton writes it;
    without the label where the signature names none. Numbers [..., n] become texts [..., k].

    Args:
        outputs: the signature's outputs.
        wanted: output -> how many classes; one that has some (see `refuse_without_classes`).
        signature: the model's.
    """
    value = signature.value
    scores, labels = (value.scores, value.labels) if isinstance(value, LabelValue) else ("", ())
    made = dict(outputs)
    for name, most in wanted.items():
        made[name] = _best(made[name], most, labels if name == scores else ())
    return made


def refuse_without_classes(wanted: Mapping[str, int], signature: Signature) -> None:
    """Make sure that the named outputs have classes.

    Raises:
        InputError: there is no such output, or it is no vector of numbers.
    """
    entries = {entry.name: entry for entry in signature.outputs}
    for name in wanted:
        entry = entries.get(name)
        if entry is None or not entry.shape or entry.dtype in ("bool", "bytes"):
            raise InputError(name, "an output of numbers in a row, for classes", "another one")


def _best(numbers: Array, most: int, labels: Sequence[str]) -> Array:
    best = np.argsort(-numbers.astype(np.float64), axis=-1, kind="stable")[..., :most]
    values = np.take_along_axis(numbers, best, axis=-1)
    texts = np.empty(best.shape, dtype=object)
    for at in np.ndindex(best.shape):
        index = int(best[at])
        label = f":{labels[index]}" if labels else ""
        texts[at] = f"{values[at]:f}:{index}{label}".encode()
    return texts
