"""How calls of one model share runs where its operator says so."""

from __future__ import annotations

from typing import NamedTuple

from wherever_edge.queueing.policy import Limits


class Sharing(NamedTuple):
    """How calls share runs.

    Attributes:
        delay_s: how long a call that could begin waits for others to share its run; 0 for not at
            all. The same as `max_queue_delay_microseconds` of Triton's dynamic batcher.
        limits: how much one run may take at most.
    """

    delay_s: float = 0.0
    limits: Limits = Limits()

    def patience_s(self, left_s: float | None, expected_s: float) -> float:
        """How long a call may wait for company.

        Args:
            left_s: seconds until its deadline; None when it has none.
            expected_s: what its run takes, as far as is known.
        """
        if left_s is None:
            return self.delay_s
        return max(0.0, min(self.delay_s, left_s - expected_s))


AS_USUAL = Sharing()
