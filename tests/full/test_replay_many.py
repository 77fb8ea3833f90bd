"""Ten thousand recorded calls, run again in another process: the same bits, or the reason named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import wherever
from wherever._records.reading import read_records

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[2] / "examples"
PICTURES, SENTENCES, DIGITS = 100, 300, 9600


def build(example: str, output: Path, *arguments: str | Path) -> Path:
    script = EXAMPLES / example / "build.py"
    command = [sys.executable, str(script), "-o", str(output), *map(str, arguments)]
    subprocess.run(command, check=True)
    return output


@pytest.fixture
def packages(test_data: Path, tmp_path: Path) -> list[Path]:
    models = test_data / "models"
    named = {"fastestdet": "FastestDet.onnx", "yolox": "yolox_nano.onnx", "labels": "coco80.names"}
    files = [part for name, file in named.items() for part in (f"--{name}", models / file)]
    words = ("--model", models / "nl_classifier_builtin_ops.tflite")
    return [
        build("people", tmp_path / "people", *files),
        build("sentiment", tmp_path / "sentiment", *words),
    ]


def digits(client: wherever.Client) -> None:
    """Half of them in batches, half from eight threads at once; each of 400 in 24 calls."""
    drawn = np.random.default_rng(7).uniform(0, 16, (400, 8, 8)).astype(np.float32)
    inputs = np.tile(drawn, (DIGITS // len(drawn), 1, 1))
    half = DIGITS // 2
    assert sum(1 for _ in client.model("digits").map(inputs[:half], batch=16)) == half
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client.model("digits"), inputs[half:]))


def pictures(client: wherever.Client, images: Path) -> None:
    """As files, and as the pixels that are in them; two at a time."""
    from PIL import Image as Pillow

    files = sorted(images.glob("*.jpg"))[: PICTURES // 2]
    pixels = (np.asarray(Pillow.open(file).convert("RGB")) for file in files)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(client.model("people"), [*files, *pixels]))


def sentences(text: Path) -> Iterator[str]:
    for line in (text / "sst2_dev.tsv").read_text().splitlines()[:SENTENCES]:
        yield line.partition("\t")[2]


def test_ten_thousand_calls_give_the_same_bits_or_the_reason_is_named(
    packages: list[Path], test_data: Path, own_home: Path
):
    with wherever.Client(packages=packages, record=True, record_inputs=True) as client:
        digits(client)
        pictures(client, test_data / "images" / "coco_val2017" / "images")
        list(client.model("sentiment").map(sentences(test_data / "text")))
    shared = [record for record in read_records(own_home) if record.receipt.rows > 1]
    assert len(shared) >= DIGITS // 2
    command = [sys.executable, "-m", "wherever", "replay", str(own_home), "--json"]
    command += [part for package in packages for part in ("--packages", str(package))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(ran.stdout)
    rate = found["receipts"] / found["elapsed_s"]
    print(
        f"{found['receipts']} receipts in {found['elapsed_s']:.1f} s, {rate:.0f} a second:", found
    )
    assert ran.returncode == 0, found["reasons"]
    assert found["receipts"] == DIGITS + PICTURES + SENTENCES == 10_000
    assert found["unsettled"] == found["not_run"] == 0
    assert found["identical"] + found["reasons"].get("shared_run", 0) == 10_000
    assert all("in such a run it is identical" in each["why"] for each in found["apart"])
