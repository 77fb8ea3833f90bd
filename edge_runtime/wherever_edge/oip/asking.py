"""Calls as they were asked: what is read of a request before a model answers it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.errors import InputError, RefusedError
from wherever_contracts.places import PRIORITIES, Priority
from wherever_contracts.urgency import CALM, Urgency
from wherever_contracts.wire.asked import PRIORITY_KEY

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import InferRequest, InferResponse, Parameters
    from wherever_edge.loaded import LoadedVariant
    from wherever_edge.oip.admission import Caller, Grant

_PRIORITIES: dict[object, Priority] = {priority: priority for priority in PRIORITIES}


class Known(NamedTuple):
    """What is the same for every call of a loaded variant."""

    outputs: tuple[str, ...]
    options: frozenset[str]
    digest: str
    parameters: Parameters


class Plan(NamedTuple):
    """What a call's words ask for: what is to run, with which options, for which outputs."""

    loaded: LoadedVariant
    known: Known
    names: Sequence[str]
    options: Mapping[str, float]

    def fits(self, request: InferRequest, before: InferRequest) -> bool:
        """Whether the plan for the one `before`, of the same model, is that for `request` too.

        Options are read each time: 1 and True are equal, and only one of them is a number.
        """
        return (
            request.parameters == before.parameters
            and request.version == before.version
            and request.outputs == before.outputs
            and request.classes == before.classes
            and self.known.options.isdisjoint(request.parameters)
        )


class Asked(NamedTuple):
    """A call that was read: what is to run, on what."""

    request: InferRequest
    grant: Grant
    plan: Plan
    inputs: Mapping[str, Any]


def text_of(parameters: Parameters, name: str) -> str:
    """A parameter that is a text; "" when it is not there.

    Raises:
        InputError: it is something else.
    """
    value = parameters.get(name, "")
    if not isinstance(value, str):
        raise InputError(name, "a string parameter", repr(value))
    return value


def urgency_of(parameters: Parameters, caller: Caller) -> Urgency:
    """How much a call can wait, as it says and as its caller does."""
    priority = _PRIORITIES.get(parameters.get(PRIORITY_KEY), CALM.priority)
    left_s = caller.time_remaining()
    deadline = None if left_s is None else perf_counter() + left_s
    return Urgency(priority, deadline, lambda: not caller.is_active())


def alike(asked: Sequence[Asked | InferResponse | Exception]) -> Iterable[dict[int, Asked]]:
    """Calls by their positions, those together that run the same variant with the same options."""
    groups: dict[object, dict[int, Asked]] = {}
    for at, each in enumerate(asked):
        if isinstance(each, Asked):
            plan = each.plan
            key = id(plan.loaded), tuple(sorted(plan.options.items())) if plan.options else ()
            groups.setdefault(key, {})[at] = each
    return groups.values()


def other_signature(loaded: LoadedVariant) -> RefusedError:
    """The error of a call whose caller knows another signature than is served."""
    return RefusedError(
        f"the caller's signature of {loaded.package.name!r} is not that of version "
        f"{loaded.package.version}, which is served here; update the package on one side"
    )


def chosen(wanted: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """The outputs that a call wants; all of them when it names none.

    Raises:
        InputError: there is no output of such a name.
    """
    for name in wanted:
        if name not in known:
            raise InputError(name, f"an output's name ({', '.join(known)})", "an unknown name")
    return wanted or known
