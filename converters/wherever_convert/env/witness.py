"""What a source answered to some rows, as named arrays in an .npz file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

INPUT, OUTPUT = "input", "output"
FILE = "witness.npz"


def write_witness(
    folder: Path, inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any] | None]
) -> None:
    """Write FOLDER/witness.npz.

    Args:
        folder: where.
        inputs: the rows, one array for each input in the source's order.
        outputs: what it answered, one array for each output; None for one not to be compared.
    """
    named: dict[str, Any] = {f"{INPUT}{n}": array for n, array in enumerate(inputs)}
    named |= {f"{OUTPUT}{n}": array for n, array in enumerate(outputs) if array is not None}
    np.savez(folder / FILE, **named)
