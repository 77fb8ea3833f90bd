"""Sixty-four kinds of nonsense, on the device and over the wire: refused in words, nothing dies."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image as Pillow

import wherever
from wherever_contracts.wire.messages import encode_request
from wherever_contracts.wire.tensors import InferRequest, WireTensor, from_array, from_bytes

INFER = "/inference.GRPCInferenceService/ModelInfer"


def picture(kind="PNG", size=(32, 32), mode="L") -> bytes:
    buffer = io.BytesIO()
    Pillow.new(mode, size, 200).save(buffer, kind)
    return buffer.getvalue()


def png_header_claiming(width: int, height: int) -> bytes:
    """A PNG whose header says it is enormous."""
    data = bytearray(picture())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


JPEG = picture("JPEG", (200, 200))

# for the model `digits`: an image, or 64 numbers from 0 to 16
DIGITS = {
    "nothing": None,
    "a number": 7,
    "a word": "seven",
    "an empty string": "",
    "a missing file": "/no/such/file.png",
    "a missing path": Path("/no/such/file.png"),
    "a directory": Path("/"),
    "an address": "https://example.org/seven.png",
    "a path with a NUL": "a\0b.png",
    "an endless device": "/dev/zero",
    "a very long path": "x" * 5000,
    "no bytes": b"",
    "bytes of text": b"seven",
    "random bytes": bytes(range(256)) * 4,
    "half a JPEG": JPEG[: len(JPEG) // 2],
    "the head of a JPEG": JPEG[:20],
    "half a PNG": picture()[:60],
    "a PNG with a broken chunk": picture()[:45] + b"\0\0\0\0" + picture()[49:],
    "a PNG that claims to be enormous": png_header_claiming(60_000, 60_000),
    "a PNG that claims to be empty": png_header_claiming(0, 0),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a PDF": b"%PDF-1.7\n%%EOF",
    "a zip": b"PK\x03\x04" + bytes(40),
    "63 numbers": [0] * 63,
    "65 numbers": np.zeros(65, np.float32),
    "no numbers": [],
    "a ragged list": [[0] * 8] * 7 + [[0] * 9],
    "numbers as words": ["0"] * 64,
    "numbers too large": np.full(64, 17.0),
    "negative numbers": np.full((8, 8), -1.0),
    "NaN": np.full((8, 8), np.nan, np.float32),
    "infinity": np.full((8, 8), np.inf, np.float32),
    "complex numbers": np.zeros((8, 8), np.complex64),
    "objects": np.full((8, 8), None),
    "dates": np.zeros((8, 8), "datetime64[s]"),
    "a float image": np.zeros((28, 28)),
    "an image of two channels": np.zeros((28, 28, 2), np.uint8),
    "an image of no width": np.zeros((28, 0, 3), np.uint8),
    "an image in four dimensions": np.zeros((1, 28, 28, 3), np.uint8),
    "an image with channels first": np.zeros((3, 28, 28), np.uint8),
    "a dict with a wrong name": {"picture": [0] * 64},
    "a dict with nothing": {},
    "a dict with too much": {"image": [0] * 64, "more": 1},
    "a set": {1, 2, 3},
    "a generator": (n for n in range(64)),
    "a function": print,
    "a class": dict,
    "an exception": ValueError("seven"),
}

# for the model `scales`: float32[3]
SCALES = {
    "text for numbers": "1 2 3",
    "two numbers": [1, 2],
    "four numbers": [1, 2, 3, 4],
    "a batch": np.zeros((1, 3), np.float32),
    "a scalar": 1.0,
    "not finite": [1, 2, float("nan")],
    "beyond float32": [1, 2, 1e300],
    "an image": picture(),
    "bools and words": [True, "a", None],
}

# arguments of a call that are wrong, with a good input
ARGUMENTS = {
    "no such mode": {"mode": "fastest"},
    "a mode that is no word": {"mode": 3},
    "no such boundary": {"boundary": "galaxy"},
    "no such place": {"places": ["attic"]},
    "places that are no list": {"places": 3},
    "a deadline in the past": {"deadline_s": -1},
    "a deadline that is no number": {"deadline_s": "soon"},
    "an option that does not exist": {"min_scor": 0.5},
}


def test_there_are_at_least_sixty_four_kinds():
    assert len(DIGITS) + len(SCALES) + len(ARGUMENTS) >= 64


def usable(error: BaseException) -> bool:
    """A sentence with something in it, and no wall of text."""
    return 15 <= len(str(error)) <= 1000


@pytest.fixture(scope="module")
def client(scales_package):
    with wherever.Client(packages=[scales_package.root]) as made:
        yield made


@pytest.fixture(autouse=True)
def still_serving(client):
    yield
    assert client.predict("digits", [0] * 64).place == "device"


@pytest.mark.parametrize("kind", DIGITS)
def test_digits_refuses(client, kind):
    with pytest.raises((wherever.WhereverError, ValueError, TypeError)) as caught:
        client.predict("digits", DIGITS[kind])
    assert usable(caught.value), str(caught.value)


@pytest.mark.parametrize("kind", SCALES)
def test_a_tensor_model_refuses(client, kind):
    with pytest.raises((wherever.WhereverError, ValueError, TypeError)) as caught:
        client.predict("scales", SCALES[kind])
    assert usable(caught.value), str(caught.value)


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_a_call_refuses_arguments(client, kind):
    with pytest.raises((wherever.WhereverError, ValueError, TypeError)) as caught:
        client.predict("digits", [0] * 64, **ARGUMENTS[kind])
    assert usable(caught.value), str(caught.value)


def digit(*inputs, model="digits", **arguments) -> bytes:
    return encode_request(InferRequest(model, "", "test", arguments, inputs))


NUMBERS = from_array("image", np.zeros((8, 8), np.float32))


def wire_cases() -> dict[str, bytes]:
    """What a client of another kind could send."""
    encoded = {
        f"bytes: {kind}": digit(from_bytes("image", [value]))
        for kind, value in DIGITS.items()
        if isinstance(value, bytes)
    }
    arrays = {
        f"array: {kind}": digit(from_array("image", value))
        for kind, value in DIGITS.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
    }
    return {
        **encoded,
        **arrays,
        "an unknown model": digit(NUMBERS, model="nonsense"),
        "an empty model name": digit(NUMBERS, model=""),
        "a path for a model": digit(NUMBERS, model="../../etc/passwd"),
        "an unknown variant": digit(NUMBERS, variant="huge"),
        "a raw variant that does not exist": digit(NUMBERS, model="digits--huge"),
        "another signature": digit(NUMBERS, signature="0" * 64),
        "no input": digit(),
        "the same input twice": digit(NUMBERS, NUMBERS),
        "an unknown input": digit(from_array("picture", np.zeros((8, 8), np.float32))),
        "text for an image": digit(from_bytes("image", [b"seven"])),
        "two images in one tensor": digit(from_bytes("image", [picture(), picture()], (2,))),
        "too few bytes": digit(WireTensor("image", "FP32", (8, 8), b"1234")),
        "too many bytes": digit(WireTensor("image", "FP32", (8, 8), bytes(1000))),
        "a negative length": digit(WireTensor("image", "FP32", (-8, -8), bytes(256))),
        "a huge shape": digit(WireTensor("image", "FP32", (1 << 31, 1 << 31), b"")),
        "an unknown datatype": digit(WireTensor("image", "FP12", (8, 8), bytes(256))),
        "a BYTES length past the end": digit(WireTensor("image", "BYTES", (1,), b"\xff" * 8)),
        "a wrong tensor for scales": digit(
            from_array("numbers", np.zeros(4, np.float32)), model="scales"
        ),
        "NaN for scales": digit(
            from_array("numbers", np.full(3, np.nan, np.float32)), model="scales"
        ),
        "garbage": b"\xff" * 64,
        "half a request": digit(NUMBERS)[:100],
        "nothing at all": b"",
    }


WIRE = wire_cases()
PROPER = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}


@pytest.fixture(scope="module")
def served(scales_package, tmp_path_factory):
    import json
    import sys

    command = [
        sys.executable,
        "-m",
        "wherever",
        "gateway",
        "--json",
        "--no-http",
        "--grpc-port",
        "0",
    ]
    builtin = Path(wherever.Client().store.get("digits").root)
    packages = ["--packages", str(scales_package.root), "--packages", str(builtin)]
    with subprocess.Popen([*command, *packages], stdout=subprocess.PIPE, text=True) as process:
        try:
            with grpc.insecure_channel(json.loads(process.stdout.readline())["grpc"]) as channel:
                yield channel.unary_unary(INFER), process
        finally:
            process.terminate()


@pytest.mark.parametrize("kind", WIRE)
def test_the_gateway_refuses_and_keeps_serving(served, kind):
    infer, process = served
    with pytest.raises(grpc.RpcError) as caught:
        infer(WIRE[kind], timeout=10)
    assert caught.value.code() in PROPER, caught.value
    assert 10 <= len(caught.value.details()) <= 1000
    assert process.poll() is None
    assert infer(digit(NUMBERS), timeout=10)
