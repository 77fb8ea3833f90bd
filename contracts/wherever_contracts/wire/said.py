"""What a peer of our kind says of an answer beside its outputs: names of response parameters."""

from __future__ import annotations

RAN_KEY = "wherever_ran"  # what ran, as a JSON object
CONFIDENCE_KEY = "wherever_confidence"  # 0 to 1
ENGINE_KEY = "wherever_engine_s"  # seconds inside the engine
QUEUE_KEY = "wherever_queue_s"  # seconds before it
ROWS_KEY = "wherever_rows"  # rows in the run that it shared with other calls; said when it did
LOAD_KEY = "wherever_load"  # calls inside the host, over as many as it runs at a time
SUBSTITUTED_KEY = "wherever_substituted"  # a JSON list: what ran in place of what was planned
