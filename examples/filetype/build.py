"""Build the package `filetype`: what kind of file some bytes are.

    python examples/filetype/build.py --model fast/model.onnx --config fast/config.min.json
        --reference standard/model.onnx --reference-config standard/config.min.json -o filetype

The models are Magika's: each lies beside a configuration that says which bytes it looks at and
which labels it knows.
"""

from __future__ import annotations

import argparse
import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from wherever_contracts.places import BOUNDARIES
from wherever_contracts.tensors import Array
from wherever_convert.builder import build_package
from wherever_edge.host import LocalHost
from wherever_edge.inputs import InputChecker
from wherever_edge.loaded import LoadedVariant
from wherever_edge.packages.store import Store

VERSION = "1.0.0"
MIB = 1024 * 1024
# what files of too few bytes for a model are
RULES = {"text": "txt", "binary": "unknown", "empty": "empty"}
SOURCE = {
    "repository": "https://github.com/google/magika",
    "path": "assets/models",
    "commit": "b141dc37f004fc922a6281a417035560b4c7aae6",
    "licence": "Apache-2.0",
}


class Model(NamedTuple):
    """A variant's file, and Magika's configuration of it."""

    variant: str
    file: Path
    config: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """What each score stands for; several may stand for the same."""
        own: list[str] = self.config["target_labels_space"]
        other: dict[str, str] = self.config["overwrite_map"]
        return [other.get(label, label) for label in own]


def main() -> None:
    """Read the command line, build, and say what was built."""
    parser = argparse.ArgumentParser(description="Build the package `filetype`.")
    parser.add_argument("--model", type=Path, required=True, help="a model of Magika's")
    parser.add_argument("--config", type=Path, required=True, help="its config.min.json")
    parser.add_argument("--reference", type=Path, help="a better one, for gateways")
    parser.add_argument("--reference-config", type=Path, help="its config.min.json")
    parser.add_argument("--boundary", choices=BOUNDARIES, default="anywhere")
    parser.add_argument(
        "--quality-from", type=Path, metavar="DIR", help="measure on the files DIR/LABEL/*"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the package's directory")
    given = parser.parse_args()
    if (given.reference is None) != (given.reference_config is None):
        parser.error("--reference and --reference-config go together")
    models = [read_model("fast", given.model, given.config)]
    if given.reference is not None:
        models.append(read_model("standard", given.reference, given.reference_config))
    build(models, given.output, boundary=given.boundary)
    if given.quality_from is not None:
        quality = measured(given.output, given.quality_from, labels_of(models))
        build(models, given.output, boundary=given.boundary, quality=quality)
    print(f"built filetype {VERSION} in {given.output}")


def read_model(variant: str, file: Path, config: Path) -> Model:
    """A model and its configuration.

    Raises:
        SystemExit: the configuration asks for bytes that no step here takes.
    """
    read = json.loads(config.read_text(encoding="utf-8"))
    if read["mid_size"] or read["use_inputs_at_offsets"]:
        raise SystemExit(f"{config}: bytes from the middle of a file or at offsets are not taken")
    return Model(variant, file, read)


def build(
    models: list[Model],
    output: Path,
    *,
    boundary: str = "anywhere",
    quality: dict[str, list[dict[str, Any]]] | None = None,
) -> None:
    """Copy the models beside a new `model.json`.

    Args:
        models: the variants, the reference last.
        output: the package's directory; made when it is not there.
        boundary: how far the files' ends may travel.
        quality: variant -> its measured figures.

    Raises:
        PackageError: the files do not make a package.
    """
    output.mkdir(parents=True, exist_ok=True)
    variants = [variant_of(model) for model in models]
    variants[-1]["places"] = ["device", "nearby", "cloud"]
    variants[-1].pop("escalate_below")
    for model, variant in zip(models, variants, strict=True):
        shutil.copyfile(model.file, output / variant["files"][0]["path"])
        variant["quality"] = (quality or {}).get(model.variant, [])
    labels = labels_of(models)
    block = max(model.config["block_size"] for model in models)
    build_package(
        output,
        {
            "name": "filetype",
            "version": VERSION,
            "summary": f"What kind of file it is: one of {len(labels)}, from 8 KiB at most.",
            "licence": "Apache-2.0",
            "boundary": boundary,
            "reference": models[-1].variant,
            "signature": signature(labels, block),
            "variants": variants,
            "provenance": {"sources": {"magika": SOURCE}},
        },
    )


def labels_of(models: list[Model]) -> list[str]:
    """What files may be, by any of the models or by rule."""
    return sorted({label for model in models for label in model.labels} | {*RULES.values()})


def signature(labels: list[str], block: int) -> dict[str, Any]:
    """A file in, of which both ends travel; a label out."""
    return {
        "inputs": [{"name": "file", "kind": "bytes", "ends_bytes": block, "max_bytes": 2 * block}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [len(labels)]}],
        "value": {"kind": "label", "scores": "scores", "labels": labels},
    }


def variant_of(model: Model) -> dict[str, Any]:
    """A variant that asks the reference where it is not sure."""
    config = model.config
    width = config["beg_size"] + config["end_size"]
    ends = {
        "op": "file_ends",
        "name": "file",
        "to": "bytes",
        "start": config["beg_size"],
        "end": config["end_size"],
        "block": config["block_size"],
        "pad": config["padding_token"],
    }
    least = {"least": config["min_file_size_for_dl"], "block": config["block_size"]}
    scores = [len(model.labels)]
    return {
        "id": model.variant,
        "format": "onnx",
        "precision": "float32",
        "places": ["device", "nearby"],
        "files": [{"path": f"{model.variant}.onnx"}],
        "tensors": {
            "inputs": [{"name": "bytes", "dtype": "int32", "shape": [-1, width]}],
            "outputs": [{"name": "target_label", "dtype": "float32", "shape": [-1, *scores]}],
            "batch": True,
        },
        "pipeline": {
            "pre": [ends],
            "post": [
                {"op": "first_row", "name": "target_label"},
                {"op": "relabel", "name": "target_label", "to": "scores", "labels": model.labels},
                {"op": "few_bytes", "name": "file", "scores": "scores", **least, **RULES},
                {"op": "max_confidence", "name": "scores"},
            ],
        },
        "needs": {"engines": ["onnxruntime", "openvino"], "memory_bytes": 40 * MIB},
        "escalate_below": config["medium_confidence_threshold"],
    }


def measured(package: Path, folder: Path, labels: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Variant -> the share of files in FOLDER/LABEL/ that it knows for what they are."""
    files = sorted(folder.glob("*/*"))
    figure = {"dataset": folder.name, "metric": "accuracy", "n": len(files)}
    quality: dict[str, list[dict[str, Any]]] = {}
    with closing(LocalHost(Store([package], builtin=False), distance="cloud")) as host:
        for variant in host.store.get("filetype").manifest.variants:
            loaded = host.resolve("filetype", variant=variant.id)
            found = [labels[answer(loaded, path).argmax()] for path in files]
            right = sum(one == path.parent.name for one, path in zip(found, files, strict=True))
            quality[variant.id] = [{**figure, "value": round(right / len(files), 4)}]
    return quality


def answer(loaded: LoadedVariant, path: Path) -> Array:
    """The score of each label."""
    return loaded.answer(InputChecker(loaded.signature).check(path), {}).outputs["scores"]


if __name__ == "__main__":
    main()
