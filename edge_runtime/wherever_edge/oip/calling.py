"""The client of a gRPC call, as those who decide about calls see it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc

    from wherever_edge.oip.keys import KeyInfo


class GrpcCaller:
    """The client of one gRPC call; see `wherever_edge.oip.admission.Caller`."""

    __slots__ = ("_context", "key", "n_bytes")

    def __init__(self, context: grpc.ServicerContext, key: KeyInfo | None, n_bytes: int) -> None:
        self._context = context
        self.key: KeyInfo | None = key
        self.n_bytes: int = n_bytes

    def time_remaining(self) -> float | None:
        """Seconds until the call's deadline, None when it has none."""
        return self._context.time_remaining()

    def is_active(self) -> bool:
        """False once the client has given the call up."""
        return self._context.is_active()

    def header(self, name: str) -> str | None:
        """What the call's metadata has under this name."""
        return header_in(self._context.invocation_metadata(), name)


def header_in(metadata: Iterable[tuple[str, str | bytes]], name: str) -> str | None:
    """The first value that gRPC's metadata has under a name; None when it is missing or binary."""
    for key, value in metadata:
        if key == name:
            return value if isinstance(value, str) else None
    return None


def tenant_of(key: KeyInfo | None) -> str:
    """The tenant whose calls bring this key: the name of the key, "" for calls without one."""
    return "" if key is None else key.name
