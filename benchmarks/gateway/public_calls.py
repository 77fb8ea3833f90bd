"""Calls with Triton's client until a line comes on standard input; then says what it saw."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from time import monotonic

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

_VALUES = np.arange(12, dtype=np.float32)
_TIMEOUT_S = 5.0
# calls that fail at once must not outnumber those that do not
_EVERY_S = 0.005
_OPTIONS = [
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def main(addresses: list[str]) -> None:
    """Call the addresses in turn, as gRPC itself balances them."""
    client = triton.InferenceServerClient(f"ipv4:{','.join(addresses)}", channel_args=_OPTIONS)
    given = triton.InferInput("x", [12], "FP32")
    given.set_data_from_numpy(_VALUES)
    over = threading.Event()

    def wait_for_a_line() -> None:
        sys.stdin.readline()
        over.set()

    threading.Thread(target=wait_for_a_line, daemon=True).start()
    failed: Counter[str] = Counter()
    calls, slowest_s = 0, 0.0
    print("ready", flush=True)
    while not over.wait(_EVERY_S):
        started = monotonic()
        try:
            client.infer("echo", [given], client_timeout=_TIMEOUT_S)
        except InferenceServerException as error:
            failed[f"{error.status()}"] += 1
        calls += 1
        slowest_s = max(slowest_s, monotonic() - started)
    print(json.dumps([calls, failed, slowest_s]))


if __name__ == "__main__":
    main(sys.argv[1:])
