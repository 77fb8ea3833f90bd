"""What holds for the calls of one tenant for one model, worked out once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from wherever_contracts.errors import ForbiddenError
from wherever_contracts.places import PRIORITIES, WITHIN, Boundary, Place
from wherever_contracts.urgency import Urgency
from wherever_gateway.tenants.quotas import limits_of
from wherever_gateway.tenants.rules import Rules, TenantRules, model_name

# What is remembered: names of models that nobody knows may come in any number. Those of a tenant
# that are too many are one model where quotas and usage go by the model.
_MOST_STANDINGS = 8192
_MOST_MODELS = 512

_AS_WISHED = PRIORITIES[0]


class Standing:
    """What holds for the calls of one tenant for one model.

    Attributes:
        tenant: the name of its API keys; "" without one.
        model: the name that quotas and usage go by.
        limits: what the calls have to fit; None when that is nothing.
        boundary: how far they may travel.
    """

    __slots__ = ("_allowed", "_places", "_rules", "boundary", "limits", "model", "tenant")

    def __init__(self, tenant: str, model: str, asked: str, rules: TenantRules) -> None:
        self.tenant = tenant
        self.model = model
        self.limits = limits_of(tenant, model, rules.quotas)
        self.boundary: Boundary = rules.boundary
        self._rules = rules
        self._allowed = rules.allows(asked)
        self._places: tuple[Place, ...] | None = (
            None if rules.boundary == "anywhere" else WITHIN[rules.boundary]
        )

    def check(self, asked: str, place_of: Callable[[str], Place]) -> None:
        """Let calls for a model pass or not.

        Raises:
            ForbiddenError: the tenant may not use it, or not where it is answered.
        """
        if not self._allowed:
            raise ForbiddenError(
                f"{self._who()} may not use the model {asked!r:.200}; it may use "
                f"{', '.join(self._rules.models) or 'none'}"
            )
        if self._places is not None and (place := place_of(asked)) not in self._places:
            raise ForbiddenError(
                f"{self._who()} has the boundary {self._rules.boundary!r}, and the model "
                f"{asked!r:.200} is answered beyond it ({place})"
            )

    def urgency(self, wish: Urgency) -> Urgency:
        """How urgent a call is that says it is as urgent as `wish`."""
        rules, priority = self._rules, wish.priority
        if rules.priority != _AS_WISHED:
            priority = rules.at_most(priority)
        return Urgency(priority, wish.deadline, wish.gone, self.tenant, rules.weight)

    def _who(self) -> str:
        return f"the API key {self.tenant!r}" if self.tenant else "who calls without an API key"


class Standings:
    """Finds what holds for a call, by rules that may change. Safe to use from many threads.

    Args:
        rules: what every tenant may do, as it is now; new rules are a new object.
    """

    def __init__(self, rules: Callable[[], Rules]) -> None:
        self._rules = rules
        self._seen: Rules | None = None
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Standing] = {}
        self._models: dict[str, set[str]] = {}

    def of(self, tenant: str, asked: str) -> Standing:
        """What holds for a tenant's calls for a model."""
        rules = self._rules()
        if rules is self._seen:
            known = self._known.get((tenant, asked))
            if known is not None:
                return known
        return self._learn(rules, tenant, asked)

    def _learn(self, rules: Rules, tenant: str, asked: str) -> Standing:
        with self._lock:
            if rules is not self._seen or len(self._known) >= _MOST_STANDINGS:
                self._known = {}
                self._seen = rules
            standing = Standing(tenant, self._name(tenant, asked), asked, rules.of(tenant))
            self._known[tenant, asked] = standing
            return standing

    def _name(self, tenant: str, asked: str) -> str:
        name = model_name(asked)
        names = self._models.setdefault(tenant, set())
        if name not in names:
            if len(names) >= _MOST_MODELS:
                return ""
            names.add(name)
        return name
