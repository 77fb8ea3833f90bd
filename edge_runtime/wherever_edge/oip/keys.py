"""API keys: what a server knows of them, and whether a call may be made."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, TypeAlias

Role: TypeAlias = Literal["use", "admin"]


class KeyInfo(NamedTuple):
    """What is known of a key, apart from its secret.

    Attributes:
        id: a short name that is part of the key.
        name: whom it was made for.
        role: "use" for calls, "admin" for those that change the server as well.
        created: when it was made, as ISO 8601 in UTC.
        revoked: when it was revoked; "" while it is not.
    """

    id: str
    name: str
    role: Role
    created: str
    revoked: str = ""


class KeyChecker(Protocol):
    """Decides whether a call may be made."""

    def check(self, header: str | None, role: Role = "use") -> KeyInfo:
        """The key in an `authorization` header.

        Raises:
            NotAllowedError: there is none, it is not known, or it may not do this.
        """
        ...
