"""`report.html` of a build of several networks: variants for several latency limits, or an early exit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgekit.report.bars import kinds_table, operators_table, waterfall
from edgekit.report.card import number
from edgekit.report.confusion_table import confusion_table, recalls_table
from edgekit.report.figures import by_name, interval_text, tiles, value_text
from edgekit.report.page import details, paragraph, section, subheading, table
from edgekit.report.parts import (
    asked_section,
    checks_table,
    deploy_section,
    evidence_section,
    figures_part,
    front_section,
    made_section,
    repeat,
    whole_page,
)

HEADLINES: Final = ("accuracy", "mean latency", "share that leaves early", "latency", "size", "size saved")
_TITLES: Final = {
    "asked": "What was asked",
    "figures": "What came out",
    "accuracy": "Accuracy",
    "steps": "From the supernet to the file",
    "front": "What else could be built",
    "time": "Where the time goes",
    "verified": "How it was verified",
    "deploy": "How to deploy",
    "evidence": "What the evidence means",
    "made": "How it was made",
}


def networks_page(record: Mapping[str, Any]) -> str:
    """From the record of `report.json`, and nothing else."""
    plan, variants, figures = record["plan"], record["variants"], record["figures"]
    confusions = {one["name"]: one["confusion"] for one in variants if "confusion" in one}
    sections = {
        "asked": asked_section(record),
        "figures": section(
            "figures",
            _TITLES["figures"],
            [tiles(figures, HEADLINES), _networks(record), *_switch(record), *figures_part(figures)],
        ),
        **({"accuracy": section("accuracy", _TITLES["accuracy"], _accuracy(confusions))} if confusions else {}),
        "steps": section(
            "steps",
            _TITLES["steps"],
            [
                paragraph(
                    "What each step left of a network; bars are shares of the largest value of a column. The size in the last "
                    "row is that of the file, which holds all networks where it is one."
                ),
                *(
                    part
                    for one in variants
                    for part in (subheading(one["name"]), waterfall(f"Steps, {one['name']}", one["waterfall"]))
                ),
            ],
        ),
        "front": front_section(record, [one["genotype"] for one in variants]),
        "time": section("time", _TITLES["time"], _time(record)),
        "verified": section("verified", _TITLES["verified"], _verified(record)),
        "deploy": deploy_section(record),
        "evidence": evidence_section(),
        "made": made_section(record),
    }
    lead = (
        f"{len(variants)} networks for {plan['target']} with {plan['threads']} threads, assembled from the supernet "
        f"{plan['model']}."
    )
    return whole_page(plan["task"]["text"], lead, sections, _TITLES)


def _networks(record: Mapping[str, Any]) -> str:
    rows = []
    for one in record["variants"]:
        figures = by_name(one["figures"])
        judged = [
            f"{value_text(figures[name])} ({interval_text(figures[name])}), {figures[name]['evidence']}"
            for name in ("latency", "accuracy")
        ]
        counted = [number(figures[name]["value"]) for name in ("MACs", "size alone")]
        rows.append((one["name"], *judged, *counted, str(one["image_size"]), one["genotype"]))
    header = ("network", "latency", "accuracy", "MACs", "bytes alone", "pixels", "genotype")
    return table("Networks", header, rows)


def _switch(record: Mapping[str, Any]) -> list[str]:
    if "early_exit" not in record:
        return [
            paragraph("Each is a signature of the file, named as here; a program that asks for none gets the last.")
        ]
    exits = record["early_exit"]
    return [
        paragraph(
            f"The answer of the first network stands where its likeliest output has a probability of at least "
            f"{exits['threshold']:g}; else the last one answers. Figures without "
            "“mean” in their name are of a picture that both see."
        )
    ]


def _accuracy(confusions: Mapping[str, Any]) -> list[str]:
    return [
        part
        for name, confusion in confusions.items()
        for part in (subheading(name), confusion_table(confusion), recalls_table(confusion))
    ]


def _time(record: Mapping[str, Any]) -> list[str]:
    parts = [
        paragraph("The cost model's latency, divided among operators; what every run costs beside them is left out.")
    ]
    for one in record["variants"]:
        parts += [
            subheading(one["name"]),
            kinds_table(f"Time by kind, {one['name']}", one["kinds"]),
            details("Every operator", operators_table(f"Time by operator, {one['name']}", one["operators"])),
        ]
    return parts


def _verified(record: Mapping[str, Any]) -> list[str]:
    parts = []
    for one in record["variants"]:
        parts += [subheading(one["name"]), checks_table(one["name"], one["verification"]["checks"])]
    if "early_exit" in record:
        parts += [subheading("Both together"), checks_table("Both together", record["early_exit"]["checks"])]
    return [*parts, *repeat(record["folder"])]
