"""Build the package `people`: what is in an image, and where.

    python examples/people/build.py --fastestdet FastestDet.onnx --yolox yolox_nano.onnx
        --labels coco80.names -o people

Every answer is a list of detections with the 80 names of COCO; people are the first of them. The
slopes, offsets and `escalate_below` are those that evaluate.py fitted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from wherever_contracts.places import BOUNDARIES
from wherever_convert.builder import build_package

VERSION = "1.0.0"
MIB = 1024 * 1024
AFTER_DECODING = [
    {"op": "class_nms", "iou": 0.45},
    {"op": "detection_confidence"},
    {"op": "best_detections", "most": 100},
]

SOURCES = {
    "fastestdet": {
        "repository": "https://github.com/dog-qiuqiu/FastestDet",
        "path": "example/onnx-runtime/FastestDet.onnx",
        "commit": "50473cd155cb088aa4a99e64ff6a4b3c24fa07e1",
        "licence": "BSD-3-Clause (LICENSE.md)",
    },
    "yolox-nano": {
        "repository": "https://github.com/Bigisland1729/object-detection-models",
        "path": "yolox_nano.onnx",
        "commit": "7f3f2fa34b351e3d2af150893458106ad3f3a84f",
        "licence": "no licence file in this repository; the YOLOX weights are Apache-2.0 upstream",
    },
    "labels": {
        "repository": "https://github.com/dog-qiuqiu/FastestDet",
        "path": "example/onnx-runtime/coco.names",
        "commit": "50473cd155cb088aa4a99e64ff6a4b3c24fa07e1",
        "licence": "BSD-3-Clause (LICENSE.md)",
    },
}


def main() -> None:
    """Read the command line, build, and say what was built."""
    parser = argparse.ArgumentParser(description="Build the package `people`.")
    parser.add_argument("--fastestdet", type=Path, required=True, help="FastestDet.onnx")
    parser.add_argument("--yolox", type=Path, required=True, help="yolox_nano.onnx")
    parser.add_argument(
        "--labels", type=Path, required=True, help="a file with a name in each line"
    )
    parser.add_argument("--boundary", choices=BOUNDARIES, default="anywhere")
    parser.add_argument(
        "--quality-from", type=Path, metavar="DIR", help="measure on DIR/images and DIR/labels"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the package's directory")
    given = parser.parse_args()
    files = {"fastestdet": given.fastestdet, "yolox-nano": given.yolox}
    build(files, given.labels, given.output, boundary=given.boundary)
    if given.quality_from is not None:
        quality = measured(given.output, given.quality_from)
        build(files, given.labels, given.output, boundary=given.boundary, quality=quality)
    print(f"built people {VERSION} in {given.output}")


def build(
    models: dict[str, Path],
    labels: Path,
    output: Path,
    *,
    boundary: str = "anywhere",
    quality: dict[str, list[dict[str, Any]]] | None = None,
) -> None:
    """Copy the models beside a new `model.json`.

    Args:
        models: variant -> its ONNX file.
        labels: a file with a name in each line.
        output: the package's directory; made when it is not there.
        boundary: how far the images may travel.
        quality: variant -> its measured figures.

    Raises:
        PackageError: the files do not make a package.
    """
    output.mkdir(parents=True, exist_ok=True)
    variants = [fastestdet(), yolox_nano()]
    for variant in variants:
        shutil.copyfile(models[variant["id"]], output / variant["files"][0]["path"])
        variant["quality"] = (quality or {}).get(variant["id"], [])
    names = labels.read_text(encoding="utf-8").split("\n")
    build_package(
        output,
        {
            "name": "people",
            "version": VERSION,
            "summary": "People and 79 other kinds of things in an image, each with its box.",
            "licence": "BSD-3-Clause AND Apache-2.0",
            "boundary": boundary,
            "reference": "yolox-nano",
            "signature": signature([name.strip() for name in names if name.strip()]),
            "variants": variants,
            "provenance": {"sources": SOURCES},
        },
    )


def signature(labels: list[str]) -> dict[str, Any]:
    """An image in, detections out."""
    return {
        "inputs": [{"name": "image", "kind": "image"}],
        "outputs": [
            {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
            {"name": "scores", "dtype": "float32", "shape": [-1]},
            {"name": "classes", "dtype": "int64", "shape": [-1]},
        ],
        "value": {
            "kind": "detections",
            "boxes": "boxes",
            "scores": "scores",
            "classes": "classes",
            "labels": labels,
        },
        "options": [
            {
                "name": "min_score",
                "default": 0.3,
                "min": 0.0,
                "max": 1.0,
                "help": "leave out what is less likely than this to be there",
            }
        ],
    }


def fastestdet() -> dict[str, Any]:
    """The small variant, for devices."""
    tensors = {
        "inputs": [{"name": "input.1", "dtype": "float32", "shape": [1, 3, 352, 352]}],
        "outputs": [{"name": "758", "dtype": "float32", "shape": [1, 85, 22, 22]}],
    }
    image = {
        "op": "image_tensor",
        "name": "image",
        "to": "input.1",
        "size": [352, 352],
        "fit": "stretch",
        "order": "bgr",
        "scale": 1 / 255,
    }
    boxes = {"op": "fastestdet_boxes", "name": "758", "slope": 1.88, "offset": -1.41}
    return {
        "id": "fastestdet",
        "format": "onnx",
        "precision": "float32",
        "places": ["device", "nearby"],
        "files": [{"path": "fastestdet.onnx"}],
        "tensors": tensors,
        "pipeline": {"pre": [image], "post": [boxes, *AFTER_DECODING]},
        "needs": {"engines": ["onnxruntime", "openvino"], "memory_bytes": 40 * MIB},
        "escalate_below": 0.74,
    }


def yolox_nano() -> dict[str, Any]:
    """The better variant, which the others are measured against."""
    tensors = {
        "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 416, 416]}],
        "outputs": [{"name": "output", "dtype": "float32", "shape": [1, 3549, 85]}],
    }
    image = {
        "op": "image_tensor",
        "name": "image",
        "to": "images",
        "size": [416, 416],
        "fit": "letterbox_top_left",
        "pad": 114,
        "order": "bgr",
    }
    boxes = {
        "op": "yolox_boxes",
        "name": "output",
        "size": [416, 416],
        "slope": 1.04,
        "offset": 0.43,
    }
    return {
        "id": "yolox-nano",
        "format": "onnx",
        "precision": "float32",
        "places": ["nearby", "cloud"],
        "files": [{"path": "yolox_nano.onnx"}],
        "tensors": tensors,
        "pipeline": {"pre": [image], "post": [boxes, *AFTER_DECODING]},
        "needs": {"engines": ["onnxruntime", "openvino"], "memory_bytes": 50 * MIB},
    }


def measured(package: Path, data: Path) -> dict[str, list[dict[str, Any]]]:
    """The figures that evaluate.py, beside this file, measures for each variant."""
    script = Path(__file__).with_name("evaluate.py")
    command = [sys.executable, str(script), str(package), str(data), "--json"]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    report: dict[str, Any] = json.loads(found.stdout)
    return {variant: figures["quality"] for variant, figures in report["variants"].items()}


if __name__ == "__main__":
    main()
