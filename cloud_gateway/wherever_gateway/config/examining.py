"""Everything there is to say about a `gateway.toml` before a gateway starts with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wherever_contracts.errors import SettingsError
from wherever_gateway.config.account import account
from wherever_gateway.config.effective import effective, home_of, with_lines, without_metrics
from wherever_gateway.config.extras import as_installed
from wherever_gateway.config.faults import ConfigError, Fault
from wherever_gateway.config.reading import parse_config, text_of
from wherever_gateway.config.review import contradictions, protection_of, unmatched
from wherever_gateway.config.sight import look

if TYPE_CHECKING:
    from wherever_gateway.config.effective import Given
    from wherever_gateway.config.schema import GatewayConfig
    from wherever_gateway.config.sight import Sight

NO_FILE = "no file"


class Examined(NamedTuple):
    """What was found.

    Attributes:
        source: the file, or that there is none.
        faults: everything that is wrong, and everything that is probably not meant.
        said: what is served to whom, as lines under headings; none for what cannot be read.
    """

    source: str
    faults: list[Fault]
    said: dict[str, list[str]]


def examine(file: Path | None, given: Given, home: Path | None) -> Examined:
    """Read, judge and explain a configuration.

    Args:
        file: a `gateway.toml`; None for the defaults.
        given: options of the command, which win over it.
        home: where state is kept; None for what the file or the settings say.
    """
    source = NO_FILE if file is None else str(file)
    try:
        text = "" if file is None else text_of(file)
        base = Path() if file is None else file.absolute().parent
        usual = without_metrics(given) if file is None else given
        config = effective(parse_config(text, source=source, base=base), usual)
    except ConfigError as error:
        return Examined(source, list(error.faults), {})
    config, less = as_installed(config) if file is None else (config, [])
    sight = look(config, home_of(config, home))
    found = [
        *less,
        *contradictions(config),
        *sight.faults,
        *_keyless(config, sight),
        *unmatched(config, sight.models, sight.keys),
    ]
    return Examined(source, with_lines(found, text), account(config, sight))


def _keyless(config: GatewayConfig, sight: Sight) -> list[Fault]:
    try:
        needed = protection_of(config).keys
    except SettingsError:
        return []  # said already
    if not needed or sight.keys:
        return []
    words = (
        "calls need a key and there is none yet, without which no service starts; make one: "
        "wherever gateway keys add NAME"
    )
    return [Fault("keys", words, fatal=False)]
