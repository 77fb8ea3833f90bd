"""Asking gateways whether they are there, with a limit of time and a word on what to do."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import NamedTuple

from wherever_contracts.errors import (
    DeadlineError,
    UnreachableError,
    WhereverError,
)
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint


class Reach(NamedTuple):
    """What came of asking one gateway.

    Attributes:
        address: as it was given.
        elapsed_s: how long that took.
        ok: whether it said that it is ready.
        why: what failed, or "".
        mend: what to do about it, or "".
    """

    address: str
    elapsed_s: float
    ok: bool
    why: str = ""
    mend: str = ""


def reach_all(addresses: Sequence[str], timeout_s: float) -> list[Reach]:
    """Ask every gateway, all at once; takes little longer than `timeout_s`."""
    if not addresses:
        return []
    with ThreadPoolExecutor(len(addresses)) as pool:
        return list(pool.map(partial(reach, timeout_s=timeout_s), addresses))


def reach(address: str, timeout_s: float) -> Reach:
    """Ask one gateway."""
    started = perf_counter()
    endpoint = None
    try:
        endpoint = Endpoint.parse(address)
        host = RemoteHost(endpoint)
        try:
            host.probe(timeout_s)
        finally:
            host.close()
    except WhereverError as error:
        mend = _mend(endpoint, error)
        return Reach(address, perf_counter() - started, ok=False, why=str(error), mend=mend)
    return Reach(address, perf_counter() - started, ok=True)


def _mend(endpoint: Endpoint | None, error: WhereverError) -> str:
    if endpoint is None:
        return "correct the address"
    if isinstance(error, UnreachableError):
        plain = (
            f"; if it serves without TLS, call it grpc://{endpoint.name}" if endpoint.tls else ""
        )
        return f"start it there: wherever gateway{plain}"
    if isinstance(error, DeadlineError):
        return "look for a firewall that drops packets, or give it more time: --timeout-s"
    return "see whether another program listens at that address"
