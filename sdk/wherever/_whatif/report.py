"""What a what-if found, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.durations import duration
from wherever_edge.cli import human_size

if TYPE_CHECKING:
    from wherever._whatif.aims import Measure
    from wherever._whatif.outcome import Outcome


class Report(NamedTuple):
    """The figures of recorded calls, really and under a policy.

    Attributes:
        before: what happened.
        after: what would have.
        estimated: calls of which something is not known from their own record.
        guessed: calls of which that is how sure the device is.
        beyond: calls that may take longer than any that is recorded near them: by how much is a
            guess.
        measures: model -> what answers of its variant on the device would be measured by.
        unasked: hosts that no recorded call asked, and that are left out therefore.
        left_out: lines that could not be read.
        others: recorded calls that asked something else of escalation than most did.
    """

    before: Outcome
    after: Outcome
    estimated: int
    guessed: int
    beyond: int
    measures: Mapping[str, Measure]
    unasked: Sequence[str] = ()
    left_out: Sequence[str] = ()
    others: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, ready for JSON."""
        before, after = self.before._asdict(), self.after._asdict()
        return {
            "recorded": before,
            "policy": after,
            "difference": {name: after[name] - before[name] for name in before},
            "estimated": self.estimated,
            "confidence_estimated": self.guessed,
            "time_guessed": self.beyond,
            "thresholds": {name: _measured(each) for name, each in self.measures.items()},
            "unasked": list(self.unasked),
            "left_out": list(self.left_out),
            "asked_otherwise": self.others,
        }


def view(report: Report) -> Iterator[str]:
    """The same in lines for a person."""
    yield f"{'':<15}{'recorded':>12}{'policy':>12}{'difference':>12}"
    for label, name, shown in _ROWS:
        before, after = getattr(report.before, name), getattr(report.after, name)
        change = after - before
        sign = "-" if change < 0 else "+" if change > 0 else ""
        yield f"{label:<15}{shown(before):>12}{shown(after):>12}{sign + shown(abs(change)):>12}"
    yield ""
    for name, measure in report.measures.items():
        yield f"threshold of {name}: {_threshold(measure)} ({measure.source})"
    yield from _doubts(report)


def _doubts(report: Report) -> Iterator[str]:
    yield f"estimated: {report.estimated} of {report.after.calls} calls; the others are known"
    if report.guessed:
        yield f"of them, how sure the device would be: {report.guessed} (from calls near in time)"
    if report.beyond:
        yield f"{report.beyond} calls may take longer than any recorded near them: that is a guess"
    if report.others:
        yield f"{report.others} calls asked something else of escalation than most; not told apart"
    if any(each.bar is not None and each.bar.promised for each in report.measures.values()):
        yield "remote calls of the policy hold its audits; those of recorded calls are not known"
    for host in report.unasked:
        yield f"{host} is left out: no recorded call asked it, so what it would take is not known"
    if report.left_out:
        count, first = len(report.left_out), report.left_out[0]
        yield f"{count} lines could not be read; the first: {first}"


def _threshold(measure: Measure) -> str:
    bar = measure.bar
    if bar is None:
        return "none"
    return "everything is taken further" if bar.threshold > 1 else f"{bar.threshold:.3f}"


def _measured(measure: Measure) -> dict[str, Any]:
    threshold = None if measure.bar is None else measure.bar.threshold
    return {"threshold": threshold, "source": measure.source}


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _size(value: float) -> str:
    return human_size(math.ceil(value))


def _cost(value: float) -> str:
    return f"{value:.4g}"


_ROWS: Sequence[tuple[str, str, Callable[[float], str]]] = (
    ("calls", "calls", _count),
    ("on the device", "device", _count),
    ("nearby", "nearby", _count),
    ("in the cloud", "cloud", _count),
    ("failed", "failed", _count),
    ("remote calls", "remote_calls", _count),
    ("escalated", "escalated", _percent),
    ("bytes up", "up_bytes", _size),
    ("bytes down", "down_bytes", _size),
    ("cost", "cost", _cost),
    ("mean", "mean_s", duration),
    ("p50", "p50_s", duration),
    ("p95", "p95_s", duration),
    ("p99", "p99_s", duration),
    ("degraded", "degraded", _count),
    ("late", "late", _count),
)
