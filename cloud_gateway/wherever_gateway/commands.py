"""Commands of this folder."""

from __future__ import annotations

import json as json_format
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever_edge.cli import (
    FAILED,
    BatchingOption,
    HomeOption,
    IsolationOption,
    JsonFlag,
    MemoryOption,
    PinOption,
    ProfileOption,
    printable,
    run,
)
from wherever_edge.configured import home_or_configured

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
    runs: Annotated[
        int | None,
        typer.Option("--runs", "--threads", min=1, help="Runs of engines at a time."),
    ] = None,
    max_waiting: Annotated[
        int | None,
        typer.Option("--max-waiting", min=0, help="Calls that may wait; more are refused."),
    ] = None,
    profile: ProfileOption = None,
    isolation: IsolationOption = None,
    memory_max_mib: MemoryOption = None,
    pin: PinOption = None,
    batching: BatchingOption = True,
    grace_s: Annotated[
        float,
        typer.Option("--grace-s", min=0, help="Seconds that running calls have when it ends."),
    ] = 10.0,
    tls: Annotated[
        bool | None, typer.Option("--tls/--no-tls", help="Speak TLS; always so off loopback.")
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", help="A certificate (PEM); by default a self-made one."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="The private key of --tls-cert (PEM).")
    ] = None,
    keys: Annotated[
        bool | None, typer.Option("--keys/--no-keys", help="Need API keys; always so off loopback.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow --no-tls and --no-keys off loopback.")
    ] = False,
    home: HomeOption = None,
    json: JsonFlag = False,
) -> None:
    """Serve models over gRPC and HTTP (the Open Inference Protocol v2) until told to end.

    On loopback nothing else is needed. On any other address it speaks TLS, and
    calls need an API key: `wherever gateway keys add NAME` makes one. When
    there is none yet, the first is made and shown once, if a person (a
    terminal) or a program (--json) reads it. Without --tls-cert a certificate
    is made and kept; give it to clients as ca_file.

    An administrator's key is made with `keys add NAME --role admin`.
    """
    from wherever_edge.hosting import host_options  # noqa: PLC0415 (numpy, with grpc: 160 ms)
    from wherever_gateway.gateway import GatewayOptions  # noqa: PLC0415
    from wherever_gateway.gateway import run as run_gateway  # noqa: PLC0415
    from wherever_gateway.securing import SecurityOptions  # noqa: PLC0415

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    options = GatewayOptions(
        packages=tuple(packages or ()),
        address=host,
        grpc_port=grpc_port,
        http_port=_http_port(http_port, http=http),
        host=host_options(
            profile=profile,
            runs=runs,
            max_waiting=max_waiting,
            isolation=isolation,
            memory_max_mib=memory_max_mib,
            batching=batching,
            pinned=pin,
        ),
        grace_s=grace_s,
        home=home_or_configured(home),
        security=SecurityOptions(
            directory=home_or_configured(home) / "keys",
            tls=tls,
            keys=keys,
            insecure=insecure,
            certificate_file=tls_cert,
            key_file=tls_key,
            show_first_key=json or sys.stderr.isatty(),
        ),
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
    from wherever_contracts.errors import MissingExtraError, missing_extra  # noqa: PLC0415
    from wherever_gateway.gateway import has_http  # noqa: PLC0415

    if not http:
        return None
    if has_http():
        return DEFAULT_HTTP_PORT if wanted is None else wanted
    missing = missing_extra("serving HTTP", "gateway")
    if wanted is not None:
        raise MissingExtraError(f"{missing}; or serve gRPC alone with --no-http")
    _warn(f"only gRPC is served: {missing}")
    return None


def _say_ready(gateway: Gateway, *, as_json: bool) -> None:
    """Say that calls are taken from now on: one line on standard output, warnings beside it."""
    for what, error in gateway.refused:
        _warn(f"not served: {what}: {error}")
    secured = gateway.secured
    if secured.protection.warning:
        _warn(secured.protection.warning)
    if secured.first_key and not as_json:
        _say(f"the first API key, shown this once: {secured.first_key}")
    if secured.certificate and not as_json:
        _say(f"certificate for clients (ca_file): {secured.certificate}")
        _say(f"its SHA-256: {secured.fingerprint}")
    print(_ready_json(gateway) if as_json else _ready_text(gateway), flush=True)  # noqa: T201


def _ready_text(gateway: Gateway) -> str:
    models = ", ".join(f"{m.ran.model} {m.ran.version}" for m in gateway.models)
    s = "s" if gateway.secured.identity else ""
    http = f" and http{s}://{gateway.http}" if gateway.http else ""
    return printable(f"serving {models} on grpc{s}://{gateway.grpc}{http}; Ctrl-C ends it")


def _ready_json(gateway: Gateway) -> str:
    secured = gateway.secured
    said: dict[str, Any] = {
        "grpc": gateway.grpc,
        "http": gateway.http,
        **gateway.served(),
        "tls": secured.protection.tls,
        "fingerprint": secured.fingerprint,
        "certificate": secured.certificate,
        "keys": secured.protection.keys,
        **({"first_key": secured.first_key} if secured.first_key else {}),
        "pid": os.getpid(),
    }
    return json_format.dumps(said, default=str)


def _warn(text: str) -> None:
    _say(f"warning: {text}")


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201
