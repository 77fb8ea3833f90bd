"""Which hosts may answer a call, and in which order. Pure: state in, plan out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from wherever_contracts.errors import SettingsError
from wherever_contracts.places import (
    BOUNDARIES,
    PLACES,
    PRIORITIES,
    WITHIN,
    Boundary,
    Mode,
    Place,
    Priority,
)

NO_GATEWAY = "no gateway is set (gateways=[...], WHEREVER_GATEWAYS, or --gateway)"


class ModeRule(NamedTuple):
    """What a mode means.

    Attributes:
        order: the distances it allows, in the order they are asked.
        escalates: an answer of low confidence is worth asking the next host about.
        preferred: an answer from elsewhere than the first distance is a lesser one.
    """

    order: tuple[Place, ...]
    escalates: bool
    preferred: bool


MODES: Mapping[Mode, ModeRule] = {
    "auto": ModeRule(("device", "nearby", "cloud"), escalates=True, preferred=False),
    "prefer_on_device": ModeRule(("device", "nearby", "cloud"), escalates=False, preferred=False),
    "only_on_device": ModeRule(("device",), escalates=False, preferred=False),
    "prefer_in_cloud": ModeRule(("cloud", "nearby", "device"), escalates=False, preferred=True),
    "only_in_cloud": ModeRule(("cloud",), escalates=False, preferred=True),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host that could answer; `unfit` says why it cannot answer for this model, or is ""."""

    host: str
    place: Place
    unfit: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was decided for one model under one set of options.

    Attributes:
        attempts: the hosts to ask, in order.
        escalates: whether an answer of low confidence is taken further.
        thresholds: variant -> the confidence under which its answer is taken further.
        reference: the variant that an escalation asks for.
        degraded_from: an answer from any other place is a lesser one; None: none is.
        ruled_out: host -> why it will not be asked; "cloud" stands for the gateway that is
            needed where none is set.
    """

    model: str
    mode: Mode
    boundary: Boundary
    attempts: tuple[Candidate, ...]
    escalates: bool
    thresholds: Mapping[str, float]
    reference: str
    degraded_from: Place | None
    ruled_out: Mapping[str, str] = field(default_factory=dict[str, str])


def make_plan(
    *,
    model: str,
    mode: Mode,
    boundary: Boundary,
    places: Collection[Place] | None,
    candidates: Sequence[Candidate],
    thresholds: Mapping[str, float],
    reference: str,
) -> Plan:
    """Order the hosts that may answer, and say why the others may not.

    A host outside the boundary is never in the plan, whatever mode and places say.

    Args:
        model: the model's name.
        mode: which distances, in which order.
        boundary: how far the data may travel.
        places: narrows the distances further; None allows all.
        candidates: every host there is, in the order of preference within one distance.
        thresholds: variant -> the confidence under which its answer is escalated.
        reference: the variant that an escalation asks for.

    Raises:
        SettingsError: a mode, boundary or place that does not exist.
    """
    check_words(mode, boundary, places)
    rule = MODES[mode]
    within = WITHIN[boundary]
    ruled_out: dict[str, str] = {}
    allowed: list[Candidate] = []
    for candidate in candidates:
        reason = _why_not(candidate, mode, rule, boundary, within, places)
        if reason:
            ruled_out[candidate.host] = reason
        else:
            allowed.append(candidate)
    if mode == "only_in_cloud" and all(each.place != "cloud" for each in candidates):
        ruled_out["cloud"] = NO_GATEWAY
    allowed.sort(key=lambda candidate: rule.order.index(candidate.place))
    return Plan(
        model=model,
        mode=mode,
        boundary=boundary,
        attempts=tuple(allowed),
        escalates=rule.escalates,
        thresholds=thresholds,
        reference=reference,
        degraded_from=rule.order[0] if rule.preferred else None,
        ruled_out=ruled_out,
    )


def check_words(
    mode: Mode = "auto",
    boundary: Boundary = "anywhere",
    places: Collection[Place] | None = None,
    priority: Priority = "interactive",
) -> None:
    """Refuse words that do not exist.

    Raises:
        SettingsError: a mode, boundary, place or priority that does not exist, with those that do.
    """
    if mode not in MODES:
        raise SettingsError(f"mode {mode!r} does not exist (there are: {', '.join(MODES)})")
    if boundary not in WITHIN:
        known = ", ".join(BOUNDARIES)
        raise SettingsError(f"boundary {boundary!r} does not exist (there are: {known})")
    for place in places or ():
        if place not in PLACES:
            raise SettingsError(f"place {place!r} does not exist (there are: {', '.join(PLACES)})")
    if priority not in PRIORITIES:
        known = ", ".join(PRIORITIES)
        raise SettingsError(f"priority {priority!r} does not exist (there are: {known})")


def _why_not(
    candidate: Candidate,
    mode: Mode,
    rule: ModeRule,
    boundary: Boundary,
    within: Collection[Place],
    places: Collection[Place] | None,
) -> str:
    if candidate.place not in within:
        return f"the boundary {boundary!r} keeps the data from going there"
    if candidate.place not in rule.order:
        return f"mode {mode!r} does not use it"
    if places is not None and candidate.place not in places:
        return f"the call named other places ({', '.join(places) or 'none'})"
    return candidate.unfit
