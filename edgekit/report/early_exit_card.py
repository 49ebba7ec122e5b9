"""`card.md` of a build with an early exit: which two networks, how often the first is enough, and how a program calls them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core.records import write_bytes
from edgekit.report.card import figure_row, number, proof

_HOST_PROGRAM = """\
```python
{opening}
for network, image in zip(networks, images, strict=True):
    probabilities = {call}
    if probabilities.max() >= {least}:
        break
label = labels[int(probabilities.argmax())]
```

{meaning}"""

_OPENING = {
    "tflite": """\
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path="model.tflite")
networks = [interpreter.get_signature_runner(name) for name in ("first", "last")]""",
    "onnx": """\
import onnxruntime

networks = [onnxruntime.InferenceSession(f"{name}.onnx") for name in ("first", "last")]""",
    "tvm": """\
import tvm

libraries = [tvm.runtime.load_module(f"{name}.so") for name in ("first", "last")]
networks = [tvm.relax.VirtualMachine(library, tvm.cpu()) for library in libraries]""",
}
_CALL = {
    "tflite": 'network(image=image)["probabilities"]',
    "onnx": 'network.run(None, {"input": image})[0]',
    "tvm": 'network["main"](tvm.runtime.tensor(image)).numpy()',
}
_IMAGE = {
    "tflite": "as its `get_input_details()` tells",
    "onnx": "float32 from 0 to 1, of shape [1, 3, height, width]",
    "tvm": "float32 from 0 to 1, of shape [1, height, width, 3]",
}


def write_early_exit_card(
    path: Path, report: Mapping[str, Any], *, runtime: str, model_card: Mapping[str, Any]
) -> None:
    """From the record of `report.json` and the supernet's card. Raises KeyError for a runtime without a program."""
    plan, exits, variants = report["plan"], report["early_exit"], report["variants"]
    budget = ", ".join(f"{name} {limit}" for name, limit in plan["budget"].items()) or "none"
    lines = [
        f"# {plan['task']['text']}",
        "",
        f"Two networks for `{plan['target']}` ({plan['threads']} threads), assembled from the supernet "
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
        _host_program(exits["threshold"], runtime, is_int8=variants[0]["verification"]["precision"] == "int8"),
        "",
        *proof(
            {variant["name"]: variant["verification"] for variant in variants}, model_card, together=exits["checks"]
        ),
    ]
    write_bytes(path, "\n".join(lines).encode())


def _host_program(threshold: float, runtime: str, *, is_int8: bool) -> str:
    """An int8 .tflite file gives probabilities in steps of 1/256, from -128; all others give them in float32."""
    least, meaning = f"{threshold:g}", f"`images` are the picture in the size of each network, {_IMAGE[runtime]}."
    if runtime == "tflite" and is_int8:
        least = str(math.ceil(256 * threshold) - 128)
        meaning += f" An int8 file gives probabilities as `256 * p - 128`: {least} is {threshold:g}, rounded up."
    return _HOST_PROGRAM.format(opening=_OPENING[runtime], call=_CALL[runtime], least=least, meaning=meaning)


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
