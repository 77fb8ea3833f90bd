"""Triton's clients for HTTP and gRPC, sync and asyncio, unmodified: each call that they have.

    python triton_calls.py HTTP GRPC AUTHORIZATION IMAGE

Prints the name of each check that held, as a JSON list; ends with an error at the first that did
not. Runs in an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from tritonclient.utils import InferenceServerException

VALUES = np.array([1, 3, 2], np.float32)
BEST = 1


def numbers(client, **options):
    given = client.InferInput("numbers", [3], "FP32")
    given.set_data_from_numpy(VALUES, **options)
    return [given]


def image(client, path):
    given = client.InferInput("image", [1], "BYTES")
    given.set_data_from_numpy(np.array([Path(path).read_bytes()], dtype=object))
    return [given]


def best(result) -> int:
    return int(result.as_numpy("scores").argmax())


def questions(client, headers):
    assert client.is_server_live(headers=dict(headers))
    assert client.is_server_ready(headers=dict(headers))
    assert client.is_model_ready("scales", headers=dict(headers))
    assert not client.is_model_ready("nope", headers=dict(headers))
    yield "health"
    server = client.get_server_metadata(headers=dict(headers))
    model = client.get_model_metadata("scales", headers=dict(headers))
    named = (
        (server["name"], model["name"]) if isinstance(server, dict) else (server.name, model.name)
    )
    assert named == ("wherever", "scales")
    yield "metadata"
    client.unload_model("scales", headers=dict(headers))
    assert not client.is_model_ready("scales", headers=dict(headers))
    client.load_model("scales", headers=dict(headers))
    assert client.is_model_ready("scales", headers=dict(headers))
    assert "scales" in str(client.get_model_repository_index(headers=dict(headers)))
    yield "repository"
    assert "success" in str(client.get_inference_statistics("scales", headers=dict(headers)))
    yield "statistics"


def over_http_calls(address, headers, path):
    with over_http.InferenceServerClient(address, concurrency=4) as client:
        assert best(client.infer("scales", numbers(over_http), headers=dict(headers))) == BEST
        yield "binary"
        in_json = numbers(over_http, binary_data=False)
        wanted = [over_http.InferRequestedOutput("scores", binary_data=False)]
        assert best(client.infer("scales", in_json, outputs=wanted, headers=dict(headers))) == BEST
        yield "json"
        for algorithm in ("gzip", "deflate"):
            result = client.infer(
                "scales",
                numbers(over_http),
                headers=dict(headers),
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            assert best(result) == BEST
            yield algorithm
        assert client.infer("digits", image(over_http, path), headers=dict(headers))
        yield "image"
        waiting = [
            client.async_infer("scales", numbers(over_http), headers=dict(headers))
            for _ in range(8)
        ]
        assert {best(each.get_result()) for each in waiting} == {BEST}
        yield "async"
        try:
            client.infer("nope", numbers(over_http), headers=dict(headers))
        except InferenceServerException as error:
            assert "404" in str(error.status()), error.status()
        yield "refusal"
        yield from questions(client, headers)


def over_grpc_calls(address, headers, path):
    with over_grpc.InferenceServerClient(address) as client:
        result = client.infer(
            "scales", numbers(over_grpc), headers=dict(headers), compression_algorithm="gzip"
        )
        assert best(result) == BEST
        yield "gzip"
        assert client.infer("digits", image(over_grpc, path), headers=dict(headers))
        yield "image"
        told: queue.SimpleQueue = queue.SimpleQueue()
        client.start_stream(lambda result, error: told.put((result, error)), headers=dict(headers))
        for _ in range(8):
            client.async_stream_infer("scales", numbers(over_grpc))
        answers = [told.get(timeout=10) for _ in range(8)]
        client.stop_stream()
        assert [(best(result), error) for result, error in answers] == [(BEST, None)] * 8
        yield "stream"
        yield from questions(client, headers)


async def over_asyncio(http, grpc, headers):
    async with over_http_aio.InferenceServerClient(http) as client:
        calls = [
            client.infer("scales", numbers(over_http), headers=dict(headers)) for _ in range(8)
        ]
        assert {best(result) for result in await asyncio.gather(*calls)} == {BEST}
    async with over_grpc_aio.InferenceServerClient(grpc) as client:
        calls = [
            client.infer("scales", numbers(over_grpc), headers=dict(headers)) for _ in range(8)
        ]
        assert {best(result) for result in await asyncio.gather(*calls)} == {BEST}


def main(http, grpc, authorization, path) -> None:
    headers = {"authorization": authorization}
    held = [f"http {name}" for name in over_http_calls(http, headers, path)]
    held += [f"grpc {name}" for name in over_grpc_calls(grpc, headers, path)]
    asyncio.run(over_asyncio(http, grpc, headers))
    print(json.dumps([*held, "asyncio"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
