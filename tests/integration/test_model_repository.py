"""Repository, statistics, Triton's stream and reflection, by clients that are not ours."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tritonclient.utils import InferenceServerException

from wherever_contracts.errors import ForbiddenError
from wherever_contracts.wire.repository import BatchStatistics, ModelStatistics, Spent
from wherever_edge.host import LocalHost
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.reflection import reflection_handlers
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store
from wherever_gateway.model_repository import ModelRepository

VALUES = np.array([1, 3, 2], np.float32)
ASKED = ModelStatistics(
    "scales",
    "1.0.0",
    last_ms=1_700_000_000_000,
    inferences=5,
    executions=2,
    success=Spent(5, 9_000),
    queue=Spent(5, 10),
    batches=(BatchStatistics(4, Spent(1, 700)),),
)


class OnlyAdministrators:
    """Keys with the role "admin" may administer; models whose names begin with "x" are hidden."""

    def check_admin(self, caller):
        if caller.key is None or not caller.key.may("admin"):
            raise ForbiddenError("this needs a key with the role 'admin'")

    def may_see(self, key, model):
        return not model.startswith("x")


class Asked:
    def of(self, model, version):
        return [ASKED]


class Served:
    def __init__(self, package, directory) -> None:
        self.host = LocalHost(Store([package.root], builtin=False), distance="cloud")
        store = KeyStore(directory)
        self.user = {"authorization": f"Bearer {store.add('user')}"}
        self.admin = {"authorization": f"Bearer {store.add('admin', 'admin')}"}
        repository = ModelRepository(self.host, OnlyAdministrators(), Asked(), self.host.refresh)
        self.server = InferenceServer(
            self.host,
            port=0,
            keys=KeyChecker(store),
            methods=repository.methods(),
            handlers=reflection_handlers(),
            max_bytes=1_000_000,
        )
        self.server.start()
        self.address = f"127.0.0.1:{self.server.port}"


@pytest.fixture
def served(scales_package, tmp_path) -> Iterator[Served]:
    served = Served(scales_package, tmp_path)
    yield served
    served.server.drain(0)


@pytest.fixture
def client(served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.address) as client:
        yield client


def numbers(values: np.ndarray = VALUES, datatype: str = "FP32") -> triton.InferInput:
    given = triton.InferInput("numbers", list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given


def test_the_index_says_what_is_ready(served, client):
    index = client.get_model_repository_index(headers=served.user, as_json=True)
    assert index == {"models": [{"name": "scales", "version": "1.0.0", "state": "READY"}]}


def test_an_unloaded_model_answers_nothing_until_it_is_loaded_again(served, client):
    client.unload_model("scales", headers=served.admin)
    (entry,) = client.get_model_repository_index(headers=served.user).models
    assert (entry.state, entry.reason) == ("UNAVAILABLE", "unloaded")
    assert not client.is_model_ready("scales", headers=served.user)
    with pytest.raises(InferenceServerException, match="was unloaded here") as caught:
        client.infer("scales", [numbers()], headers=served.user)
    assert caught.value.status() == "StatusCode.NOT_FOUND"
    assert served.host.loaded() == []
    client.load_model("scales", headers=served.admin)
    answer = client.infer("scales", [numbers()], headers=served.user)
    assert answer.as_numpy("scores").argmax() == 1


def test_who_does_not_administer_changes_and_counts_nothing(served, client):
    for ask in (
        lambda: client.unload_model("scales", headers=served.user),
        lambda: client.load_model("scales", headers=served.user),
        lambda: client.get_inference_statistics("scales", headers=served.user),
    ):
        with pytest.raises(InferenceServerException, match="role 'admin'") as caught:
            ask()
        assert caught.value.status() == "StatusCode.PERMISSION_DENIED"
    with pytest.raises(InferenceServerException) as caught:
        client.get_model_repository_index()
    assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
    assert client.is_model_ready("scales", headers=served.user)


def test_what_is_not_there_cannot_be_loaded_or_counted(served, client):
    for ask in (client.unload_model, client.load_model, client.get_inference_statistics):
        with pytest.raises(InferenceServerException) as caught:
            ask("nope", headers=served.admin)
        assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_statistics_in_the_protocols_words(served, client):
    (found,) = client.get_inference_statistics("scales", headers=served.admin).model_stats
    assert (found.inference_count, found.execution_count) == (5, 2)
    assert (found.inference_stats.success.count, found.inference_stats.queue.ns) == (5, 10)
    assert (found.batch_stats[0].batch_size, found.batch_stats[0].compute_infer.ns) == (4, 700)


def test_calls_on_a_stream_of_tritons_own(served, client):
    told: queue.SimpleQueue = queue.SimpleQueue()
    client.start_stream(lambda result, error: told.put((result, error)), headers=served.user)
    for request_id in ("1", "2"):
        client.async_stream_infer("scales", [numbers()], request_id=request_id)
    client.async_stream_infer("nope", [numbers()])
    client.async_stream_infer("scales", [numbers()], request_id="4")
    answers = [told.get(timeout=10) for _ in range(4)]
    client.stop_stream()
    results = [result.get_response().id for result, error in answers if error is None]
    assert results == ["1", "2", "4"]
    assert "nope" in str(answers[2][1])


def test_idle_streams_take_no_thread_from_calls_and_too_many_are_refused(served):
    def endless():
        yield from iter(block.get, None)

    block: queue.SimpleQueue = queue.SimpleQueue()
    metadata = tuple(served.user.items())
    with grpc.insecure_channel(served.address) as channel:
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        ready = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
        idle = [stream(endless(), metadata=metadata) for _ in range(40)]
        assert ready(b"", metadata=metadata, timeout=10) == b"\x08\x01"
        for _ in idle:
            block.put(None)
        ends = [call.code() for call in idle]
    assert ends.count(grpc.StatusCode.RESOURCE_EXHAUSTED) + ends.count(grpc.StatusCode.OK) == 40


def test_bfloat16_numbers_for_a_float32_input(served, client):
    answer = client.infer(
        "scales", [numbers(VALUES.astype(ml_dtypes.bfloat16), "BF16")], headers=served.user
    )
    assert answer.as_numpy("scores").argmax() == 1


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_message_is_bounded_by_what_it_is_when_it_is_unpacked(served, client, algorithm):
    bomb = numbers(np.zeros(10_000_000, np.float32))
    with pytest.raises(InferenceServerException) as caught:
        client.infer("scales", [bomb], headers=served.user, compression_algorithm=algorithm)
    assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    assert client.infer("scales", [numbers()], headers=served.user) is not None


def test_reflection_tells_of_every_method_and_message(served):
    with grpc.insecure_channel(served.address) as channel:
        keyed = grpc.intercept_channel(channel, Keyed(served.user))
        database = ProtoReflectionDescriptorDatabase(keyed)
        services = {"inference.GRPCInferenceService", "grpc.health.v1.Health"}
        assert set(database.get_services()) == services
        service = DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")
        assert {"ModelInfer", "ModelStreamInfer", "RepositoryIndex"} <= set(service.methods_by_name)
        infer = service.methods_by_name["ModelInfer"].input_type
        assert infer.fields_by_name["raw_input_contents"].number == 7


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_needs_a_key_where_calls_do(served, version):
    with grpc.insecure_channel(served.address) as channel:
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        )
        question = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        with pytest.raises(grpc.RpcError) as caught:
            list(ask(iter([question]), timeout=10))
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        metadata = tuple(served.user.items())
        assert len(list(ask(iter([question]), timeout=10, metadata=metadata))) == 1


class Keyed(grpc.StreamStreamClientInterceptor):
    def __init__(self, headers) -> None:
        self._headers = tuple(headers.items())

    def intercept_stream_stream(self, continuation, details, requests):
        return continuation(details._replace(metadata=self._headers), requests)
