"""The part of the page about answers: confusions, and the samples that a variant gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherever_convert.page.cards import cards
from wherever_convert.page.confusion import confusion_figure
from wherever_convert.page.markup import Markup, join, tag
from wherever_convert.page.thumbnails import Thumbnails

if TYPE_CHECKING:
    from wherever_convert.findings import Findings, Worst


def answers(findings: Findings) -> Markup | None:
    """What is answered wrongly, and what variants answer otherwise than the reference."""
    confusion = findings.confusion
    thumbnails = Thumbnails()
    parts = [_variant(findings, each, thumbnails) for each in findings.worst]
    if confusion is None and not parts:
        return None
    truth = (
        None
        if confusion is None
        else join(
            tag("h3", "The reference against the truth"),
            confusion_figure(confusion, findings.labels, "truth", "the reference's answer"),
        )
    )
    return tag("section", tag("h2", "Answers"), truth, parts)


def _variant(findings: Findings, variant: str, thumbnails: Thumbnails) -> Markup:
    worst = findings.worst[variant]
    title = tag("h3", tag("bdi", variant), " against the reference")
    about = tag("p", _counted(findings, variant), _lines(worst), class_="soft")
    if not worst:
        return join(title, about)
    changes = findings.changes.get(variant)
    figure = None
    if changes is not None and changes.cells:
        rows, columns = "the reference's answer", "the variant's answer"
        figure = confusion_figure(changes, findings.labels, rows, columns)
    return join(title, about, figure, cards(worst, thumbnails))


def _lines(worst: Sequence[Worst]) -> str | None:
    """What the lines in pictures mean; None when there are none."""
    if not any(each.reference.boxes or each.answer.boxes for each in worst):
        return None
    return " Lines are the reference's boxes, dashes the variant's."


def _counted(findings: Findings, variant: str) -> str:
    counts = findings.counts.get(variant, {})
    total = sum(counts.values())
    if not total:
        return f"All {findings.n} answers are the reference's."
    lost, gained = counts.get("lost", 0), counts.get("gained", 0)
    said = f"{total} of {findings.n} answers differ"
    if findings.confusion is not None:
        said += f": {lost} were right and are wrong now, {gained} the other way round"
    shown = len(findings.worst[variant])
    return f"{said}. " + (f"The {shown} worst are below." if shown < total else "All are below.")
