"""Net-Trim's solver against general convex solvers: the same objective, feasible, and how much faster.

    python benchmarks/net_trim_solver.py [--limit SECONDS] [--quick] [-o RESULT.json]

First, ten random small layers, with and without a ReLU, at gains from 0.02 to 0.4: objective and certificate of ours against
Clarabel's. Second, one layer of 300 inputs, 100 neurons and 3,000 samples at a gain of 0.1. The general solvers run in
processes of their own, which end after `--limit` seconds of processor time: a solver that is not done by then is at least so many
times slower. All run on one thread, and times are processor seconds. Third, where our time goes.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conic_solvers import Conic, Values, by_clarabel, by_scs, conic
from harness import Table, bars, publish
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from edgekit.pruning.net_trim.certificate import certify
from edgekit.pruning.net_trim.layer import How, Trimmed, trim
from edgekit.pruning.net_trim.samples import Block, Samples

BAR_OBJECTIVE, BAR_FASTER = 1e-3, 50
SMALL_LAYERS = 10
NO_ANSWER = "no answer"
LARGE, QUICK = (300, 100, 3000), (60, 20, 600)
MEMORY_BYTES = 8 * 2**30
SOLVERS: dict[str, Callable[[Conic], Values]] = {"Clarabel": by_clarabel, "SCS": by_scs}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    w_NM: Tensor
    block: Block

    def conic(self, eps: float) -> Conic:
        return conic(
            self.block.x_PN.double().numpy(), self.block.bound_PM.double().numpy(), self.block.on_PM.numpy(), eps
        )


def random_layer(inputs: int, neurons: int, samples: int, *, relu: bool, seed: int) -> Layer:
    """Inputs as a ReLU leaves them, correlated, and dense weights."""
    generator = torch.Generator().manual_seed(seed)
    mixing_NN = torch.eye(inputs) + torch.randn(inputs, inputs, generator=generator) / inputs**0.5
    x_PN = (torch.randn(samples, inputs, generator=generator) @ mixing_NN).clamp(min=0)
    w_NM = torch.randn(inputs, neurons, generator=generator) / inputs**0.5
    y_PM = x_PN @ w_NM
    on_PM = y_PM > 1e-6 if relu else torch.ones_like(y_PM, dtype=torch.bool)
    return Layer(w_NM=w_NM, block=Block(x_PN=x_PN, bound_PM=torch.where(on_PM, y_PM, 0.0), on_PM=on_PM))


def ours(layer: Layer, gain: float) -> tuple[Trimmed, Samples, float]:
    """With the processor seconds it took, the Gram matrix included."""
    started = time.process_time()
    samples = Samples([layer.block])
    trimmed = trim(samples, layer.w_NM, gain * samples.on_norm, how=How())
    return trimmed, samples, time.process_time() - started


def objective(u_NM: Tensor) -> float:
    return float(u_NM.abs().sum())


def small_layers() -> list[tuple[str, float, float, float, bool, bool]]:
    """Shape, gain, both objectives, and whether ours is certified and theirs feasible."""
    rows = []
    for number in range(SMALL_LAYERS):
        rng = np.random.default_rng(number)
        inputs, neurons = int(rng.integers(5, 30)), int(rng.integers(1, 8))
        samples, gain = int(rng.integers(40, 200)), float(rng.choice([0.02, 0.05, 0.1, 0.2, 0.4]))
        layer = random_layer(inputs, neurons, samples, relu=number % 3 > 0, seed=number)
        trimmed, all_samples, _seconds = ours(layer, gain)
        theirs_NM = torch.from_numpy(by_clarabel(layer.conic(trimmed.program.eps)))
        feasible = certify(all_samples, theirs_NM, trimmed.program.eps).holds
        shape = f"{inputs} x {neurons}, {samples} samples{', ReLU' if number % 3 else ''}"
        rows.append((shape, gain, objective(trimmed.u_NM), objective(theirs_NM), trimmed.certified, feasible))
    return rows


def _child(solver: str, layer: Layer, eps: float, limit: float, answers: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit)))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    problem = layer.conic(eps)
    started = time.process_time()
    u_NM = SOLVERS[solver](problem)
    answers.send((u_NM, time.process_time() - started))


def theirs(solver: str, layer: Layer, eps: float, limit: float) -> tuple[Tensor, float] | str:
    """Weights and processor seconds, or why there are none."""
    context = get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(solver, layer, eps, limit, sending))
    process.start()
    sending.close()
    try:
        u_NM, seconds = receiving.recv()
    except EOFError:
        process.join()
        over = process.exitcode == -9 or process.exitcode == -24
        return (
            f"not done within {limit:.0f} s"
            if over
            else f"ended with code {process.exitcode}, or 8 GiB were too little"
        )
    process.join()
    return torch.from_numpy(u_NM), seconds


def where_time_goes(layer: Layer, gain: float) -> list[tuple[str, str, int]]:
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        ours(layer, gain)
    events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [(event.key, f"{event.self_cpu_time_total / total:.0%}", event.count) for event in events[:8]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--limit", type=float, default=600, help="processor seconds for a general solver; default: %(default)s"
    )
    parser.add_argument(
        "--quick", action="store_true", help="60 inputs, 20 neurons and 600 samples in place of the large layer"
    )
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/net_trim_solver.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    small = small_layers()
    worst = max(abs(mine / other - 1) for _, _, mine, other, _, _ in small)
    inputs, neurons, samples = QUICK if options.quick else LARGE
    layer, gain = random_layer(inputs, neurons, samples, relu=True, seed=0), 0.1
    trimmed, all_samples, seconds = ours(layer, gain)
    rows: list[tuple[object, ...]] = [
        (
            "ours",
            f"{seconds:.2f}",
            f"{objective(trimmed.u_NM):.3f}",
            f"{trimmed.program.ratio:.5f}",
            "yes" if trimmed.certified else "no",
            "",
        )
    ]
    judged = []
    figures: dict[str, Any] = {
        "seconds": seconds,
        "objective": objective(trimmed.u_NM),
        "iterations": trimmed.iterations,
    }
    for solver in SOLVERS:
        answer = theirs(solver, layer, trimmed.program.eps, options.limit)
        if isinstance(answer, str):
            faster, verdict = options.limit / seconds, f"at least {options.limit / seconds:.0f}"
            if not answer.startswith("not done"):
                verdict = NO_ANSWER
            rows.append((solver, answer, "", "", "", verdict))
        else:
            u_NM, taken = answer
            certificate = certify(all_samples, u_NM, trimmed.program.eps)
            faster, verdict = taken / seconds, f"{taken / seconds:.0f}"
            rows.append(
                (
                    solver,
                    f"{taken:.1f}",
                    f"{objective(u_NM):.3f}",
                    f"{certificate.ratio:.5f}",
                    "yes" if certificate.holds else "no",
                    verdict,
                )
            )
        if verdict != NO_ANSWER:
            judged.append((f"times faster than {solver}", verdict, f"at least {BAR_FASTER}", faster >= BAR_FASTER))
        figures[solver] = verdict
    tables = [
        Table(
            "Small layers: objective ||u||_1",
            ("layer", "gain", "ours", "Clarabel", "off by", "certificate", "Clarabel's"),
            [
                (
                    shape,
                    gain,
                    f"{mine:.4f}",
                    f"{other:.4f}",
                    f"{mine / other - 1:+.1e}",
                    "yes" if holds else "no",
                    "yes" if also else "no",
                )
                for shape, gain, mine, other, holds, also in small
            ],
        ),
        Table(
            f"{inputs} inputs, {neurons} neurons, {samples} samples, gain {gain}: {trimmed.iterations} iterations",
            ("solver", "processor seconds", "objective", "ratio", "feasible", "times ours"),
            rows,
        ),
        Table("Where our time goes", ("operator", "share", "calls"), where_time_goes(layer, gain)),
        bars(
            (
                "objective against Clarabel, ten small layers, worst",
                f"{worst:.1e}",
                f"at most {BAR_OBJECTIVE:.0e}",
                worst <= BAR_OBJECTIVE,
            ),
            ("certified", f"{sum(row[4] for row in small)} of {len(small)}", "all", all(row[4] for row in small)),
            *judged,
        ),
    ]
    figures["small"] = small
    publish("net_trim_solver", tables, figures, options.output, write=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
