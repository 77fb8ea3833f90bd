"""Commands of this folder."""

from __future__ import annotations

import json as json_format
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever_edge.cli import FAILED, JsonFlag, error_data, printable, run

if TYPE_CHECKING:
    from wherever_gateway.gateway import Gateway

DEFAULT_HTTP_PORT = 8000


@run
def gateway(
    *,
    packages: Annotated[
        list[Path] | None,
        typer.Option("--packages", help="A directory of packages, a package, or an archive."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[
        int, typer.Option("--grpc-port", min=0, max=65535, help="The gRPC port; 0: any free one.")
    ] = 8001,
    http_port: Annotated[
        int | None,
        typer.Option(
            "--http-port",
            min=0,
            max=65535,
            help=f"The HTTP port; 0: any free one.  [default: {DEFAULT_HTTP_PORT}]",
            show_default=False,
        ),
    ] = None,
    http: Annotated[bool, typer.Option("--http/--no-http", help="Serve HTTP too.")] = True,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Calls at work at a time; by default one a core."),
    ] = None,
    max_waiting: Annotated[
        int, typer.Option("--max-waiting", min=0, help="Calls that may wait; more are refused.")
    ] = 64,
    grace_s: Annotated[
        float,
        typer.Option("--grace-s", min=0, help="Seconds that running calls have when it ends."),
    ] = 10.0,
    home: Annotated[
        Path | None,
        typer.Option("--home", envvar="WHEREVER_HOME", help="Where archives are unpacked."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Serve models over gRPC and HTTP (the Open Inference Protocol v2) until told to end."""
    from wherever_gateway.gateway import GatewayOptions  # noqa: PLC0415 (grpc, numpy: 160 ms)
    from wherever_gateway.gateway import run as run_gateway  # noqa: PLC0415

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    options = GatewayOptions(
        packages=tuple(packages or ()),
        address=host,
        grpc_port=grpc_port,
        http_port=_http_port(http_port, http=http),
        workers=threads,
        max_waiting=max_waiting,
        grace_s=grace_s,
        unpack_into=(home or _default_home()) / "unpacked",
    )
    done = run_gateway(options, lambda started: _say_ready(started, as_json=json))
    if not done:
        _warn(f"some calls did not end within {grace_s:g} s and were given up")
        sys.stdout.flush()
        os._exit(FAILED)  # their threads cannot be ended in any other way


def _http_port(wanted: int | None, *, http: bool) -> int | None:
    """The port for HTTP, None for no HTTP.

    Raises:
        MissingExtraError: a port was asked for, and what serves HTTP is not installed.
    """
    from wherever_contracts.errors import missing_extra  # noqa: PLC0415
    from wherever_gateway.gateway import has_http  # noqa: PLC0415

    if not http:
        return None
    if has_http():
        return DEFAULT_HTTP_PORT if wanted is None else wanted
    missing = missing_extra("serving HTTP", "gateway")
    if wanted is not None:
        raise missing
    _warn(f"only gRPC is served: {missing}")
    return None


def _default_home() -> Path:
    from platformdirs import user_data_path  # noqa: PLC0415

    return user_data_path("wherever", appauthor=False)


def _say_ready(gateway: Gateway, *, as_json: bool) -> None:
    """Say that calls are taken from now on: one line on standard output, warnings beside it."""
    from wherever_edge.oip.endpoints import is_loopback  # noqa: PLC0415

    for what, error in gateway.refused:
        _warn(f"not served: {what}: {error}")
    if not is_loopback(gateway.options.address):
        _warn(
            f"whoever reaches {gateway.options.address} can send calls and read the answers: "
            "there is no encryption and no key yet"
        )
    print(_ready_json(gateway) if as_json else _ready_text(gateway), flush=True)  # noqa: T201


def _ready_text(gateway: Gateway) -> str:
    models = ", ".join(f"{m.ran.model} {m.ran.version}" for m in gateway.models)
    http = f" and http://{gateway.http}" if gateway.http else ""
    return printable(f"serving {models} on grpc://{gateway.grpc}{http}; Ctrl-C ends it")


def _ready_json(gateway: Gateway) -> str:
    models = [
        {"name": m.ran.model, "version": m.ran.version, "variant": m.ran.variant}
        for m in gateway.models
    ]
    refused = [{"what": what, **error_data(error)} for what, error in gateway.refused]
    said: dict[str, Any] = {
        "grpc": gateway.grpc,
        "http": gateway.http,
        "models": models,
        "refused": refused,
        "pid": os.getpid(),
    }
    return json_format.dumps(said, default=str)


def _warn(text: str) -> None:
    print(f"warning: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201
