"""When a figure that was measured again still is what a certificate says. Pure.

On the very samples of the certificate there is no chance in the draw: answers may differ where
engines and processors round otherwise, and no more. On other samples both figures are draws from
the same world, and must be able to stand for one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from wherever_contracts.certificate import Certificate, Interval

# What rounding may change on the very samples of the certificate.
_POINTS = 0.005
_ANSWERS = 2
# On another processor, or in another version of an engine, twice that.
_ELSEWHERE = 2.0


class Again(NamedTuple):
    """What was measured now: the metric, and how much less it is than the reference's.

    `drop` is None where the reference was not measured; `same_data` and `same_machine` say whether
    samples and machine are the certificate's.
    """

    metric: Interval
    drop: float | None
    n: int
    same_data: bool
    same_machine: bool


def metric_failures(certificate: Certificate, again: Again) -> list[str]:
    """Why what was measured now is not what was certified; empty when it is."""
    metric = certificate.metric
    low, high = _bounds(certificate, again)
    failures: list[str] = []
    if not low <= again.metric.value <= high:
        failures.append(
            f"{metric.name} is {again.metric.value:.4f} here; it was certified as "
            f"{metric.value:.4f}, and may be {low:.4f} to {high:.4f}"
        )
    most = metric.drop + _slack(certificate, again)
    if again.drop is not None and again.drop > most:
        failures.append(
            f"{metric.name} is {again.drop:.4f} less than the reference's here; "
            f"{metric.drop:.4f} less was certified, and at most {most:.4f} is allowed"
        )
    return failures


def same_machine(certified: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether answers must be the same: the same processor, with the same instructions."""
    deciding = ("system", "processor", "features", "onednn_max_cpu_isa")
    return all(certified.get(name) == here.get(name) for name in deciding)


def _slack(certificate: Certificate, again: Again) -> float:
    """What the difference of two variants on the same samples may change."""
    gap = max(_POINTS, _ANSWERS / again.n)
    if not again.same_data:
        gap = max(gap, (certificate.metric.high - certificate.metric.low) / 2)
    return gap if again.same_machine else gap * _ELSEWHERE


def _bounds(certificate: Certificate, again: Again) -> tuple[float, float]:
    """From where to where the metric may be."""
    metric, gap = certificate.metric, _slack(certificate, again)
    if again.same_data:
        return metric.value - gap, metric.value + gap
    own = again.metric
    return metric.low - (own.high - own.value) - gap, metric.high + (own.value - own.low) + gap
