"""Are budgets kept? Random tasks and budgets, each answer recounted without the assembler's cost tables.

    python benchmarks/budgets.py [--pairs N] [--model MODEL] [-o RESULT.json]

A budget has one to four limits, absolute or as a share of the full supernet, from half of what the smallest network
needs to more than the full one, some exactly what a random network needs; a third also, or only, has a floor of
accuracy, absolute or as a share of what the full supernet is predicted to reach. An answer counts as kept where the
network, described anew and priced operator by operator, keeps every limit, and its predicted accuracy the floor. A
refusal counts as right where the smallest network, so recounted, breaks a limit, or where no network that a plain
evolutionary search finds inside the limits keeps the floor.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, fields
from statistics import median

import numpy as np
from evolution import evolve
from harness import Table, bars, load_assembler, open_model, options_of, publish
from random_inputs import any_task, random_prefix

from edgekit.assembler.costs import CostOf, CostTables
from edgekit.assembler.searcher import Searcher
from edgekit.core.budget import Budget, Cost, Limit, Share
from edgekit.core.errors import InfeasibleError
from edgekit.supernet.description import describe
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.sampling import compositions
from edgekit.tasks.task import Task

LIMITS = tuple(field.name for field in fields(Cost))
# Sums of the same terms in another order.
ROUNDING = 1e-9
EVOLUTION_GENERATIONS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Recount:
    """What networks of one task cost, from their operators alone."""

    spec: SupernetSpec
    task: Task
    cost_of: CostOf

    def cost(self, genotype: Genotype) -> Cost:
        rows = len(self.task.head_rows(self.spec.labels))
        return self.cost_of(describe(self.spec, genotype, rows=rows, sums=self.task.sums))

    def broken(self, genotype: Genotype, budget: Budget) -> tuple[str, ...]:
        cost, full = self.cost(genotype), self.cost(self.spec.full)
        return tuple(name for name in LIMITS if getattr(cost, name) > absolute(budget, name, full) * (1 + ROUNDING))


def absolute(budget: Budget, name: str, full: Cost) -> float:
    limit: Limit | None = getattr(budget, name)
    if limit is None:
        return math.inf
    return limit.fraction * float(getattr(full, name)) if isinstance(limit, Share) else limit


def random_budget(rng: np.random.Generator, recount: Recount) -> Budget:
    spec = recount.spec
    smallest, full = recount.cost(spec.smallest), recount.cost(spec.full)
    some = recount.cost(random_prefix(rng, spec))
    # A refusal is judged by the smallest network: it must be the cheapest in everything.
    assert all(getattr(smallest, name) <= getattr(some, name) for name in LIMITS)
    has_floor = rng.random() < 1 / 3
    limited = [name for name in LIMITS if rng.random() < 0.4]
    if not limited and not (has_floor and rng.random() < 0.5):
        limited = [str(rng.choice(LIMITS))]
    limits: dict[str, Limit] = {}
    for name in limited:
        of_full = getattr(full, name)
        drawn = math.exp(rng.uniform(math.log(0.5 * getattr(smallest, name)), math.log(1.2 * of_full)))
        value = getattr(some, name) if rng.random() < 0.1 else drawn
        limits[name] = Share(fraction=value / of_full) if rng.random() < 0.5 and value <= of_full else value
    floor = float(rng.uniform(0.5, 1))
    relative = Share(fraction=floor) if rng.random() < 0.5 else floor
    return Budget(**limits, min_accuracy=relative if has_floor else None)


def answered(searcher: Searcher, tables: CostTables, task: Task, budget: Budget, *, seed: int) -> Genotype | None:
    try:
        return searcher.search(task, budget, tables, seed=seed).genotype
    except InfeasibleError:
        return None


def faults_of_answer(searcher: Searcher, recount: Recount, budget: Budget, genotype: Genotype) -> tuple[str, ...]:
    """The limits that the network breaks, and its floor."""
    broken = recount.broken(genotype, budget)
    genes = np.array([searcher.spec.genes(genotype)])
    floor = budget.min_accuracy
    if floor is not None and not searcher.judge_of(recount.task).reach(genes, floor)[0]:
        return *broken, "min_accuracy"
    return broken


def faults_of_refusal(
    searcher: Searcher, tables: CostTables, recount: Recount, budget: Budget, *, seed: int
) -> tuple[str, ...]:
    """The network that could have been the answer, if one is found."""
    spec, floor = recount.spec, budget.min_accuracy
    if recount.broken(spec.smallest, budget):
        return ()
    if floor is None:
        return (f"refused, though {spec.smallest} keeps all limits",)
    resolved = budget.resolve(recount.cost(spec.full))
    judge = searcher.judge_of(recount.task)
    best = evolve(
        spec,
        lambda genes: tables.within(genes, resolved),
        judge.sure_share if isinstance(floor, Share) else judge.accuracy,
        seed=seed,
        generations=EVOLUTION_GENERATIONS,
    )[-1]
    if not judge.reach(np.array([best.genes]), floor)[0]:
        return ()
    return (f"refused, though {spec.genotype(best.genes)} keeps the floor",)


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    options = parser.parse_args()
    model = open_model(options)
    assembler, cost_of = load_assembler(model)
    searcher = assembler.searcher
    composed = compositions(model.vocabulary)
    rng = np.random.default_rng(options.seed)
    answers: Counter[tuple[str, str]] = Counter()
    times_s, broken = [], []
    for _ in range(options.pairs):
        task = any_task(rng, model.vocabulary, composed)
        recount = Recount(spec=model.spec, task=task, cost_of=cost_of)
        budget, seed = random_budget(rng, recount), int(rng.integers(2**31))
        started = time.perf_counter()
        tables = assembler.tables(task, cost_of)
        genotype = answered(searcher, tables, task, budget, seed=seed)
        times_s.append(time.perf_counter() - started)
        if genotype is None:
            faults = faults_of_refusal(searcher, tables, recount, budget, seed=seed)
        else:
            faults = faults_of_answer(searcher, recount, budget, genotype)
        verdict = "broken" if faults else "infeasible" if genotype is None else "kept"
        answers[verdict, "limits only" if budget.min_accuracy is None else "with a floor"] += 1
        if faults:
            broken.append({"task": task.text, "kind": task.kind, "budget": str(budget), "faults": faults})
            print(f"broken: {task.kind} of {task.text}, {budget}: {', '.join(faults)}")

    verdicts = ("kept", "infeasible", "broken")
    rows = [
        (kind, sum(answers[verdict, kind] for verdict in verdicts), *(answers[verdict, kind] for verdict in verdicts))
        for kind in ("limits only", "with a floor")
    ]
    totals = {verdict: sum(count for (given, _), count in answers.items() if given == verdict) for verdict in verdicts}
    seconds = median(times_s)
    share = 1 - totals["broken"] / options.pairs
    kept = bars(("kept, or rightly refused", f"{share:.1%}", "100 %", totals["broken"] == 0))
    figures = {
        "pairs": options.pairs,
        "bar": 1.0,
        "met": totals["broken"] == 0,
        **totals,
        "by_kind": {f"{kind}: {verdict}": count for (verdict, kind), count in sorted(answers.items())},
        "median_s": seconds,
        "broken_pairs": broken,
    }
    title = f"{options.pairs} random pairs of task and budget, {seconds:.2f} s an answer (median)"
    table = Table(title, ("", "pairs", *verdicts), [*rows, ("all", options.pairs, *totals.values())])
    publish("budgets", [table, kept], figures, options.output, model=model)


if __name__ == "__main__":
    main()
