"""What callers read of a server behind the gateway: what is wrong, and no address. Pure.

Where the servers of a backend stand is the operator's: it is in the log and in the statistics.
What a server itself says of a call, such as of its inputs, passes; what the way to it says (gRPC,
HTTP, TLS, name lookups) does not, for it is about addresses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address

from wherever_contracts.errors import (
    BadAnswerError,
    BlockedError,
    ClosedError,
    DeadlineError,
    NotAllowedError,
    OverloadedError,
    QuotaError,
    RefusedError,
    RemoteError,
    UnreachableError,
    UntrustedPeerError,
    WhereverError,
)
from wherever_edge.host_health.health import HealthFacts

_THE_SERVER = "the server"
_AN_ADDRESS = "an address"

# the first that fits counts; each reads the same of one server and of many
_HAPPENED: tuple[tuple[type[WhereverError], str], ...] = (
    (UntrustedPeerError, "did not prove to be trusted"),
    (UnreachableError, "could not be reached"),
    (DeadlineError, "did not answer in time"),
    (QuotaError, "had no quota left for this gateway"),
    (OverloadedError, "had no room for the call"),
    (NotAllowedError, "did not allow the call"),
    (RefusedError, "refused the call"),
    (RemoteError, "failed at the call"),
    (BadAnswerError, "gave an answer that cannot be read"),
    (BlockedError, "was sent nothing, for the call may not travel there"),
    (ClosedError, "had just been left out of the configuration"),
)
# what is said with these is about the call
_ABOUT_THE_CALL = (RefusedError, RemoteError, BadAnswerError)

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/'\"()<>,;]+", re.IGNORECASE)
_ADDRESSES = (
    re.compile(r"(?<![\w.])(?P<bare>\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?(?!\w|\.\d)"),
    re.compile(r"\[(?P<bare>[0-9A-Fa-f:.]+)\](?::\d{1,5})?"),
    re.compile(r"(?<!\w)(?P<bare>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)"),
)


def happened(error: WhereverError) -> str:
    """What a server, or the way to it, did to a call, as a predicate without a subject."""
    return next((words for kind, words in _HAPPENED if isinstance(error, kind)), "gave no answer")


def reason(error: WhereverError, name: str) -> str:
    """What the server said about the call; "" where it said nothing that is for callers.

    Args:
        error: what the call to it ended with.
        name: the server's address, as "host:port".
    """
    if isinstance(error, NotAllowedError) or not isinstance(error, _ABOUT_THE_CALL):
        return ""
    said = error.said if error.status else str(error)
    return without_addresses(" ".join(said.split()), name)


def kept_away(facts: HealthFacts) -> str:
    """Why a server was sent no call, as a predicate like those of `happened`."""
    if facts.pushed_back_s > 0:
        return "had asked to be sent no call for now"
    if facts.state == "open":
        return "had failed a moment ago and must pass a probe first"
    if facts.state == "trial":
        return "had just come back and may be sent one call at a time"
    if facts.doubtful:
        return "had a call that is overdue"
    if facts.ejected_s > 0:
        return "had done worse than others of late"
    return "had as many calls on the way as are answered well"


def listed(predicates: Iterable[str]) -> str:
    """How many servers did what, those that were asked first at the front."""
    counts = Counter(predicates)
    return "; ".join(f"{_servers(count)} {words}" for words, count in counts.items())


def without_addresses(text: str, name: str) -> str:
    """A server's words without addresses.

    Args:
        text: what it said.
        name: its own address, as "host:port".
    """
    text = _URL.sub(_AN_ADDRESS, _own(name).sub(_THE_SERVER, text))
    for pattern in _ADDRESSES:
        text = pattern.sub(_unless_other, text)
    return text


def _own(name: str) -> re.Pattern[str]:
    """Matches a server's address, also in a URL, and its host alone where that is no plain word."""
    host = name.rpartition(":")[0]
    told = [name, host] if any(mark in host for mark in ".:") else [name]
    either = "|".join(map(re.escape, told))
    return re.compile(
        rf"(?:[a-z][a-z0-9+.-]*://)?(?<![\w.-])(?:{either})(?![\w-]|\.\w)", re.IGNORECASE
    )


def _unless_other(found: re.Match[str]) -> str:
    """What stands in the place of an address; what only looks like one, such as a time, stays."""
    bare = found["bare"].rstrip(".:")
    try:
        ip_address(bare)
    except ValueError:
        return found[0]
    return _AN_ADDRESS + found["bare"][len(bare) :]


def _servers(count: int) -> str:
    return "one server" if count == 1 else f"{count} servers"
