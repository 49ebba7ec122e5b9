"""Which class was taken for which, as a table that is shaded."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgekit.core.proportion import wilson_interval
from edgekit.report.figures import Record, percent
from edgekit.report.page import paragraph, scrolling, table

FEW = 6
"""Of more labels the names of columns stand upright."""


MANY = 60
"""Of more labels the mistakes are listed, most frequent first, in the place of a table that nobody could read."""

LISTED = 100


def confusion_table(confusion: Record) -> str:
    """`counts[t][a]` pictures of class t were answered by class a."""
    labels, counts = confusion["labels"], confusion["counts"]
    if len(labels) > MANY:
        return _mistakes(labels, counts)
    turned = ' class="upright"' if len(labels) > FEW else ""
    head = "".join(f'<th scope="col"><span{turned} dir="auto">{escape(label)}</span></th>' for label in labels)
    body = "".join(
        f'<tr><th scope="row" dir="auto">{escape(label)}</th>{_row(row, index)}</tr>'
        for index, (label, row) in enumerate(zip(labels, counts, strict=True))
    )
    return paragraph("How many pictures of a class (rows) were given an answer (columns):") + scrolling(
        "Confusion",
        '<table class="confusion">'
        f'<thead><tr><th scope="col">class</th>{head}</tr></thead><tbody>{body}</tbody></table>',
    )


def _mistakes(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    found = sorted(
        (-count, true, given)
        for true, row in enumerate(counts)
        for given, count in enumerate(row)
        if count and given != true
    )
    if not found:
        return paragraph("No picture was answered wrongly.")
    rows = [(labels[true], labels[given], str(-count)) for count, true, given in found[:LISTED]]
    return paragraph("The most frequent mistakes:") + table("Mistakes", ("class", "answer", "pictures"), rows)


def _row(counts: Sequence[int], right: int) -> str:
    total = sum(counts) or 1
    return "".join(
        f'<td class="{_shade(count / total, is_right=index == right)}">{count}</td>'
        for index, count in enumerate(counts)
    )


def _shade(share: float, *, is_right: bool) -> str:
    if not share:
        return "none"
    if is_right:
        return f"heat{1 + min(int(share * 4), 3)}"
    return f"miss{1 + min(int(share * 6), 2)}"


def recalls_table(confusion: Record) -> str:
    """The share answered rightly, by class; a class without pictures has none."""
    rows = []
    for index, (label, counts) in enumerate(zip(confusion["labels"], confusion["counts"], strict=True)):
        total = sum(counts)
        if not total:
            rows.append((label, "0", "no pictures", ""))
            continue
        low, high = wilson_interval(counts[index] / total, total)
        rows.append((label, f"{total:,}", percent(counts[index] / total), f"{percent(low)} to {percent(high)}"))
    return table("Right by class", ("class", "pictures", "right", "interval, 95 %"), rows)
