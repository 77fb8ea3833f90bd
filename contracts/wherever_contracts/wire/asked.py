"""What a client of our kind asks beside its inputs: names of request parameters, and of models."""

from __future__ import annotations

# the same text in every try of one call: whoever keeps answers gives the first one again, and runs
# the call once
IDEMPOTENCY_KEY = "idempotency_key"

# who goes first where calls wait; numbers, as other clients send, are not ours and change nothing
PRIORITY_KEY = "priority"

# the id of the variant that is to answer
VARIANT_KEY = "variant"

# a digest of the signature that the caller knows
SIGNATURE_KEY = "signature"

# between a model's name and a variant's id, whose bare tensors are meant: no name has it
RAW_MARK = "--"
