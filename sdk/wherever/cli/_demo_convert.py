"""A converted model is tried: the gateway's network as int8, on the device."""

from __future__ import annotations

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
        refusal: why the conversion was refused when int8's ranges were found on blank pictures.
    """

    package: Path
    rows: list[dict[str, Any]]
    calls: int
    right: int
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
    """Convert a package's reference to int8, try it here, and see a bad conversion refused.

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
    view.title("5  the gateway's network is converted to int8, and tried on the device")
    with view.waiting("converting ..."):
        reply = _convert(digits, root, package, version, blank=False)
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
    with view.waiting("converting ..."):
        refusal = _refusal(_convert(digits, root, package, version, blank=True))
    view.did("convert", "int8's ranges found on blank pictures; refused:")
    view.quote(refusal)
    return Conversion(made, rows, len(digits), right, refusal)


def _convert(
    digits: Sequence[Digit], root: Path, package: Package, version: str, *, blank: bool
) -> Reply:
    manifest = package.manifest
    (file,) = manifest.variant(manifest.reference).files
    name = "blank" if blank else "converted"
    samples = _save(digits, root / f"{name}.npz", blank=blank)
    options = ("--task", "classify", "--like", package.root, "--max-drop", MAX_DROP)
    header = ("--name", package.name, "--version", version, "--output", root / name)
    source = package.root / file.path
    return attempt(root, "convert", source, "--samples", samples, *options, *header)


def _save(digits: Sequence[Digit], path: Path, *, blank: bool) -> Path:
    """Write samples, class by class; then every third one finds int8's ranges."""
    import numpy as np  # noqa: PLC0415 (the module is imported before the demo needs arrays)

    ordered = sorted(digits, key=lambda digit: digit.truth)
    images = np.stack([digit.ink for digit in ordered])
    if blank:
        images[::3] = 0
    np.savez(path, x=images, y=np.array([digit.truth for digit in ordered]))
    return path


def _right(made: Path, digits: Sequence[Digit], settings: dict[str, Any], model: str) -> int:
    from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

    options: dict[str, Any] = {**settings, "packages": (made,)}
    with Client([], **options) as client:
        handle = client.model(model)
        return sum(
            handle(digit.ink, mode="only_on_device").value == digit.truth for digit in digits
        )


def _refusal(reply: Reply) -> str:
    if reply.error.get("code") != "conversion":
        raise WhereverError(
            "a conversion whose ranges were found on blank pictures should have been refused, "
            f"and was not: {reply.data}"
        )
    return str(reply.error["message"]).partition(";")[0]
