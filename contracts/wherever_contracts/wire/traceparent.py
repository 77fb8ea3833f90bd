"""Where a call stands in a trace, as W3C Trace Context carries it from program to program.

https://www.w3.org/TR/trace-context/ (levels 1 and 2): `traceparent` is
`version-traceid-parentid-flags` in lower-case hexadecimal digits; `tracestate` is passed on unread.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

# "tracestate": what vendors must pass on, and more than that nobody has to
MAX_STATE_CHARACTERS = 512

# of a version that is not known yet, more may follow behind a dash (section 3.2.4)
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 0x01


class Parent(NamedTuple):
    """The span that a call was made in.

    Attributes:
        trace_id: the trace, 128 bits and not 0.
        span_id: the span, 64 bits and not 0.
        sampled: whether who called records it.
    """

    trace_id: int
    span_id: int
    sampled: bool


def read_traceparent(header: str | None) -> Parent | None:
    """The span that a header names; None where there is none, or the header is none (3.2.2)."""
    found = _FORM.fullmatch(header) if header else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more):
        return None
    parent = Parent(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
    return parent if parent.trace_id and parent.span_id else None


def write_traceparent(parent: Parent) -> str:
    """The header that names a span."""
    return f"00-{parent.trace_id:032x}-{parent.span_id:016x}-{int(parent.sampled):02x}"
