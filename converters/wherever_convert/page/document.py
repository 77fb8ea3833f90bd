"""The whole page: its head, and its sections in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherever_contracts.certificate import Certificate
from wherever_convert.page import sections
from wherever_convert.page.answers import answers
from wherever_convert.page.markup import Markup, cut, tag
from wherever_convert.page.points import points_of
from wherever_convert.page.style import stylesheet

if TYPE_CHECKING:
    from wherever_convert.findings import Findings
    from wherever_convert.report import ConversionReport

# Nothing is fetched, run or sent, whatever a name in the page may have got past us.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def document(
    report: ConversionReport, certificates: Sequence[Certificate], findings: Findings
) -> str:
    """The page's text; the arguments are those of `write_page`."""
    points = points_of(report, certificates)
    reference = findings.reference
    body = tag(
        "body",
        sections.heading(report, points, reference),
        tag(
            "main",
            sections.warnings(report),
            sections.figures(report, points, reference),
            sections.left_out(report),
            answers(findings),
            sections.sensitivity(report),
            sections.records(report, certificates),
        ),
        tag("footer", "Made by ", tag("code", "wherever convert"), class_="soft"),
    )
    return f"<!DOCTYPE html>\n{tag('html', _head(report), body, lang='en')}\n"


def _head(report: ConversionReport) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{cut(report.name, 100)} {cut(report.version, 40)}: conversion report"),
        tag("style", Markup(stylesheet())),
    )
