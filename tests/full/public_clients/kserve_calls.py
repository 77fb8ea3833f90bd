"""KServe's clients for REST and gRPC, unmodified: each call that they have.

    python kserve_calls.py HTTP GRPC AUTHORIZATION IMAGE

Prints the name of each check that held, as a JSON list. Runs in an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

VALUES = np.array([1, 3, 2], np.float32)
BEST = 1


def asked(*, binary: bool) -> InferRequest:
    given = InferInput("numbers", [3], "FP32")
    given.set_data_from_numpy(VALUES, binary_data=binary)
    return InferRequest("scales", [given])


def with_image(path: str) -> InferRequest:
    given = InferInput("image", [1], "BYTES")
    given.set_data_from_numpy(np.array([Path(path).read_bytes()], dtype=object), binary_data=True)
    return InferRequest("digits", [given])


def best(answer) -> int:
    return int(answer.outputs[0].as_numpy().argmax())


async def over_rest(url, headers, path):
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=20))
    assert await client.is_server_live(url, headers=headers)
    assert await client.is_server_ready(url, headers=headers)
    assert await client.is_model_ready(url, "scales", headers=headers)
    yield "health"
    for binary in (False, True):
        answer = await client.infer(url, asked(binary=binary), "scales", headers=dict(headers))
        assert best(answer) == BEST
        yield "binary" if binary else "json"
    answer = await client.infer(url, with_image(path), "digits", headers=dict(headers))
    assert answer.outputs[0].as_numpy().shape == (10,)
    yield "image"
    await client.close()


async def over_grpc(address, headers, path):
    metadata = tuple(headers.items())
    async with InferenceGRPCClient(address) as client:
        assert await client.is_server_live(headers=metadata)
        assert await client.is_server_ready(headers=metadata)
        assert await client.is_model_ready("scales", headers=metadata)
        yield "health"
        for binary in (False, True):
            assert best(await client.infer(asked(binary=binary), headers=metadata)) == BEST
            yield "raw" if binary else "typed"
        answer = await client.infer(with_image(path), headers=metadata)
        assert answer.outputs[0].as_numpy().shape == (10,)
        yield "image"


async def main(http, grpc, authorization, path) -> None:
    headers = {"authorization": authorization}
    held = [f"rest {name}" async for name in over_rest(f"http://{http}", headers, path)]
    held += [f"grpc {name}" async for name in over_grpc(grpc, headers, path)]
    print(json.dumps(held))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
