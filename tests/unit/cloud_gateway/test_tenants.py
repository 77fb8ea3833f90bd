"""Whatever becomes of calls: each is counted once, and gives back all that it held."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import EngineError, ModelNotFoundError, WhereverError
from wherever_contracts.urgency import CALM
from wherever_contracts.wire.asked import IDEMPOTENCY_KEY
from wherever_contracts.wire.tensors import InferRequest, InferResponse, WireTensor
from wherever_edge.oip.admission import Served
from wherever_edge.oip.keys import KeyInfo
from wherever_gateway.state.state import State
from wherever_gateway.tenants.admission import Granted, Tenants
from wherever_gateway.tenants.rules import Quota, Rules, TenantRules

RULES = Rules(
    {
        "ann": TenantRules(quotas=(Quota(concurrency=2), Quota(requests="20/hour"))),
        "bob": TenantRules(models=("m",), quotas=(Quota(concurrency=1, per="model"),)),
    }
)
ENDINGS: tuple[Exception | None, ...] = (None, EngineError("broken"), ModelNotFoundError("no"))

calls = st.tuples(
    st.sampled_from(["ann", "bob", "zoe"]),
    st.sampled_from(["m", "n", "m--small"]),
    st.sampled_from(["", "k", "l"]),
    st.sampled_from([b"1", b"2"]),
)
ends = st.tuples(st.integers(0, 9), st.sampled_from(ENDINGS))


class Caller:
    """Somebody with a key."""

    n_bytes = 10

    def __init__(self, name: str) -> None:
        self.key = KeyInfo("id", name, "use", "")

    def time_remaining(self) -> float | None:
        return None

    def is_active(self) -> bool:
        return True

    def header(self, name: str) -> str | None:
        return None


def answer_to(tenant: str, request: InferRequest) -> InferResponse:
    """An answer that tells whose call it was, and about what."""
    about = f"{tenant} {request.model} ".encode() + bytes(request.inputs[0].data)
    output = WireTensor("y", "UINT8", (len(about),), about)
    return InferResponse(request.model, "1", "", {}, (output,))


def request_for(model: str, key: str, data: bytes) -> InferRequest:
    parameters: Any = {IDEMPOTENCY_KEY: key} if key else {}
    return InferRequest(model, "", "", parameters, (WireTensor("x", "UINT8", (1,), data),))


def end(granted: Granted, response: InferResponse, error: Exception | None) -> None:
    if error is None:
        granted.answered(response, Served("m", "1"))
    else:
        granted.failed(error)
    # who ends a call twice gives nothing back twice
    granted.failed(EngineError("again"))


@given(st.lists(st.one_of(calls, ends), max_size=60))
def test_each_call_is_counted_once_and_gives_back_what_it_held(steps):
    state = State(None)
    tenants = Tenants(lambda: RULES, state, clock=lambda: 0.0)
    inside: list[tuple[Granted, InferResponse]] = []
    begun = 0
    for step in steps:
        if len(step) == 2:
            if inside:
                granted, response = inside.pop(step[0] % len(inside))
                end(granted, response, step[1])
            continue
        tenant, model, key, data = step
        request = request_for(model, key, data)
        begun += 1
        try:
            granted = tenants.admit(request, Caller(tenant), CALM)
        except WhereverError:
            continue
        if granted.kept is None:
            inside.append((granted, answer_to(tenant, request)))
        else:
            assert granted.kept == answer_to(tenant, request)
    for granted, response in inside:
        end(granted, response, None)
    assert tenants.quotas.running == 0
    assert tenants.repeats.at_work == 0
    counted = state.usage.take().values()
    assert sum(u.calls + u.failed + u.refused + u.repeated for u in counted) == begun


def test_names_of_models_that_do_not_exist_are_counted_under_no_name():
    state = State(None)
    tenants = Tenants(Rules, state)
    tenants.admit(request_for("made-up", "", b"1"), Caller("ann"), CALM).failed(
        ModelNotFoundError("no such model")
    )
    assert [(cell.model, usage.failed) for cell, usage in state.usage.take().items()] == [("", 1)]
