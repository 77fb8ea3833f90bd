"""Commands of this folder."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherever_contracts.errors import MissingExtraError, WhereverError
from wherever_edge.cli import JsonFlag, run

if TYPE_CHECKING:
    from wherever_gateway.gateway import Gateway

HTTP_PORT = 8000


@run
def gateway(
    *,
    packages: Annotated[
        list[Path] | None,
        typer.Option(help="A package, or a directory of packages; may be repeated."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for gRPC; 0: any that is free.")
    ] = 8001,
    http_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help=f"Port for HTTP; 0: any that is free.  [default: {HTTP_PORT}]"
        ),
    ] = None,
    no_http: Annotated[bool, typer.Option("--no-http", help="Leave HTTP off.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of one run of the engine.")
    ] = None,
    max_waiting: Annotated[
        int, typer.Option(min=0, help="Calls that may wait; more are refused at once.")
    ] = 64,
    grace_s: Annotated[
        float, typer.Option(min=0, help="Seconds that running calls get when it is stopped.")
    ] = 10.0,
    json: JsonFlag = False,
) -> None:
    """Serve packages to devices, over gRPC and HTTP; without --packages, the built-in ones."""
    from platformdirs import user_data_path  # noqa: PLC0415

    from wherever_gateway.gateway import Gateway, GatewaySettings, serve  # noqa: PLC0415

    _warn_off_loopback(host)
    settings = GatewaySettings(
        packages=tuple(packages or ()),
        address=host,
        grpc_port=grpc_port,
        http_port=_http_port(http_port, off=no_http),
        threads=threads,
        max_waiting=max_waiting,
        unpack_into=user_data_path("wherever", appauthor=False) / "unpacked",
    )
    if not serve(Gateway(settings), grace_s, lambda ready: _announce(ready, json=json)):
        raise WhereverError(f"some calls had not ended after {grace_s:g} s and were cancelled")


def _http_port(given: int | None, *, off: bool) -> int | None:
    """The port to serve HTTP on; without its extra HTTP is off, unless it was asked for."""
    if off:
        return None
    try:
        import starlette  # noqa: F401, PLC0415
        import uvicorn  # noqa: F401, PLC0415
    except ImportError as error:
        if given is not None:
            raise MissingExtraError(
                "--http-port needs an extra: pip install 'wherever[gateway]'"
            ) from error
        _say("HTTP is off; to have it: pip install 'wherever[gateway]'")
        return None
    return HTTP_PORT if given is None else given


def _announce(ready: Gateway, *, json: bool) -> None:
    models = [f"{package.name} {package.version}" for package in ready.host.store.list()]
    if json:
        line = {"grpc": ready.grpc_address, "http": ready.http_address, "models": models}
        print(jsonlib.dumps(line), flush=True)  # noqa: T201
        return
    http = f" and http://{ready.http_address}" if ready.http_address else ""
    print(f"serving {', '.join(models)} on {ready.grpc_address} (gRPC){http}", flush=True)  # noqa: T201


def _warn_off_loopback(host: str) -> None:
    from wherever_edge.oip.endpoints import is_loopback  # noqa: PLC0415

    if not is_loopback(host):
        _say(
            f"anyone who can reach {host} can use this gateway: "
            "there is no TLS and no key yet; keep it inside a network that you trust"
        )


def _say(words: str) -> None:
    print(f"note: {words}", file=sys.stderr, flush=True)  # noqa: T201
