"""Calls that come again under the same idempotency key: answered once, and told the same again.

A call that comes while the first one with its key is still at work is told to come a little later
(as draft-ietf-httpapi-idempotency-key-header, "Error Handling", has it). It does not wait here: one
thread answers the calls of many tenants, and who let it wait for a call of his own would make them
wait, too.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherever_contracts.errors import OverloadedError, RefusedError
from wherever_contracts.wire.messages import decode_response, encode_response

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import InferResponse
    from wherever_gateway.state.kept import KeptAnswers
    from wherever_gateway.tenants.digests import Sameness

_AGAIN_AFTER_S = 0.1


class Repeats:
    """Knows the calls that are answered now, and the answers of earlier ones.

    Safe to use from many threads.

    Args:
        kept: the answers of earlier calls.
    """

    def __init__(self, kept: KeptAnswers) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._at_work: dict[str, str] = {}

    @property
    def at_work(self) -> int:
        """Calls with an idempotency key that are answered now."""
        return len(self._at_work)

    def begin(self, same: Sameness) -> InferResponse | None:
        """The answer that a call was given before; None when it is answered now, and has to `end`.

        Raises:
            RefusedError: the key came before with other inputs.
            OverloadedError: the same call is being answered; it may come again.
        """
        with self._lock:
            at_work = self._at_work.get(same.id)
            if at_work is not None:
                _check_same(at_work, same)
                raise _again()
            self._at_work[same.id] = same.inputs
        try:
            response = self._answered_before(same)
        except BaseException:
            self.end(same)
            raise
        if response is not None:
            self.end(same)
        return response

    def end(self, same: Sameness, response: InferResponse | None = None) -> None:
        """A call has its answer, or none: then it is answered when it comes again."""
        try:
            if response is not None and self._fits(response):
                self._kept.keep(same.id, same.inputs, encode_response(response))
        finally:
            with self._lock:
                del self._at_work[same.id]

    def _answered_before(self, same: Sameness) -> InferResponse | None:
        kept = self._kept.find(same.id)
        if kept is None:
            return None
        _check_same(kept.inputs, same)
        return decode_response(kept.answer)

    def _fits(self, response: InferResponse) -> bool:
        return self._kept.fits(sum(len(tensor.data) for tensor in response.outputs))


def _check_same(inputs: str, same: Sameness) -> None:
    if inputs != same.inputs:
        raise RefusedError(
            "its idempotency_key came before with other inputs or options; a new call needs a new "
            "key"
        )


def _again() -> OverloadedError:
    error = OverloadedError("the same call is being answered; ask again for its answer")
    error.retry_after_s = _AGAIN_AFTER_S
    return error
