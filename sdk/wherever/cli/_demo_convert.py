"""A converted model is tried and proven: the gateway's network as int8, on the device."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wherever.cli._demo_process import Reply, attempt
from wherever_contracts.errors import MissingExtraError, WhereverError

if TYPE_CHECKING:
    from wherever.cli._demo_modes import Digit
    from wherever.cli._demo_view import View
    from wherever_edge.packages.store import Package

MAX_DROP = "1%"
INSTALL = "pip install 'wherever[convert]'"

_KEPT = ("precision", "bytes", "metric", "value", "n", "drop", "agreement")


@dataclass(slots=True)
class Conversion:
    """What came of a conversion.

    Attributes:
        package: the directory of the package that was made.
        rows: what was measured of each variant, as `wherever convert --json` says it.
        calls: how many digits the package was asked about on this device.
        right: how many of them it told.
        proven: how often a variant passed in an engine.
        refusal: why the package was refused once its labels stood in another order.
    """

    package: Path
    rows: list[dict[str, Any]]
    calls: int
    right: int
    proven: int
    refusal: str

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        return {
            "variants": [
                {
                    **{name: row[name] for name in _KEPT},
                    "measured": {"engine_ms": row["latency_s"] * 1000},
                }
                for row in self.rows
            ],
            "calls": self.calls,
            "right": self.right,
            "accuracy": self.right / self.calls,
            "measured": {"proven": self.proven},
            "refusal": self.refusal,
        }


def show_conversion(
    view: View,
    digits: Sequence[Digit],
    root: Path,
    settings: dict[str, Any],
    package: Package,
    version: str,
) -> Conversion | None:
    """Convert a package's reference to int8, try it here, prove it, and see a spoilt one refused.

    Args:
        view: shows it as it happens.
        digits: the samples.
        root: a directory for what is made.
        settings: of the client that tries it.
        package: its reference, a float network in ONNX, is converted.
        version: what the new package's is to be.

    Returns:
        None when what conversion needs is not installed.

    Raises:
        WhereverError: it fails, or what should be refused is not.
    """
    view.title("7  the gateway's network is converted to int8, and tried on the device")
    with view.waiting("converting ..."):
        reply = _convert(digits, root, package, version)
    if reply.error.get("code") == MissingExtraError.code:
        view.did("convert", f"left out; it takes {INSTALL}")
        return None
    if not reply.ok:
        raise WhereverError(f"`wherever convert` failed: {reply.error.get('message')}")
    made = Path(reply.data["package"])
    rows = cast("list[dict[str, Any]]", reply.data["rows"])
    view.did("convert", f"--max-drop {MAX_DROP}, measured on {rows[0]['n']} digits")
    view.converted(rows)
    right = _right(made, digits, settings, package.name)
    view.line(f"Tried on this device, int8 tells {right / len(digits):.1%} of all {len(digits)}.")
    proven = _proven(root, made)
    view.did("prove", f"passed: {proven} times a variant in an engine of this machine")
    refusal = _refusal(attempt(root, "prove", _spoilt(made, root / "spoilt")))
    view.did("prove", "the same with two labels changed over; refused:")
    view.quote(refusal)
    return Conversion(made, rows, len(digits), right, proven, refusal)


def _convert(digits: Sequence[Digit], root: Path, package: Package, version: str) -> Reply:
    manifest = package.manifest
    (file,) = manifest.variant(manifest.reference).files
    samples = _save(digits, root / "converted.npz")
    options = ("--task", "classify", "--like", package.root, "--max-drop", MAX_DROP)
    header = ("--name", package.name, "--version", version, "--output", root / "converted")
    source = package.root / file.path
    named = ("--target", "int8")
    return attempt(root, "convert", source, "--samples", samples, *named, *options, *header)


def _save(digits: Sequence[Digit], path: Path) -> Path:
    import numpy as np  # noqa: PLC0415 (the module is imported before the demo needs arrays)

    np.savez(
        path,
        x=np.stack([digit.ink for digit in digits]),
        y=np.array([digit.truth for digit in digits]),
    )
    return path


def _right(made: Path, digits: Sequence[Digit], settings: dict[str, Any], model: str) -> int:
    from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

    options: dict[str, Any] = {**settings, "packages": (made,)}
    with Client([], **options) as client:
        handle = client.model(model)
        return sum(
            handle(digit.ink, mode="only_on_device").value == digit.truth for digit in digits
        )


def _proven(root: Path, made: Path) -> int:
    reply = attempt(root, "prove", made)
    if not reply.ok:
        raise WhereverError(f"`wherever prove` refused what was just made: {reply.data}")
    return sum(each["outcome"] == "passed" for each in reply.data["verdicts"])


def _spoilt(made: Path, copy: Path) -> Path:
    """The same package, but that two labels have changed places; every digest in it is right."""
    from wherever_contracts.manifest import MANIFEST_NAME  # noqa: PLC0415 (pydantic: 40 ms)

    shutil.copytree(made, copy)
    path = copy / MANIFEST_NAME
    manifest = json.loads(path.read_bytes())
    labels = manifest["signature"]["value"]["labels"]
    labels[0], labels[1] = labels[1], labels[0]
    path.write_text(json.dumps(manifest))
    return copy


def _refusal(reply: Reply) -> str:
    if reply.ok:
        raise WhereverError(
            f"a package whose labels changed places should have been refused: {reply.data}"
        )
    failed = [each for each in reply.data["verdicts"] if each["outcome"] == "failed"]
    return str(failed[0]["reasons"][0])
