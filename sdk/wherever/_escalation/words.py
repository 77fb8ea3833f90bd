"""The words of escalation: what a call asks of it, what is known, and what comes of it."""

from __future__ import annotations

from typing import NamedTuple

from wherever_edge.certification.words import CONFIDENCE, NOTHING_IS_SURE, Alarm

__all__ = [
    "AUDIT_SHARE",
    "CONFIDENCE",
    "NOTHING_IS_SURE",
    "NO_AIM",
    "PACED",
    "Aim",
    "Alarm",
    "Bar",
    "Budget",
    "Pair",
]


AUDIT_SHARE = 0.05
"""The share of the given answers that are compared with the reference's, unless told otherwise."""


class Budget(NamedTuple):
    """What escalations and audits may come to within any hour; None: as much as there is.

    Attributes:
        calls: calls to other hosts.
        bytes: what travels to them and back.
        cost: what they cost, in the unit of the settings `cost_per_call` and `cost_per_gb`.
    """

    calls: float | None = None
    bytes: float | None = None
    cost: float | None = None


class Aim(NamedTuple):
    """What a call asks of escalation.

    Attributes:
        max_disagreement: the share of calls, in (0, 1), whose answers may differ from those of the
            reference; None: nothing is promised. Of detections and vectors it is the mean loss.
        confidence: how sure that is to hold, in (0, 1).
        min_confidence: an answer with less is taken further, whatever else is asked.
        budget: what that may come to.
    """

    max_disagreement: float | None = None
    confidence: float = CONFIDENCE
    min_confidence: float | None = None
    budget: Budget | None = None

    @property
    def sets_a_bar(self) -> bool:
        """Whether it says itself which answers are to be taken further."""
        given = self.max_disagreement, self.min_confidence, self.budget
        return given != (None, None, None)


NO_AIM = Aim()

PACED = "which the budget pays for"
"""Why a bar is where it is, when a budget sets it."""


class Pair(NamedTuple):
    """A call that both the variant and the reference answered.

    Attributes:
        confidence: the variant's, 0 to 1.
        loss: how far its answer is from the reference's, 0 to 1; of labels it is 0 or 1.
        probability: how likely it was, before, that the reference would be asked; in (0, 1].
    """

    confidence: float
    loss: float
    probability: float = 1.0


class Bar(NamedTuple):
    """What an answer of a variant must reach to be given as it is.

    Attributes:
        threshold: the least confidence; above 1: no answer reaches it.
        why: what sets it, in a few words; "": the package does.
        promised: an answer below it that is given all the same is a lesser one than asked for.
        wanted: the threshold where there is no budget for all that is below that; an answer between
            the two is given, as a lesser one than asked for.
    """

    threshold: float
    why: str = ""
    promised: bool = False
    wanted: float = 0.0
