"""What a client of our kind asks beside its inputs: names of request parameters."""

from __future__ import annotations

# the same text in every try of one call: whoever keeps answers gives the first one again, and runs
# the call once
IDEMPOTENCY_KEY = "idempotency_key"
