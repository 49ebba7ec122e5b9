"""`card.md` of a build with an early exit: which two networks, how often the first is enough, and how a program calls them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core.records import write_bytes
from edgekit.report.card import check_text, figure_row, number

_HOST_PROGRAM = """\
```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path="model.tflite")
networks = [interpreter.get_signature_runner(name) for name in ("first", "last")]
for run in networks:
    probabilities = run(image=image)["probabilities"]
    if probabilities.max() >= {least}:
        break
label = labels[int(np.argmax(probabilities))]
```

{meaning} `image` has the size and type that `run.get_input_details()` tells."""


def write_early_exit_card(path: Path, report: Mapping[str, Any], *, model_card: Mapping[str, Any]) -> None:
    """From the record of `report.json` and the supernet's card."""
    plan, exits, variants = report["plan"], report["early_exit"], report["variants"]
    budget = ", ".join(f"{name} {limit}" for name, limit in plan["budget"].items()) or "none"
    lines = [
        f"# {plan['task']['text']}",
        "",
        f"Two networks for `{plan['target']}` ({plan['threads']} threads) in one file, assembled from the supernet "
        f"`{plan['model']}`. The answer of the first stands where its likeliest output has a probability of at least "
        f"{exits['threshold']:g}; else the last one answers.",
        "",
        f"- Task: {plan['task']['kind']}; outputs: {', '.join(report['labels'])}",
        f"- Budget of a picture that both networks see: {budget}",
        f"- Quantizer calibrated with: {plan['calibration']}",
        f"- Probabilities: {_calibration(exits)}",
        "",
        "| figure | value | interval | evidence | source |",
        "|---|---|---|---|---|",
        *(figure_row(figure) for figure in report["figures"]),
        "",
        "Without `mean` in its name a figure is of a picture that both networks see.",
        "",
        "| network | pixels | latency, ms | accuracy alone | MACs | genotype |",
        "|---|---|---|---|---|---|",
        *(_variant_row(variant) for variant in variants),
        "",
        "## Host program",
        _host_program(exits["threshold"], is_int8=variants[0]["verification"]["precision"] == "int8"),
        "",
        "## Checks passed",
        *(
            f"- {variant['name']}, {check_text(check)}"
            for variant in variants
            for check in variant["verification"]["checks"]
        ),
        *(f"- both, {check_text(check)}" for check in exits["checks"]),
        *(
            f"- {variant['name']}, the sliced network differs from the gated supernet by at most "
            f"{variant['verification']['slice_difference']:.2g}"
            for variant in variants
        ),
        "",
        "Repeat them with `edgekit verify` on this folder.",
        "",
        "## Data behind the supernet",
        f"{model_card['data']}. {model_card['licence']}",
        "",
    ]
    write_bytes(path, "\n".join(lines).encode())


def _host_program(threshold: float, *, is_int8: bool) -> str:
    """An int8 file gives probabilities in steps of 1/256, from -128."""
    if not is_int8:
        return _HOST_PROGRAM.format(least=f"{threshold:g}", meaning="")
    least = math.ceil(256 * threshold) - 128
    meaning = f"An int8 file gives probabilities as `256 * p - 128`: {least} is {threshold:g}, rounded up."
    return _HOST_PROGRAM.format(least=least, meaning=meaning)


def _calibration(exits: Mapping[str, Any]) -> str:
    images = exits["calibrated_on_images"]
    if not images:
        return "not calibrated, as the supernet's card knows no factor"
    return (
        f"calibrated on {images:,} images held out of training, by a factor of {exits['sharpness']:.2f} on all logits"
    )


def _variant_row(variant: Mapping[str, Any]) -> str:
    figures = {figure["name"]: figure for figure in variant["figures"]}
    cells = [
        variant["name"],
        str(variant["image_size"]),
        *(f"{number(figures[name]['value'])}, {figures[name]['evidence']}" for name in ("latency", "accuracy")),
        number(figures["MACs"]["value"]),
        f"`{variant['genotype']}`",
    ]
    return f"| {' | '.join(cells)} |"
