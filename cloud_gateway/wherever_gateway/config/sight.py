"""What a configuration finds on this machine: packages, keys and files, without serving them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wherever_contracts.errors import SettingsError, WhereverError
from wherever_gateway.config.extras import keeps_usage, lacking
from wherever_gateway.config.faults import Fault, hidden
from wherever_gateway.config.lines import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherever_gateway.config.schema import GatewayConfig


class Sight(NamedTuple):
    """What is there.

    Attributes:
        home: where state is kept.
        models: name -> the versions that are there.
        refused: packages that cannot be served, each with the reason.
        keys: the names of the keys that count.
        faults: what is missing or cannot be read.
        keeps_usage: whether what keeps usage is installed.
    """

    home: Path
    models: dict[str, list[str]]
    refused: list[str]
    keys: list[str]
    faults: list[Fault]
    keeps_usage: bool = True


def look(config: GatewayConfig, home: Path) -> Sight:
    """Look at what a configuration speaks of; nothing is loaded, made or changed but unpacked.

    Args:
        config: the configuration.
        home: where state is kept.
    """
    models, refused, faults = _packages(config, home)
    keys, key_faults = _keys(home)
    faults += [*key_faults, *lacking(config), *_files(config), *_addresses(config)]
    return Sight(home, models, refused, keys, faults, keeps_usage())


def _packages(
    config: GatewayConfig, home: Path
) -> tuple[dict[str, list[str]], list[str], list[Fault]]:
    from wherever_gateway.packages import store_of  # noqa: PLC0415 (numpy: 90 ms)

    faults = list(_missing_packages(config.serving.packages))
    there = [path for path in config.serving.packages if path.exists()]
    if faults and not there:
        return {}, [], faults
    models: dict[str, list[str]] = {}
    try:
        store = store_of(tuple(there), home)
        for package in store.list():
            models.setdefault(package.name, []).append(package.version)
        refused = [f"{path}: {error}" for path, error in store.refused()]
    except (WhereverError, OSError) as error:
        return {}, [], [*faults, Fault("serving.packages", str(error))]
    if not models and not config.backends:
        faults.append(Fault("serving.packages", "there is no model to serve"))
    return models, refused, faults


def _missing_packages(packages: tuple[Path, ...]) -> Iterator[Fault]:
    for number, path in enumerate(packages):
        if not path.exists():
            yield Fault(dotted(("serving", "packages", number)), f"{path} is not there")


def _keys(home: Path) -> tuple[list[str], list[Fault]]:
    from wherever_edge.oip.keys import KeyStore  # noqa: PLC0415 (not for --help)

    try:
        return [key.name for key in KeyStore(home / "keys").list() if not key.revoked], []
    except SettingsError as error:
        return [], [Fault("keys", str(error))]


def _files(config: GatewayConfig) -> list[Fault]:
    named: dict[str, Path | None] = {
        "tls.certificate_file": config.tls.certificate_file,
        "tls.key_file": config.tls.key_file,
    }
    for name, backend in config.backends.items():
        named[dotted(("backends", name, "api_key_file"))] = backend.api_key_file
        named[dotted(("backends", name, "ca_file"))] = backend.ca_file
    unreadable = [_unreadable(key, path) for key, path in named.items() if path is not None]
    found = [fault for fault in unreadable if fault is not None]
    return [*found, *_certificate(config, found), *_state(config)]


def _unreadable(key: str, path: Path) -> Fault | None:
    try:
        with path.open("rb") as opened:
            opened.read(1)
    except OSError as error:
        return Fault(key, f"{path} cannot be read: {error.strerror or error}")
    return None


def _certificate(config: GatewayConfig, unreadable: list[Fault]) -> Iterator[Fault]:
    """Whether certificate and key are what they should be, and belong together."""
    from wherever_edge.oip.security import ServerIdentity  # noqa: PLC0415 (70 ms)

    certificate, key = config.tls.certificate_file, config.tls.key_file
    if certificate is None or key is None or any(f.key.startswith("tls") for f in unreadable):
        return
    try:
        ServerIdentity.load(certificate, key)
    except (SettingsError, OSError) as error:
        yield Fault("tls.certificate_file", str(error))


def _state(config: GatewayConfig) -> Iterator[Fault]:
    if config.state.url is None:
        return
    from importlib.util import find_spec  # noqa: PLC0415 (only where a URL is given)

    if find_spec("sqlalchemy") is None:
        yield Fault("state.url", "needs more: pip install 'wherever[gateway]'")
        return
    from sqlalchemy.engine import make_url  # noqa: PLC0415 (an extra, 200 ms)
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError  # noqa: PLC0415

    url = config.state.url.get_secret_value()
    try:
        make_url(url).get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        yield Fault("state.url", f"{hidden(url)!r} cannot be used: {error}")


def _addresses(config: GatewayConfig) -> Iterator[Fault]:
    """Whether this machine has the addresses; ports may be taken by this very gateway."""
    listen = config.listen
    asked = {"listen.address": listen.address}
    if listen.metrics_port != "off":
        asked["listen.metrics_address"] = listen.metrics_address
    for key, address in asked.items():
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(
                address, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(where)
        except OSError as error:
            words = f"{address} cannot be listened on here: {error.strerror or error}"
            yield Fault(key, words)
