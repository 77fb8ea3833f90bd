"""What a configuration asks for, and what of it takes packages that are not installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from wherever_contracts.errors import missing_extra
from wherever_gateway.config.faults import Fault
from wherever_gateway.config.schema import OFF

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherever_gateway.config.schema import GatewayConfig


def has_http() -> bool:
    """Whether what serves HTTP is installed."""
    return _installed("starlette", "uvicorn", "httptools")


def has_metrics() -> bool:
    """Whether what serves metrics is installed."""
    return _installed("prometheus_client")


def keeps_usage() -> bool:
    """Whether what counts by tenant, and writes it down, is installed."""
    return _installed("limits", "sqlalchemy", "alembic")


def has_tracing() -> bool:
    """Whether what records and sends traces is installed."""
    # one after the other: looking inside a package that is not there is an error
    return _installed("opentelemetry") and _installed("opentelemetry.sdk", "opentelemetry.exporter")


def lacking(config: GatewayConfig) -> Iterator[Fault]:
    """What a file asks for and nothing here can do; each with what to do about it."""
    listen = config.listen
    if listen.http_port != OFF and not has_http():
        yield _fault("listen.http_port", "serving HTTP")
    if listen.metrics_port != OFF and not has_metrics():
        yield _fault("listen.metrics_port", "serving metrics")
    if config.tenants and not keeps_usage():
        yield Fault("tenants", str(missing_extra("keeping tenants apart", "gateway")))
    if config.telemetry.traces and not has_tracing():
        yield Fault("telemetry.traces", str(missing_extra("tracing", "telemetry")))


def as_installed(config: GatewayConfig) -> tuple[GatewayConfig, list[Fault]]:
    """What serves where nobody asked for anything: HTTP only where that is installed.

    Returns:
        The configuration, and a warning where it serves less.
    """
    if config.listen.http_port == OFF or has_http():
        return config, []
    words = f"only gRPC is served: {missing_extra('serving HTTP', 'gateway')}"
    listen = config.listen.model_copy(update={"http_port": OFF})
    served = config.model_copy(update={"listen": listen})
    return served, [Fault("listen.http_port", words, fatal=False)]


def _fault(key: str, what: str) -> Fault:
    return Fault(key, f'{missing_extra(what, "gateway")}; or say "{OFF}"')


def _installed(*packages: str) -> bool:
    return all(map(find_spec, packages))
