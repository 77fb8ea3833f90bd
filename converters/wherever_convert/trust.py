"""What a confidence says about agreement: how well it ranks, and how near it comes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.packages.pairs import Pairs

_SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_BINS = 10
# More are compared two by two no longer: so many say the same.
_MOST_COMPARED = 4000


class Cut(NamedTuple):
    """What escalating below a threshold comes to.

    `escalated` is the share of answers with less confidence, `agreement` that of the answers that
    stay (None: none stays), `right` the share of right answers when the others come from the
    larger variant (None: the truth is not known).
    """

    threshold: float
    escalated: float
    agreement: float | None
    right: float | None


def cut(pairs: Pairs, threshold: float) -> Cut:
    """What escalating every answer with less confidence than `threshold` comes to."""
    away = pairs.confidence < np.float32(threshold)
    stays = pairs.agreement[~away]
    right = None
    if pairs.right is not None and pairs.right_against is not None:
        right = float(np.where(away, pairs.right_against, pairs.right).mean())
    agreement = float(stays.mean(dtype=np.float64)) if stays.size else None
    return Cut(threshold, float(away.mean()), agreement, right)


def cuts(pairs: Pairs) -> list[Cut]:
    """What thresholds come to that escalate nothing, 2 %, 5 % ... of these answers."""
    ordered = np.sort(pairs.confidence)
    places = [min(len(ordered) - 1, round(share * len(ordered))) for share in _SHARES]
    # rounded up, so that whoever types the figure gets what the table says
    thresholds = [0.0, *(float(np.ceil(ordered[place] * 1000) / 1000) for place in places[1:])]
    return [cut(pairs, threshold) for threshold in sorted(set(thresholds))]


def ranking(confidence: Array, agreement: Array) -> float | None:
    """How often the surer of two answers is the one that agrees more; 0.5 is chance.

    Of answers that agree or do not, this is the area under the ROC curve.

    Args:
        confidence: of each answer [n].
        agreement: likewise, 0 to 1.

    Returns:
        0 to 1; None when all agree alike.
    """
    step = 1 + len(confidence) // _MOST_COMPARED
    sure, good = confidence[::step], agreement[::step]
    better = good[:, None] > good[None, :]
    pairs = int(better.sum())
    if not pairs:
        return None
    surer = (sure[:, None] > sure[None, :])[better].sum()
    same = (sure[:, None] == sure[None, :])[better].sum()
    return float((surer + same / 2) / pairs)


def calibration_error(confidence: Array, agreement: Array) -> float:
    """The mean distance of confidence from agreement, over answers that are about as sure (ECE)."""
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = (confidence.astype(np.float64) - agreement).astype(np.float64)
    sums = np.bincount(bins, weights=gaps, minlength=_BINS)
    return float(np.abs(sums).sum() / len(confidence))
