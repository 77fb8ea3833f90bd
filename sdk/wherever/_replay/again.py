"""One call on this device, as it ran before: what the variant was shown, alone or with company."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherever._outgoing import Outgoing
from wherever._planning import sendable
from wherever._replay.outcome import NotReplayableError
from wherever_contracts.receipts import Answer

if TYPE_CHECKING:
    from wherever._records.record import Record
    from wherever_contracts.tensors import Array
    from wherever_edge.loaded import LoadedVariant

# A run that was shared by more is tried with so many rows.
MOST_ROWS = 256


class Again:
    """One call, to be run again.

    Args:
        record: what was written down of it.
        loaded: the variant that answered.
        inputs: the checked inputs.
        options: the call's options, defaults included.

    Raises:
        NotReplayableError: what was sent came out of a rule that a plain call cannot apply.
        InputError: an image is damaged.
    """

    def __init__(
        self,
        record: Record,
        loaded: LoadedVariant,
        inputs: Mapping[str, Any],
        options: Mapping[str, float],
    ) -> None:
        self._receipt = record.receipt
        self._loaded = loaded
        self._options = options
        self._outgoing = Outgoing(inputs, loaded.wire_inputs, sendable(loaded.package.manifest))
        self._shown = self._as_shown(inputs)

    def alone(self) -> Answer:
        """The answer in a run of its own."""
        return self._restored(self._loaded.answer(self._shown, self._options))

    def together(self, rows: int) -> list[dict[str, Array]]:
        """The answers in a run of so many rows; none where this variant's calls share no runs."""
        if not self._loaded.batches:
            return []
        shown = [self._shown] * min(rows, MOST_ROWS)
        answers = self._loaded.answer_many(shown, self._options)
        return [self._restored(each).outputs for each in answers if isinstance(each, Answer)]

    def _as_shown(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inputs as the one who answered was shown them: encoded, and released by a rule."""
        receipt = self._receipt
        if receipt.place == "device":
            return inputs
        if receipt.released and receipt.released not in sendable(self._loaded.package.manifest):
            rule = f"the release rule {receipt.released!r}"
            raise NotReplayableError("not_here", f"what was sent came out of {rule}, of a chain")
        return self._loaded.wire_inputs.read(self._outgoing.tensors(receipt.released))

    def _restored(self, answer: Answer) -> Answer:
        if not self._receipt.released:
            return answer
        signature = self._loaded.signature
        restored = self._outgoing.restored(self._receipt.released, answer, signature)
        return restored if isinstance(restored, Answer) else answer
