"""What pip's output says to whoever waits for it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NEWS = re.compile(r"\s*(Collecting \S+|Downloading \S+ \(.+\)|Installing collected packages)")
_FULL = re.compile(r"no space left on device|errno 28|disk quota exceeded|errno 122", re.IGNORECASE)
_OFFLINE = re.compile(
    r"newconnectionerror|name or service not known|temporary failure in name resolution|"
    r"connection refused|network is unreachable|connecttimeout|proxyerror|max retries exceeded|"
    r"getaddrinfo failed|from versions: none",
    re.IGNORECASE,
)
_MOST = 300


def news(lines: Sequence[str]) -> str:
    """What is being done, in pip's words; "" when the last lines do not say."""
    for line in reversed(lines):
        found = _NEWS.match(line)
        if found:
            return found[1]
    return ""


def why_failed(lines: Sequence[str]) -> str:
    """Why pip, or the making of a virtual environment, failed; "" when it did not say."""
    text = "\n".join(lines)
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if re.match(r"(ERROR|error|Error)\b", line)]
    last = " ".join((errors or said or [""])[-1].split())[:_MOST]
    if _FULL.search(text):
        return f"the disk is full ({last})"
    if _OFFLINE.search(text):
        return f"the package index cannot be reached, or lacks something ({last})"
    return last
