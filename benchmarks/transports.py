"""What TLS with a key, and REST, cost a call against plain gRPC."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from gateway_process import Gateway
from harness import Row, interleaved
from in_cloud import echo_package

import wherever

# (floats, rounds, calls a round)
SIZES = ((12, 40, 40), (150_528, 30, 8))


def rows() -> list[Row]:
    """The same echo over plain gRPC, over TLS with a key, and over REST."""
    with tempfile.TemporaryDirectory() as directory:
        package = echo_package(Path(directory) / "echo")
        served = ["--packages", str(package.root)]
        secured = [*served, "--tls", "--keys", "--home", directory]
        with (
            Gateway([*served, "--http-port", "0"], http=True) as plain,
            Gateway(secured) as locked,
        ):
            packages = [package.root]
            with (
                wherever.Client([plain.address], packages=packages) as by_grpc,
                wherever.Client(
                    [f"grpcs://{locked.address}?rest=off"],
                    packages=packages,
                    api_key=locked.ready["first_key"],
                    ca_file=locked.ready["certificate"],
                ) as by_tls,
                wherever.Client([f"http://{plain.ready['http']}"], packages=packages) as by_rest,
            ):
                return [
                    _row(what, client, by_grpc, *size)
                    for what, client in (("TLS and a key", by_tls), ("REST", by_rest))
                    for size in SIZES
                ]


def _row(
    what: str,
    client: wherever.Client,
    plain: wherever.Client,
    floats: int,
    rounds: int,
    calls: int,
) -> Row:
    ours, reference = client.model("echo"), plain.model("echo")
    values = np.linspace(0, 1, floats, dtype=np.float32)
    for model in (ours, reference):
        assert model(values, mode="only_in_cloud").place == "cloud"
    pair = interleaved(
        lambda: ours(values, mode="only_in_cloud"),
        lambda: reference(values, mode="only_in_cloud"),
        rounds=rounds,
        calls=calls,
    )
    size = f"{values.nbytes} B" if values.nbytes < 1000 else f"{values.nbytes // 1000} KB"
    return Row(
        f"round trip over {what}, {size} each way",
        f"{pair.ours_s * 1e6:.0f} us, {pair.ratio:.2f} x",
        f"over plain gRPC {pair.reference_s * 1e6:.0f} us",
        "",
        None,
    )
