"""The configuration that holds: what a file says, and options of the command over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from wherever_gateway.config.faults import ConfigError, Fault
from wherever_gateway.config.lines import dotted, lines_of
from wherever_gateway.config.schema import OFF

if TYPE_CHECKING:
    from wherever_gateway.config.schema import GatewayConfig

# table -> key -> value; None for what was not given
Given: TypeAlias = Mapping[str, Mapping[str, Any]]


def effective(config: GatewayConfig, given: Given) -> GatewayConfig:
    """The configuration with what was given in place of what it says.

    Args:
        config: what a file says, or the defaults.
        given: values that were checked already, in tables of single values.
    """
    tables: dict[str, Any] = {}
    for name, values in given.items():
        known = {key: value for key, value in values.items() if value is not None}
        if known:
            tables[name] = getattr(config, name).model_copy(update=known)
    return config.model_copy(update=tables)


def without_metrics(given: Given) -> Given:
    """Without a file, metrics are for who asks: a second gateway would find their port taken."""
    listen = given.get("listen", {})
    if listen.get("metrics_port") is not None:
        return given
    return {**given, "listen": {**listen, "metrics_port": OFF}}


def refuse_fatal(source: str, faults: list[Fault]) -> None:
    """Refuse a configuration that has a fault with which nothing starts.

    Raises:
        ConfigError: it has; it tells them all.
    """
    fatal = tuple(fault for fault in faults if fault.fatal)
    if fatal:
        raise ConfigError(source, fatal)


def with_lines(faults: list[Fault], text: str) -> list[Fault]:
    """Faults with the lines on which their keys stand, the first line first."""
    lines = {dotted(path): line for path, line in lines_of(text).items()}

    def line(key: str) -> int | None:
        return lines.get(key, lines.get(key.rpartition("[")[0]))  # an item stands in its list

    placed = [fault._replace(line=fault.line or line(fault.key)) for fault in faults]
    return sorted(placed, key=lambda fault: fault.line or 0)


def home_of(config: GatewayConfig, given: Path | None) -> Path:
    """Where state is kept: what was given, what the file says, or as for every command.

    Raises:
        SettingsError: a file of settings cannot be read.
    """
    from wherever_edge.configured import home_or_configured  # noqa: PLC0415 (not for --help)

    return home_or_configured(given or config.serving.home)
