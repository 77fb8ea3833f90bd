"""One call as those who watch see it: no word of what it brought or was given."""

from __future__ import annotations

from typing import NamedTuple

from wherever_contracts.wire.traceparent import Parent


class Ended(NamedTuple):
    """A call that has ended.

    Attributes:
        model: the name that it asked for, or the model that answered.
        version: likewise; "" for none.
        variant: what ran; "" where nothing did, or another server's.
        tenant: whose call it was; "" where no key is needed.
        reason: the code of the error that it ended with; "" when it was answered.
        at_s: when it ended, in seconds since 1970.
        total_s: seconds from its admission to its end.
        queue_s: seconds that it waited for the engine.
        engine_s: seconds inside the engine.
        n_bytes: the size of its message.
        rows: calls that shared the run of the engine.
        kept: it got the answer that the very same call was given before.
        backend: the server behind this one that answered; "" for none.
        trace: where it stands in a trace.
    """

    model: str
    version: str
    variant: str
    tenant: str
    reason: str
    at_s: float
    total_s: float
    queue_s: float = 0.0
    engine_s: float = 0.0
    n_bytes: int = 0
    rows: int = 1
    kept: bool = False
    backend: str = ""
    trace: Parent | None = None
