"""The client of a gRPC call, as those who decide about calls see it."""

from __future__ import annotations

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
        for key, value in self._context.invocation_metadata():
            if key == name:
                return value if isinstance(value, str) else None
        return None
