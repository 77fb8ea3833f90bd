"""Build the package `sentiment`: whether an English sentence speaks well of something.

    python examples/sentiment/build.py --model nl_classifier.tflite -o sentiment

The model is one of TensorFlow Lite's text classifiers with a "regex tokenizer": it takes 256
numbers of words, and gives a score for each of two labels.
"""

from __future__ import annotations

import argparse
import shutil
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

from wherever_contracts.places import BOUNDARIES
from wherever_convert.builder import build_package
from wherever_edge.bare.opening import open_file
from wherever_edge.host import LocalHost
from wherever_edge.inputs import InputChecker
from wherever_edge.packages.store import Store

VERSION = "1.0.0"
MIB = 1024 * 1024
LABELS = ("negative", "positive")
VOCABULARY = "vocab.txt"
SOURCE = {
    "repository": "https://github.com/tensorflow/tflite-support",
    "path": "tensorflow_lite_support/cc/test/testdata/task/text/"
    "test_model_nl_classifier_with_associated_label_builtin_ops.tflite",
    "commit": "dd3362ea685bb7ab1f7268c81ec567d3b720ae57",
    "licence": "Apache-2.0",
}


def main() -> None:
    """Read the command line, build, and say what was built."""
    parser = argparse.ArgumentParser(description="Build the package `sentiment`.")
    parser.add_argument("--model", type=Path, required=True, help="the .tflite file")
    parser.add_argument(
        "--vocab", type=Path, help="a word and its number in each line; else what the model carries"
    )
    parser.add_argument("--boundary", choices=BOUNDARIES, default="anywhere")
    parser.add_argument(
        "--quality-from", type=Path, metavar="FILE.tsv", help="measure on lines SENTENCE, tab, 0|1"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the package's directory")
    given = parser.parse_args()
    words = vocabulary(given.model) if given.vocab is None else given.vocab.read_bytes()
    build(given.model, words, given.output, boundary=given.boundary)
    if given.quality_from is not None:
        quality = measured(given.output, given.quality_from)
        build(given.model, words, given.output, boundary=given.boundary, quality=quality)
    print(f"built sentiment {VERSION} in {given.output}")


def vocabulary(model: Path) -> bytes:
    """The vocabulary that a model file with metadata carries at its end, as a zip archive.

    Raises:
        SystemExit: it carries none.
    """
    try:
        with zipfile.ZipFile(model) as archive:
            return archive.read(VOCABULARY)
    except (zipfile.BadZipFile, KeyError):
        raise SystemExit(f"{model} carries no {VOCABULARY}: give it with --vocab") from None


def build(
    model: Path,
    words: bytes,
    output: Path,
    *,
    boundary: str = "anywhere",
    quality: list[dict[str, Any]] | None = None,
) -> None:
    """Copy the model and its vocabulary beside a new `model.json`.

    Args:
        model: the `.tflite` file.
        words: the vocabulary's bytes.
        output: the package's directory; made when it is not there.
        boundary: how far the sentences may travel.
        quality: the measured figures.

    Raises:
        PackageError: the files do not make a package.
    """
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, output / "sentiment.tflite")
    (output / VOCABULARY).write_bytes(words)
    build_package(
        output,
        {
            "name": "sentiment",
            "version": VERSION,
            "summary": "Whether an English sentence speaks well or ill of something.",
            "licence": "Apache-2.0",
            "boundary": boundary,
            "reference": "words",
            "signature": {
                "inputs": [{"name": "text", "kind": "text", "max_bytes": 64 * 1024}],
                "outputs": [{"name": "scores", "dtype": "float32", "shape": [len(LABELS)]}],
                "value": {"kind": "label", "scores": "scores", "labels": LABELS},
            },
            "variants": [{**variant_of(model), "quality": quality or []}],
            "files": [{"path": VOCABULARY}],
            "provenance": {"sources": {"model": SOURCE}},
        },
    )


def variant_of(model: Path) -> dict[str, Any]:
    """The variant; its tensors are called what the file calls them."""
    (found,) = open_file(model, task="tensors").manifest.variants
    (ids,), (scores,) = found.tensors.inputs, found.tensors.outputs
    length = ids.shape[-1]
    words = {"op": "word_ids", "name": "text", "to": ids.name, "length": length}
    return {
        "id": "words",
        "format": "tflite",
        "precision": "float32",
        "files": [{"path": "sentiment.tflite"}],
        "tensors": {
            "inputs": [{"name": ids.name, "dtype": "int32", "shape": [1, length]}],
            "outputs": [{"name": scores.name, "dtype": "float32", "shape": [1, len(LABELS)]}],
        },
        "pipeline": {
            "pre": [{**words, "vocabulary": VOCABULARY}],
            "post": [
                {"op": "first_row", "name": scores.name, "to": "scores"},
                {"op": "max_confidence", "name": "scores"},
            ],
        },
        "needs": {"engines": ["litert", "openvino"], "memory_bytes": 20 * MIB},
    }


def measured(package: Path, table: Path) -> list[dict[str, Any]]:
    """The share of sentences that get their own label."""
    lines = [line.rsplit("\t", 1) for line in table.read_text(encoding="utf-8").splitlines()]
    with closing(LocalHost(Store([package], builtin=False), distance="device")) as host:
        loaded = host.resolve("sentiment")
        check = InputChecker(loaded.signature).check
        scores = [loaded.answer(check(text), {}).outputs["scores"] for text, _ in lines]
    right = sum(
        int(one.argmax()) == int(label) for one, (_, label) in zip(scores, lines, strict=True)
    )
    share = round(right / len(lines), 4)
    return [{"dataset": table.stem, "metric": "accuracy", "value": share, "n": len(lines)}]


if __name__ == "__main__":
    main()
