"""Two tenants of one server, over real sockets: what each may do, what it used, what is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

import wherever
from wherever._outbox.age import Stamp
from wherever._outbox.delivery import keyed
from wherever._outbox.entry import Entry, Letter, pack_letter, unpack_letter
from wherever_contracts.errors import (
    DeadlineError,
    ForbiddenError,
    OverloadedError,
    QuotaError,
    RefusedError,
)
from wherever_contracts.urgency import CALM
from wherever_contracts.wire.asked import IDEMPOTENCY_KEY
from wherever_contracts.wire.messages import encode_request
from wherever_contracts.wire.metadata import ModelName, encode_model_name
from wherever_contracts.wire.schema import INFERENCE_SERVICE
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array, to_array
from wherever_edge.host import LocalHost
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.security import ClientSecurity
from wherever_edge.oip.server import GrpcCaller, InferenceServer
from wherever_edge.packages.store import Store
from wherever_gateway.rest.front import RestFront
from wherever_gateway.state.location import sqlite_url
from wherever_gateway.state.state import State
from wherever_gateway.tenants.admission import Tenants
from wherever_gateway.tenants.rules import Quota, Rules, TenantRules

NOBODY: Any = None


def scales(*numbers: float, key: str = "", model: str = "scales", **said: Any) -> InferRequest:
    tensor = from_array("numbers", np.array(numbers or (1, 3, 2), np.float32))
    parameters = {IDEMPOTENCY_KEY: key, **said} if key else said
    return InferRequest(model, "", "", parameters, (tensor,), boundary="anywhere")


def echo(*numbers: float, key: str = "") -> InferRequest:
    tensor = from_array("given", np.array(numbers, np.float32))
    parameters: Any = {IDEMPOTENCY_KEY: key} if key else {}
    return InferRequest("echo", "", "", parameters, (tensor,), boundary="anywhere")


def used(state: State) -> dict[tuple[str, str], Any]:
    """What was counted and not written yet, by tenant and model."""
    cells = state.usage.take()
    state.usage.put_back(cells)
    return {(cell.tenant, cell.model): usage for cell, usage in cells.items()}


class Site:
    """A server with rules that may change, and a client for each of its tenants."""

    def __init__(self, host: LocalHost, home: Path, state: State, **tenants: TenantRules) -> None:
        self.host = host
        self.state = state
        self.rules = Rules(tenants)
        store = KeyStore(home / "keys")
        self.secrets = {name: store.add(name) for name in ("ann", "bob")}
        self.secrets["root"] = store.add("root", "admin")
        checker = KeyChecker(store)
        self.tenants = Tenants(lambda: self.rules, state, keys=checker, keys_needed=True)
        self.server = InferenceServer(
            host, port=0, keys=checker, admission=self.tenants, keys_needed=True
        )
        self.server.start()
        self.clients = {name: self.client(name) for name in self.secrets}

    def client(self, name: str) -> RemoteHost:
        endpoint = Endpoint.parse(f"grpc://127.0.0.1:{self.server.port}")
        return RemoteHost(endpoint, security=ClientSecurity(api_key=self.secrets[name]))

    def ask(self, name: str, request: InferRequest, timeout_s: float = 10.0) -> InferResponse:
        return self.clients[name].infer(request, timeout_s)

    def close(self) -> None:
        for client in self.clients.values():
            client.close()
        self.server.drain(1.0)
        self.state.close()


@contextmanager
def working(host: LocalHost) -> Iterator[None]:
    """The host's only run is taken meanwhile, so that calls wait."""
    until(lambda: host.queue.begin(None))  # a call that was given up may just be leaving
    try:
        yield
    finally:
        host.queue.end(None)


@pytest.fixture(scope="module")
def host(echo_package, slow_scales_package) -> LocalHost:
    # what takes no longer than its queue does not wait in it
    store = Store([echo_package.root, slow_scales_package.root])
    return LocalHost(store, distance="cloud", runs=1, max_waiting=16)


@pytest.fixture
def site(host, tmp_path) -> Iterator[Callable[..., Site]]:
    """Makes sites; they end with the test."""
    with ExitStack() as stack:

        def make(state: State | None = None, **tenants: TenantRules) -> Site:
            home = tmp_path / f"home-{len(list(tmp_path.iterdir()))}"
            home.mkdir()
            return stack.enter_context(closing(Site(host, home, state or State(None), **tenants)))

        yield make


def refused_now(made: Site, request: InferRequest) -> None:
    """Have a call of Ann's refused before it waits for anything."""
    ann = GrpcCaller(NOBODY, made_keys(made)[0], 0)
    made.tenants.admit(request, ann, CALM)


# --- who may do what ---


def test_a_model_that_a_tenant_may_not_use_is_forbidden_in_clear_words(site):
    made = site(ann=TenantRules(models=("echo",)))
    with pytest.raises(
        ForbiddenError, match=r"PERMISSION_DENIED.*'ann' may not use the model 's"
    ) as e:
        made.ask("ann", scales())
    assert "it may use echo" in str(e.value)
    assert not e.value.retryable
    made.ask("ann", echo(1.0))
    made.ask("bob", scales())
    assert used(made.state)["ann", "scales"].refused == 1


def test_a_model_by_its_variants_name_is_forbidden_all_the_same(site):
    made = site(default=TenantRules(models=("echo",)))
    with pytest.raises(ForbiddenError):
        made.ask("ann", scales(model="scales--small"))


def test_who_may_not_use_a_model_does_not_see_it(site):
    made = site(ann=TenantRules(models=("ec*",)))
    ann, bob = (GrpcCaller(NOBODY, key, 0).key for key in made_keys(made))
    assert made.tenants.may_see(ann, "echo")
    assert not made.tenants.may_see(ann, "scales")
    assert made.tenants.may_see(bob, "scales")
    assert made.tenants.may_see(None, "scales")


def made_keys(made: Site) -> list[Any]:
    checker = made.tenants._keys
    return [checker.check(f"Bearer {made.secrets[name]}") for name in ("ann", "bob")]


def test_a_boundary_keeps_a_tenants_calls_from_what_lies_beyond(site):
    made = site(ann=TenantRules(boundary="site"))
    with pytest.raises(ForbiddenError, match=r"boundary 'site'.*answered beyond it \(cloud\)"):
        made.ask("ann", scales())
    ann, bob = made_keys(made)
    assert (made.tenants.boundary(ann), made.tenants.boundary(bob)) == ("site", "anywhere")
    nearby = Tenants(lambda: made.rules, State(None), place_of=lambda _: "nearby")
    assert nearby.may_see(ann, "scales")
    assert not made.tenants.may_see(ann, "scales")


def test_rules_that_change_hold_from_the_next_call_on(site):
    made = site()
    made.ask("ann", scales())
    made.rules = Rules({"ann": TenantRules(models=())})
    with pytest.raises(ForbiddenError, match="it may use none"):
        made.ask("ann", scales())


def test_a_call_is_as_urgent_and_weighs_as_much_as_its_tenant_may(site):
    made = site(ann=TenantRules(priority="batch", weight=2.5))
    ann, bob = (GrpcCaller(NOBODY, key, 0) for key in made_keys(made))
    lowered = made.tenants.admit(scales(), ann, CALM._replace(deadline=7.0)).urgency
    assert lowered[:2] == ("batch", 7.0)
    assert lowered[3:] == ("ann", 2.5)
    assert made.tenants.admit(scales(), bob, CALM).urgency.priority == "interactive"


def test_administration_needs_an_admins_key_once_there_are_keys(site):
    made = site()
    root = made.tenants._keys.check(f"Bearer {made.secrets['root']}")
    made.tenants.check_admin(GrpcCaller(NOBODY, root, 0))
    with pytest.raises(ForbiddenError, match="'ann' has 'use'"):
        made.tenants.check_admin(GrpcCaller(NOBODY, made_keys(made)[0], 0))
    nobody = GrpcCaller(NOBODY, None, 0)
    for keys, needed in ((made.tenants._keys, False), (None, True)):
        with pytest.raises(ForbiddenError, match="role 'admin'"):
            Tenants(Rules, State(None), keys=keys, keys_needed=needed).check_admin(nobody)
    Tenants(Rules, State(None)).check_admin(nobody)


# --- how much ---


def test_a_quota_that_is_used_up_says_when_to_come_again_and_leaves_others_alone(site):
    made = site(ann=TenantRules(quotas=(Quota(requests="2/hour"),)))
    made.ask("ann", scales())
    made.ask("ann", echo(1.0))
    with pytest.raises(QuotaError, match="RESOURCE_EXHAUSTED, quota: the quota of") as caught:
        made.ask("ann", scales())
    assert 3500 < caught.value.retry_after_s <= 3620
    made.ask("bob", scales())
    assert used(made.state)["ann", "scales"][:3] == (1, 0, 1)


def test_a_message_larger_than_its_quota_is_not_asked_to_come_again(site):
    made = site(ann=TenantRules(quotas=(Quota(bytes="100B/hour"),)))
    with pytest.raises(ForbiddenError, match="never fits the 100 bytes"):
        made.ask("ann", echo(*range(100)))


def test_calls_at_a_time_are_given_back_however_they_end(site, host):
    made = site(ann=TenantRules(quotas=(Quota(concurrency=1),)))
    made.ask("ann", scales())
    for wrong in (echo(), scales(model="nowhere"), scales(1.0)):
        with pytest.raises(RefusedError):
            made.ask("ann", wrong._replace(inputs=wrong.inputs * 2))
    with working(host), pytest.raises(DeadlineError):
        made.ask("ann", scales(), timeout_s=0.2)
    until(lambda: made.tenants.quotas.running == 0)  # the server hears a moment later
    with ThreadPoolExecutor(1) as pool, working(host):
        waiting = pool.submit(made.ask, "ann", scales())
        until(lambda: made.tenants.quotas.running == 1)
        with pytest.raises(OverloadedError, match="1 calls at a time"):
            refused_now(made, scales())
    waiting.result(10)
    assert made.tenants.quotas.running == 0
    made.ask("ann", scales())


def test_usage_is_counted_by_tenant_and_model(site):
    made = site()
    for _ in range(3):
        made.ask("ann", scales())
    made.ask("bob", echo(*range(64)))
    for _ in range(2):
        with pytest.raises(RefusedError):
            made.ask("bob", scales(model="nowhere"))
    counted = used(made.state)
    assert counted["ann", "scales"].calls == 3
    assert counted["bob", "echo"].bytes_out == 256
    assert counted["bob", "echo"].bytes_in > 256
    assert counted["bob", "echo"].engine_s > 0
    assert counted["bob", ""].failed == 2
    assert ("bob", "nowhere") not in counted


# --- calls that come again ---


def until(wanted: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    for _ in range(1000):
        if wanted():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen within 10 s")


def test_a_repeated_call_gets_the_first_answer_and_does_not_run(site):
    made = site()
    first = made.ask("ann", scales(key="k")._replace(id="one"))
    again = made.ask("ann", scales(key="k", priority="background")._replace(id="two"))
    assert again._replace(id="one") == first
    assert (first.id, again.id) == ("one", "two")
    counted = used(made.state)["ann", "scales"]
    assert (counted.calls, counted.repeated) == (1, 1)


def test_two_at_once_run_once(site, host):
    made = site()
    with ThreadPoolExecutor(1) as pool:
        with working(host):
            first = pool.submit(made.ask, "ann", scales(key="k"))
            until(lambda: made.tenants.repeats.at_work == 1)
            with pytest.raises(RefusedError, match="with other inputs"):
                refused_now(made, scales(7, 7, 7, key="k"))
            with pytest.raises(OverloadedError, match="is being answered") as caught:
                refused_now(made, scales(key="k"))
        answer = first.result(10)
    assert caught.value.retry_after_s == pytest.approx(0.1)
    assert made.ask("ann", scales(key="k")) == answer
    counted = used(made.state)["ann", "scales"]
    assert (counted.calls, counted.failed, counted.refused, counted.repeated) == (1, 1, 1, 1)
    assert made.tenants.repeats.at_work == 0


def test_a_call_that_failed_is_answered_when_it_comes_again(site, host):
    made = site()
    with working(host), pytest.raises(DeadlineError):
        made.ask("ann", scales(key="k"), timeout_s=0.3)
    until(lambda: made.tenants.repeats.at_work == 0)
    assert made.ask("ann", scales(key="k")).model == "scales"
    assert used(made.state)["ann", "scales"].repeated == 0


def test_calls_answered_together_do_not_wait_for_each_other(site):
    made = site()
    ann = GrpcCaller(Patient(), made_keys(made)[0], 0)
    same = [scales(key="k"), scales(key="k"), scales(key="l")]
    first, second, third = made.server.service.infer_many(same, [ann] * 3)
    assert isinstance(second, OverloadedError)
    assert first.outputs == third.outputs
    [again, more] = made.server.service.infer_many(same[1:], [ann] * 2)
    assert again.outputs == more.outputs == first.outputs


class Patient:
    """What a call knows of its connection, for one that never ends."""

    def time_remaining(self) -> None:
        return None

    def is_active(self) -> bool:
        return True


def test_a_key_with_other_inputs_is_refused(site):
    made = site()
    made.ask("ann", scales(key="k"))
    for other in (scales(9, 9, 9, key="k"), scales(key="k", variant="small")):
        with pytest.raises(RefusedError, match=r"FAILED_PRECONDITION.*with other inputs"):
            made.ask("ann", other)
    made.ask("ann", scales(9, 9, 9, key="another"))


def test_a_key_means_nothing_for_another_tenant_or_model(site):
    made = site()
    first = made.ask("ann", echo(1.0, key="k"))
    assert to_array(made.ask("bob", echo(2.0, key="k")).outputs[0])[0] == 2.0
    assert made.ask("ann", scales(key="k")).model == "scales"
    assert made.ask("ann", echo(1.0, key="k")) == first


@pytest.mark.parametrize("key", ["x" * 256, 7])
def test_a_key_that_is_none_is_refused(site, key):
    made = site()
    with pytest.raises(RefusedError, match="1 to 255 characters"):
        made.ask("ann", scales(**{IDEMPOTENCY_KEY: key}))


def test_an_answer_that_is_too_large_is_not_kept(site):
    made = site()
    large = echo(*np.zeros(300_000), key="k")
    made.ask("ann", large)
    made.ask("ann", large)
    assert used(made.state)["ann", "echo"][:4] == (2, 0, 0, 0)


def test_a_restart_keeps_answers_and_usage(site, tmp_path):
    url = sqlite_url(tmp_path / "gateway" / "state.db")
    before = State(url)
    before.start()
    made = site(before)
    first = made.ask("ann", echo(5.0, key="k"))
    made.close()
    after = State(url)
    after.start()
    again = site(after)
    again.secrets = made.secrets
    assert again.ask("ann", echo(5.0, key="k")) == first
    with pytest.raises(RefusedError, match="with other inputs"):
        again.ask("ann", echo(6.0, key="k"))
    assert used(after)["ann", "echo"].repeated == 1


def test_our_outbox_gets_the_kept_answer_when_it_sends_a_call_again(site):
    made = site()
    waits = Entry(
        "call-1", "echo", "1.0.0", "", "", "anywhere", ("cloud",), "", (), "interactive",
        Stamp(1.0, 1.0, "boot"), 60.0,
    )  # fmt: skip
    request = echo(3.0)._replace(parameters={"variant": "identity"})
    stored = pack_letter(Letter(waits, request, b"{}"))
    first = made.ask("ann", keyed(unpack_letter(stored)))
    # its answer was lost with the process, and the next one reads the same file
    assert made.ask("ann", keyed(unpack_letter(stored))) == first
    counted = used(made.state)["ann", "echo"]
    assert (counted.calls, counted.repeated) == (1, 1)


def test_a_later_answer_comes_through_a_gateway_that_keeps_answers(site, scales_package):
    made = site()
    unsure = np.array([0.1, 0.2, 0.15], np.float32)
    options = {"packages": [scales_package.root], "api_key": made.secrets["ann"]}
    with wherever.Client([f"grpc://127.0.0.1:{made.server.port}"], **options) as client:
        better = client.model("scales")(unsure, later=True).upgrade(timeout_s=20)
    assert (better.place, better.value) == ("cloud", "middle")
    assert used(made.state)["ann", "scales"].calls == 1
    assert len(made.state.kept._held) == 1


# --- over REST ---


@contextmanager
def over_rest(made: Site, name: str) -> Iterator[httpx.Client]:
    front = RestFront(
        made.server.service,
        lambda: True,
        address="127.0.0.1",
        port=0,
        max_bytes=10**6,
        keys=made.tenants._keys,
        keys_needed=True,
    )
    front.start()
    bearer = {"authorization": f"Bearer {made.secrets[name]}"}
    try:
        url = f"http://127.0.0.1:{front.port}"
        with httpx.Client(base_url=url, headers=bearer, timeout=10, trust_env=False) as client:
            yield client
    finally:
        front.drain(0)


def test_rest_has_the_statuses_that_say_the_same(site):
    made = site(ann=TenantRules(models=("echo",), quotas=(Quota(requests="4/hour"),)))

    def post(number: float, key: str = "k", model: str = "echo") -> httpx.Response:
        tensor = {"name": "given", "datatype": "FP32", "shape": [1], "data": [number]}
        body = {"inputs": [tensor], "parameters": {IDEMPOTENCY_KEY: key}}
        return client.post(f"/v2/models/{model}/infer", json=body)

    with over_rest(made, "ann") as client:
        assert post(1.0, model="scales").status_code == 403
        assert client.get("/v2/models/scales").status_code in (403, 404)
        first = post(1.0)
        assert post(1.0).json() == first.json()
        # the same call over the other protocol
        assert to_array(made.ask("ann", echo(1.0, key="k")).outputs[0]).tolist() == [1.0]
        assert post(2.0).status_code == 409
        refused = post(3.0, key="l")
    assert refused.status_code == 429
    assert refused.headers["wherever-code"] == "quota"
    assert 3500 < int(refused.headers["retry-after"]) <= 3620
    assert used(made.state)["ann", "echo"][:4] == (1, 1, 1, 2)


def test_nothing_over_grpc_tells_of_a_model_that_others_use(site):
    made = site(ann=TenantRules(models=("ec*",)))
    channel = grpc.insecure_channel(f"127.0.0.1:{made.server.port}")
    keyed = {"metadata": (("authorization", f"Bearer {made.secrets['ann']}"),), "timeout": 10}

    def ask(method: str, data: bytes) -> tuple[grpc.StatusCode, str]:
        try:
            answer = channel.unary_unary(f"/{INFERENCE_SERVICE}/{method}")(data, **keyed)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, repr(answer)

    with channel:
        named = encode_model_name("ModelMetadataRequest", ModelName("scales"))
        assert ask("ModelMetadata", named)[0] == grpc.StatusCode.PERMISSION_DENIED
        assert ask("ModelReady", named) == (grpc.StatusCode.OK, "b''")
        unknown = encode_request(InferRequest("ec2", "", "", {}, ()))
        missing = encode_model_name("ModelMetadataRequest", ModelName("ec2"))
        for method, data in (("ModelInfer", unknown), ("ModelMetadata", missing)):
            status, details = ask(method, data)
            assert status == grpc.StatusCode.NOT_FOUND
            assert "scales" not in details
