"""What a package's calibration pairs let calls promise, before one was made. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from wherever_edge.certification.bounds import fewest_pairs
from wherever_edge.certification.calibrated import Evidence, certify
from wherever_edge.certification.reference import examine
from wherever_edge.certification.words import CALIBRATION_SHARE, CONFIDENCE, NOTHING_IS_SURE

if TYPE_CHECKING:
    from wherever_edge.certification.words import Alarm
    from wherever_edge.packages.pairs import Pairs

LEVELS = (0.01, 0.02, 0.05, 0.10)
USUAL = 0.02
"""The promise that warnings are about."""

_ERROR = CALIBRATION_SHARE * (1 - CONFIDENCE)


class Promise(NamedTuple):
    """What `max_disagreement` at the usual confidence of 95 % comes to with pairs.

    Attributes:
        max_disagreement: the most that answers may differ from the reference's.
        threshold: answers with less confidence are taken further; None: each is, until calls have
            shown enough.
        escalated: the share of the pairs below it.
        missing: so many pairs more are needed at least, if answers to none differ.
        why: why there is no threshold.
    """

    max_disagreement: float
    threshold: float | None
    escalated: float
    missing: int
    why: str


def promises(pairs: Pairs, *, whole: bool) -> tuple[Promise, ...]:
    """What each of `LEVELS` comes to.

    Args:
        pairs: of a variant.
        whole: whether answers agree wholly or not at all by their nature, as labels do.
    """
    evidence = Evidence.of(pairs)
    return tuple(_promise(evidence, level, whole=whole) for level in LEVELS)


def fewest(*, whole: bool) -> int:
    """How many pairs the usual promise takes at least, and then answers to none may differ."""
    return fewest_pairs(USUAL, _ERROR, whole=whole)


def doubts(pairs: Pairs, threshold: float | None, names: Sequence[str] = ()) -> tuple[Alarm, ...]:
    """What known truths say against asking the larger variant below a threshold (None: always).

    Args:
        pairs: of a variant.
        threshold: what is less sure is taken further.
        names: of the classes.
    """
    below = NOTHING_IS_SURE if threshold is None else threshold
    known = pairs.confidence, pairs.right, pairs.right_against, pairs.category
    return examine(*known, below, names=names)


def _promise(evidence: Evidence, level: float, *, whole: bool) -> Promise:
    found = certify(evidence, level, _ERROR, whole=whole)
    threshold = None if found.threshold == NOTHING_IS_SURE else found.threshold
    return Promise(level, threshold, found.escalated, max(0, found.needed - found.n), found.why)
