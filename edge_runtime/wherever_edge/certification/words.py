"""The words of certification: what is certified, and what speaks against it."""

from __future__ import annotations

from typing import NamedTuple

# A promise holds with this probability, unless the call says otherwise.
CONFIDENCE = 0.95

CALIBRATION_SHARE = 0.8
"""Of the error that a promise allows, what calibration pairs may spend; the rest is for calls."""

NOTHING_IS_SURE = 2.0
"""A threshold that no confidence reaches."""


class Alarm(NamedTuple):
    """That an assumption of a promise does not hold.

    Attributes:
        kind: "shift" (the calls are not like the calibration's), "broken" (answers differ more
            often than promised), "noise" (where the variant is unsure, the reference is not
            right more often) or "specialist" (there is a class of which the reference is right
            less often than the variant).
        why: what was found, with its figures.
    """

    kind: str
    why: str
