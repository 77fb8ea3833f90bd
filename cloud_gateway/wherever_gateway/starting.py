"""From the options of `wherever gateway` and its file to how a gateway runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wherever_contracts.errors import missing_extra
from wherever_gateway.config.effective import effective, home_of, without_metrics
from wherever_gateway.config.extras import has_http
from wherever_gateway.config.loading import load_config
from wherever_gateway.config.schema import GatewayConfig
from wherever_gateway.options import GatewayOptions, options_of

if TYPE_CHECKING:
    from wherever_gateway.config.effective import Given


def options_for(
    file: Path | None,
    given: Given,
    home: Path | None,
    *,
    show_first_key: bool,
    warn: Callable[[str], None],
) -> GatewayOptions:
    """How a gateway runs: options of the command win over the file, which wins over defaults.

    Args:
        file: a `gateway.toml`; None for the defaults.
        given: options of the command.
        home: where state is kept; None for what the file or the settings say.
        show_first_key: whether a first key, when one is needed, is made and shown.
        warn: told what is not as it should be.

    Raises:
        ConfigError: the file cannot be used; it tells everything that is wrong.
        SettingsError: a setting is wrong.
        MissingExtraError: HTTP was asked for, and what serves it is not installed.
    """
    reread = None if file is None else partial(load_config, file, given, home)
    config = reread() if reread else effective(GatewayConfig(), without_metrics(given))
    options = options_of(config, home_of(config, home), show_first_key=show_first_key)
    asked = given["listen"].get("http_port") is not None or file is not None
    return replace(_with_http(options, warn, asked=asked), reread=reread)


def _with_http(
    options: GatewayOptions, warn: Callable[[str], None], *, asked: bool
) -> GatewayOptions:
    """The options, without HTTP where that is not installed and was not asked for.

    Raises:
        MissingExtraError: it was asked for.
    """
    if options.http_port is None or has_http():
        return options
    missing = missing_extra("serving HTTP", "gateway")
    if asked:
        raise type(missing)(f"{missing}; or serve gRPC alone with --no-http")
    warn(f"only gRPC is served: {missing}")
    return replace(options, http_port=None)
