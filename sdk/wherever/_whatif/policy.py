"""The policy that a what-if is about: a small TOML file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, cast

from wherever._escalation.budget import check_budget
from wherever._escalation.purse import Prices
from wherever._escalation.words import AUDIT_SHARE, CONFIDENCE, Aim, Budget
from wherever._routing.plan import check_words
from wherever_contracts.errors import InputError, SettingsError
from wherever_contracts.places import Boundary, Mode, Place

EXAMPLE = """\
# What is left out stays as it was when the calls were recorded.
mode = "auto"            # or prefer_on_device, only_on_device, prefer_in_cloud, only_in_cloud
places = ["device", "cloud"]
boundary = "anywhere"    # or device, site
deadline_s = 0.5         # inf: none
max_disagreement = 0.02  # with `confidence`, 0.95 by itself
min_confidence = 0.8
budget = { calls = 600 } # per hour; also bytes, cost
audit_share = 0.05
remote_timeout_s = 2.0
cost_per_call = 0.0001
cost_per_gb = 0.09
"""


class Policy(NamedTuple):
    """How calls are to be answered, and what that costs; None: as when they were recorded.

    Attributes:
        mode: which distances, in which order.
        places: the distances allowed.
        boundary: how far inputs may travel.
        deadline_s: when answers are wanted; infinity: whenever they come.
        max_disagreement: the share of answers that may differ from the reference's.
        confidence: how sure that is to hold.
        min_confidence: an answer with less is taken further.
        budget: what escalations may come to per hour.
        audit_share: of the answers that are not taken further, the share asked of the reference
            all the same, where something is promised.
        remote_timeout_s: the longest that a remote host may take for a call without a deadline.
        cost_per_call: of each call to a gateway.
        cost_per_gb: of each 10^9 bytes to gateways and back.
    """

    mode: Mode | None = None
    places: tuple[Place, ...] | None = None
    boundary: Boundary | None = None
    deadline_s: float | None = None
    max_disagreement: float | None = None
    confidence: float = CONFIDENCE
    min_confidence: float | None = None
    budget: Budget | None = None
    audit_share: float = AUDIT_SHARE
    remote_timeout_s: float = 2.0
    cost_per_call: float = 0.0
    cost_per_gb: float = 0.0

    @property
    def aim(self) -> Aim:
        """What calls ask of escalation."""
        return Aim(self.max_disagreement, self.confidence, self.min_confidence, self.budget)

    def filled(self, aim: Aim) -> Policy:
        """The policy, with what it leaves out of escalation as calls asked it that were recorded.

        A promise and a least confidence belong together: one that is named replaces both.
        """
        policy = self._replace(budget=self.budget or aim.budget)
        if (self.max_disagreement, self.min_confidence) != (None, None):
            return policy
        usual = self.confidence == CONFIDENCE
        return policy._replace(
            max_disagreement=aim.max_disagreement,
            confidence=aim.confidence if usual else self.confidence,
            min_confidence=aim.min_confidence,
        )

    @property
    def prices(self) -> Prices:
        """What gateways cost."""
        return Prices(self.cost_per_call, self.cost_per_gb)


def policy_of(given: Mapping[str, Any]) -> Policy:
    """The policy that a file holds.

    Raises:
        SettingsError: it has a name or a value that does not exist, or none at all.
    """
    if not given:
        raise SettingsError(f"the policy is empty; it may hold {', '.join(Policy._fields)}")
    for name in given:
        if name not in Policy._fields:
            raise SettingsError(_unknown(name))
    values = dict(given)
    if isinstance(values.get("places"), list):
        values["places"] = tuple(values["places"])
    _check_words(values)
    for name, (fits, expected) in _NUMBERS.items():
        if name not in values:
            continue
        value = values[name]
        if not (_is_number(value) and fits(value)):
            raise SettingsError(f"{name} in the policy is {expected}, not {value!r:.80}")
    if "budget" in values:
        values["budget"] = _budget(values["budget"])
    return Policy(**values)


def _unknown(name: str) -> str:
    near = get_close_matches(name, Policy._fields, n=1)
    meant = f"; do you mean {near[0]!r}?" if near else ""
    return f"a policy has no {name!r} (there are: {', '.join(Policy._fields)}){meant}"


def _check_words(values: Mapping[str, Any]) -> None:
    words = {name: values[name] for name in ("mode", "boundary") if name in values}
    for name, value in words.items():
        if not isinstance(value, str):
            raise SettingsError(f"{name} in the policy is a word, not {value!r:.80}")
    places = values.get("places", ())
    if not _are_words(places):
        raise SettingsError(f"places in the policy is a list of words, not {places!r:.80}")
    check_words(**words, places=places)


def _budget(given: object) -> Budget | None:
    if not isinstance(given, Mapping):
        raise SettingsError(f"budget in the policy is a table of amounts, not {given!r:.80}")
    try:
        return check_budget(cast("Mapping[str, float]", given))
    except InputError as error:
        raise SettingsError(f"{error}") from error


def _are_words(value: Any) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(each, str) for each in cast("tuple[object, ...]", value)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: float) -> bool:
    return value > 0


def _amount(value: float) -> bool:
    return 0 <= value < math.inf


def _share(value: float) -> bool:
    return 0 <= value <= 1


def _between(value: float) -> bool:
    return 0 < value < 1


_NUMBERS: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "deadline_s": (_positive, "seconds, more than 0 (inf: no deadline)"),
    "max_disagreement": (_between, "a share between 0 and 1"),
    "confidence": (_between, "a probability between 0 and 1"),
    "min_confidence": (_share, "a confidence from 0 to 1"),
    "audit_share": (lambda value: 0 <= value < 1, "a share from 0 to below 1"),
    "remote_timeout_s": (lambda value: 0 < value < math.inf, "seconds, more than 0"),
    "cost_per_call": (_amount, "a number, 0 or more"),
    "cost_per_gb": (_amount, "a number, 0 or more"),
}
