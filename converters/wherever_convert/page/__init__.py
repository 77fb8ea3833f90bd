"""The report of a conversion as one page that needs nothing else: no network, no script."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wherever_contracts.certificate import Certificate
from wherever_contracts.errors import ConversionError
from wherever_convert.page.document import document
from wherever_edge.durable import write_durably

if TYPE_CHECKING:
    from wherever_convert.findings import Findings
    from wherever_convert.report import ConversionReport


def write_page(
    path: str | os.PathLike[str],
    report: ConversionReport,
    certificates: Sequence[Certificate],
    findings: Findings,
) -> None:
    """Write the page; a file that is there is replaced once the new one is whole.

    Args:
        path: of the file, usually with .html at its end; its directory must be there.
        report: what was made.
        certificates: what was measured of each variant in each engine; a variant without any is
            shown with the report's figures.
        findings: confusions and the worst samples.

    Raises:
        ConversionError: the path is a directory, or cannot be written.
    """
    place = Path(path)
    check_page(place)
    try:
        write_durably(place, document(report, certificates, findings).encode())
    except OSError as error:
        what = error.strerror or str(error)
        raise ConversionError(f"the report cannot be written to {place}: {what}") from error


def check_page(path: Path) -> None:
    """See, before any work, that a report can be written there.

    Raises:
        ConversionError: it is a directory, or its directory is not there.
    """
    if path.is_dir():
        raise ConversionError(f"--report names a file, such as report.html; {path} is a directory")
    if not path.parent.is_dir():
        raise ConversionError(f"--report: there is no directory {path.parent}")
