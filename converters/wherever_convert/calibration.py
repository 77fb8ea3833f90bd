"""What came of calibrating a variant, as data and as text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_convert.promises import USUAL, Promise, doubts, fewest, promises
from wherever_convert.trust import Cut, calibration_error, cut, cuts, ranking
from wherever_edge.certification.words import CONFIDENCE

if TYPE_CHECKING:
    from wherever_convert.samples.sample import Damaged
    from wherever_edge.certification.words import Alarm
    from wherever_edge.packages.pairs import Pairs

_LEAST_RANKING = 0.6
_NEARLY_ONE = 0.999


@dataclass(frozen=True)
class Calibration:
    """What a variant's confidence says about the answer of a larger one.

    Attributes:
        package: the package's name.
        version: its new version.
        path: the directory or archive that was written.
        variant: the variant whose confidence it is.
        against: the variant whose answers were taken for right.
        dataset: the samples' name.
        digest: of the samples' contents.
        pairs: of every sample; what the package keeps.
        whole: answers agree wholly or not at all by their nature, as labels do.
        labels: the names of the classes, where answers name any.
        escalate_below: the threshold that the variant has now; None without one.
        damaged: samples that were left out.
    """

    package: str
    version: str
    path: Path
    variant: str
    against: str
    dataset: str
    digest: str
    pairs: Pairs
    whole: bool = False
    labels: tuple[str, ...] = ()
    escalate_below: float | None = None
    damaged: tuple[Damaged, ...] = ()

    @property
    def n(self) -> int:
        """How many pairs there are."""
        return len(self.pairs.confidence)

    @cached_property
    def auroc(self) -> float | None:
        """How often the surer of two answers agrees more; None when all agree alike."""
        return ranking(self.pairs.confidence, self.pairs.agreement)

    @cached_property
    def ece(self) -> float:
        """The mean distance of the confidence from the agreement."""
        return calibration_error(self.pairs.confidence, self.pairs.agreement)

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """What thresholds come to, the variant's own among them."""
        found = {each.threshold: each for each in cuts(self.pairs)}
        if self.escalate_below is not None:
            found[self.escalate_below] = cut(self.pairs, self.escalate_below)
        return tuple(found[threshold] for threshold in sorted(found))

    @cached_property
    def promises(self) -> tuple[Promise, ...]:
        """What calls may promise with these pairs."""
        return promises(self.pairs, whole=self.whole)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against relying on the pairs."""
        found: list[str] = []
        least = fewest(whole=self.whole)
        if self.n < least:
            found.append(
                f"only {self.n} pairs: to promise at most 2 % of disagreement at 95 % takes at "
                f"least {least}, and all of them agreeing"
            )
        if self.auroc is None:
            found.append("all answers agree alike, so that nothing is known of the confidence")
        elif self.auroc < _LEAST_RANKING:
            found.append(
                f"the confidence says next to nothing: the surer of two answers agrees more in "
                f"{self.auroc:.0%} of cases, and chance alone gives 50 %"
            )
        worse = self._large_is_worse()
        if worse:  # then it is so where the variant is unsure, and in single classes, too
            return (*found, worse)
        return (*found, *(doubt.why for doubt in self._doubts()))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, without the pairs themselves."""
        return {
            "package": self.package,
            "version": self.version,
            "path": str(self.path),
            "variant": self.variant,
            "against": self.against,
            "dataset": self.dataset,
            "digest": self.digest,
            "n": self.n,
            "auroc": self.auroc,
            "ece": self.ece,
            "escalate_below": self.escalate_below,
            "thresholds": [each._asdict() for each in self.cuts],
            "promises": [each._asdict() for each in self.promises],
            "damaged": [each._asdict() for each in self.damaged],
            "warnings": list(self.warnings),
        }

    def text(self) -> str:
        """The same for a person."""
        title = f"{self.variant} against {self.against} on {self.n} samples of {self.dataset}"
        ranks = "unknown (all agree alike)" if self.auroc is None else f"{self.auroc:.3f}"
        lines = [
            title,
            "",
            *self._table(),
            "",
            *self._promised(),
            "",
            f"AUROC of confidence for agreement: {ranks}; calibration error (ECE): {self.ece:.3f}",
            *(f"left out: {each.name}: {each.reason}" for each in self.damaged[:5]),
            *(f"warning: {words}" for words in self.warnings),
            f"{self.package} {self.version} written to {self.path}",
        ]
        return "\n".join(lines)

    def _large_is_worse(self) -> str:
        """That escalation would do harm, where it would."""
        if self.pairs.right is None or self.pairs.right_against is None:
            return ""
        own, other = float(self.pairs.right.mean()), float(self.pairs.right_against.mean())
        if own <= other:
            return ""
        return (
            f"{self.variant} is right for {own:.1%} and {self.against} for {other:.1%}: to "
            f"escalate makes answers worse"
        )

    def _doubts(self) -> tuple[Alarm, ...]:
        """Of the threshold of the usual promise, or else the one that the variant has."""
        usual = next(each for each in self.promises if each.max_disagreement == USUAL)
        relied_on = self.escalate_below if usual.threshold is None else usual.threshold
        return doubts(self.pairs, relied_on, self.labels)

    def _promised(self) -> list[str]:
        """What can be promised, a line for each promise."""
        lines = [f"what can be promised, {CONFIDENCE:.0%} sure:"]
        lines += [f"{'max_disagreement':>16}  {'threshold':>9}  {'escalated':>9}"]
        for each in self.promises:
            head = f"{each.max_disagreement:>16.0%}"
            if each.threshold is None:
                more = f"{each.missing} pairs more are needed, even if all agree"
                lines.append(f"{head}  {'-':>9}  {'all':>9}  {more if each.missing else each.why}")
            else:
                lines.append(f"{head}  {_shown(each.threshold):>9}  {each.escalated:>9.1%}")
        return lines

    def _table(self) -> list[str]:
        known = self.pairs.right is not None
        head = f"{'threshold':>9}  {'escalated':>9}  {'agreement of the rest':>21}"
        lines = [head + (f"  {'right in all':>12}" if known else "")]
        for each in self.cuts:
            rest = "-" if each.agreement is None else f"{each.agreement:.1%}"
            line = f"{each.threshold:>9.3f}  {each.escalated:>9.1%}  {rest:>21}"
            line += "" if each.right is None else f"  {each.right:>12.1%}"
            now = each.threshold == self.escalate_below
            lines.append(line + ("  <- escalate_below" if now else ""))
        return lines


def _shown(threshold: float) -> str:
    """A threshold, rounded up: whoever asks for the figure is on the safe side."""
    digits = 3 if threshold <= _NEARLY_ONE else 6
    return f"{math.ceil(threshold * 10**digits) / 10**digits:.{digits}f}"
