"""The configuration that a gateway starts with, or goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wherever_gateway.config.effective import effective, home_of, refuse_fatal, with_lines
from wherever_gateway.config.reading import parse_config, text_of
from wherever_gateway.config.review import contradictions
from wherever_gateway.config.sight import look

if TYPE_CHECKING:
    from wherever_gateway.config.effective import Given
    from wherever_gateway.config.schema import GatewayConfig


def load_config(file: Path, given: Given, home: Path | None) -> GatewayConfig:
    """Read a `gateway.toml`, and refuse it with everything that keeps a gateway from starting.

    Args:
        file: the file.
        given: options of the command, which win over it.
        home: where state is kept; None for what the file or the settings say.

    Raises:
        ConfigError: it cannot be used; it tells everything that is wrong.
        SettingsError: a file of settings cannot be read.
    """
    text = text_of(file)
    said = parse_config(text, source=str(file), base=file.absolute().parent)
    config = effective(said, given)
    sight = look(config, home_of(config, home))
    refuse_fatal(str(file), with_lines([*contradictions(config), *sight.faults], text))
    return config
