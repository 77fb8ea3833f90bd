"""What a call sends to hosts: its inputs as they are, or what a release rule makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherever_contracts.receipts import Answer
from wherever_edge.egress.release import Released, released, released_bytes

if TYPE_CHECKING:
    from wherever._routing.plan import Plan
    from wherever._routing.steps import Outcome
    from wherever_contracts.manifest import Signature
    from wherever_contracts.releases import ReleaseRule
    from wherever_contracts.wire.tensors import WireTensor
    from wherever_edge.wire_inputs import WireInputs


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


def expected_bytes(plan: Plan, rules: Mapping[str, ReleaseRule], up_bytes: int) -> int:
    """About how many bytes a host is sent, where the inputs as they are have so many.

    The most that any host of the plan is sent; nothing is released to find out.
    """
    applied = {each.release for each in plan.attempts if each.place != "device"}
    if not applied or "" in applied:
        return up_bytes
    return max(released_bytes(rules[name], up_bytes) for name in applied)
