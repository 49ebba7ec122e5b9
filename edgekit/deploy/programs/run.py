"""Says what the model beside it sees: `python3 run.py PICTURE...`, or `python3 run.py --camera`.

It needs Python 3.9 or later, numpy, Pillow and the model's runtime, and nothing of edgekit, whose `edgekit predict` gives the same
answers. Labels and preprocessing are read from the model. deploy/README.md says what to install on a board.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.deploy.programs.camera import FIRST, frames
from edgekit.deploy.programs.network_tflite import MODEL, Network
from edgekit.deploy.programs.pictures import opened, pillow, preprocessed
from edgekit.deploy.programs.refusal import INTERRUPTED, UNREADABLE, USAGE, Refusal

FOLDER = Path(__file__).resolve().parent


class Model:
    """The network, or several that are asked one after the other until one is sure (early exit)."""

    def __init__(self, threads: int, variant: str | None) -> None:
        stages: list[Any] = [{"name": variant, "file": MODEL, "signature": variant}]
        self._threshold, self._exits = 0.0, False
        if (FOLDER / "early_exit.json").is_file():
            self._exits = variant is None
            self._threshold, stages = early_exit(variant)
        self._stages = [
            (stage["name"], network(FOLDER / Path(stage["file"]).name, threads, stage["signature"])) for stage in stages
        ]

    def answer(self, image: Any) -> dict[str, Any]:
        """What is in a picture, how likely, and the milliseconds of inference."""
        said: dict[str, Any] = {}
        ms = 0.0
        for name, one in self._stages:
            given = one.prepared(preprocessed(image, one.metadata["preprocessing"]))
            start = time.perf_counter()
            y_NK = one.run(given)
            ms += 1e3 * (time.perf_counter() - start)
            p_K = one.answer(y_NK)
            if not one.metadata.get("probabilities", True):
                e_K = np.exp(p_K - p_K.max())
                p_K = e_K / e_K.sum()
            said = {"label": one.metadata["labels"][int(p_K.argmax())], "probability": float(p_K.max()), "ms": ms}
            if self._exits:
                said["answered_by"] = name
            if p_K.max() >= np.float32(self._threshold):
                break
        return said


def early_exit(variant: str | None) -> tuple[float, list[Any]]:
    """How sure is sure, and the networks in turn; of a `variant` the one."""
    try:
        program = json.loads((FOLDER / "early_exit.json").read_text(encoding="utf-8"))
        stages = {stage["name"]: stage for stage in program["stages"]}
        threshold = float(program["threshold"])
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal(f"{FOLDER / 'early_exit.json'} is damaged: {error}") from error
    if variant is not None and variant not in stages:
        raise Refusal(f'there is no network "{variant}", but {", ".join(stages)}', USAGE)
    return threshold, [stage for name, stage in stages.items() if variant in (None, name)]


def network(path: Path, threads: int, signature: str | None) -> Network:
    if not path.is_file():
        raise Refusal(f"{path} does not exist: copy the whole build folder")
    try:
        opened_network = Network(path, threads, signature)
    except Refusal:
        raise
    except Exception as error:  # each runtime has exceptions of its own for what it cannot read
        raise Refusal(f"{path} cannot be opened: {' '.join(str(error).split())[:300]}") from error
    if not (opened_network.metadata["preprocessing"] and opened_network.metadata["labels"]):
        raise Refusal(f"{path} does not name what it sees in pictures")
    return opened_network


def answers(options: argparse.Namespace, model: Model) -> Iterator[dict[str, Any]]:
    """One for each picture, or for ever those of the camera."""
    for path in options.pictures:
        yield {"file": path, **model.answer(opened(Path(path)))}
    if options.camera is not None:
        for x_HWC in frames(options.camera):
            yield {"time": round(time.time(), 3), **model.answer(pillow().fromarray(np.ascontiguousarray(x_HWC)))}
            time.sleep(options.every)


def line(said: dict[str, Any]) -> str:
    by = f"  {said['answered_by']}" if "answered_by" in said else ""
    place = said.get("file") or time.strftime("%H:%M:%S", time.localtime(said["time"]))
    return f"{said['label']}  {said['probability']:.3f}  {said['ms']:.3f} ms{by}  {place}"


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Says what the model beside this program sees.")
    parser.add_argument("pictures", nargs="*", help="files; what is in each is printed in a line")
    parser.add_argument(
        "--camera",
        nargs="?",
        const=FIRST,
        metavar="DEVICE",
        help="look through a camera: the first, or such as /dev/video2",
    )
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="between pictures of the camera; 1")
    parser.add_argument("--json", action="store_true", help="as JSON: one object, or with --camera one a line")
    parser.add_argument("--threads", type=int, default=1, help="of the processor; 1")
    parser.add_argument("--variant", metavar="NAME", help="one network of a build with --variants or --early-exit")
    options = parser.parse_args(arguments)
    if bool(options.pictures) == (options.camera is not None):
        parser.error("name pictures, or --camera")
    if options.threads < 1 or options.every < 0:
        parser.error("--threads is at least 1, and --every at least 0")
    return options


def main(arguments: list[str] | None = None) -> int:
    warnings.simplefilter("ignore")  # of the decoders, about odd pictures
    options = parsed(arguments)
    try:
        said = answers(options, Model(options.threads, options.variant))
        if options.json and options.camera is None:
            print(json.dumps({"predictions": list(said)}, indent=2))
            return 0
        for one in said:
            print(json.dumps(one) if options.json else line(one), flush=True)
    except Refusal as refusal:
        print(f"run.py: {refusal}", file=sys.stderr)
        return refusal.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREADABLE
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
