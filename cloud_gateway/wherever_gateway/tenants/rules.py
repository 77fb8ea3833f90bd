"""What an operator allows to whom. Pure.

A tenant is whoever calls with the API keys of one name. The first pattern that fits its name says
what it may do; the pattern `default` stands for all that no other fits. Patterns are those of the
shell (`fnmatch`), and capital letters count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from wherever_contracts.places import PRIORITIES, Boundary, Priority
from wherever_contracts.wire.asked import RAW_MARK
from wherever_gateway.config.amounts import Rate, parse_bytes_rate, parse_requests

Per: TypeAlias = Literal["tenant", "model"]

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Quota:
    """What may be used in a span of time, or at a time; what is None has no limit.

    Attributes:
        requests: calls, as in "100/second".
        bytes: bytes of requests, as in "1GB/hour".
        concurrency: calls at a time.
        per: whether a tenant has it for all models together, or for each.

    Raises:
        ValueError: an amount is none, with what was expected.
    """

    requests: str | None = None
    bytes: str | None = None
    concurrency: int | None = None
    per: Per = "tenant"

    def __post_init__(self) -> None:
        self.request_rate()
        self.bytes_rate()
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"expected a concurrency of at least 1, found {self.concurrency}")

    def request_rate(self) -> Rate | None:
        """`requests` as a number of calls in so many seconds."""
        return None if self.requests is None else parse_requests(self.requests)

    def bytes_rate(self) -> Rate | None:
        """`bytes` as a number of bytes in so many seconds."""
        return None if self.bytes is None else parse_bytes_rate(self.bytes)


@dataclass(frozen=True, slots=True)
class TenantRules:
    """What one tenant may do.

    Attributes:
        models: patterns of the models that it may use, and see.
        boundary: how far its calls may travel: answered only by what stands within.
        priority: the most urgent that its calls may be.
        weight: how large its share is beside the others', where calls have to wait.
        quotas: what it may use; a call has to fit all of them.
    """

    models: tuple[str, ...] = ("*",)
    boundary: Boundary = "anywhere"
    priority: Priority = "interactive"
    weight: float = 1.0
    quotas: tuple[Quota, ...] = ()

    def allows(self, model: str) -> bool:
        """Whether calls for the model, or for the tensors of one of its variants, are allowed."""
        name = model_name(model)
        return any(fnmatchcase(name, pattern) for pattern in self.models)

    def at_most(self, wish: Priority) -> Priority:
        """The priority of a call that asks for `wish`."""
        return PRIORITIES[max(PRIORITIES.index(wish), PRIORITIES.index(self.priority))]


class Rules:
    """What every tenant may do.

    Args:
        tenants: pattern of names -> what those may do, the first that fits first. Without a
            pattern that fits and without `default`, a tenant may do everything.
    """

    def __init__(self, tenants: Mapping[str, TenantRules] | None = None) -> None:
        given = dict(tenants or {})
        self._default = given.pop(DEFAULT, TenantRules())
        self._tenants = tuple(given.items())

    def of(self, tenant: str) -> TenantRules:
        """What the tenant may do; "" is who needs no key and has none."""
        fitting = (rules for pattern, rules in self._tenants if fnmatchcase(tenant, pattern))
        return next(fitting, self._default)


def model_name(asked: str) -> str:
    """The model that a call is about: itself, or the one whose variant `name--variant` names."""
    return asked.partition(RAW_MARK)[0]
