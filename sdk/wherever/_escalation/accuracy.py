"""How right answers are: by what people said, and by the reference's measured quality. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from wherever._escalation.facts import FeedbackFacts, Interval
from wherever_contracts.manifest import LabelValue

if TYPE_CHECKING:
    from wherever_contracts.manifest import Manifest, Quality

# Of labels, the share of right answers goes by these names.
_SHARES = ("accuracy", "top-1")
# Either end of a 95 % interval may be wrong with this probability.
_ERROR = 0.025
_STEPS = 50


def share_of(rights: Iterable[float]) -> FeedbackFacts | None:
    """How right answers are, from what people said of some; None: they said nothing.

    The interval is that of a mean of independent numbers from 0 to 1 by Chernoff and Hoeffding
    (Hoeffding 1963, theorem 1: P[mean >= m] <= exp(-n kl(m, expectation))), so that it holds for
    detections, which may be partly right, too. Of labels it is a little wider than Clopper and
    Pearson's. It is about calls like those that feedback came for.
    """
    said = list(rights)
    if not said:
        return None
    mean = math.fsum(said) / len(said)
    return FeedbackFacts(len(said), math.fsum(said), *_ends(mean, len(said)))


def reference_accuracy(manifest: Manifest) -> Interval | None:
    """How often the model's reference is right, as its package states; None: it does not say.

    Only of labels: a difference of F1 says nothing of a difference of mAP.
    """
    if not isinstance(manifest.signature.value, LabelValue):
        return None
    quality = manifest.variant(manifest.reference).quality
    stated = [each for each in quality if each.metric in _SHARES and 0 <= each.value <= 1]
    return _interval(max(stated, key=lambda each: each.n)) if stated else None


def accuracy_by_agreement(
    reference: Interval | None, agreement: Interval | None
) -> Interval | None:
    """How often the answers given are right, with no label at hand.

    An answer that is the reference's is right when that is. So the share of right answers is off
    the reference's by no more than the share in which they differ, either way. Both intervals
    hold at 95 %, and this one at 90 % at least.

    Args:
        reference: how often the reference is right, on calls like these.
        agreement: how often the answers are the reference's.

    Returns:
        The bounds, and the reference's own share as the value; None where one is not known.
    """
    if reference is None or agreement is None:
        return None
    differs = 1 - agreement.low
    low, high = max(0.0, reference.low - differs), min(1.0, reference.high + differs)
    return Interval(reference.value, low, high)


def _interval(quality: Quality) -> Interval:
    """What was measured, with its own interval, or with the one that its size allows."""
    if quality.low is not None and quality.high is not None:
        return Interval(quality.value, max(0.0, quality.low), min(1.0, quality.high))
    return Interval(quality.value, *_ends(quality.value, quality.n))


def _ends(mean: float, n: int) -> tuple[float, float]:
    """The expectations that a mean of `n` numbers does not rule out."""
    most = math.log(1 / _ERROR) / n

    def fits(share: float) -> bool:
        return _divergence(mean, share) <= most

    return _furthest(mean, 0.0, fits), _furthest(mean, 1.0, fits)


def _furthest(start: float, end: float, fits: Callable[[float], bool]) -> float:
    """The share between `start`, which fits, and `end` up to which all fit, rounded outwards."""
    if fits(end):
        return end
    inside, outside = start, end
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if fits(middle) else (inside, middle)
    return outside


def _divergence(mean: float, share: float) -> float:
    """Kullback and Leibler's divergence of two coins, in nats."""
    return _part(mean, share) + _part(1 - mean, 1 - share)


def _part(mean: float, share: float) -> float:
    if mean <= 0:
        return 0.0
    return mean * math.log(mean / share) if share > 0 else math.inf
