"""What an OpenVINO IR (.xml) is made of. Pure."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from wherever_convert.anatomy import Anatomy, Port, Weights, add_weights, frequent_first

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TYPES = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "boolean": "bool",
    **{
        f"{sign[0]}{bits}": f"{sign}{bits}"
        for sign in ("int", "uint")
        for bits in (4, 8, 16, 32, 64)
    },
}
_NO_OPERATORS = frozenset({"Const", "Parameter", "Result"})


def read_ir(xml: bytes) -> Anatomy:
    """Read what the .xml says.

    Raises:
        ValueError: it is none.
    """
    net = _parsed(xml)
    layers = [each for part in net.findall("layers") for each in part.findall("layer")]
    if net.tag != "net" or not layers:
        raise ValueError("it holds no OpenVINO model (a <net> with <layers>)")
    kinds = [layer.get("type", "") for layer in layers]
    return Anatomy(
        "openvino",
        _weights(layers),
        frequent_first(Counter(kind for kind in kinds if kind not in _NO_OPERATORS)),
        tuple(_port(layer, "output") for layer in layers if layer.get("type") == "Parameter"),
        tuple(_port(layer, "input") for layer in layers if layer.get("type") == "Result"),
        version=f"IR {net.get('version', 'of no version')}",
        producer=_producer(net),
        metadata={"name": net.get("name", "")} if net.get("name") else {},
    )


def _parsed(xml: bytes) -> Element:
    if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        raise ValueError("it declares a document type or entities, which no OpenVINO model does")
    try:
        return ET.fromstring(xml)  # noqa: S314 (what declares entities is refused before)
    except ET.ParseError as error:
        raise ValueError(f"it is no XML: {error}") from error


def _weights(layers: list[Element]) -> dict[str, Weights]:
    weights: dict[str, Weights] = {}
    for layer in layers:
        data = layer.find("data")
        if layer.get("type") == "Const" and data is not None:
            name = _type(data.get("element_type", ""))
            numbers = math.prod(_lengths(data.get("shape", "")))
            add_weights(weights, name, numbers, _number(data.get("size", "0")))
    return weights


def _lengths(shape: str) -> list[int]:
    return [_number(part) for part in shape.split(",") if part.strip()]


def _number(text: str) -> int:
    return int(text) if text.strip().lstrip("-").isdecimal() else 0


def _port(layer: Element, side: str) -> Port:
    """The tensor of a Parameter or Result; lengths that may be anything are -1 in the file."""
    port = layer.find(f"{side}/port")
    data = layer.find("data")
    lengths = [] if port is None else [_number(dim.text or "") for dim in port.findall("dim")]
    dtype = _dtype(port, data)
    name = _name(layer, port)
    return Port(name, dtype, tuple("any" if n < 0 else n for n in lengths))


def _dtype(port: Element | None, data: Element | None) -> str:
    said = "" if data is None else data.get("element_type", "")
    precision = "" if port is None else port.get("precision", "").lower()
    old = {"fp32": "f32", "fp16": "f16"}
    return _type(said or old.get(precision, precision))


def _name(layer: Element, port: Element | None) -> str:
    names = "" if port is None else port.get("names", "")
    plain = layer.get("output_names", "") or names.split(",")[0] or layer.get("name", "")
    return plain.removesuffix("/sink_port_0")


def _type(name: str) -> str:
    return _TYPES.get(name, name or "unknown")


def _producer(net: Element) -> str:
    info = net.find("rt_info")
    version = None if info is None else info.find("Runtime_version")
    return "" if version is None else f"OpenVINO {version.get('value', '')}".strip()
