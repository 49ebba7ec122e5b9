"""`report.html` of a compression."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgekit.report.bars import waterfall
from edgekit.report.card import number
from edgekit.report.figures import Record, tiles
from edgekit.report.front_plot import front_plot
from edgekit.report.page import bullets, details, facts, paragraph, section, table
from edgekit.report.parts import (
    budget_text,
    checks_table,
    deploy_section,
    evidence_section,
    figures_part,
    made_section,
    repeat,
    whole_page,
)

_TITLES: Final = {
    "asked": "What was asked",
    "figures": "What came out",
    "steps": "What each pass bought and cost",
    "front": "What the search tried",
    "verified": "How it was verified",
    "deploy": "How to deploy",
    "evidence": "What the evidence means",
    "made": "How it was made",
}


def compression_page(record: Mapping[str, Any]) -> str:
    """From the record of `report.json`, and nothing else."""
    plan, judged = record["plan"], record["judgement"]
    sections = {
        "asked": section("asked", _TITLES["asked"], [facts(_asked(plan))]),
        "figures": section(
            "figures",
            _TITLES["figures"],
            [
                tiles(record["figures"], (judged["measure"], "latency", "size", "peak RAM")),
                bullets(record["notes"]),
                *figures_part(record["figures"]),
            ],
        ),
        "steps": section("steps", _TITLES["steps"], _steps(record["rows"])),
        **({"front": section("front", _TITLES["front"], _trials(record))} if record["trials"] else {}),
        "verified": section(
            "verified",
            _TITLES["verified"],
            [checks_table("Checks", record["verification"]["checks"]), *repeat(record["folder"])],
        ),
        "deploy": deploy_section(record),
        "evidence": evidence_section(),
        "made": made_section(record),
    }
    lead = (
        f"{plan['source']}, compressed for {plan['target']} with {plan['threads']} threads. The file loses "
        f"{record['drop_points']:.2f} points of {judged['measure']} on {judged['samples']} evaluation inputs."
    )
    return whole_page(f"{plan['source']}, compressed", lead, sections, _TITLES)


def _asked(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    drop = plan["max_accuracy_drop"]
    recipe = "searched" if plan["recipe"] is None else ", ".join(step["id"] for step in plan["recipe"])
    return [
        ("network", plan["source"]),
        ("target", f"{plan['target']}, {plan['threads']} threads"),
        ("recipe", recipe),
        ("may lose", "no limit" if drop is None else f"{drop:g} points"),
        ("budget", budget_text(plan["budget"])),
        ("learns from", plan["data"]),
        ("judged on", plan["evaluation"] or "a quarter of these"),
    ]


def _steps(rows: Sequence[Record]) -> list[str]:
    steps = [{"name": row["step"], "note": "; ".join(row["notes"]), "figures": _figures(row)} for row in rows]
    layers = [
        details(f"{row['step']}, layer by layer", _layers(row["step"], row["layers"])) for row in rows if row["layers"]
    ]
    return [
        paragraph(
            "Sizes are predicted for the file as the model would be exported after the step; accuracy or agreement is "
            "measured in torch on the evaluation inputs. Bars are shares of the largest value of a column."
        ),
        waterfall("Steps", steps),
        *layers,
    ]


def _figures(row: Record) -> list[Record]:
    judged = row["judgement"]
    counted = {"interval": None, "evidence": "predicted", "source": "the described operators"}
    return [
        {"name": "parameters", "value": row["parameters"], "unit": "weights", **counted},
        {"name": "not zero", "value": row["nonzeros"], "unit": "weights", **counted, "evidence": "measured"},
        {"name": "MACs", "value": row["macs"], "unit": "MACs", **counted},
        {"name": "size", "value": row["size_bytes"], "unit": "bytes", **counted},
        {"name": "latency", **row["latency"]},
        _judged(judged),
    ]


def _judged(judgement: Record) -> Record:
    return {
        "name": judgement["measure"],
        "value": judgement["value"],
        "unit": "fraction",
        "interval": judgement["interval"],
        "evidence": "measured",
        "source": f"{judgement['samples']} inputs, torch",
    }


def _layers(step: str, layers: Sequence[Record]) -> str:
    columns = list(dict.fromkeys(key for layer in layers for key in layer))
    return table(step, columns, [[_cell(layer.get(key, "")) for key in columns] for layer in layers])


def _cell(value: object) -> str:
    return number(value) if isinstance(value, (int, float)) else str(value)


def _trials(record: Mapping[str, Any]) -> list[str]:
    trials, measure = record["trials"], record["judgement"]["measure"]
    points = [
        {
            "name": one["recipe"],
            "figures": [
                _judged(one["judgement"]),
                {
                    "name": "latency",
                    "value": one["latency_ms"],
                    "unit": "ms",
                    "evidence": "predicted",
                    "interval": None,
                },
                {"name": "MACs", "value": one["macs"], "unit": "MACs", "evidence": "predicted", "interval": None},
            ],
            "command": _command(record, one["recipe"]),
        }
        for one in sorted(trials, key=lambda one: float(one["latency_ms"]))
    ]
    rows = [
        (
            str(count),
            str(one["start"]),
            one["added"],
            f"{one['macs']:,}",
            number(one["latency_ms"]),
            f"{one['drop_points']:.2f}",
            "kept" if one["kept"] else "rolled back",
        )
        for count, one in enumerate(trials, 1)
    ]
    header = ("trial", "from", "passes added", "MACs", "ms, predicted", "points lost", "outcome")
    return [
        paragraph(
            "Judged on inputs that are in no other set. A trial whose loss is more than structure may cost is rolled back: the "
            "search goes on from where it was."
        ),
        front_plot(f"{measure} over latency", points, _built(record), noun="recipe", measure=measure),
        table("Trials", header, rows),
        bullets([f"{name} could not be applied: {why}" for name, why in record["refusals"].items()]),
    ]


def _built(record: Mapping[str, Any]) -> list[str]:
    """The trials that the recipe of the file begins with, the longest alone."""
    ids = [step["id"] for step in record["recipe"]]
    kept = [
        one["recipe"]
        for one in record["trials"]
        if one["kept"]
        and [step.split(",")[0] for step in one["recipe"].split(", ")] == ids[: one["recipe"].count(", ") + 1]
    ]
    return [max(kept, key=len)] if kept else []


def _command(record: Mapping[str, Any], recipe: str) -> str:
    """Applies the passes of a trial, and the quantization of the file, to the same network with the same data."""
    plan = record["plan"]
    words = ["edgekit", "compress", plan["source"]]
    if plan["weights"] is not None:
        words += ["--weights", plan["weights"]]
    if plan["input_shape"] is not None:
        words += ["--input-shape", ",".join(map(str, plan["input_shape"]))]
    for name in ("mean", "std"):
        words += [f"--{name}", ",".join(f"{part:g}" for part in plan[name])]
    words += ["--mirror"] if plan["mirror"] else []
    words += ["--data", plan["data"]]
    if plan["evaluation"] is not None:
        words += ["--eval", plan["evaluation"]]
    last = [step["id"] for step in record["recipe"] if step["id"].startswith("quant::")]
    steps = recipe.split(", ") + [one for one in last if one not in recipe]
    for step in steps:
        words += ["--pass", step]
    return shlex.join([*words, "--target", plan["target"], "-o", "out"])
