"""The bare tensors of one variant, for calls that bring them in place of the signature's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherever_contracts.errors import InputError
from wherever_contracts.tensors import Array, describe
from wherever_contracts.wire.tensors import WireTensor, to_array

if TYPE_CHECKING:
    from wherever_contracts.tensors import TensorSpec


def feed_of(specs: Sequence[TensorSpec], tensors: Sequence[WireTensor]) -> dict[str, Array]:
    """A variant's own tensors, out of a message.

    Raises:
        InputError: one is missing, there is one more, or one does not fit.
    """
    given = {tensor.name: tensor for tensor in tensors}
    expected = {spec.name for spec in specs}
    if given.keys() != expected or len(given) != len(tensors):
        found = ", ".join(tensor.name for tensor in tensors) or "none"
        raise InputError("", f"the tensors {', '.join(sorted(expected))}, each once", found)
    return {spec.name: _fitting(spec, given[spec.name]) for spec in specs}


def _fitting(spec: TensorSpec, tensor: WireTensor) -> Array:
    try:
        array = to_array(tensor)
    except ValueError as error:
        found = f"{tensor.datatype}{list(tensor.shape)}"
        raise InputError(spec.name, str(error), found) from error
    if not spec.admits(array):
        raise InputError(spec.name, str(spec), describe(array))
    return array
