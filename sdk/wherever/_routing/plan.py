"""Which hosts may answer a call, and in which order. Pure: state in, plan out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from wherever._escalation.words import NO_AIM, Aim
from wherever_contracts.errors import BoundaryError, SettingsError
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
    """A host that could answer.

    Attributes:
        unfit: why it cannot answer for this model, or "".
        release: the rule that what it is sent comes out of; "": it is sent the input as it is.
    """

    host: str
    place: Place
    unfit: str = ""
    release: str = ""


class Release(NamedTuple):
    """A rule of the package, and how far what comes out of it may travel in this call."""

    rule: str
    boundary: Boundary


@dataclass(frozen=True, slots=True)
class Plan:
    """What was decided for one model under one set of options.

    There is no plan that asks a host beyond the boundary: it cannot be made.

    Attributes:
        boundary: how far the call's inputs may travel as they are.
        attempts: the hosts to ask, in order.
        escalates: whether an answer of low confidence is taken further.
        wants_reference: whether other hosts are asked for the reference from the start, since
            something is promised about it; a host that lacks it gives what it has.
        thresholds: variant -> the confidence under which its answer is taken further.
        reference: the variant that an escalation asks for.
        degraded_from: an answer from any other place is a lesser one; None: none is.
        ruled_out: host -> why it will not be asked; "cloud" stands for the gateway that is
            needed where none is set.
        releases: the rules that let what comes out of them travel further, in order.
        aim: what the call asks of escalation.

    Raises:
        BoundaryError: one of the attempts lies beyond the boundary of what it would be sent.
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
    releases: tuple[Release, ...] = ()
    wants_reference: bool = False
    aim: Aim = NO_AIM

    def __post_init__(self) -> None:
        for candidate in self.attempts:
            limit = self.limit(candidate)
            if candidate.place not in WITHIN.get(limit, ()):
                raise BoundaryError(candidate.host, candidate.place, limit)

    def limit(self, candidate: Candidate) -> Boundary:
        """How far that may travel which `candidate` is sent; nowhere by a rule that is unknown."""
        if not candidate.release:
            return self.boundary
        return dict(self.releases).get(candidate.release, "device")


def make_plan(
    *,
    model: str,
    mode: Mode,
    boundary: Boundary,
    places: Collection[Place] | None,
    candidates: Sequence[Candidate],
    thresholds: Mapping[str, float],
    reference: str,
    releases: Sequence[Release] = (),
    aim: Aim = NO_AIM,
) -> Plan:
    """Order the hosts that may answer, and say why the others may not.

    A host outside the boundary is never in the plan, whatever mode and places say; unless a release
    rule reaches it, by which it is then asked.

    Args:
        model: the model's name.
        mode: which distances, in which order.
        boundary: how far the data may travel as it is.
        places: narrows the distances further; None allows all.
        candidates: every host there is, in the order of preference within one distance.
        thresholds: variant -> the confidence under which its answer is escalated.
        reference: the variant that an escalation asks for.
        releases: the rules by which derived data may travel further; the first that reaches counts.
        aim: what the call asks of escalation; where it promises or sets something, every mode takes
            unsure answers further.

    Raises:
        SettingsError: a mode, boundary or place that does not exist.
    """
    check_words(mode, boundary, places)
    rule = MODES[mode]
    ruled_out: dict[str, str] = {}
    allowed: list[Candidate] = []
    for candidate in candidates:
        release = _release_for(candidate.place, boundary, releases)
        reason = _why_not(candidate, mode, rule, boundary, release, places)
        if reason:
            ruled_out[candidate.host] = reason
        else:
            allowed.append(replace(candidate, release=release or ""))
    if rule.order[0] == "cloud" and all(each.place != "cloud" for each in candidates):
        ruled_out["cloud"] = NO_GATEWAY
    allowed.sort(key=lambda candidate: rule.order.index(candidate.place))
    return Plan(
        model=model,
        mode=mode,
        boundary=boundary,
        attempts=tuple(allowed),
        escalates=rule.escalates or aim.sets_a_bar,
        thresholds=thresholds,
        reference=reference,
        degraded_from=rule.order[0] if rule.preferred else None,
        ruled_out=ruled_out,
        releases=tuple(releases),
        wants_reference=aim.max_disagreement is not None,
        aim=aim,
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


def _release_for(place: Place, boundary: Boundary, releases: Sequence[Release]) -> str | None:
    """The rule by which a place may be asked; "": it needs none; None: no rule reaches it."""
    if place in WITHIN[boundary]:
        return ""
    return next((each.rule for each in releases if place in WITHIN[each.boundary]), None)


def _why_not(
    candidate: Candidate,
    mode: Mode,
    rule: ModeRule,
    boundary: Boundary,
    release: str | None,
    places: Collection[Place] | None,
) -> str:
    if release is None:
        return f"the boundary {boundary!r} keeps the data from going there"
    if candidate.place not in rule.order:
        return f"mode {mode!r} does not use it"
    if places is not None and candidate.place not in places:
        return (
            f"the call is for {' and '.join(places)} alone"
            if places
            else "the call is for no place"
        )
    return candidate.unfit
