"""The budget for remote attempts beyond a call's first. Pure.

One bucket for all hosts of a client, shared by retries, hedges and probes, so that trouble on one
path cannot become a storm on all of them (gRFC A6, "Throttling Retry Attempts and Hedged RPCs",
where a failure takes one token and an answer gives a fraction of one). Beyond A6, a retry or hedge
takes a token as well: among `1 / token_ratio` calls that are answered there is at most one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_TOKENS = 10.0
TOKEN_RATIO = 0.1


@dataclass(slots=True)
class RetryTokens:
    """Tokens for extra attempts; they are given while more than half of them are left.

    It needs no lock: of two threads that change it at the same moment one may go uncounted.

    Attributes:
        max_tokens: how many there are at most, and at first.
        token_ratio: how much of one an answer gives back.
        tokens: what is left.
    """

    max_tokens: float = MAX_TOKENS
    token_ratio: float = TOKEN_RATIO
    tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.max_tokens

    @property
    def allows(self) -> bool:
        """Whether there may be extra attempts now; a probe asks this and takes nothing."""
        return self.tokens > self.max_tokens / 2

    def spend(self) -> bool:
        """Take a token for a retry or hedge; False when there must be none now."""
        if not self.allows:
            return False
        self.tokens -= 1.0
        return True

    def answered(self) -> None:
        """A remote attempt was answered."""
        self.tokens = min(self.max_tokens, self.tokens + self.token_ratio)

    def failed(self) -> None:
        """A remote attempt failed in a way that a retry might mend, or was told not to retry."""
        self.tokens = max(0.0, self.tokens - 1.0)
