"""`wherever gateway`: serving models until told to end."""

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
    HomeOption,
    IsolationOption,
    JsonFlag,
    MemoryOption,
    PinOption,
    ProfileOption,
    printable,
    run,
)
from wherever_gateway.check_command import ConfigOption

if TYPE_CHECKING:
    from wherever_gateway.config.effective import Given
    from wherever_gateway.gateway import Gateway
    from wherever_gateway.options import GatewayOptions


@run
def gateway(
    *,
    config: ConfigOption = None,
    packages: Annotated[
        list[Path] | None,
        typer.Option("--packages", help="A directory of packages, a package, or an archive."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", help="The address to listen on, by default 127.0.0.1."),
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            "--grpc-port", min=0, max=65535, help="The gRPC port, by default 8001; 0: any free one."
        ),
    ] = None,
    http_port: Annotated[
        int | None,
        typer.Option(
            "--http-port", min=0, max=65535, help="The HTTP port, by default 8000; 0: any free one."
        ),
    ] = None,
    http: Annotated[bool, typer.Option("--http/--no-http", help="Serve HTTP too.")] = True,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port",
            min=0,
            max=65535,
            help="The port of Prometheus' metrics, by default 8002 with --config and none without.",
        ),
    ] = None,
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
    batching: Annotated[
        bool | None,
        typer.Option("--batching/--no-batching", help="Let calls that wait share a run."),
    ] = None,
    grace_s: Annotated[
        float | None,
        typer.Option(
            "--grace-s",
            min=0,
            help="Seconds that running calls have when it ends, by default 10.",
        ),
    ] = None,
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

    Tenants, quotas, backends and more stand in a file: --config gateway.toml,
    which `wherever gateway check` explains, and which is read again on SIGHUP.

    An administrator's key is made with `keys add NAME --role admin`.
    """
    from wherever_gateway.starting import options_for  # noqa: PLC0415 (pydantic, grpc: 200 ms)

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    given: Given = {
        "listen": {
            "address": host,
            "grpc_port": grpc_port,
            "http_port": http_port if http else "off",
            "metrics_port": metrics_port,
            "grace_s": grace_s,
            "insecure": insecure or None,
        },
        "tls": {"enabled": tls, "certificate_file": tls_cert, "key_file": tls_key},
        "keys": {"needed": keys},
        "serving": {
            "packages": tuple(packages) if packages else None,
            "profile": profile,
            "runs": runs,
            "max_waiting": max_waiting,
            "isolation": isolation,
            "memory_max_mib": memory_max_mib,
            "batching": batching,
            "pinned": tuple(pin) if pin else None,
        },
    }
    shown = json or sys.stderr.isatty()
    _serve(options_for(config, given, home, show_first_key=shown, warn=_warn), as_json=json)


def _serve(options: GatewayOptions, *, as_json: bool) -> None:
    from wherever_gateway.gateway import run as run_gateway  # noqa: PLC0415 (see `gateway`)

    done = run_gateway(
        options,
        lambda started: _say_ready(started, as_json=as_json),
        None if options.reread is None else _reload,
    )
    if not done:
        _warn(f"some calls did not end within {options.grace_s:g} s and were given up")
        sys.stdout.flush()
        os._exit(FAILED)  # their threads cannot be ended in any other way


def _reload(gateway: Gateway) -> None:
    """Follow the configuration, and say what came of it; it is never a reason to end."""
    from wherever_contracts.errors import WhereverError  # noqa: PLC0415 (with the gateway)
    from wherever_gateway.notifying import tell_ready, tell_reloading  # noqa: PLC0415

    tell_reloading()
    try:
        found = gateway.reload()
    except (WhereverError, OSError) as error:
        _warn(f"not reloaded, and everything goes on as it was: {error}")
    else:
        _say(_reloaded_text(found))
    tell_ready(f"serving on {gateway.grpc}")


def _reloaded_text(found: dict[str, Any]) -> str:
    now, later = found["changed"], found["at_restart"]
    words = f"reloaded: {', '.join(now) or 'nothing changed'}"
    return f"{words}; at the next start: {', '.join(later)}" if later else words


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
    if gateway.metrics and not as_json:
        _say(f"metrics: http://{gateway.metrics}/metrics")
    print(_ready_json(gateway) if as_json else _ready_text(gateway), flush=True)  # noqa: T201


def _ready_text(gateway: Gateway) -> str:
    models = ", ".join(f"{m.ran.model} {m.ran.version}" for m in gateway.models)
    behind = ", ".join(f"those of backend {name}" for name in gateway.config.backends)
    s = "s" if gateway.secured.identity else ""
    http = f" and http{s}://{gateway.http}" if gateway.http else ""
    served = ", ".join(filter(None, (models, behind)))
    return printable(f"serving {served} on grpc{s}://{gateway.grpc}{http}; Ctrl-C ends it")


def _ready_json(gateway: Gateway) -> str:
    secured = gateway.secured
    said: dict[str, Any] = {
        "grpc": gateway.grpc,
        "http": gateway.http,
        "metrics": gateway.metrics,
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
