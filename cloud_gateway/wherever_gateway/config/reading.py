"""Reading a `gateway.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from wherever_gateway.config.faults import ConfigError, Fault, faults_of
from wherever_gateway.config.lines import lines_of

if TYPE_CHECKING:
    from wherever_gateway.config.schema import GatewayConfig

_MOST_BYTES = 4 * 2**20


def read_config(file: Path) -> GatewayConfig:
    """The configuration in a file; its paths are relative to the file's directory.

    Raises:
        ConfigError: the file cannot be read, or is wrong; it tells everything that is.
    """
    return parse_config(text_of(file), source=str(file), base=file.absolute().parent)


def parse_config(text: str, *, source: str, base: Path) -> GatewayConfig:
    """The same for a text.

    Args:
        text: TOML.
        source: what to call it.
        base: the directory that paths in it are relative to.

    Raises:
        ConfigError: it is wrong; it tells everything that is.
    """
    from pydantic import ValidationError  # noqa: PLC0415 (not for --help)

    from wherever_gateway.config.schema import GatewayConfig, parse  # noqa: PLC0415

    try:
        return parse(tomllib.loads(text), base)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(source, (Fault("", f"this is not TOML: {error}"),)) from error
    except ValidationError as error:
        raise ConfigError(source, faults_of(error, GatewayConfig, lines_of(text))) from error


def text_of(file: Path) -> str:
    """What is in a file.

    Raises:
        ConfigError: it cannot be read, is far too large, or is no text.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        words = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(str(file), (Fault("", words),)) from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(str(file), (Fault("", f"has more than {_MOST_BYTES} bytes"),))
    return text
