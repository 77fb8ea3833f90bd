"""What letting a call in costs: rules, quotas and usage, beside a server that lets everybody in.

python benchmarks/gateway/admission.py
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter

from harness import interleaved

from wherever_contracts.urgency import CALM
from wherever_contracts.wire.tensors import InferRequest, InferResponse, WireTensor
from wherever_edge.oip.admission import Admission, Caller, Open, Served
from wherever_edge.oip.keys import KeyInfo
from wherever_gateway.state.state import State
from wherever_gateway.tenants.admission import Tenants
from wherever_gateway.tenants.rules import Quota, Rules, TenantRules

_ROUNDS, _CALLS = 60, 2_000
_PLENTY = 10**12

_REQUEST = InferRequest("tiny", "", "", {}, (WireTensor("x", "FP32", (4,), b"\0" * 16),))
_RESPONSE = InferResponse("tiny", "1.0.0", "", {}, (WireTensor("y", "FP32", (4,), b"\0" * 16),))
_SERVED = Served("tiny", "1.0.0", "onnx", 1e-5, 1e-5)

_QUOTAS: dict[str, tuple[Quota, ...]] = {
    "no quota": (),
    "requests": (Quota(requests=f"{_PLENTY}/second"),),
    "requests, concurrency": (Quota(requests=f"{_PLENTY}/second", concurrency=64),),
    "requests, bytes, concurrency": (
        Quota(requests=f"{_PLENTY}/second", bytes=f"{_PLENTY}/hour", concurrency=64),
    ),
}


class _Caller:
    """Somebody with a key."""

    key = KeyInfo("id", "shop-1", "use", "")
    n_bytes = 64

    def time_remaining(self) -> float | None:
        return None

    def is_active(self) -> bool:
        return True

    def header(self, name: str) -> str | None:
        return None


def _call(admission: Admission, caller: Caller) -> Callable[[], None]:
    def call() -> None:
        admission.admit(_REQUEST, caller, CALM).answered(_RESPONSE, _SERVED)

    return call


def _same(rules: Rules) -> Rules:
    return rules


def main() -> None:
    """Print a row for each set of quotas."""
    caller = _Caller()
    print("| admitted and answered, with | us | an open server, us |\n|---|---|---|")
    for what, quotas in _QUOTAS.items():
        rules = Rules({"shop-*": TenantRules(quotas=quotas)})
        tenants = Tenants(partial(_same, rules), State(None), clock=perf_counter)
        pair = interleaved(
            _call(tenants, caller), _call(Open(), caller), rounds=_ROUNDS, calls=_CALLS
        )
        print(f"| {what} | {pair.ours_s * 1e6:.1f} | {pair.reference_s * 1e6:.1f} |")


if __name__ == "__main__":
    main()
