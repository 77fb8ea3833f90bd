"""PyTorch modules and exported programs, through torch.onnx."""

from __future__ import annotations

import copy
import inspect
import io
import logging
import sys
import warnings
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from wherever_convert.env.exporters import Outcome
from wherever_convert.env.onnx_graphs import limit_ir_version
from wherever_convert.env.script import MissingToolError, RefusedError, first_words
from wherever_convert.env.tools import tool, versions
from wherever_convert.env.witness import write_witness

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEATURE = "exporting PyTorch modules"
_OPSET = 18
_ROWS = 2  # torch.export takes a batch of one for a constant

# What `env/program_to_tflite.py` reads, in an environment that has LiteRT's converter.
PROGRAM = "program.pt2"

# The tensors that a module is called with, by position.
_Arguments: TypeAlias = "tuple[Any, ...]"


def recognises(given: object) -> bool:
    """True for an nn.Module, and for what torch.export gives."""
    nn, programs = sys.modules.get("torch.nn"), sys.modules.get("torch.export")
    if nn is not None and isinstance(given, nn.Module):
        return True
    return programs is not None and isinstance(given, programs.ExportedProgram)


def load(path: Path) -> Any:
    """Read a file of `torch.export.save`; this can run code that the file holds."""
    try:
        return tool("torch", _FEATURE).export.load(path)
    except MissingToolError:
        raise
    except Exception as error:
        raise RefusedError(
            f"{path.name} is no program of torch.export that this torch can read: "
            f"{first_words(error)}"
        ) from error


def export(
    given: Any, example: NDArray[Any] | None, formats: Collection[str], folder: Path
) -> Outcome:
    """Export it in evaluation mode, with any number of rows where it can take that.

    Where LiteRT is asked for, the program of one row is written for its converter.
    """
    _require_exporter()
    program = not isinstance(given, tool("torch.nn", _FEATURE).Module)
    name = "ExportedProgram" if program else type(given).__name__
    exported = _from_program(given, example) if program else _from_module(given, example, name)
    (folder / "model.onnx").write_bytes(exported.data)
    with _quietly(), nullcontext() if program else _evaluating(exported.module):
        _write_answers(folder, exported.module, exported.asked)
        also = _write_program(exported, folder) if "tflite" in formats else {}
    tools = versions("torch", "onnxscript", "onnx")
    return {
        "facts": {"kind": "pytorch", "module": name, "tools": tools},
        "labels": None,
        "batch": exported.batch,
        "files": {"onnx": "float32"},
        "also": also,
    }


class _Exported:
    """What an export gave.

    Attributes:
        data: the ONNX file.
        batch: its first axis counts rows.
        module: what can be asked.
        asked: what to ask it; other rows than were exported with, where there are any.
    """

    def __init__(self, data: bytes, module: Any, asked: _Arguments, *, batch: bool) -> None:
        self.data = data
        self.batch = batch
        self.module = module
        self.asked = asked


def _require_exporter() -> None:
    try:
        tool("onnxscript", _FEATURE)
    except MissingToolError as error:
        command = "pip install onnx onnxscript"
        raise MissingToolError(_FEATURE, "onnxscript beside torch", command) from error


def _from_module(given: Any, example: NDArray[Any] | None, name: str) -> _Exported:
    """Export a module: for any number of rows, or else for one."""
    rows = _arguments(given, example, name)
    module = _plain(given)
    with _evaluating(module):
        many = _taken(rows, _ROWS)
        with suppress(Exception):  # many modules are written for one row, or for a fixed number
            data = _onnx_of(module, many, any_rows=True).SerializeToString()
            # what became a constant must not look right
            others = _from(rows, _ROWS) if len(rows[0]) > _ROWS else many
            return _Exported(data, module, others, batch=True)
        try:
            data = _onnx_of(module, _taken(rows, 1), any_rows=False).SerializeToString()
        except Exception as error:
            shapes = " and ".join(str(list(each.shape[1:])) for each in rows)
            raise RefusedError(
                f"torch.onnx cannot export {name} for rows of shape {shapes}: {_reason(error)}"
            ) from error
        return _Exported(data, module, _from(rows, len(rows[0]) - 1), batch=False)


def _from_program(program: Any, example: NDArray[Any] | None) -> _Exported:
    """Export a program, which says itself what it takes."""
    arguments = _example_inputs(program)
    try:
        model = _onnx_of(program, (), any_rows=False)
    except Exception as error:
        raise RefusedError(f"torch.onnx cannot export this program: {_reason(error)}") from error
    batch = _counts_rows(model)
    if batch and example is not None and len(arguments) == 1:
        arguments = (_tensor(example),)
    return _Exported(model.SerializeToString(), program.module(), arguments, batch=batch)


def _example_inputs(program: Any) -> _Arguments:
    given: tuple[_Arguments, dict[str, Any]] | None = program.example_inputs
    if not given or given[1] or not given[0]:
        raise RefusedError(
            "this program does not say what it was exported with, or by name alone: export it with "
            "torch.export.export(module, (tensor, ...))"
        )
    return tuple(given[0])


def _arguments(module: Any, example: NDArray[Any] | None, name: str) -> _Arguments:
    """Some rows of what a module takes."""
    wanted = _required(module.forward)
    own = _own_example(module)
    if len(wanted) > 1 and len(own) < len(wanted):
        raise RefusedError(
            f"{name} takes {len(wanted)} tensors ({', '.join(wanted)}): set its attribute "
            f"example_input_array to a tuple of them, or give what torch.export.export(module, "
            f"(tensor, ...)) returns"
        )
    given = own if example is None or len(wanted) > 1 else (_tensor(example),)
    if not given:
        raise RefusedError(
            f"the shape of what {name} takes is not known: give the size of its images "
            f"(--input-size HEIGHTxWIDTH), or samples that are tables of numbers"
        )
    torch = tool("torch", _FEATURE)
    most = max(_ROWS, len(given[0]))
    return tuple(torch.cat([each] * _ROWS)[:most] for each in given)


def _required(forward: Any) -> list[str]:
    """The parameters that a module cannot be called without."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(forward).parameters.values()
    return [each.name for each in parameters if each.kind in kinds and each.default is each.empty]


def _own_example(module: Any) -> _Arguments:
    """What a module says that it takes, as PyTorch Lightning has it."""
    own: Any = getattr(module, "example_input_array", None)
    if own is None:
        return ()
    return (own,) if hasattr(own, "shape") else tuple(own)


def _tensor(rows: NDArray[Any]) -> Any:
    return tool("torch", _FEATURE).from_numpy(rows)


def _plain(module: Any) -> Any:
    """The module, or a copy of it, with float32 numbers in the memory of this machine."""
    torch = tool("torch", _FEATURE)
    weights = [*module.parameters(), *module.buffers()]
    floats = [each for each in weights if each.is_floating_point()]
    if all(each.device.type == "cpu" for each in weights) and all(
        each.dtype == torch.float32 for each in floats
    ):
        return module
    return copy.deepcopy(module).to("cpu", torch.float32)


@contextmanager
def _quietly() -> Generator[None]:
    """Keep to itself what torch prints, logs and warns of; our JSON goes to standard output."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _evaluating(module: Any) -> Generator[None]:
    training = module.training
    if training:
        module.eval()
    try:
        yield
    finally:
        if training:
            module.train()


def _onnx_of(given: Any, arguments: _Arguments, *, any_rows: bool) -> Any:
    """The ONNX model of a module called with some tensors, or of a program."""
    torch = tool("torch", _FEATURE)
    dim = torch.export.Dim("rows")
    with _quietly():
        made = torch.onnx.export(
            given,
            arguments,
            dynamo=True,
            dynamic_shapes=tuple({0: dim} for _ in arguments) if any_rows else None,
            opset_version=_OPSET,
            verbose=False,
        )
    model = made.model_proto
    limit_ir_version(model)
    return model


def _counts_rows(model: Any) -> bool:
    """Whether the first lengths of all tensors are one and the same unknown."""
    tensors = [
        each.type.tensor_type.shape.dim for each in (*model.graph.input, *model.graph.output)
    ]
    first = {dims[0].dim_param if dims else "" for dims in tensors}
    return len(first) == 1 and "" not in first


def _write_answers(folder: Path, module: Any, arguments: _Arguments) -> None:
    torch = tool("torch", _FEATURE)
    with torch.no_grad():
        answer = module(*arguments)
    leaves = [each for each in torch.utils._pytree.tree_leaves(answer) if each is not None]  # noqa: SLF001 (what torch.export itself flattens answers with)
    write_witness(folder, [_array(each) for each in arguments], [_array(each) for each in leaves])


def _array(tensor: Any) -> Any:
    return np.asarray(tensor.detach()) if hasattr(tensor, "detach") else None


def _write_program(exported: _Exported, folder: Path) -> dict[str, str]:
    """Write the program of one row; returns why that cannot be, under "tflite"."""
    torch = tool("torch", _FEATURE)
    try:
        program = torch.export.export(exported.module, _taken(exported.asked, 1))
        torch.export.save(program, folder / PROGRAM)
    except Exception as error:  # noqa: BLE001 (torch raises anything)
        return {"tflite": f"torch.export cannot export it for one row: {_reason(error)}"}
    return {}


def _taken(arguments: _Arguments, rows: int) -> _Arguments:
    return tuple(each[:rows] for each in arguments)


def _from(arguments: _Arguments, row: int) -> _Arguments:
    return tuple(each[row:] for each in arguments)


def _reason(error: BaseException) -> str:
    """Torch's own reason in a line, without the advice around it."""
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    said = first_words(Exception(_first_paragraph(str(first)) or type(first).__name__))
    if "data-dependent" in said:
        return f"its forward() decides by the values of tensors ({said})"
    return said


def _first_paragraph(text: str) -> str:
    paragraphs: Sequence[str] = [each.strip() for each in text.split("\n\n") if each.strip()]
    return paragraphs[0] if paragraphs else ""
