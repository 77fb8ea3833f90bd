"""ONNX in float16: half the size, for graphics processors; float32 where numbers are too large."""

from __future__ import annotations

from wherever_convert.children import run_child
from wherever_convert.frameworks import framework
from wherever_convert.model_file import ModelFile
from wherever_convert.targets import CannotMakeError, Job, Made
from wherever_convert.targets.likeness import refuse_unlike

# Of a file that is hardly smaller nobody has anything.
_MOST_OF_FLOAT = 0.9


def make(job: Job) -> Made:
    """Convert the float model; inputs and outputs stay float32.

    Raises:
        CannotMakeError: its answers are more than 1 % off, or hardly anything can be float16.
        ConversionError: the converter failed; the message has its reason.
        MissingExtraError: onnx is not installed.
    """
    framework("onnx", "converting to float16")
    output = job.scratch / "float16.onnx"
    orders = {
        "model": str(job.of.write(job.scratch, "float")[0]),
        "samples": str(job.bench.inputs()),
        "output": str(output),
    }
    made = run_child("float16", orders, job.scratch, "converting the model to float16")
    file = ModelFile("onnx", "float16", (output.read_bytes(),))
    if file.size_bytes > _MOST_OF_FLOAT * job.of.size_bytes:
        raise CannotMakeError(
            f"{job.target.title}: {file.size_bytes} bytes instead of {job.of.size_bytes}, as too "
            f"much of it must stay float32{_named(made['spoiled'])}"
        )
    facts = {
        "method": "float16, inputs and outputs float32",
        "float": made["floats"],
        "float_operators": sorted(made["spoiled"]),
    }
    try:
        return Made(file, {**facts, "gap": refuse_unlike(job, file)})
    except CannotMakeError as error:
        raise CannotMakeError(f"{error}{_named(made['spoiled'])}") from error


def _named(spoiled: dict[str, float]) -> str:
    """The operators that float16 spoils most, in words."""
    worst = [f"{operator} ({error:.1%})" for operator, error in spoiled.items()][:3]
    return f"; float16 spoils {', '.join(worst)}" if worst else ""
