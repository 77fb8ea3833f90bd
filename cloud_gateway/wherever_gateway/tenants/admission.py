"""Lets calls in by their tenant's rules and quotas, and counts what they used."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from wherever_contracts.errors import (
    ForbiddenError,
    ModelNotFoundError,
    OverloadedError,
    QuotaError,
)
from wherever_contracts.places import Boundary, Place
from wherever_contracts.wire.asked import IDEMPOTENCY_KEY
from wherever_edge.oip.calling import tenant_of
from wherever_gateway.tenants.digests import Sameness, sameness
from wherever_gateway.tenants.quotas import Quotas
from wherever_gateway.tenants.repeats import Repeats
from wherever_gateway.tenants.standing import Standing, Standings

if TYPE_CHECKING:
    from wherever_contracts.urgency import Urgency
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.admission import Caller, Served
    from wherever_edge.oip.keys import KeyChecker, KeyInfo
    from wherever_gateway.state.state import State
    from wherever_gateway.tenants.rules import Rules


def _in_the_cloud(_model: str) -> Place:
    return "cloud"


class Tenants:
    """The admission of a gateway: who may use what, and how much. Safe to use from many threads.

    Args:
        rules: what every tenant may do, as it is now; new rules are a new object.
        state: where usage and answers are kept.
        place_of: where the calls for a model are answered.
        keys: the API keys that there are; None where there can be none.
        keys_needed: whether calls need one.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        rules: Callable[[], Rules],
        state: State,
        *,
        place_of: Callable[[str], Place] = _in_the_cloud,
        keys: KeyChecker | None = None,
        keys_needed: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.usage = state.usage
        self.quotas = Quotas(clock)
        self.repeats = Repeats(state.kept)
        self._rules = rules
        self._standings = Standings(rules)
        self._place_of = place_of
        self._keys = keys
        self._keys_needed = keys_needed

    def admit(self, request: InferRequest, caller: Caller, urgency: Urgency) -> Granted:
        """Let a call in.

        Raises:
            ForbiddenError: its key may not use the model, or not where it is answered.
            QuotaError: its key has used up a quota; `retry_after_s` says until when.
            OverloadedError: the same call is being answered; it may come again for its answer.
            RefusedError: its idempotency key came before with other inputs.
            InputError: its idempotency key is none.
        """
        standing = self._standings.of(tenant_of(caller.key), request.model)
        n_bytes = caller.n_bytes
        try:
            standing.check(request.model, self._place_of)
            if standing.limits is not None:
                self.quotas.take(standing.limits, n_bytes)
        except (ForbiddenError, QuotaError):
            self.usage.refused(standing.tenant, standing.model)
            raise
        granted = Granted(self, standing, standing.urgency(urgency), n_bytes)
        if IDEMPOTENCY_KEY in request.parameters:
            granted.look_back(request)
        return granted

    def turned_away(self, key: KeyInfo | None, error: Exception) -> None:
        """Count a call that was refused unread, under no model."""
        self.usage.refused(tenant_of(key), "")

    def may_see(self, key: KeyInfo | None, model: str) -> bool:
        """Whether a model is shown to who brings this key."""
        try:
            self._standings.of(tenant_of(key), model).check(model, self._place_of)
        except ForbiddenError:
            return False
        return True

    def boundary(self, key: KeyInfo | None) -> Boundary:
        """How far the calls of who brings this key may travel."""
        return self._rules().of(tenant_of(key)).boundary

    def check_admin(self, caller: Caller) -> None:
        """Let a caller administer the gateway or not.

        Without a key it may as long as no key is needed and there is none.

        Raises:
            ForbiddenError: it may not.
        """
        key = caller.key
        if key is None:
            if self._keys_needed or (self._keys is not None and self._keys.any):
                raise ForbiddenError("this needs an API key with the role 'admin'")
        elif not key.may("admin"):
            raise ForbiddenError(
                f"this needs an API key with the role 'admin'; {key.name!r} has {key.role!r}"
            )


class Granted:
    """What one call was granted; see `wherever_edge.oip.admission.Grant`."""

    __slots__ = ("_n_bytes", "_open", "_same", "_standing", "_tenants", "kept", "urgency")

    def __init__(
        self, tenants: Tenants, standing: Standing, urgency: Urgency, n_bytes: int
    ) -> None:
        self.urgency = urgency
        self.kept: InferResponse | None = None
        self._tenants = tenants
        self._standing = standing
        self._n_bytes = n_bytes
        self._same: Sameness | None = None
        self._open = True

    @property
    def boundary(self) -> Boundary:
        """How far the call may travel."""
        return self._standing.boundary

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """None: who watches the call knows of its trace."""
        return ()

    def answered(self, response: InferResponse, served: Served) -> None:
        """The call has its answer."""
        if self._end(response):
            self._tenants.usage.answered(self._standing.tenant, served, self._n_bytes, response)

    def failed(self, error: BaseException) -> None:
        """The call has none."""
        if self._end(None):
            standing, usage = self._standing, self._tenants.usage
            model = "" if isinstance(error, ModelNotFoundError) else standing.model
            count = usage.refused if isinstance(error, OverloadedError) else usage.failed
            count(standing.tenant, model)

    def look_back(self, request: InferRequest) -> None:
        """Find the answer that a call with an idempotency key was given before.

        Raises:
            WhereverError: the call is not answered now, as `Tenants.admit` says; it has ended.
        """
        standing = self._standing
        try:
            same = sameness(standing.tenant, request)
            self.kept = self._tenants.repeats.begin(same)
        except BaseException as error:
            self.failed(error)
            raise
        if self.kept is None:
            self._same = same
        elif self._end(None):
            self._tenants.usage.repeated(standing.tenant, standing.model, self._n_bytes)

    def _end(self, response: InferResponse | None) -> bool:
        """Give back what the call held; False when that was done before."""
        if not self._open:
            return False
        self._open = False
        limits = self._standing.limits
        if limits is not None and limits.at_a_time:
            self._tenants.quotas.end(limits)
        if self._same is not None:
            self._tenants.repeats.end(self._same, response)
        return True
