"""How it came out to run a call again, and the reasons there are for that. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from wherever_contracts.receipts import Ran, Receipt

End: TypeAlias = Literal["identical", "close", "different", "not_run"]

ENDS: Final[tuple[End, ...]] = ("identical", "close", "different", "not_run")

# Why bits may differ within a variant's tolerance, and it is no fault -> what people are told.
EXPLANATIONS: Final = {
    "engine": "another engine ran it",
    "engine_version": "another version of the engine ran it",
    "provider": "another part of the engine computed it",
    "precision": "it was computed in another precision",
    "threads": "it was computed by another number of threads",
    "shared_run": "it shared a run of the engine with other calls",
    "released": "what was sent came out of a release rule, and was made anew here",
    "kept": "it was kept from an earlier call, and how that one ran is not known",
    "other_host": "another host computed it, whose processor may round otherwise",
    "device_key": "its digests were made with another device's key, so its summary is compared",
}
# Why bits may differ, and somebody should look; or why a call cannot be run again.
FAILURES: Final = {
    "unsteady": "the same input gives other bits in each run here",
    "unknown": "nothing that is known of the call explains it",
    "package_missing": "its package is not here",
    "package_digest": "its package is here with other contents",
    "variant_missing": "its variant is not in the package",
    "not_here": "its variant does not run on this device",
    "not_said": "the host did not say what ran",
    "host": "the host that it was asked of again gave no answer",
    "inputs_not_kept": "its inputs were not kept",
    "damaged_input": "its inputs are damaged",
    "other_input": "the input that was given is another one",
    "no_answer_digest": "no digest of its answer was written down",
    "no_key": "its digests were made with another device's key, which is to lie beside receipts/",
    "failed": "running it failed",
}

_FACTS: Final = ("engine", "engine_version", "provider", "precision", "threads")


class Reason(NamedTuple):
    """Why a call does not give the same bits again, or cannot be run again.

    Attributes:
        code: one of `EXPLANATIONS` or `FAILURES`.
        why: in a sentence, with values.
        shown: it was tried, and so it is; else it may be.
    """

    code: str
    why: str
    shown: bool = False


class NotReplayableError(Exception):
    """A call cannot be run again here; `reason` says why."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.reason = Reason(code, why)


@dataclass(frozen=True, slots=True)
class Replayed:
    """How it came out to run a call again.

    Attributes:
        id: of the call.
        model: its name and version.
        variant: which answered.
        end: "identical" (bit by bit), "close" (within the tolerance that the variant is proven
            to), "different", or "not_run".
        reason: why it is not identical, as a code; "" when it is.
        why: the same in a sentence.
        far: it is known to be beyond that tolerance, and no reason was shown to make it so.
    """

    id: str
    model: str
    variant: str
    end: End
    reason: str = ""
    why: str = ""
    far: bool = False

    @property
    def same(self) -> bool:
        """Whether it gave the same bits."""
        return self.end == "identical"

    @property
    def settled(self) -> bool:
        """Whether it gave the same bits, or is known why it did not, and that is no fault."""
        if self.end == "not_run" or self.far:
            return False
        return self.same or self.reason in EXPLANATIONS

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, ready for JSON."""
        return asdict(self)


def identical(receipt: Receipt) -> Replayed:
    """That a call with this receipt gave the same bits again."""
    return Replayed(receipt.id, _model(receipt), receipt.ran.variant, "identical")


def not_run(receipt: Receipt, reason: Reason) -> Replayed:
    """That it could not be run again."""
    ran = receipt.ran
    return Replayed(receipt.id, _model(receipt), ran.variant, "not_run", reason.code, reason.why)


def apart(receipt: Receipt, reason: Reason, *, near: bool | None) -> Replayed:
    """That it gave other bits.

    Args:
        receipt: the call's.
        reason: why.
        near: whether the answer is within the variant's tolerance; None: nobody can tell.
    """
    end: End = "close" if near else "different"
    far = near is False and not reason.shown
    ran = receipt.ran
    return Replayed(receipt.id, _model(receipt), ran.variant, end, reason.code, reason.why, far)


def differing(receipt: Receipt, here: Ran) -> Reason | None:
    """What is known to be otherwise now than when the call was answered; None: nothing is.

    Args:
        receipt: the call's.
        here: what ran now.
    """
    found = [*_facts_apart(receipt.ran, here), *_ways_apart(receipt)]
    if not found:
        return None
    return Reason(found[0].code, "; ".join(reason.why for reason in found))


@dataclass(slots=True)
class Tally:
    """How many calls came out how.

    Attributes:
        ends: end -> calls.
        reasons: code -> calls.
        unsettled: calls that did not give the same bits, without an explanation.
    """

    ends: Counter[str] = field(default_factory=Counter[str])
    reasons: Counter[str] = field(default_factory=Counter[str])
    unsettled: int = 0

    @property
    def calls(self) -> int:
        """All of them."""
        return self.ends.total()

    def add(self, replayed: Replayed) -> None:
        """Count one more."""
        self.ends[replayed.end] += 1
        if replayed.reason:
            self.reasons[replayed.reason] += 1
        self.unsettled += not replayed.settled

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, ready for JSON."""
        ends: dict[str, int] = {end: self.ends[end] for end in ENDS}
        reasons = dict(self.reasons.most_common())
        return {"receipts": self.calls, **ends, "reasons": reasons, "unsettled": self.unsettled}


def _model(receipt: Receipt) -> str:
    return f"{receipt.ran.model}@{receipt.ran.version}"


def _facts_apart(then: Ran, here: Ran) -> Iterator[Reason]:
    for name in _FACTS:
        before, now = getattr(then, name), getattr(here, name)
        if before != now:
            fact = name.replace("_", " ")
            yield Reason(name, f"{EXPLANATIONS[name]} ({fact} {before} then, {now} now)")


def _ways_apart(receipt: Receipt) -> Iterator[Reason]:
    if receipt.cache == "hit":
        yield Reason("kept", EXPLANATIONS["kept"])
    if receipt.rows > 1:
        yield Reason("shared_run", f"{EXPLANATIONS['shared_run']} ({receipt.rows} rows)")
    if receipt.released:
        yield Reason("released", f"{EXPLANATIONS['released']} ({receipt.released})")
    if receipt.place != "device":
        yield Reason("other_host", f"{EXPLANATIONS['other_host']} ({receipt.host})")
