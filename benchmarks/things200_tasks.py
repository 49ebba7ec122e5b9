"""Random and ancestor tasks of `things200`: the assembler against every method without training, at equal MACs.

    python benchmarks/things200_tasks.py [--tasks N] [--ancestors N] [--pairs N] [--int8-tasks N] [--quick] [-o RESULT.json]

A third of the random tasks has 5 labels, a third 10, a third 20; ancestor tasks tell the labels below one ancestor apart.
All methods slice the same supernet and get the same head; see benchmarks/baselines/. Accuracy is the share of right answers
on the validation images of a task's labels, in float32, and on some tasks that of the exported int8 files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from comparison import Comparison
from harness import Bar, open_model, options_of, publish
from judge import Judge
from judged_tasks import ancestor_tasks, composed_pairs, random_tasks
from study import Study, bar_never_below

LIMITS = (0.1, 0.25, 0.5)
SIZES = (5, 10, 20)
BAR_LEAD = {0.1: 0.03}
OTHER_TASKS = 64


def bars_of(compared: Comparison, _int8: Sequence[float]) -> list[Bar]:
    judged = [bar_never_below(compared)]
    if compared.limit in BAR_LEAD:
        method, lead, error = compared.least_lead()
        bar = BAR_LEAD[compared.limit]
        measured = f"{lead:+.2%} +- {error:.2%}, over {method}"
        judged.append((f"{compared.name}: least lead", measured, f"at least {bar:.0%}", lead >= bar))
    return judged


def main() -> int:
    parser = options_of(__doc__, model="things200")
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--ancestors", type=int, default=20)
    parser.add_argument(
        "--pairs", type=int, default=32, help="compositions kept out of training, and as many seen ones"
    )
    parser.add_argument("--int8-tasks", type=int, default=4, help="of each kind and limit, also run as int8 files")
    parser.add_argument(
        "--quick", action="store_true", help="a few tasks at 10 %%, without evolution; writes no record"
    )
    options = parser.parse_args()
    folder = open_model(options, needs_data=True)
    most = 6 if options.quick else sys.maxsize
    rng = np.random.default_rng(options.seed)
    tasks = random_tasks(folder, SIZES, min(options.tasks, most), rng)
    ancestors = ancestor_tasks(folder.vocabulary, min(options.ancestors, most))
    tables, figures = Study(
        judge=Judge(folder, options.data),
        limits=LIMITS[:1] if options.quick else LIMITS,
        groups={
            f"{len(tasks)} random tasks of {', '.join(map(str, SIZES))} labels": tasks,
            f"{len(ancestors)} ancestor tasks": ancestors,
        },
        others=random_tasks(folder, SIZES, min(OTHER_TASKS, most), rng),
        pairs=composed_pairs(folder, min(options.pairs, most), rng),
        int8_tasks=min(options.int8_tasks, 1) if options.quick else options.int8_tasks,
        bars_of=bars_of,
        seed=options.seed,
        evolution=not options.quick,
    ).run()
    publish("things200_tasks", tables, figures, options.output, model=folder, write=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
