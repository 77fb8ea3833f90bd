"""What stands around the host of a gateway: tenants, backends, state, and what watches them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

from wherever_contracts.errors import ForbiddenError, missing_extra
from wherever_edge.oip.elsewhere import nowhere
from wherever_gateway.model_repository import ModelRepository
from wherever_gateway.state.location import default_url
from wherever_gateway.tenants.rules import Quota, Rules, TenantRules
from wherever_gateway.watching.watch import Watch, WatchOptions

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_edge.host import LocalHost
    from wherever_edge.oip.admission import Admission, Caller
    from wherever_edge.oip.elsewhere import Finder
    from wherever_gateway.backends.backends import Backends
    from wherever_gateway.config.schema import GatewayConfig, Tenant
    from wherever_gateway.options import GatewayOptions
    from wherever_gateway.securing import Secured
    from wherever_gateway.state.state import State
    from wherever_gateway.tenants.admission import Tenants

# calls on their way to backends at a time, however few are let in
_LEAST_BEHIND = 16

Methods: TypeAlias = "Mapping[str, Callable[[bytes, Caller], bytes]]"


class Parts:
    """What stands around a host, from its start to its end. Made by `open_parts`.

    Attributes:
        watch: counts, traces and logs.
        state: what is kept across restarts; None without the extra that it takes.
        backends: the servers behind this one.
        tenants: who may do what; None without the extra that it takes.
        repository: the protocol's model repository; None without tenants.
        admission: decides about every call.
    """

    def __init__(
        self,
        host: LocalHost,
        config: GatewayConfig,
        watch: Watch,
        backends: Backends | None,
        state: State | None,
    ) -> None:
        self.watch = watch
        self.state = state
        self.backends = backends
        self.tenants: Tenants | None = None
        self.repository: ModelRepository | None = None
        self.admission: Admission | None = None
        self._host = host
        self._rules = rules_of(config.tenants)

    @property
    def elsewhere(self) -> Finder:
        """Finds the backend that answers for a model."""
        return nowhere if self.backends is None else self.backends

    def named_elsewhere(self) -> Collection[str]:
        """The models of backends that are named in full."""
        return () if self.backends is None else self.backends.models

    def place_of(self, model: str) -> Place:
        """Where the calls for a model are answered."""
        behind = None if self.backends is None else self.backends.find(model)
        return self._host.distance if behind is None else behind.backend.standing.place

    @property
    def methods(self) -> Methods:
        """Further methods of the protocol's gRPC service."""
        return {} if self.repository is None else self.repository.methods()

    def rules(self) -> Rules:
        """What every tenant may do now."""
        return self._rules

    def start(self) -> None:
        """Begin to write and to tell, before the first call.

        Raises:
            SettingsError: the metrics' address or port cannot be listened on.
        """
        if self.state is not None:
            self.state.start()
        self.watch.start(self._host)

    def status(self) -> dict[str, Any]:
        """How they stand, as plain data."""
        return {
            "backends": {} if self.backends is None else self.backends.status(),
            "state": "" if self.state is None else self.state.away,
        }

    def apply(self, config: GatewayConfig) -> None:
        """Go on with another configuration; calls that run end with what they began with.

        Raises:
            SettingsError: a backend cannot be used; nothing has changed.
        """
        rules = rules_of(config.tenants)
        if self.backends is not None:
            self.backends.reconfigure(config.backends)
        self._rules = rules
        self.watch.log.detail = config.telemetry.log

    def close(self) -> None:
        """After the last call: let go of the backends, write down what was counted, and stop."""
        with ExitStack() as last_first:
            if self.state is not None:
                last_first.callback(self.state.close)
            last_first.callback(self.watch.close)
            if self.backends is not None:
                last_first.callback(self.backends.close)


class Unadministered:
    """The rights at a gateway that strangers reach without what is needed there.

    Args:
        tenants: who may see what.
    """

    def __init__(self, tenants: Tenants) -> None:
        self.may_see = tenants.may_see

    def check_admin(self, caller: Caller) -> None:
        """Let nobody administer it, whatever key they bring: anybody could have read it.

        Raises:
            ForbiddenError: always.
        """
        raise ForbiddenError(
            "this gateway is reached by others without TLS or keys, so nobody administers it; "
            "start it without --insecure"
        )


def open_parts(
    options: GatewayOptions, host: LocalHost, secured: Secured, refresh: Callable[[], object]
) -> Parts:
    """Make what stands around a host, as a configuration says.

    Args:
        options: how the gateway is to run.
        host: where the models are.
        secured: its keys.
        refresh: looks for packages again, and serves what is there then.

    Raises:
        SettingsError: something that the configuration names cannot be used.
        MissingExtraError: it asks for something that is not installed.
    """
    config = options.config
    watch = Watch(_watching(options))
    parts = Parts(host, config, watch, _backends(options, host), _state(options))
    _admit(parts, config, host, secured, refresh)
    return parts


def rules_of(tenants: Mapping[str, Tenant]) -> Rules:
    """The rules that a configuration's tables stand for."""
    return Rules({pattern: _tenant(tenant) for pattern, tenant in tenants.items()})


def _tenant(tenant: Tenant) -> TenantRules:
    quotas = [Quota(q.requests, q.bytes, q.concurrency, q.per) for q in tenant.quotas]
    return TenantRules(
        tenant.models, tenant.boundary, tenant.priority, tenant.weight, tuple(quotas)
    )


def _admit(
    parts: Parts,
    config: GatewayConfig,
    host: LocalHost,
    secured: Secured,
    refresh: Callable[[], object],
) -> None:
    """Set who decides about calls, and who may administer."""
    from wherever_edge.oip.admission import Open  # noqa: PLC0415 (with the server)

    if parts.state is None:
        if config.tenants:
            raise missing_extra("keeping tenants apart", "gateway")
        parts.admission = parts.watch.admission(Open())
        return
    from wherever_gateway.tenants.admission import Tenants  # noqa: PLC0415 (an extra)

    parts.tenants = Tenants(
        parts.rules,
        parts.state,
        place_of=parts.place_of,
        keys=secured.keys,
        keys_needed=secured.protection.keys,
    )
    parts.admission = parts.watch.admission(parts.tenants)
    rights = Unadministered(parts.tenants) if secured.protection.exposed else parts.tenants
    parts.repository = ModelRepository(host, rights, parts.watch.statistics, refresh)


def _watching(options: GatewayOptions) -> WatchOptions:
    telemetry = options.config.telemetry
    return WatchOptions(
        metrics_port=options.metrics_port,
        metrics_address=options.metrics_address,
        log=telemetry.log,
        traces=telemetry.traces,
        otlp_endpoint=telemetry.otlp_endpoint,
    )


def _backends(options: GatewayOptions, host: LocalHost) -> Backends | None:
    """The backends; None where there are none and never will be."""
    if not options.config.backends and options.reread is None:
        return None
    from wherever_gateway.backends.backends import Backends  # noqa: PLC0415 (not all have them)

    most = max(_LEAST_BEHIND, host.queue.places // 2)  # the other threads are for models here
    return Backends(options.config.backends, max_bytes=options.max_bytes, most=most)


def _state(options: GatewayOptions) -> State | None:
    """What is kept; None without the extra that it takes.

    Raises:
        SettingsError: the database's URL cannot be used.
        MissingExtraError: one was asked for, and that extra is not installed.
    """
    said = options.config.state
    url = said.url.get_secret_value() if said.url is not None else None
    if url is None and options.home is not None:
        url = default_url(options.home)
    if not all(map(find_spec, ("limits", "sqlalchemy", "alembic"))):
        if said.url is None:
            return None
        raise missing_extra("keeping usage", "gateway")
    from wherever_gateway.state.state import State  # noqa: PLC0415 (an extra)

    return State(url, every_s=said.usage_every_s)
