"""The record that every answer carries: what ran, where, why, and what else was considered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, Self

from wherever_contracts.places import Boundary, Mode, Place
from wherever_contracts.plain import from_plain
from wherever_contracts.tensors import Array


class Ran(NamedTuple):
    """What ran, read back from the runtime; the same for every call of one loaded variant."""

    model: str
    version: str
    variant: str
    package_digest: str
    variant_digest: str
    trust: str
    engine: str
    engine_version: str
    provider: str
    precision: str
    threads: int


class Answer(NamedTuple):
    """What one place gave: the signature's output tensors, and how they came about.

    Attributes:
        outputs: the signature's tensors by name.
        confidence: 0 to 1, or None when the variant declares no step that gives one.
        ran: what ran.
        engine_s: seconds inside the engine.
        cached: True when it was kept from an earlier call.
        protocol: how it travelled: "grpc" or "rest"; "" when it did not.
        queue_s: seconds that it waited for the engine.
        substituted: what ran in place of what was planned, and why; empty when the plan ran.
        rows: how many calls shared the run of the engine; another number can change the last bits.
        down_bytes: what travelled back; 0 when nothing did.
    """

    outputs: dict[str, Array]
    confidence: float | None
    ran: Ran
    engine_s: float
    cached: bool = False
    protocol: str = ""
    queue_s: float = 0.0
    substituted: tuple[str, ...] = ()
    rows: int = 1
    down_bytes: int = 0


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One try: where, how long it took, and how it ended.

    `outcome` is "answered", "given_up" (it was cancelled: another answer was taken), or an error's
    code. `released` is the package's rule that what was sent came out of, or "". `variant` and
    `confidence` are the answer's, `up_bytes` and `down_bytes` what travelled.
    """

    place: Place
    host: str
    outcome: str
    elapsed_s: float
    error: str = ""
    released: str = ""
    variant: str = ""
    confidence: float | None = None
    up_bytes: int = 0
    down_bytes: int = 0


class Expected(NamedTuple):
    """What a host was expected to take for a call, before anybody was asked.

    Attributes:
        latency_s: half of such calls take no longer.
        late_s: 95 of 100 take no longer.
        up_bytes: what would travel to it.
        samples: how many recent observations stand behind it; 0: a guess.
    """

    latency_s: float
    late_s: float
    up_bytes: int
    samples: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an answer came from and why.

    Attributes:
        id: the call's id; the answer's `id` too.
        host: "device", or the address of the box or gateway.
        reason: why this answer was given, in a sentence.
        attempts: every try, in order; the last one that answered is not always the one given.
        alternatives: places that were not tried -> why.
        total_s: from the call to the answer; engine_s: inside the engine.
        cache: "hit" when the answer was kept from an earlier call, "miss" when it was looked for
            and not there, "off" when nobody asked for it.
        protocol: how the answer travelled: "grpc" or "rest"; "" when it did not.
        passed_over: on the device, better variants and engines that could not be taken, and why.
        substituted: what ran in place of what was planned, and why; empty when the plan ran.
        queue_s: how long it waited for the engine.
        released: the package's rule that what was sent to the host came out of; "" when nothing
            was sent, or the input as it is.
        later: what becomes of the better answer that the call asked for; "" when it did not.
        rows: how many calls shared the run of the engine.
        expected: host -> what it was expected to take, of calls that are recorded; else empty.
    """

    id: str
    ran: Ran
    place: Place
    host: str
    reason: str
    degraded: bool
    mode: Mode
    boundary: Boundary
    deadline_s: float | None
    attempts: tuple[AttemptRecord, ...]
    alternatives: dict[str, str]
    total_s: float
    engine_s: float
    started_at: float = field(default=0.0)
    cache: Literal["hit", "miss", "off"] = "off"
    protocol: str = ""
    passed_over: tuple[str, ...] = ()
    substituted: tuple[str, ...] = ()
    queue_s: float = 0.0
    released: str = ""
    later: str = ""
    rows: int = 1
    expected: dict[str, Expected] = field(default_factory=dict[str, Expected])

    def __getattr__(self, name: str) -> Any:
        """What ran, by its own name: `receipt.variant`, `receipt.engine`, `receipt.trust`, ..."""
        if name in Ran._fields:
            return getattr(self.ran, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def to_dict(self) -> dict[str, Any]:
        """The receipt as plain data, ready for JSON."""
        data = {name: getattr(self, name) for name in _OWN}  # asdict takes ten times as long
        data["attempts"] = tuple(
            [{name: getattr(tried, name) for name in _OF_ATTEMPT} for tried in self.attempts]
        )
        data["alternatives"] = dict(self.alternatives)
        data["expected"] = {host: each._asdict() for host, each in self.expected.items()}
        return {"id": self.id, **self.ran._asdict(), **data}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The receipt that `to_dict` wrote, in this version or another, also after JSON.

        What a newer version says beside is left out; what an older one did not know is as if
        nothing had been given.

        Raises:
            ValueError: a field is missing, or of another type; the message names it.
        """
        said = from_plain(dict[str, Any], data, "receipt")
        ran = {name: said[name] for name in Ran._fields if name in said}
        return from_plain(cls, {**said, "ran": ran}, "receipt")


_OWN = tuple(each.name for each in fields(Receipt) if each.name not in ("id", "ran"))
_OF_ATTEMPT = tuple(each.name for each in fields(AttemptRecord))
