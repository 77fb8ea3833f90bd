"""The packages that ship inside the wheel, each in the folder of its name.

`digits` was trained on, and `digits-test.npz` is taken from, "Optical Recognition of Handwritten
Digits" by E. Alpaydin and C. Kaynak (UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49), licensed under CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

PACKAGES = Path(__file__).parent


def digits_test_split() -> tuple[Array, Array]:
    """The digits that neither training nor the escalation threshold of `digits` has seen.

    What was measured on them is in the package's calibration pairs, so that they are no test of a
    promise (`max_disagreement`).

    Returns:
        uint8 images [593, 8, 8] of ink amounts 0 to 16, and their uint8 labels [593].
    """
    import numpy as np  # noqa: PLC0415 (the path alone is wanted without it)

    with np.load(PACKAGES / "digits-test.npz", allow_pickle=False) as split:
        return split["images"], split["labels"]
