"""Random 5-label tasks and kept-out compositions: the assembler against every method without training, at equal MACs.

    python benchmarks/signs43_tasks.py [--tasks N] [--int8-tasks N] [--quick] [-o RESULT.json]

All methods slice the same supernet and get the same head; see benchmarks/baselines/. Accuracy is the share of right answers
on the test images of a task's labels, in float32 and of the exported int8 files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from comparison import Comparison
from harness import Bar, open_model, options_of, publish
from judge import Judge
from judged_tasks import composed_pairs, kept_out_compositions, random_tasks
from study import Study, bar_never_below

from edgekit.tasks.task import Task

LIMITS = (0.25, 0.125, 0.06)
INT8_BARS = {0.25: 0.97, 0.125: 0.95}
SMALL = 0.125  # from here on the assembler shall be ahead by more than the error
OTHER_TASKS = 64
KEPT_OUT = "kept-out compositions"


def bars_of(compared: Comparison, int8: Sequence[float]) -> list[Bar]:
    judged = [bar_never_below(compared)]
    if compared.title == KEPT_OUT:
        return judged
    if compared.limit <= SMALL:
        ahead = all(lead > error for lead, error in map(compared.lead, compared.baselines))
        judged.append((f"{compared.name}: leads", judged[0][1], "all by more than their error", ahead))
    if compared.limit in INT8_BARS and int8:
        reached, bar = float(np.mean(int8)), INT8_BARS[compared.limit]
        judged.append((f"{compared.name}: int8", f"{reached:.2%}", f"at least {bar:.0%}", reached >= bar))
    return judged


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("--tasks", type=int, default=48)
    parser.add_argument("--int8-tasks", type=int, default=48, help="of each kind and limit, also run as int8 files")
    parser.add_argument(
        "--quick", action="store_true", help="a few tasks at 25 %%, without evolution; writes no record"
    )
    options = parser.parse_args()
    folder = open_model(options, needs_data=True)
    most = 6 if options.quick else sys.maxsize
    rng = np.random.default_rng(options.seed)
    tasks = random_tasks(folder, (5,), min(options.tasks, most), rng)
    compositions = [Task(indices=one.indices, text=one.text) for one in kept_out_compositions(folder)][:most]
    tables, figures = Study(
        judge=Judge(folder, options.data),
        limits=LIMITS[:1] if options.quick else LIMITS,
        groups={f"{len(tasks)} random 5-label tasks": tasks, KEPT_OUT: compositions},
        others=random_tasks(folder, (5,), min(OTHER_TASKS, most), rng),
        pairs=composed_pairs(folder, most, rng),
        int8_tasks=min(options.int8_tasks, 1) if options.quick else options.int8_tasks,
        bars_of=bars_of,
        seed=options.seed,
        evolution=not options.quick,
    ).run()
    publish("signs43_tasks", tables, figures, options.output, model=folder, write=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
