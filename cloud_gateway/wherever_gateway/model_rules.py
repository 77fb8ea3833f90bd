"""What a configuration says of models, by patterns of their names, told to their host."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from wherever_contracts.errors import WhereverError
from wherever_edge.queueing.policy import Limits
from wherever_edge.queueing.sharing import AS_USUAL, Sharing
from wherever_gateway.config.review import first_match

if TYPE_CHECKING:
    from wherever_edge.host import LocalHost
    from wherever_gateway.config.schema import GatewayConfig

_LOG = logging.getLogger(__name__)


def sharing_of(config: GatewayConfig, model: str) -> Sharing:
    """How the calls of a model share runs."""
    pattern = first_match(config.models, model)
    if pattern is None:
        return AS_USUAL
    rules = config.models[pattern]
    limits = AS_USUAL.limits if rules.max_batch is None else Limits(rows=rules.max_batch)
    return Sharing((rules.max_queue_delay_ms or 0.0) / 1000, limits)


class Pins:
    """Pins the models of a host that a configuration names, and takes back what it no longer does.

    Args:
        host: where the models are.
    """

    def __init__(self, host: LocalHost) -> None:
        self._host = host
        self._pinned: set[str] = set()

    def keep(self, config: GatewayConfig, models: Collection[str]) -> None:
        """Pin what the configuration says; what cannot be loaded is said in the log.

        Args:
            config: its rules for models, and `serving.pinned`.
            models: the names of models that are served.
        """
        wanted = {name for name in models if _pinned(config, name)} | set(config.serving.pinned)
        for name in self._pinned - wanted:
            self._host.unpin(name)
        self._pinned &= wanted
        for name in wanted - self._pinned:
            self._pin(name)

    def _pin(self, name: str) -> None:
        try:
            self._host.pin(name)
        except WhereverError as error:
            _LOG.warning("%s does not stay in memory: %s", name, error)
        else:
            self._pinned.add(name)


def _pinned(config: GatewayConfig, name: str) -> bool:
    pattern = first_match(config.models, name)
    return pattern is not None and config.models[pattern].pinned
