"""Triton's own client against our server, unmodified; and both in one process."""

from __future__ import annotations

import asyncio
import io
import queue
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from wherever_edge.host import LocalHost
from wherever_edge.oip.certificates import make_identity
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store

VALUES = np.array([1, 3, 2], np.float32)


@pytest.fixture
def server(scales_package) -> Iterator[InferenceServer]:
    host = LocalHost(Store([scales_package.root]), distance="cloud")
    server = InferenceServer(host, port=0)
    server.start()
    yield server
    server.drain(0)


@pytest.fixture
def client(server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def numbers(values: np.ndarray = VALUES) -> triton.InferInput:
    given = triton.InferInput("numbers", list(values.shape), "FP32")
    given.set_data_from_numpy(values)
    return given


def test_liveness_readiness_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("scales")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata().name == "wherever"
    found = client.get_model_metadata("scales", as_json=True)
    assert found["inputs"] == [{"name": "numbers", "datatype": "FP32", "shape": ["3"]}]
    assert found["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": ["3"]}]


def test_an_answer(client):
    wanted = [triton.InferRequestedOutput("scores")]
    result = client.infer("scales", [numbers()], outputs=wanted, request_id="7")
    assert result.as_numpy("scores").argmax() == 1
    response = result.get_response()
    assert (response.id, response.model_version) == ("7", "1.0.0")
    assert response.parameters["wherever_confidence"].double_param > 0.9


def test_an_answer_without_waiting(client):
    told = queue.SimpleQueue()
    client.async_infer("scales", [numbers()], lambda result, error: told.put((result, error)))
    result, error = told.get(timeout=10)
    assert error is None
    assert result.as_numpy("scores").argmax() == 1


def test_an_image_as_bytes(client):
    image = triton.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([_png()], dtype=object))
    assert client.infer("digits", [image]).as_numpy("scores").shape == (10,)


def test_a_variant_by_parameter_and_by_name(client):
    asked = client.infer("scales", [numbers()], parameters={"variant": "small"})
    assert '"variant":"small"' in asked.get_response().parameters["wherever_ran"].string_param
    x = triton.InferInput("x", [1, 3], "FP32")
    x.set_data_from_numpy(VALUES.reshape(1, 3))
    assert client.infer("scales--small", [x]).as_numpy("probabilities").shape == (1, 3)


def test_refusals_keep_their_status(client):
    with pytest.raises(InferenceServerException) as caught:
        client.infer("scales", [numbers(np.zeros(4, np.float32))])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException) as caught:
        client.infer("nope", [numbers()])
    assert caught.value.status() == "StatusCode.NOT_FOUND"
    wanted = triton.InferRequestedOutput("probabilities", class_count=2)
    bare = triton.InferInput("x", [1, 3], "FP32")
    bare.set_data_from_numpy(VALUES.reshape(1, 3))
    with pytest.raises(InferenceServerException, match="bare tensors") as caught:
        client.infer("scales--small", [bare], outputs=[wanted])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_an_image_in_and_labels_out(client):
    image = triton.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([_png()], dtype=object))
    best, second = _classes(client.infer("digits", [image], outputs=[_best_two()]))
    assert best[0] >= second[0]
    assert best[2] == str(best[1])  # digits are called by their numbers


def test_labels_have_the_order_of_their_scores(client):
    plain = client.infer("scales", [numbers()]).as_numpy("scores")
    first, second = _classes(client.infer("scales", [numbers()], outputs=[_best_two()]))
    assert [first[1], second[1]] == np.argsort(-plain)[:2].tolist()
    assert first[0] == pytest.approx(plain.max(), abs=1e-6)


def _best_two() -> triton.InferRequestedOutput:
    return triton.InferRequestedOutput("scores", class_count=2)


def _classes(result) -> list[tuple[float, int, str]]:
    parts = [text.decode().split(":") for text in result.as_numpy("scores")]
    return [(float(value), int(index), label) for value, index, label in parts]


def test_compressed_calls(client):
    result = client.infer("scales", [numbers()], compression_algorithm="gzip")
    assert result.as_numpy("scores").argmax() == 1


def test_tls_and_a_key_in_a_header_which_probes_of_the_server_need_not_bring(
    scales_package, tmp_path
):
    identity, store = make_identity(["localhost"]), KeyStore(tmp_path)
    headers = {"authorization": f"Bearer {store.add('triton')}"}
    roots = tmp_path / "ca"
    roots.write_bytes(identity.certificate_pem)
    host = LocalHost(Store([scales_package.root]), distance="cloud")
    server = InferenceServer(host, port=0, identity=identity, keys=KeyChecker(store))
    server.start()
    url = f"localhost:{server.port}"
    with triton.InferenceServerClient(url, ssl=True, root_certificates=str(roots)) as client:
        assert client.is_server_live()
        assert client.is_server_ready(headers={"authorization": "Bearer unknown"})
        with pytest.raises(InferenceServerException, match="API key is needed"):
            client.is_model_ready("scales")
        assert client.is_model_ready("scales", headers=headers)
        assert client.infer("scales", [numbers()], headers=headers).as_numpy("scores").argmax() == 1
        with pytest.raises(InferenceServerException, match="API key is needed") as caught:
            client.infer("scales", [numbers()])
        assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
    server.drain(0)


def test_its_asyncio_client(server):
    async def ask() -> np.ndarray:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert await client.is_server_ready()
            results = [client.infer("scales", [numbers()]) for _ in range(10)]
            answers = await asyncio.gather(*results)
            return np.stack([answer.as_numpy("scores") for answer in answers])

    assert (asyncio.run(ask()).argmax(axis=1) == 1).all()


@pytest.mark.parametrize("order", [("ours", "theirs"), ("theirs", "ours")])
def test_both_can_be_imported_in_one_process_in_either_order(order):
    modules = {"ours": "wherever_edge.oip.server", "theirs": "tritonclient.grpc"}
    program = "\n".join(f"import {modules[name]}" for name in order)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _png() -> bytes:
    from PIL import Image

    stored = io.BytesIO()
    Image.new("L", (8, 8), 255).save(stored, "PNG")
    return stored.getvalue()
