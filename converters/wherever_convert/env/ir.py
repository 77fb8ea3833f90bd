"""Write a model as OpenVINO's own files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from wherever_convert.env.script import main
from wherever_convert.env.tools import tool

# What says who made the file when, and of what: the package says that, and the bytes must not vary.
_NOTES = ("rt_info", "meta_data")


def convert(job: dict[str, Any]) -> dict[str, Any]:
    """Convert a model.

    Args:
        job: `model`, the first of its files; `output`, an .xml file, whose .bin goes beside it;
            `half`, to keep weights in float16.
    """
    openvino = tool("openvino", "writing OpenVINO IR")
    output = Path(job["output"])
    model = openvino.Core().read_model(job["model"])
    openvino.save_model(model, str(output), compress_to_fp16=job["half"])
    output.write_bytes(without_notes(output.read_bytes()))
    return {"version": openvino.get_version()}


def without_notes(xml: bytes) -> bytes:
    """A model's .xml without what it says about its making."""
    root = ET.fromstring(xml)  # noqa: S314 (OpenVINO has just written it)
    for note in [each for each in root if each.tag in _NOTES]:
        root.remove(note)
    data: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


if __name__ == "__main__":
    main(convert)
