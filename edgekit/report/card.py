"""`card.md` of a build: what was asked, what came out, and how anybody can check it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.records import write_bytes


def write_card(path: Path, report: Mapping[str, Any], *, model_card: Mapping[str, Any]) -> None:
    """From the record of `report.json` and the supernet's card."""
    plan = report["plan"]
    budget = ", ".join(f"{name} {limit}" for name, limit in plan["budget"].items()) or "none"
    lines = [
        f"# {plan['task']['text']}",
        "",
        f"A network for `{plan['target']}` ({plan['threads']} threads), assembled from the supernet `{plan['model']}`, "
        f"genotype `{report['genotype']}`.",
        "",
        f"- Task: {plan['task']['kind']}; outputs: {', '.join(report['labels'])}",
        f"- Budget: {budget}",
        f"- Quantizer calibrated with: {plan['calibration']}",
        "",
        "| figure | value | interval | evidence | source |",
        "|---|---|---|---|---|",
        *_rows(report["figures"]),
        "",
        *_runtimes(report.get("candidates"), report.get("reason")),
        *([*(f"- {note}" for note in report["notes"]), ""] if "notes" in report else []),
        *_own_classes(report.get("own_classes")),
        *proof({"": report["verification"]}, model_card),
    ]
    write_bytes(path, "\n".join(lines).encode())


def proof(
    verifications: Mapping[str, Mapping[str, Any]],
    model_card: Mapping[str, Any],
    *,
    together: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """The end of every card: what each network has passed, by its name where there are several, what they have passed `together`,
    and the data behind them."""
    names = {name: f"{name}, " if name else "" for name in verifications}
    return [
        "## Checks passed",
        *(f"- {names[name]}{check_text(check)}" for name, one in verifications.items() for check in one["checks"]),
        *(f"- both, {check_text(check)}" for check in together),
        *(
            f"- {names[name]}the sliced network differs from the gated supernet by at most {one['slice_difference']:.2g}"
            for name, one in verifications.items()
        ),
        "",
        *(f"{names[name]}{note}\n" for name, one in verifications.items() for note in one["notes"]),
        "Repeat them with `edgekit verify` on this folder.",
        "",
        "## Data behind the supernet",
        f"{model_card['data']}. {model_card['licence']}",
        "",
    ]


def with_figures(card: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> str:
    """The text of a card with other figures in its table."""
    return card.replace("\n".join(_rows(old)), "\n".join(_rows(new)))


def _rows(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    return [figure_row(figure) for figure in figures]


def _runtimes(candidates: Sequence[Mapping[str, Any]] | None, reason: str | None) -> list[str]:
    if candidates is None:
        return []
    return [
        "## Runtimes compared",
        "",
        "| runtime | precision | bytes | latency | instructions | verified | |",
        "|---|---|---|---|---|---|---|",
        *(_candidate_row(one) for one in candidates),
        "",
        f"{reason}",
        "",
    ]


def _candidate_row(one: Mapping[str, Any]) -> str:
    size = "" if one["size_bytes"] is None else f"{one['size_bytes']:,}"
    told = [_short(one[name]) for name in ("latency", "instructions")]
    verified = "yes" if one["verified"] else "no"
    status = one["obstacle"].replace("|", "/") or ("**chosen**" if one["chosen"] else "")
    return f"| {' | '.join((one['runtime'], one['precision'], size, *told, verified, status))} |"


def _short(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    interval = f" ({number(figure['interval'][0])} to {number(figure['interval'][1])})" if figure["interval"] else ""
    return f"{number(figure['value'])} {figure['unit']}{interval}, {figure['evidence']}"


def _own_classes(learnt: Mapping[str, Any] | None) -> list[str]:
    if learnt is None:
        return []
    recalls = learnt["leave_one_out_recalls"]
    return [
        "## Own classes",
        f"The head was learnt from the examples ({learnt['kind']}, ridge {number(learnt['ridge'])}) and answers each picture "
        "once without having seen it. That says how well it does on pictures like these, from the same source; the interval "
        "is as wide as so few pictures make it.",
        "",
        "| class | pictures | right when left out |",
        "|---|---|---|",
        *(f"| {name} | {count} | {recalls[name]:.0%} |" for name, count in learnt["pictures"].items()),
        "",
        f"Bricks were chosen for the labels that the supernet takes them for: {learnt['bricks_chosen_for']}.",
        "",
    ]


def figure_row(figure: Mapping[str, Any]) -> str:
    interval = f"{number(figure['interval'][0])} to {number(figure['interval'][1])}" if figure["interval"] else ""
    value = f"{number(figure['value'])} {figure['unit']}"
    return f"| {figure['name']} | {value} | {interval} | {figure['evidence']} | {figure['source']} |"


def check_text(check: Mapping[str, Any]) -> str:
    detail = f" ({check['detail']})" if check["detail"] else ""
    return f"{check['name']}: {number(check['value'])}, must be {check['relation']} {number(check['limit'])}{detail}"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
