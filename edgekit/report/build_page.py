"""`report.html` of a build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.report.bars import waterfall
from edgekit.report.confusion_table import confusion_table, recalls_table
from edgekit.report.figures import by_name, interval_text, tiles, value_text
from edgekit.report.page import paragraph, section, subheading, table
from edgekit.report.parts import (
    asked_section,
    checks_table,
    deploy_section,
    evidence_section,
    figures_part,
    front_section,
    made_section,
    notes_part,
    repeat,
    time_section,
    whole_page,
)

HEADLINES = ("accuracy", "latency", "size", "peak RAM")
_TITLES = {
    "asked": "What was asked",
    "figures": "What came out",
    "accuracy": "Accuracy",
    "steps": "From the supernet to the file",
    "front": "What else could be built",
    "time": "Where the time goes",
    "runtimes": "Runtimes compared",
    "verified": "How it was verified",
    "deploy": "How to deploy",
    "evidence": "What the evidence means",
    "made": "How it was made",
}


def build_page(record: Mapping[str, Any]) -> str:
    """From the record of `report.json`, and nothing else."""
    figures = record["figures"]
    sections = {
        "asked": asked_section(record),
        "figures": section(
            "figures",
            _TITLES["figures"],
            [tiles(figures, HEADLINES), *notes_part(record.get("notes", [])), *figures_part(figures)],
        ),
        "accuracy": _accuracy_section(record),
        "steps": _steps_section(record),
        "front": front_section(record, [record["genotype"]]),
        "time": time_section(record, figures),
        **({"runtimes": _runtimes_section(record)} if "candidates" in record else {}),
        "verified": _verified_section(record),
        "deploy": deploy_section(record),
        "evidence": evidence_section(),
        "made": made_section(record),
    }
    plan = record["plan"]
    lead = (
        f"A network for {plan['target']} with {plan['threads']} threads, assembled from the supernet {plan['model']}, "
        f"genotype {record['genotype']}."
    )
    return whole_page(plan["task"]["text"], lead, sections, _TITLES)


def _accuracy_section(record: Mapping[str, Any]) -> str:
    accuracy = by_name(record["figures"])["accuracy"]
    parts = [
        paragraph(
            f"{value_text(accuracy)}{f' ({interval_text(accuracy)})' if accuracy['interval'] else ''}, "
            f"{accuracy['evidence']}: {accuracy['source']}."
        )
    ]
    if "confusion" in record:
        parts += [confusion_table(record["confusion"]), recalls_table(record["confusion"])]
    if "own_classes" in record:
        parts += _own_classes(record["own_classes"])
    if "confusion" not in record and "own_classes" not in record:
        parts.append(
            paragraph("No labelled pictures were given: with --eval DIR the file is judged on yours, class by class.")
        )
    return section("accuracy", _TITLES["accuracy"], parts)


def _own_classes(learnt: Mapping[str, Any]) -> list[str]:
    confusion = learnt["leave_one_out_confusion"]
    return [
        subheading("The examples, each left out once"),
        paragraph(
            "The head was learnt from these pictures, and answers each of them as if it had not been among them. That says how "
            f"well it does on pictures from the same source. Bricks were chosen for {learnt['bricks_chosen_for']}."
        ),
        confusion_table(confusion),
        recalls_table(confusion),
    ]


def _steps_section(record: Mapping[str, Any]) -> str:
    return section(
        "steps",
        _TITLES["steps"],
        [
            paragraph("What each step left of the network; bars are shares of the largest value of a column."),
            waterfall("Steps", record["waterfall"]),
        ],
    )


def _runtimes_section(record: Mapping[str, Any]) -> str:
    rows = []
    for one in record["candidates"]:
        size = "" if one["size_bytes"] is None else f"{one['size_bytes']:,}"
        told = [
            "" if figure is None else f"{value_text(figure)}{_interval(figure)}, {figure['evidence']}"
            for figure in (one["latency"], one["instructions"])
        ]
        status = one["obstacle"] or ("chosen" if one["chosen"] else "")
        rows.append((one["runtime"], one["precision"], size, *told, "yes" if one["verified"] else "no", status))
    header = ("runtime", "precision", "bytes", "latency", "instructions", "verified", "outcome")
    return section("runtimes", _TITLES["runtimes"], [table("Runtimes", header, rows), paragraph(record["reason"])])


def _interval(figure: Mapping[str, Any]) -> str:
    return f" ({interval_text(figure)})" if figure["interval"] else ""


def _verified_section(record: Mapping[str, Any]) -> str:
    passed = record["verification"]
    return section(
        "verified",
        _TITLES["verified"],
        [
            paragraph(
                f"The file was run on {passed['inputs']} pictures and compared with the network that it was made from. All of "
                "this had to hold, else there would be no folder:"
            ),
            checks_table("Checks", passed["checks"]),
            paragraph(
                "The sliced network differs from the supernet with the same bricks open by at most "
                f"{passed['slice_difference']:.2g}."
            ),
            *(paragraph(note) for note in passed["notes"]),
            *repeat(record["folder"]),
        ],
    )
