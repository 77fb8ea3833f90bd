"""Which samples calibrate and which measure. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wherever_convert.samples.sample import Sample

# More hardly move a range, and some ways of finding one keep every sample's tensors in memory.
MOST_CALIBRATION = 100
# Fewer are not divided: either part would say nothing.
LEAST_TO_DIVIDE = 12
_EVERY = 3


class Split(NamedTuple):
    """Samples to calibrate with, samples to measure on, and whether they are the same ones."""

    calibration: tuple[Sample, ...]
    test: tuple[Sample, ...]
    shared: bool

    @property
    def rule(self) -> str:
        """How the samples were divided, in words."""
        if self.shared:
            return f"all for both, as there are fewer than {LEAST_TO_DIVIDE} different ones"
        return (
            f"every third, class by class, calibrates (at most {MOST_CALIBRATION}), "
            f"the rest is measured on"
        )


def split(items: Sequence[Sample]) -> Split:
    """Divide samples, each class alike, the same way every time.

    Samples of equal contents go to one side together: what is measured on was not calibrated with
    under another name.

    Args:
        items: the samples; their order decides.
    """
    if len(items) < LEAST_TO_DIVIDE:
        return Split(tuple(items), tuple(items), shared=True)
    # counting on from class to class leaves no class of one or two out of both parts' reach
    in_classes = [position for members in _by_class(items) for position in members]
    firsts = _firsts(items)
    once = [position for position in in_classes if firsts[position] == position]
    if len(once) < LEAST_TO_DIVIDE:
        return Split(tuple(items), tuple(items), shared=True)
    chosen = set(once[::_EVERY])
    calibration = sorted(chosen)
    if len(calibration) > MOST_CALIBRATION:
        count = len(calibration)
        calibration = [calibration[i * count // MOST_CALIBRATION] for i in range(MOST_CALIBRATION)]
    test = [item for item, first in zip(items, firsts, strict=True) if first not in chosen]
    return Split(tuple(items[position] for position in calibration), tuple(test), shared=False)


def _firsts(items: Sequence[Sample]) -> list[int]:
    """For each sample, the position of the first one of equal contents, where those are known."""
    seen: dict[str, int] = {}
    return [
        seen.setdefault(item.content, position) if item.content else position
        for position, item in enumerate(items)
    ]


def _by_class(items: Sequence[Sample]) -> Iterable[list[int]]:
    """Positions of the samples of each class; those without one make one class."""
    members: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        key = item.truth if isinstance(item.truth, str) else ""
        members.setdefault(key, []).append(position)
    return members.values()
