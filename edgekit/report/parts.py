"""Sections that reports of several kinds share."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePath
from typing import Any, Final

from edgekit.report.bars import kinds_table, operators_table
from edgekit.report.card import number
from edgekit.report.figures import MEANINGS, Record, badge, figures_table, value_text
from edgekit.report.front_plot import front_plot
from edgekit.report.page import bullets, command, details, facts, page, paragraph, section, subheading, table

BOARD: Final = "pi@raspberrypi.local"
_NEEDED: Final = {"tflite": "ai-edge-litert", "tvm": "apache-tvm apache-tvm-ffi", "onnx": "onnxruntime"}
_RELATIONS: Final = {"<=": "≤", ">=": "≥", "==": "="}
_UNITS: Final = {
    "latency_ms": "ms",
    "size_bytes": "bytes",
    "peak_ram_bytes": "bytes",
    "macs": "MACs",
    "energy_mj": "mJ",
}


def whole_page(title: str, lead: str, sections: Mapping[str, str], titles: Mapping[str, str]) -> str:
    """A page that begins with a sentence and the list of its sections, by their ids and titles."""
    parts = [paragraph(lead), contents({name: titles[name] for name in sections}), *sections.values()]
    return page(title, parts, answers=True)


def contents(sections: Mapping[str, str]) -> str:
    """Links to sections, by their ids."""
    links = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in sections.items())
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def budget_text(budget: Mapping[str, Any]) -> str:
    """Limits with their units; a share stands as it was given."""
    return ", ".join(_limit(name, limit) for name, limit in budget.items()) or "none"


def _limit(name: str, limit: float | str) -> str:
    said = name.rsplit("_", 1)[0].replace("_", " ") if name in _UNITS and name != "macs" else name.replace("_", " ")
    if isinstance(limit, str):
        return f"{said} {limit} of the full supernet's"
    if name == "min_accuracy":
        return f"accuracy at least {100 * limit:.4g} %"
    return f"{'MACs' if name == 'macs' else f'{said} at most'} {number(limit)} {_UNITS.get(name, '')}".rstrip()


def asked_section(record: Mapping[str, Any]) -> str:
    plan = record["plan"]
    rows = [
        ("task", plan["task"]["text"]),
        ("kind", plan["task"]["kind"]),
        ("outputs", ", ".join(record["labels"])),
        ("target", f"{plan['target']}, {plan['threads']} threads"),
        ("budget", budget_text(plan["budget"])),
        ("calibrated with", plan["calibration"]),
    ]
    if "board" in plan:
        rows.append(("board", plan["board"]))
    return section("asked", "What was asked", [facts(rows)])


def front_section(record: Mapping[str, Any], built: Sequence[str]) -> str:
    """What else the supernet has for the task; `built` are genotypes."""
    limit = record["plan"]["budget"].get("latency_ms")
    points = [{**point, "name": point["genotype"]} for point in record["front"]]
    return section(
        "front",
        "What else could be built",
        [
            paragraph(
                "Networks of this supernet that none of the others here beats in accuracy, latency, size and memory at once, "
                "whatever the budget; what was built is a diamond. Point at one, or walk through them with the arrow keys, to see "
                "its genotype and the command that builds it."
            ),
            *_stand_ins(record),
            front_plot(
                "Accuracy over latency, both predicted",
                points,
                built,
                limit_ms=limit if isinstance(limit, (int, float)) else None,
            ),
        ],
    )


def _stand_ins(record: Mapping[str, Any]) -> list[str]:
    """Nothing predicts how well a network tells own classes apart."""
    if "own_classes" not in record:
        return []
    labels = record["own_classes"]["bricks_chosen_for"]
    return [paragraph(f"The accuracies here are those of {labels}, which stand in for your own classes.")]


def evidence_section() -> str:
    rows = "".join(f"<dt>{badge(name)}</dt><dd>{escape(meaning)}</dd>" for name, meaning in MEANINGS)
    return section(
        "evidence",
        "What the evidence means",
        [
            paragraph("No number stands here without the word that says how it was come by."),
            f'<dl class="facts">{rows}</dl>',
        ],
    )


def figures_part(figures: Sequence[Record]) -> list[str]:
    return [subheading("Every figure, with its evidence and source"), figures_table("Figures", figures)]


def time_section(record: Mapping[str, Any], figures: Sequence[Record]) -> str:
    """By operator as the cost model has it, and what a board said."""
    parts = [
        paragraph(
            "The cost model's latency, divided among the operators of the file; what every run costs beside them is left out."
        ),
        kinds_table("Time by kind of operator", record["kinds"]),
        details("Every operator", operators_table("Time by operator", record["operators"])),
    ]
    executed = [one for one in figures if one["name"].startswith("instructions")]
    if executed:
        parts += [
            subheading("What an emulated board executed"),
            table(
                "Instructions",
                ("kind", "instructions", "evidence", "source"),
                [
                    (one["name"].removeprefix("instructions, "), number(one["value"]), one["evidence"], one["source"])
                    for one in executed
                ],
            ),
        ]
    measured = [
        one for one in figures if one["name"] in ("latency", "measured / predicted") and one["evidence"] == "measured"
    ]
    if measured:
        parts += [
            subheading("What the board took"),
            facts([(one["name"], f"{value_text(one)}, {one['source']}") for one in measured]),
        ]
    return section("time", "Where the time goes", parts)


def checks_table(caption: str, checks: Sequence[Record]) -> str:
    return table(
        caption,
        ("check", "value", "must be", "detail"),
        [
            (one["name"], _exact(one["value"]), f"{_RELATIONS[one['relation']]} {_exact(one['limit'])}", one["detail"])
            for one in checks
        ],
    )


def _exact(value: float) -> str:
    """With as many digits as tell 0.99999 from 1."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def repeat(folder: str) -> list[str]:
    return [
        paragraph("Repeat the checks on this machine:"),
        command(f"edgekit verify {shlex.quote(folder)}", "checks the folder again"),
    ]


def deploy_section(record: Mapping[str, Any]) -> str:
    """Commands for the board; `run.py` is there for networks that name what they see."""
    folder, runtime = record["folder"], record["plan"]["target"].split(":")[-1].split("-")[0]
    quoted, name = shlex.quote(folder), shlex.quote(PurePath(folder).name)
    needs = f"python3 -m venv venv && venv/bin/pip install {_NEEDED.get(runtime, runtime)} numpy pillow"
    parts = [
        paragraph("Copy the folder to the board; its user and name stand in the place of these:"),
        command(f"scp -r {quoted} {BOARD}:", "copies the folder to the board"),
    ]
    if record["labels"]:
        parts += [
            paragraph(
                "There, once; deploy/README.md has the exact versions, a service, and the same in C++ and Kotlin:"
            ),
            command(f"cd {name} && {needs}", "installs what the board needs"),
            paragraph("There, with a picture:"),
            command("venv/bin/python run.py photo.png", "runs the model on the board"),
            paragraph("The same on this machine:"),
            command(f"edgekit predict {quoted} photo.png", "runs the model on this machine"),
        ]
    parts += [
        paragraph(
            "What it costs on a board of yours, measured in the place of the prediction, where “pi” is its name:"
        ),
        command(f"edgekit profile {quoted} --board pi", "measures on a board"),
    ]
    return section("deploy", "How to deploy", parts)


def made_section(record: Mapping[str, Any]) -> str:
    plan = record["plan"]
    rows = [
        ("seed", str(plan["seed"])),
        ("seconds", ", ".join(f"{name} {seconds:.1f}" for name, seconds in record["stages_s"].items())),
    ]
    if "supernet" in record:
        rows += [("data behind the supernet", record["supernet"]["data"]), ("licence", record["supernet"]["licence"])]
    rows.append(("versions", "env.json"))
    return section("made", "How it was made", [facts(rows)])


def notes_part(notes: Sequence[str]) -> list[str]:
    return [bullets(notes)] if notes else []
