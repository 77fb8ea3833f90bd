"""What a call sends to hosts: its inputs as they are, or what a release rule makes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from wherever_contracts.receipts import Answer
from wherever_edge.egress.release import Released, released, released_bytes
from wherever_edge.images import Image

if TYPE_CHECKING:
    from wherever._routing.plan import Plan
    from wherever._routing.steps import Outcome
    from wherever_contracts.manifest import Signature
    from wherever_contracts.releases import ReleaseRule
    from wherever_contracts.wire.tensors import WireTensor
    from wherever_edge.wire_inputs import WireInputs


# An image that has no more as JPEG is encoded in about a millisecond.
_QUICK_BYTES = 64 * 1024


class Outgoing:
    """The inputs of one call as they travel; hosts that are asked alike are sent the same bytes.

    Args:
        inputs: the checked inputs.
        wire: writes them.
        rules: the release rules of the package, by name.
    """

    __slots__ = ("_inputs", "_released", "_rules", "_tensors", "_wire")

    def __init__(
        self, inputs: Mapping[str, Any], wire: WireInputs, rules: Mapping[str, ReleaseRule]
    ) -> None:
        self._inputs = inputs
        self._wire = wire
        self._rules = rules
        self._released: dict[str, Released] = {}
        self._tensors: dict[str, tuple[WireTensor, ...]] = {}

    def tensors(self, rule: str) -> tuple[WireTensor, ...]:
        """What is sent by this rule; "" sends the inputs as they are.

        Raises:
            InputError: an image is damaged, or cannot be encoded.
            MissingExtraError: Pillow is not installed.
        """
        tensors = self._tensors.get(rule)
        if tensors is None:
            inputs = self._made(rule).inputs if rule else self._inputs
            tensors = self._tensors[rule] = self._wire.write(inputs)
        return tensors

    def takes_long(self, rule: str) -> bool:
        """Whether it takes milliseconds to make what is sent by this rule: it is not made yet."""
        if rule in self._tensors:
            return False
        return bool(rule) or any(map(_takes_long, self._inputs.values()))

    def placement(self, rule: str) -> tuple[float, ...]:
        """Where what this rule made lies in the image that was given; empty without a rule."""
        return tuple(self._made(rule).placement) if rule else ()

    def restored(self, rule: str, outcome: Outcome, signature: Signature) -> Outcome:
        """An answer about what was sent by this rule, as one about the inputs."""
        if not isinstance(outcome, Answer):
            return outcome
        return self._made(rule).restored(outcome, signature)

    def _made(self, rule: str) -> Released:
        made = self._released.get(rule)
        if made is None:
            made = self._released[rule] = released(self._rules[rule], self._inputs)
        return made


class Beside:
    """A call that another thread makes ready and sends; call it to give the call up.

    Attributes:
        given_up: whether nobody waits for it any more.
    """

    __slots__ = ("_give_up", "_lock", "given_up")

    def __init__(self) -> None:
        self.given_up: bool = False
        self._give_up: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.given_up = True
            give_up = self._give_up
        if give_up is not None:
            give_up()

    def sent(self, give_up: Callable[[], None]) -> None:
        """Note that the call was sent, and what gives it up from now on."""
        with self._lock:
            self._give_up = give_up
            late = self.given_up
        if late:
            give_up()


def expected_bytes(plan: Plan, rules: Mapping[str, ReleaseRule], up_bytes: int) -> int:
    """About how many bytes a host is sent, where the inputs as they are have so many.

    The most that any host of the plan is sent; nothing is released to find out.
    """
    applied = {each.release for each in plan.attempts if each.place != "device"}
    if not applied or "" in applied:
        return up_bytes
    return max(released_bytes(rules[name], up_bytes) for name in applied)


def _takes_long(value: Any) -> bool:
    return isinstance(value, Image) and value.file is None and value.wire_bytes > _QUICK_BYTES
