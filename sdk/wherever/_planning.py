"""From a package and a call's options to a plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from wherever._escalation.words import NO_AIM, Aim
from wherever._routing.plan import Candidate, Plan, Release, check_words, make_plan
from wherever_contracts.places import stricter
from wherever_edge.updates.state import CHANNELS

if TYPE_CHECKING:
    from wherever_contracts.manifest import Manifest
    from wherever_contracts.places import Boundary, Mode, Place
    from wherever_contracts.releases import ReleaseRule


def plan_of(
    manifest: Manifest,
    mode: Mode,
    *,
    limits: tuple[Boundary, Boundary | None],
    places: Collection[Place] | None,
    candidates: Sequence[Candidate],
    aim: Aim | None = None,
) -> Plan:
    """Who may answer calls of a model.

    Args:
        manifest: of the model.
        mode: which distances, in which order.
        limits: how far the client's settings and the call let the data travel; None: the call
            does not say.
        places: narrows the distances further.
        candidates: every host there is.
        aim: what the call asks of escalation; None: nothing.

    Raises:
        SettingsError: a mode, boundary or place that does not exist.
    """
    wished, called = limits
    if called is not None:
        check_words(boundary=called)
        wished = stricter(wished, called)
    return make_plan(
        model=manifest.name,
        mode=mode,
        boundary=stricter(manifest.boundary, wished),
        places=places,
        candidates=candidates,
        thresholds=_thresholds(manifest, aim),
        reference=manifest.reference,
        releases=[
            Release(rule.name, stricter(rule.boundary, wished))
            for rule in sendable(manifest).values()
        ],
        aim=aim or NO_AIM,
    )


def _thresholds(manifest: Manifest, aim: Aim | None) -> dict[str, float]:
    """The least confidence of each variant's answers: what the call says, or else the package."""
    least = None if aim is None else aim.min_confidence
    if least is not None:
        return {variant.id: least for variant in manifest.variants}
    below = {variant.id: variant.escalate_below for variant in manifest.variants}
    return {id_: threshold for id_, threshold in below.items() if threshold is not None}


def sendable(manifest: Manifest) -> dict[str, ReleaseRule]:
    """The release rules of plain calls: what only a chain can make is for a chain to send."""
    return {rule.name: rule for rule in manifest.release if not rule.needs_box}


def wire_version(name: str, version: str) -> str:
    """The version to ask a box or gateway for: none when the model was named without one.

    They know no channels: what a channel means is said by its version.

    Args:
        name: the model as the caller named it: "people", "people@2.1", "people@canary".
        version: the version in use here.
    """
    wanted = name.partition("@")[2]
    return version if wanted in CHANNELS else wanted
