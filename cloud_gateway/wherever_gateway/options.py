"""How a gateway is to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wherever_edge.hosting import HostOptions, host_options
from wherever_edge.oip.client import MAX_BYTES
from wherever_gateway.config.review import asked_protection
from wherever_gateway.config.schema import OFF, GatewayConfig, Telemetry
from wherever_gateway.securing import SecurityOptions

if TYPE_CHECKING:
    from wherever_contracts.places import Place


def _quiet() -> GatewayConfig:
    return GatewayConfig(telemetry=Telemetry(log="off"))


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """How a gateway is to run.

    Attributes:
        packages: where models are; the wheel's own when there are none.
        address: what to listen on.
        grpc_port: 0 takes any free port.
        http_port: 0 takes any free port, None serves no HTTP.
        host: how it uses its machine.
        grace_s: how long calls that run may take when the gateway stops.
        max_bytes: the largest message.
        home: where archives are unpacked, and where signed updates put their packages, which are
            served too, and followed while it runs, and where usage is kept; None for none.
        security: how it is to protect itself.
        place: where it stands as its callers see it.
        metrics_address: what the listener for metrics listens on.
        metrics_port: 0 takes any free port, None serves no metrics.
        config: tenants, backends, rules for models, state and telemetry; its other tables are what
            the options were made from.
        reread: reads the configuration again, for a reload; None when it cannot change.
    """

    packages: tuple[Path, ...] = ()
    address: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int | None = 8000
    host: HostOptions = field(default_factory=HostOptions)
    grace_s: float = 10.0
    max_bytes: int = MAX_BYTES
    home: Path | None = None
    security: SecurityOptions = field(default_factory=SecurityOptions)
    place: Place = "cloud"
    metrics_address: str = "127.0.0.1"
    metrics_port: int | None = None
    config: GatewayConfig = field(default_factory=_quiet)
    reread: Callable[[], GatewayConfig] | None = None


def options_of(config: GatewayConfig, home: Path, *, show_first_key: bool) -> GatewayOptions:
    """The options that a configuration stands for.

    Args:
        config: the configuration.
        home: where state is kept.
        show_first_key: whether a first key, when one is needed, is made and shown.

    Raises:
        SettingsError: a file of settings cannot be read.
    """
    listen = config.listen
    return GatewayOptions(
        packages=config.serving.packages,
        address=listen.address,
        grpc_port=listen.grpc_port,
        http_port=None if listen.http_port == OFF else int(listen.http_port),
        host=_host_options(config),
        grace_s=listen.grace_s,
        max_bytes=listen.max_bytes,
        home=home,
        security=_security(config, home, show_first_key=show_first_key),
        place=config.serving.place,
        metrics_address=listen.metrics_address,
        metrics_port=None if listen.metrics_port == OFF else int(listen.metrics_port),
        config=config,
    )


def _host_options(config: GatewayConfig) -> HostOptions:
    serving = config.serving
    options = host_options(
        profile=serving.profile,
        runs=serving.runs,
        max_waiting=serving.max_waiting,
        isolation=serving.isolation,
        memory_max_mib=serving.memory_max_mib,
        batching=serving.batching,
    )
    return replace(options, threads=serving.threads)


def _security(config: GatewayConfig, home: Path, *, show_first_key: bool) -> SecurityOptions:
    asked = asked_protection(config)
    return SecurityOptions(
        directory=home / "keys",
        tls=asked.tls,
        keys=asked.keys,
        insecure=asked.insecure,
        certificate_file=config.tls.certificate_file,
        key_file=config.tls.key_file,
        show_first_key=show_first_key,
        reached_by=asked.reached_by,
    )
