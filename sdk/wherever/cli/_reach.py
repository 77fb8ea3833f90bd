"""Asking gateways whether they are there, with a limit of time and a word on what to do."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import NamedTuple

from wherever._access import Target
from wherever_contracts.errors import (
    DeadlineError,
    NotAllowedError,
    RefusedError,
    UnreachableError,
    UntrustedPeerError,
    WhereverError,
)
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint, is_loopback


class Reach(NamedTuple):
    """What came of asking one box or gateway.

    Attributes:
        address: as it was given.
        ok: whether it said that it is ready.
        elapsed_s: how long that took.
        server: what it says it is, for example "wherever 0.1.0", or "".
        lacks: the models among those asked for that it does not serve.
        why: what failed, or "".
        mend: what to do about it, or "".
    """

    address: str
    ok: bool
    elapsed_s: float
    server: str = ""
    lacks: tuple[str, ...] = ()
    why: str = ""
    mend: str = ""


def reach_all(
    targets: Sequence[Target], timeout_s: float, models: Sequence[str] = ()
) -> list[Reach]:
    """Ask every box and gateway, all at once.

    Args:
        targets: the boxes and gateways.
        timeout_s: how long each answer may take.
        models: names of models that they should serve.
    """
    if not targets:
        return []
    with ThreadPoolExecutor(len(targets)) as pool:
        ask = partial(reach, timeout_s=timeout_s, models=models)
        return list(pool.map(ask, targets))


def reach(target: Target, timeout_s: float, models: Sequence[str] = ()) -> Reach:
    """Ask one box or gateway."""
    started = perf_counter()
    address, endpoint = target.address, None
    try:
        endpoint = Endpoint.parse(address)
        with closing(RemoteHost(endpoint, security=target.security)) as host:
            host.probe(timeout_s)
            elapsed_s = perf_counter() - started
            said = host.server_metadata(timeout_s)
            lacks = tuple(name for name in models if not _serves(host, name, timeout_s))
    except WhereverError as error:
        return Reach(
            address,
            ok=False,
            elapsed_s=perf_counter() - started,
            why=str(error),
            mend=_mend(endpoint, error),
        )
    return Reach(
        address, ok=True, elapsed_s=elapsed_s, server=f"{said.name} {said.version}", lacks=lacks
    )


def _serves(host: RemoteHost, model: str, timeout_s: float) -> bool:
    try:
        host.model_metadata(model, timeout_s=timeout_s)
    except RefusedError:
        return False
    return True


def _mend(endpoint: Endpoint | None, error: WhereverError) -> str:
    if endpoint is None:
        return "correct the address"
    if isinstance(error, UntrustedPeerError):
        return "pair the box again, or give ca_file the gateway's certificate"
    if isinstance(error, NotAllowedError):
        return "give the key that `wherever gateway keys add` printed: WHEREVER_API_KEY"
    if isinstance(error, UnreachableError):
        listen = "" if is_loopback(endpoint.host) else " --host 0.0.0.0"
        port = f"{'--grpc-port' if endpoint.grpc else '--http-port'} {endpoint.port}"
        without = replace(endpoint, tls=False)
        plain = f"; if it serves without TLS, name it {without}" if endpoint.tls else ""
        return f"start it there: wherever gateway{listen} {port}{plain}"
    if isinstance(error, DeadlineError):
        return "look for a firewall that drops packets, or give it more time: --timeout-s"
    return "see whether another program listens at that address"
