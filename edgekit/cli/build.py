"""edgekit build"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgekit.cli.budget_options import budget_options
from edgekit.cli.config_option import config_option
from edgekit.cli.console import Console, number, output_options
from edgekit.cli.help import SectionedCommand
from edgekit.cli.progress import stages

if TYPE_CHECKING:
    from edgekit.pipeline.early_exit import EarlyExitResult
    from edgekit.pipeline.variants import Variant, VariantsResult


_OF_SEVERAL = ("variants", "early_exit")
_OF_ONE = ("runtime", "board", "tuning_minutes")


@click.command(cls=SectionedCommand)
@config_option
@click.option("--task", help='What to recognise, such as "stop, yield" or "kind=danger".')
@click.option(
    "--examples",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Own classes in place of --task: DIR/CLASS/*.jpg, 5 to 50 pictures each.",
)
@click.option(
    "--target",
    default="rpi4",
    show_default=True,
    metavar="DEVICE[:RUNTIME[-PRECISION]]",
    help="What to build for; also DEVICE:PRECISION.",
)
@click.option("--runtime", metavar="NAME", help="tflite, onnx or tvm; auto takes the one that the evidence supports.")
@click.option("--board", metavar="BOARD", help="Also run the file on this board, one of `edgekit devices boards`.")
@click.option(
    "--tuning-minutes",
    type=float,
    metavar="MINUTES",
    help="TVM alone: try kernels on the board for so long; what is found serves later builds too.",
)
@click.option("--presence/--no-presence", help="Ask whether any of the labels is in the picture: yes or no.")
@click.option("--grouped/--no-grouped", help="One output for each term between commas, whatever it selects.")
@click.option("--other/--no-other", help='Add a class "other" for all labels that the task leaves out.')
@click.option("--model", default="signs43", show_default=True, help="A supernet, by name or folder.")
@budget_options
@click.option(
    "--genotype", metavar="GENOTYPE", help="This network, for example from `edgekit assemble`, without limits."
)
@click.option("--variants", metavar="LIST", help="Latency limits such as 4,8,16ms: a network for each, in one file.")
@click.option(
    "--early-exit",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="PROBABILITY",
    help="Two networks: a small one answers if it is at least so sure, such as 0.9; otherwise a large one does.",
)
@click.option(
    "--from",
    "course",
    type=click.Path(path_type=Path),
    is_eager=True,  # before --config, which is not read then
    metavar="DIR",
    help="Build the network that clients trained: a folder of `edgekit federated`.",
)
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Pictures to calibrate int8 with.")
@click.option(
    "--eval",
    "evaluation",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Measure the file's accuracy on labelled pictures: DIR/OUTPUT/*.png.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="The build folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace an older build folder.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of all random choices."
)
@output_options
def build(
    *,
    console: Console,
    course: Path | None,
    output: Path | None,
    overwrite: bool,
    dry_run: bool,
    **inputs: Any,
) -> None:
    """Build the network of a task for a board, into a folder.

    A LIMIT is a number, or a share of what the full supernet costs, such as 25%. With --variants the other limits hold for
    each network; with --early-exit, for a picture that goes through both networks. --runtime auto makes a file for every
    runtime of the device, in int8 and in fp32, and keeps the fastest one that the evidence supports.

    \b
    edgekit build --target rpi4 --task "stop, yield" --latency-ms 1.0 -o out/
    edgekit build --task "kind=danger" --min-accuracy 0.97 -o out/
    edgekit build --examples my_signs/ --target rpi5 -o out/
    edgekit build --task "stop, yield" --runtime auto --board pi -o out/
    edgekit build --task "stop, yield" --variants 0.6,1.0ms -o out/
    """
    if course is not None:
        _build_learnt(console, course, board=inputs["board"], output=output, overwrite=overwrite)
        return
    inputs = of_one_kind(inputs)
    variants, early_exit = inputs.get("variants"), inputs.get("early_exit")
    if dry_run:
        _plan(console, inputs)
    elif output is None:
        raise click.UsageError("Missing option '-o' / '--output': the folder to write, or --dry-run.")
    elif variants is not None:
        _build_variants(console, {**inputs, "output": output, "overwrite": overwrite})
    elif early_exit is not None:
        _build_early_exit(console, {**inputs, "output": output, "overwrite": overwrite})
    else:
        _build(console, {**inputs, "output": output, "overwrite": overwrite})


def of_one_kind(asked: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a build of one network, of variants, or of an early exit. Raises UsageError for what no build has together."""
    inputs = dict(asked)
    several = {name: value for name in _OF_SEVERAL if (value := inputs.pop(name, None)) is not None}
    if len(several) > 1:
        raise click.UsageError("--variants and --early-exit exclude each other.")
    of_one_network = {name: value for name in _OF_ONE if (value := inputs.pop(name, None)) is not None}
    if several and of_one_network:
        raise click.UsageError(
            "--runtime, --board and --tuning-minutes are for builds of one network: leave out --variants or --early-exit."
        )
    return inputs | several | of_one_network


def _plan(console: Console, inputs: dict[str, Any]) -> None:
    planned = plan_of(inputs)
    if console.as_json:
        console.json(planned)
        return
    task, budget = planned["task"], planned["budget"]
    console.facts(
        {
            "task": task["text"],
            "kind": task["kind"],
            "outputs": ", ".join(task["outputs"]),
            "target": f"{planned['target']}, {planned['threads']} threads",
            **({"runtimes": ", ".join(planned["candidates"])} if "candidates" in planned else {}),
            **({"board": planned["board"]} if "board" in planned else {}),
            "budget": ", ".join(f"{name} {limit}" for name, limit in budget.items()) or "none",
            **({"genotype": planned["genotype"]} if "genotype" in planned else {}),
            "model": planned["model"],
            "calibration": planned["calibration"],
            "seed": planned["seed"],
            **({"variants": ", ".join(planned["variants"])} if "variants" in planned else {}),
            **({"early exit": f"{planned['early_exit']:g}"} if "early_exit" in planned else {}),
        }
    )


def plan_of(inputs: dict[str, Any]) -> dict[str, Any]:
    """The record of the plan, of whatever kind."""
    if "variants" in inputs:
        from edgekit.pipeline.variants import plan_variants

        return plan_variants(**inputs).to_json()
    if "early_exit" in inputs:
        from edgekit.pipeline.early_exit import plan_early_exit

        return plan_early_exit(**inputs).to_json()
    from edgekit.pipeline.plan import plan

    return plan(**inputs).to_json()


def _build(console: Console, inputs: dict[str, Any]) -> None:
    with stages(console) as progress:
        progress("start")
        from edgekit.pipeline.build import build as run

        result = run(**inputs, progress=progress)
    if console.as_json:
        console.json(result.to_json())
        return
    if result.candidates:
        _candidates_table(console, result.to_json()["candidates"])
        console.line(result.reason)
        console.line()
    console.figures(result.figures)
    for note in result.notes:
        console.line(f"note: {note}")
    console.line()
    console.facts(
        {
            "folder": result.folder,
            "report": result.folder / "report.html",
            "outputs": ", ".join(result.labels),
            "genotype": result.genotype,
            "seconds": ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.stages_s.items()),
        }
    )


_OF_LEARNT = ("course", "target", "board", "data", "output", "overwrite", "seed")


def _build_learnt(console: Console, course: Path, *, board: str | None, output: Path | None, overwrite: bool) -> None:
    context = click.get_current_context()
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    flags = {one.name: one.opts[0] for one in context.command.params}
    odd = [flags[name] for name in given if name not in (*_OF_LEARNT, "as_json", "quiet")]
    if odd:
        raise click.UsageError(f"--from takes no {' and no '.join(odd)}: the network is as the clients learnt it.")
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output': the folder to write.")
    with stages(console) as progress:
        progress("start")
        from edgekit.federated.building import build_learnt

        result = build_learnt(
            course,
            target=context.params["target"],
            data=context.params["data"],
            board=board,
            output=output,
            overwrite=overwrite,
            seed=context.params["seed"],
            progress=progress,
        )
    if console.as_json:
        console.json(result.to_json())
        return
    console.figures(result.figures)
    for note in (*result.notes, *(note for row in result.rows for note in row.notes)):
        console.line(f"note: {note}")
    console.line()
    console.facts(
        {"folder": result.folder, "report": result.folder / "report.html", "outputs": ", ".join(result.labels)}
    )


def _build_variants(console: Console, inputs: dict[str, Any]) -> None:
    with stages(console) as progress:
        progress("start")
        from edgekit.pipeline.variants import build_variants as run

        result = run(**inputs, progress=progress)
    _networks(console, result, {})


def _build_early_exit(console: Console, inputs: dict[str, Any]) -> None:
    with stages(console) as progress:
        progress("start")
        from edgekit.pipeline.early_exit import build_early_exit as run

        result = run(**inputs, progress=progress)
    _networks(console, result, {"early exit": f"where the first network is at least {result.plan.threshold:g} sure"})


def _networks(console: Console, result: VariantsResult | EarlyExitResult, facts: Mapping[str, str]) -> None:
    if console.as_json:
        console.json(result.to_json())
        return
    _variants_table(console, result.variants)
    console.line()
    console.figures(result.figures)
    console.line()
    console.facts(
        {
            "folder": result.folder,
            "report": result.folder / "report.html",
            "outputs": ", ".join(result.labels),
            **facts,
            "seconds": ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.stages_s.items()),
        }
    )


def _variants_table(console: Console, variants: Sequence[Variant]) -> None:
    rows = []
    for variant in variants:
        figures = {figure.name: figure.quantity for figure in variant.figures}
        judged = [f"{number(figures[name].value)} {figures[name].evidence.value}" for name in ("latency", "accuracy")]
        counted = [number(figures[name].value) for name in ("MACs", "size alone")]
        rows.append((variant.name, *judged, *counted, str(variant.image_size), variant.genotype))
    console.table(("variant", "latency, ms", "accuracy", "MACs", "bytes alone", "pixels", "genotype"), rows)


def _candidates_table(console: Console, candidates: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for one in candidates:
        size = "" if one["size_bytes"] is None else number(one["size_bytes"])
        verified = "yes" if one["verified"] else "no"
        told = [_quantity(one[name]) for name in ("latency", "instructions")]
        status = one["obstacle"] or ("chosen" if one["chosen"] else "")
        rows.append((one["runtime"], one["precision"], size, *told, verified, status))
    console.table(("runtime", "precision", "bytes", "latency", "instructions", "verified", ""), rows)


def _quantity(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return ""
    interval = f" ({' to '.join(map(number, record['interval']))})" if record["interval"] else ""
    unit = f" {record['unit']}" if record["unit"] != "instructions" else ""
    return f"{number(record['value'])}{unit}{interval} {record['evidence']}"
