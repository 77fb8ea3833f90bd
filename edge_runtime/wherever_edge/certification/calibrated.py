"""The threshold that a package's calibration pairs certify. Pure.

What is promised of a threshold t is its risk R(t) = E[loss; confidence >= t]: the loss of the
answers that are given, over all calls. R only falls as t rises. So thresholds are tested from the
highest down, each at the full error, until one fails (fixed-sequence testing: Angelopoulos, Bates,
Candes, Jordan & Lei, "Learn then Test", 2021; for risks that only fall: Bates et al.,
"Distribution-free, risk-controlling prediction sets", JACM 68, 2021). Only the first threshold
with a risk above the level can be certified wrongly, so that the error of one test is that of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wherever_edge.certification.bounds import (
    check_losses,
    fewest_pairs,
    most_errors,
    running_p_values,
)
from wherever_edge.certification.words import NOTHING_IS_SURE

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.packages.pairs import Pairs


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Calls that both the variant and the reference answered, drawn as calls will be.

    Attributes:
        confidence: of the variant; [n].
        loss: how far its answer is from the reference's, each in [0, 1]; [n].
        category: what kind of answer it gave, as a whole number; [n], or None.

    Raises:
        ValueError: when a confidence is no number, a loss outside of [0, 1], or lengths differ.
    """

    confidence: Array
    loss: Array
    category: Array | None = None

    def __post_init__(self) -> None:
        losses = check_losses(self.loss)
        confidences = np.asarray(self.confidence, np.float64)
        sizes = {losses.shape, confidences.shape}
        if self.category is not None:
            sizes.add(np.shape(self.category))
        if len(sizes) > 1:
            raise ValueError(f"as many of each are expected; found {sorted(sizes)}")
        if np.isnan(confidences).any():
            raise ValueError("a confidence is not a number")
        object.__setattr__(self, "loss", losses)
        object.__setattr__(self, "confidence", confidences)

    @classmethod
    def of(cls, pairs: Pairs) -> Evidence:
        """What a calibration's pairs are evidence of."""
        return cls(pairs.confidence, 1.0 - pairs.agreement, pairs.category)

    @property
    def whole(self) -> bool:
        """Whether every loss is 0 or 1."""
        return bool(np.isin(self.loss, (0.0, 1.0)).all())


class Certified(NamedTuple):
    """A threshold, and what it rests on.

    Attributes:
        threshold: answers of at least this confidence are given; `NOTHING_IS_SURE`: none is.
        n: pairs that it was found with.
        escalated: the share of them below it.
        needed: pairs that would be needed if in none of them the answers differed.
        why: why nothing could be certified; "" when a threshold was.
    """

    threshold: float
    n: int
    escalated: float
    needed: int
    why: str = ""


def certify(
    evidence: Evidence, level: float, error: float, *, whole: bool | None = None
) -> Certified:
    """The lowest threshold whose risk is at most `level`, but for a probability of `error`.

    Args:
        evidence: the pairs; whatever their order.
        level: the most that the answers given may differ, in the mean over all calls; in (0, 1).
        error: how likely a threshold may be returned whose risk is above that; in (0, 1).
        whole: whether losses are 0 or 1 by their nature, as those of labels; None: whether these
            are. Say False for losses that may lie in between, lest a sample that by chance holds
            none of those be tested as if there were none.

    Raises:
        ValueError: for a `level` or `error` outside of (0, 1), or fractions that are called whole.
    """
    exact = evidence.whole if whole is None else whole
    if exact and not evidence.whole:
        raise ValueError("losses between 0 and 1 cannot be counted as errors")
    n, needed = evidence.loss.size, fewest_pairs(level, error, whole=exact)
    if n < needed:
        why = (
            f"{needed} pairs are needed to promise {100 * level:.3g} % even if none differs; "
            f"there are {n}"
        )
        return Certified(NOTHING_IS_SURE, n, 1.0, needed, why)
    order = np.argsort(-evidence.confidence, kind="stable")
    losses = evidence.loss[order]
    given = _most_given(losses, level, error, exact=exact)
    return _lowest(evidence.confidence[order], given, level, needed)


def _most_given(losses: Array, level: float, error: float, *, exact: bool) -> int:
    """How many of the surest answers may be given."""
    if exact:
        allowed = most_errors(losses.size, level, error)
        return int(np.searchsorted(np.cumsum(losses), allowed, side="right"))
    p_values = running_p_values(losses, losses.size, level)
    return int(np.searchsorted(p_values, error, side="right")) - 1


def _lowest(confidences: Array, given: int, level: float, needed: int) -> Certified:
    """The lowest threshold at which no more are given; `confidences` fall."""
    n = confidences.size
    if given == n:
        return Certified(0.0, n, 0.0, needed)
    # answers of one confidence are given together or not at all
    surer = int(np.count_nonzero(confidences > confidences[given]))
    if not surer:
        same = int(np.count_nonzero(confidences == confidences[0]))
        why = (
            f"answers differ too often to promise {100 * level:.3g} % even where the confidence is "
            f"highest ({float(confidences[0]):.3g}, in {same} of {n} pairs)"
        )
        return Certified(NOTHING_IS_SURE, n, 1.0, needed, why)
    return Certified(float(confidences[surer - 1]), n, 1.0 - surer / n, needed)
