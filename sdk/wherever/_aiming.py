"""What calls ask of escalation, from their arguments and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from wherever._escalation.words import CONFIDENCE, NO_AIM, Aim, Budget
from wherever_contracts.errors import InputError

if TYPE_CHECKING:
    from wherever._settings import Settings


_EXAMPLES = {"max_disagreement": 0.02, "confidence": CONFIDENCE}


def aim_of(settings: Settings) -> Aim | None:
    """What calls ask that say nothing of it; None: nothing."""
    limits = (settings.budget_calls, settings.budget_bytes, settings.budget_cost)
    aim = Aim(
        settings.max_disagreement,
        settings.confidence,
        settings.min_confidence,
        None if limits == (None, None, None) else Budget(*limits),
    )
    return aim if aim != NO_AIM else None


def aimed(
    usual: Aim | None,
    max_disagreement: float | None,
    confidence: float | None,
    min_confidence: float | None,
    budget: Mapping[str, float] | Budget | None,
) -> Aim | None:
    """What a call asks; what it leaves out is as usual. None: nothing.

    Raises:
        InputError: an argument is no such share or amount, or nothing is promised that
            `confidence` could be about.
    """
    if budget is not None:
        from wherever._escalation.budget import check_budget  # noqa: PLC0415 (few calls have one)

        budget = check_budget(budget)
    base = usual or NO_AIM
    aim = Aim(
        _given("max_disagreement", max_disagreement, base.max_disagreement, ends=False),
        _given("confidence", confidence, base.confidence, ends=False) or CONFIDENCE,
        _given("min_confidence", min_confidence, base.min_confidence, ends=True),
        budget or base.budget,
    )
    if confidence is not None and aim.max_disagreement is None:
        wanted = "max_disagreement beside it, which it is about (or was min_confidence meant?)"
        raise InputError("confidence", wanted, f"{confidence!r:.100} alone", kind="argument")
    return aim if aim.sets_a_bar else None


def recorded_share(given: float | None) -> float | None:
    """The share of calls to be recorded that a call gave, checked; None: it did not say.

    Raises:
        InputError: it is neither True nor False nor a number from 0 to 1.
    """
    if given is None or given is True or given is False:
        return given
    try:
        if 0 <= given <= 1:
            return float(given)
    except TypeError:
        pass  # it is no number
    wanted = "True, False, or the share of calls, from 0 to 1"
    raise InputError("record", wanted, f"{given!r:.100}", kind="argument")


def _given(name: str, value: float | None, usual: float | None, *, ends: bool) -> float | None:
    """A share that a call gave, checked; `ends`: 0 and 1 are such shares, too."""
    if value is None:
        return usual
    try:
        if not isinstance(value, bool) and (0 < value < 1 or (ends and value in (0, 1))):
            return float(value)
    except TypeError:
        pass  # it is no number
    between = "from 0 to 1" if ends else f"between 0 and 1, such as {_EXAMPLES[name]}"
    raise InputError(name, f"a share {between}", f"{value!r:.100}", kind="argument")
