"""Keys at the entrance of the REST form: who may not call is refused before the body is read."""

from __future__ import annotations

from typing import Literal, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request

from wherever_contracts.errors import NotAllowedError
from wherever_edge.oip.keys import KeyChecker, KeyInfo
from wherever_edge.oip.status import CODE_KEY

Need: TypeAlias = Literal["nothing", "use", "admin"]


class RestEntrance:
    """Decides who may make a request.

    Args:
        keys: the keys that there are, if any can be.
        needed: whether requests that use models need one. Those that administer need one as soon
            as there is one.
    """

    def __init__(self, keys: KeyChecker | None, *, needed: bool) -> None:
        self._keys = keys
        self._needed = needed and keys is not None

    @property
    def keyed(self) -> bool:
        """Whether there can be keys at all."""
        return self._keys is not None

    @property
    def needed(self) -> bool:
        """Whether requests that use models need a key."""
        return self._needed

    def check(self, request: Request, need: Need) -> None:
        """Let a request pass or not.

        Raises:
            NotAllowedError: it brings no key that is known here.
            HTTPException: its key may not do this (403), or a web page sent it.
        """
        keys = self._keys_for(need)
        if keys is not None:
            info = keys.check(request.headers.get("authorization"))
            if need == "admin" and not info.may("admin"):
                raise _forbidden(f"key {info.id!r} has the role {info.role!r} and not 'admin'")
        elif need == "admin" and "origin" in request.headers:
            # without keys, any page that is open in a browser here could send it
            raise _forbidden("administrative requests from web pages need an admin key")

    def lacks_key(self, request: Request) -> bool:
        """Whether requests that use models need a key here, and this one brings none at all."""
        return self._keys_for("use") is not None and "authorization" not in request.headers

    def known(self, request: Request) -> KeyInfo | None:
        """The key that a request brings, if it counts here."""
        if self._keys is None:
            return None
        try:
            return self._keys.check(request.headers.get("authorization"))
        except NotAllowedError:
            return None

    def _keys_for(self, need: Need) -> KeyChecker | None:
        if self._keys is None or need == "nothing":
            return None
        return self._keys if self._needed or (need == "admin" and self._keys.any) else None


def _forbidden(words: str) -> HTTPException:
    return HTTPException(403, words, {CODE_KEY: NotAllowedError.code})
