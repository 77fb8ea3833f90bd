"""What a call costs beside the engine."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort
from harness import Row, interleaved

import wherever
from wherever_contracts.tensors import Array
from wherever_edge.builtin import digits_test_split
from wherever_edge.packages.store import Store


def rows() -> list[Row]:
    """`handle(x)` on digits against the raw session of the same file, taking turns."""
    images, _ = digits_test_split()
    image = images[0].astype("float32")
    with wherever.Client() as client:
        digits = client.model("digits")
        variant = digits(image).receipt.variant
        session, feed = _raw(variant, image)
        names = [output.name for output in session.get_outputs()]
        pair = interleaved(
            lambda: digits(image), lambda: session.run(names, feed), rounds=60, calls=500
        )
        again = interleaved(
            lambda: digits(image, mode="only_on_device").value,
            lambda: session.run(names, feed),
            rounds=40,
            calls=500,
        )
    return [
        Row(
            "`handle(x)` on digits, pipeline included",
            f"{pair.ours_s * 1e6:.1f} us, {pair.added_s * 1e6:.1f} us added",
            f"raw `InferenceSession.run` {pair.reference_s * 1e6:.1f} us",
            "<= 15 us added",
            pair.added_s <= 15e-6,
        ),
        Row(
            "the same with `mode=` and `.value` read",
            f"{again.ours_s * 1e6:.1f} us, {again.added_s * 1e6:.1f} us added",
            f"raw `InferenceSession.run` {again.reference_s * 1e6:.1f} us",
            "",
            None,
        ),
    ]


def _raw(variant_id: str, image: Array) -> tuple[Any, dict[str, Array]]:
    package = Store().get("digits")
    variant = package.manifest.variant(variant_id)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(
        package.read(variant.files[0]), options, providers=["CPUExecutionProvider"]
    )
    entry = variant.tensors.inputs[0]
    shape = [1 if n < 0 else n for n in entry.shape]
    return session, {entry.name: image.reshape(shape)}
