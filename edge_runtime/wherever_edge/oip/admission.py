"""Who may call, how much, and who is told of it: what a server asks for every call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from wherever_contracts.places import Boundary
    from wherever_contracts.urgency import Urgency
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.keys import KeyInfo


class Caller(Protocol):
    """Who waits for an answer."""

    @property
    def key(self) -> KeyInfo | None:
        """The API key that it brought; None when it brought none that counts."""
        ...

    @property
    def n_bytes(self) -> int:
        """The size of its message."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the answer is of no use, None for no limit."""
        ...

    def is_active(self) -> bool:
        """False when nobody waits any more."""
        ...

    def header(self, name: str) -> str | None:
        """A header (or gRPC's metadata) of the call, by its name in lower case."""
        ...


class Served(NamedTuple):
    """What a call was answered with, for those who count.

    Attributes:
        model: the package's name.
        version: the package's version.
        variant: what ran; "" where another server ran it.
        queue_s: seconds that the call waited for the engine.
        engine_s: seconds inside the engine.
        rows: rows of the run that it shared, its own included.
        backend: the server behind this one that answered; "" for this one.
    """

    model: str
    version: str
    variant: str = ""
    queue_s: float = 0.0
    engine_s: float = 0.0
    rows: int = 1
    backend: str = ""


class Grant(Protocol):
    """What one call was granted. Exactly one of its two methods is called, once, at its end."""

    @property
    def urgency(self) -> Urgency:
        """Who goes first where it has to wait."""
        ...

    @property
    def boundary(self) -> Boundary:
        """How far it may travel: whoever stands beyond that is not asked."""
        ...

    @property
    def kept(self) -> InferResponse | None:
        """The answer that the very same call was given before; None when it is to be answered."""
        ...

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What tells a server behind this one where the call stands in its trace."""
        ...

    def answered(self, response: InferResponse, served: Served) -> None:
        """The call has its answer; not called for one that was `kept`."""
        ...

    def failed(self, error: BaseException) -> None:
        """The call has none."""
        ...


class Admission(Protocol):
    """Decides about calls as they come. Safe to use from many threads."""

    def admit(self, request: InferRequest, caller: Caller, urgency: Urgency) -> Grant:
        """Let a call in.

        Args:
            request: the call.
            caller: whose call it is.
            urgency: what it says about itself.

        Raises:
            ForbiddenError: its key may not do this.
            QuotaError: its key has used up what it was given; `retry_after_s` says until when.
            OverloadedError: there is no room for it now.
        """
        ...

    def turned_away(self, key: KeyInfo | None, error: Exception) -> None:
        """A call was refused before its message was read: what it asks for is not known."""
        ...

    def may_see(self, key: KeyInfo | None, model: str) -> bool:
        """Whether a model is there for who brings this key (None for no key)."""
        ...


class _Everyone(NamedTuple):
    """What a call is granted where nobody decides and nobody counts."""

    urgency: Urgency
    kept: InferResponse | None = None
    boundary: Boundary = "anywhere"
    headers: tuple[tuple[str, str], ...] = ()

    def answered(self, response: InferResponse, served: Served) -> None:
        pass

    def failed(self, error: BaseException) -> None:
        pass


class Open:
    """Lets every call in, as urgent as it says it is."""

    def admit(self, request: InferRequest, caller: Caller, urgency: Urgency) -> Grant:
        """Let a call in."""
        return _Everyone(urgency)

    def turned_away(self, key: KeyInfo | None, error: Exception) -> None:
        """A call was refused unread; nobody counts."""

    def may_see(self, key: KeyInfo | None, model: str) -> bool:
        """Every model is there for everybody."""
        return True
