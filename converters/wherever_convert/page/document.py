"""The whole page: its head, and its sections in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherever_contracts.certificate import Certificate
from wherever_convert.page.markup import Markup, join, tag

if TYPE_CHECKING:
    from wherever_convert.findings import Findings
    from wherever_convert.report import ConversionReport


def document(
    report: ConversionReport, certificates: Sequence[Certificate], findings: Findings
) -> str:
    """The page's text; the arguments are those of `write_page`."""
    return "<!DOCTYPE html>" + tag("html", tag("body", tag("pre", report.text())), lang="en")
