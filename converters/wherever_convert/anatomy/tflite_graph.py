"""What a `.tflite` file is made of. Pure.

Numbers are the positions of fields in TensorFlow Lite's published schemas, of the model and of its
metadata.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections import Counter
from typing import Any

from wherever_convert.anatomy import Anatomy, Port, Weights, add_weights, frequent_first
from wherever_convert.anatomy.tflite_operators import OPERATORS
from wherever_edge.bare.manifest import Pixels
from wherever_edge.engines.flat_tables import Table, root_table

IDENTIFIER = b"TFL3"

_VERSION, _CODES, _SUBGRAPHS, _DESCRIPTION, _BUFFERS, _METADATA = 0, 1, 2, 3, 4, 6  # of Model
_OLD_CODE, _CUSTOM, _CODE = 0, 1, 3  # of OperatorCode
_TENSORS, _INPUTS, _OUTPUTS, _NODES = 0, 1, 2, 3  # of SubGraph
_SHAPE, _TYPE, _BUFFER, _NAME, _OPEN_SHAPE = 0, 1, 2, 3, 7  # of Tensor
_DATA, _OFFSET, _SIZE = 0, 1, 2  # of Buffer
_META_NAME, _META_BUFFER = 0, 1  # of Metadata
_PACKED = "TFLITE_METADATA"
_TYPES = (
    *("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64"),
    *("int8", "float64", "complex128", "uint64", "resource", "variant", "uint32", "uint16"),
    *("int4", "bfloat16", "int2", "uint4", "float8", "float8"),
)

_SAID_NAME, _SAID_ABOUT, _SAID_VERSION, _SAID_GRAPHS, _SAID_AUTHOR, _SAID_LICENCE = range(6)
_GRAPH_INPUTS, _GRAPH_OUTPUTS = 2, 3  # of SubGraphMetadata
_STEPS, _FILES = 4, 6  # of TensorMetadata
_FILE_NAME, _FILE_KIND, _FILE_LOCALE = 0, 2, 3  # of AssociatedFile
_LABEL_FILES = (2, 3)  # names along an axis; names that numbers stand for
_STEP_KIND, _STEP_OPTIONS, _NORMALISE = 0, 1, 1  # of ProcessUnit
_MEAN, _STD = 0, 1  # of NormalizationOptions
_MOST_LABEL_BYTES = 4 * 1024 * 1024


def read_tflite(data: bytes) -> Anatomy:
    """Read what a file says of itself.

    Raises:
        ValueError: it is no such file, or ends too early.
    """
    if data[4:8] != IDENTIFIER:
        raise ValueError(f"it does not begin as .tflite files do ({IDENTIFIER.decode()} at byte 4)")
    try:
        return _read(data)
    except (struct.error, IndexError, RecursionError, MemoryError) as error:
        raise ValueError(f"it is damaged: {error}") from error


def _read(data: bytes) -> Anatomy:
    model = root_table(data)
    graphs = model.tables(_SUBGRAPHS)
    if not graphs:
        raise ValueError("it holds no graph")
    said = _said(model)
    files = _packed_files(data)
    return Anatomy(
        "tflite",
        _weights(model, graphs),
        _operators(model, graphs),
        *_ports(graphs[0]),
        version=f"schema {model.integer(_VERSION)}",
        producer=model.text(_DESCRIPTION),
        labels=_labels(said, files),
        pixels=_pixels(said),
        metadata=_metadata(said),
        carries=tuple(files),
    )


def _weights(model: Table, graphs: list[Table]) -> dict[str, Weights]:
    buffers = model.tables(_BUFFERS)
    weights: dict[str, Weights] = {}
    for tensor in (each for graph in graphs for each in graph.tables(_TENSORS)):
        buffer = buffers[tensor.integer(_BUFFER)]
        # weights of large files lie behind the FlatBuffer, where the buffer points to
        size = buffer.size(_DATA) or buffer.integer(_SIZE, "Q")
        if size:
            numbers = math.prod(tensor.numbers(_SHAPE, "i"))
            add_weights(weights, _type(tensor), numbers, size)
    return weights


def _operators(model: Table, graphs: list[Table]) -> dict[str, int]:
    names = [_operator(code) for code in model.tables(_CODES)]
    nodes = (node for graph in graphs for node in graph.tables(_NODES))
    return frequent_first(Counter(names[node.integer(0)] for node in nodes))


def _operator(code: Table) -> str:
    # files of before 2020 have the number in a byte, newer ones in both fields where it fits
    number = max(code.byte(_OLD_CODE), code.integer(_CODE, "i"))
    name = OPERATORS[number] if 0 <= number < len(OPERATORS) else f"operator {number}"
    return code.text(_CUSTOM) or name if name == "CUSTOM" else name


def _ports(graph: Table) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    tensors = graph.tables(_TENSORS)
    inputs, outputs = (
        tuple(_port(tensors[int(at)]) for at in graph.numbers(side, "i"))
        for side in (_INPUTS, _OUTPUTS)
    )
    return inputs, outputs


def _port(tensor: Table) -> Port:
    shape = tensor.numbers(_OPEN_SHAPE, "i") or tensor.numbers(_SHAPE, "i")
    return Port(tensor.text(_NAME), _type(tensor), tuple("any" if n < 0 else n for n in shape))


def _type(tensor: Table) -> str:
    number = tensor.byte(_TYPE)
    return _TYPES[number] if number < len(_TYPES) else f"type {number}"


def _said(model: Table) -> Table | None:
    """The metadata that describes the model for people and for tools."""
    for entry in model.tables(_METADATA):
        if entry.text(_META_NAME) == _PACKED:
            data = model.tables(_BUFFERS)[entry.integer(_META_BUFFER)].raw(_DATA)
            return root_table(data)
    return None


def _metadata(said: Table | None) -> dict[str, str]:
    fields = {
        "name": _SAID_NAME,
        "description": _SAID_ABOUT,
        "version": _SAID_VERSION,
        "author": _SAID_AUTHOR,
        "licence": _SAID_LICENCE,
    }
    if said is None:
        return {}
    texts = {name: " ".join(said.text(field).split()) for name, field in fields.items()}
    return {name: text for name, text in texts.items() if text}


def _tensor_words(said: Table | None, side: int) -> list[Table]:
    graphs = [] if said is None else said.tables(_SAID_GRAPHS)
    return graphs[0].tables(side) if graphs else []


def _labels(said: Table | None, files: dict[str, bytes]) -> tuple[str, ...] | None:
    """The lines of the file that names the classes; that of no language, or the first one."""
    named = [
        entry
        for tensor in _tensor_words(said, _GRAPH_OUTPUTS)
        for entry in tensor.tables(_FILES)
        if entry.byte(_FILE_KIND) in _LABEL_FILES
    ]
    named.sort(key=lambda entry: entry.text(_FILE_LOCALE))
    for entry in named:
        if entry.text(_FILE_NAME) in files:
            return _lines(files[entry.text(_FILE_NAME)])
    return None


def _lines(data: bytes) -> tuple[str, ...]:
    return tuple(line.strip() for line in data.decode(errors="replace").splitlines())


def _pixels(said: Table | None) -> Pixels | None:
    """How a byte of an image becomes the input: (v - mean) / std."""
    for tensor in _tensor_words(said, _GRAPH_INPUTS):
        for step in tensor.tables(_STEPS):
            options = step.table(_STEP_OPTIONS)
            if step.byte(_STEP_KIND) == _NORMALISE and options is not None:
                mean, std = options.numbers(_MEAN, "f"), options.numbers(_STD, "f")
                if mean and std:
                    return Pixels(scale=1.0, mean=_short(mean), std=_short(std))
    return None


def _short(numbers: tuple[Any, ...]) -> list[float]:
    """Without the noise that float32 adds behind the seventh digit."""
    return [float(f"{number:.7g}") for number in numbers]


def _packed_files(data: bytes) -> dict[str, bytes]:
    """The files in the archive at the end; those that are too large are left empty."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                entry.filename: archive.read(entry) if entry.file_size < _MOST_LABEL_BYTES else b""
                for entry in archive.infolist()
            }
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError):
        return {}
