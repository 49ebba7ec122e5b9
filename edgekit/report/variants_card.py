"""`card.md` of a build with variants: which network keeps which limit, and how a program switches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core.records import write_bytes
from edgekit.report.card import figure_row, number, proof

_SWITCH = """\
```python
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path="model.tflite")
run = interpreter.get_signature_runner("{name}")
probabilities = run(image=image)["probabilities"]
```

```cpp
tflite::SignatureRunner* run = interpreter->GetSignatureRunner("{name}");
run->AllocateTensors();
TfLiteTensor* image = run->input_tensor("image");
run->Invoke();
const TfLiteTensor* probabilities = run->output_tensor("probabilities");
```"""


def write_variants_card(path: Path, report: Mapping[str, Any], *, model_card: Mapping[str, Any]) -> None:
    """From the record of `report.json` and the supernet's card."""
    plan, variants = report["plan"], report["variants"]
    budget = ", ".join(f"{name} {limit}" for name, limit in plan["budget"].items()) or "none"
    lines = [
        f"# {plan['task']['text']}",
        "",
        f"{len(variants)} networks for `{plan['target']}` ({plan['threads']} threads) in one file, assembled from the "
        f"supernet `{plan['model']}`. Each is a signature of `model.tflite`, named by its latency limit.",
        "",
        f"- Task: {plan['task']['kind']}; outputs: {', '.join(report['labels'])}",
        f"- Budget of each beside its latency: {budget}",
        f"- Quantizer calibrated with: {plan['calibration']}",
        "",
        "| variant | pixels | latency, ms | accuracy | MACs | alone, bytes | genotype |",
        "|---|---|---|---|---|---|---|",
        *(_variant_row(variant) for variant in variants),
        "",
        "Every figure stands with its source in `report.json`.",
        "",
        "| figure | value | interval | evidence | source |",
        "|---|---|---|---|---|",
        *(figure_row(figure) for figure in report["figures"]),
        "",
        "## Switch",
        _SWITCH.format(name=variants[0]["name"]),
        "",
        f"A program that asks for no signature gets `{variants[-1]['name']}`.",
        "",
        *proof({variant["name"]: variant["verification"] for variant in variants}, model_card),
    ]
    write_bytes(path, "\n".join(lines).encode())


def _variant_row(variant: Mapping[str, Any]) -> str:
    figures = {figure["name"]: figure for figure in variant["figures"]}
    cells = [
        variant["name"],
        str(variant["image_size"]),
        _between(figures["latency"]),
        _between(figures["accuracy"]),
        number(figures["MACs"]["value"]),
        number(figures["size alone"]["value"]),
        f"`{variant['genotype']}`",
    ]
    return f"| {' | '.join(cells)} |"


def _between(figure: Mapping[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{number(figure['value'])} ({number(low)} to {number(high)}), {figure['evidence']}"
