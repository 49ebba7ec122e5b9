"""One run over groups of tasks and limits, for `things200_tasks.py` and `signs43_tasks.py`: tables, bars, figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from comparison import (
    ASSEMBLER,
    Comparison,
    compare,
    mean_and_error,
    methods_without_training,
    percent,
    unseen_behind_seen,
)
from harness import Bar, Table, bars
from judge import Judge

from edgekit.supernet.genotype import Genotype
from edgekit.tasks.task import Task

COLUMNS = ("MACs", "method", "mean top-1", "assembler's lead", "worst task")
BAR_UNSEEN = 0.01
SLICED = 3
# Of a softmax over a slice of the head and over the same rows of the whole head, a tie may fall to either side.
SAME_ANSWERS = 0.99


@dataclass(kw_only=True, slots=True)
class Study:
    """`groups` by title; `others` are the tasks that the one genotype is searched for; `pairs` are compositions (kept out of
    training, not kept out); `bars_of` judges a comparison with the accuracies of its first tasks' int8 files."""

    judge: Judge
    limits: Sequence[float]
    groups: Mapping[str, Sequence[Task]]
    others: Sequence[Task]
    pairs: Sequence[tuple[Task, Task]]
    int8_tasks: int
    bars_of: Callable[[Comparison, Sequence[float]], list[Bar]]
    seed: int
    evolution: bool
    rows: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    judged: list[Bar] = field(default_factory=list)

    def run(self) -> tuple[list[Table], dict[str, Any]]:
        for limit in self.limits:
            methods = methods_without_training(self.judge, limit, self.others, seed=self.seed, evolution=self.evolution)
            for title, tasks in self.groups.items():
                compared = compare(self.judge, title, tasks, limit, methods)
                self._check_slices(list(zip(compared.chosen, tasks, strict=True))[:SLICED])
                self._note(compared, self._int8(compared, tasks))
        unseen = [unseen_behind_seen(self.judge, self.pairs, limit) for limit in self.limits]
        self.judged.extend(_bar_unseen(found) for found in unseen)
        tables = [Table(title, COLUMNS, rows) for title, rows in self.rows.items()]
        return [*tables, _table_unseen(unseen), bars(*self.judged)], {"accuracy": self.accuracy, "compositions": unseen}

    def _note(self, compared: Comparison, int8: list[float]) -> None:
        rows, figures = self.rows.setdefault(compared.title, []), compared.figures()
        rows += compared.rows()
        if int8:
            fp32 = compared.accuracy[ASSEMBLER][: len(int8)]
            rows.append(
                (
                    f"{compared.limit:.1%}",
                    f"  int8 files of {len(int8)} tasks",
                    percent(int8),
                    f"fp32 {percent(fp32)}",
                    "",
                )
            )
            figures["assembler int8"] = dict(zip(("mean", "se"), mean_and_error(int8), strict=True)) | {
                "tasks": len(int8)
            }
        self.accuracy[compared.name] = figures
        self.judged.extend(self.bars_of(compared, int8))

    def _int8(self, compared: Comparison, tasks: Sequence[Task]) -> list[float]:
        pairs = list(zip(compared.chosen, tasks, strict=True))[: self.int8_tasks]
        return [float(self.judge.right_of_file(*pair)[0].mean()) for pair in pairs]

    def _check_slices(self, pairs: Sequence[tuple[Genotype, Task]]) -> None:
        """What stands in the tables must be what a build's subnet answers."""
        right = self.judge.right(pairs)
        for pair in pairs:
            same = float(np.mean(right[pair] == self.judge.right_of_slice(*pair)))
            assert same >= SAME_ANSWERS, f"{pair[0]}: the slice agrees on {same:.1%} of the images"


def bar_never_below(compared: Comparison) -> Bar:
    method, lead, error = compared.least_lead()
    return f"{compared.name}: least lead", f"{lead:+.2%} +- {error:.2%}, over {method}", "never below any", lead >= 0


def _bar_unseen(found: Mapping[str, Any]) -> Bar:
    return (
        f"kept-out compositions, {found['limit']:.1%}: behind seen ones by",
        f"{found['behind']:+.2%} +- {found['se']:.2%}",
        f"at most {BAR_UNSEEN:.0%}",
        found["behind"] <= BAR_UNSEEN,
    )


def _table_unseen(found: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            f"{one['limit']:.1%}",
            one["pairs"],
            f"{one['lost_kept_out']:.2%}",
            f"{one['lost_seen']:.2%}",
            f"{one['behind']:+.2%} +- {one['se']:.2%}",
        )
        for one in found
    ]
    title = "Compositions: lost to the full supernet on the same task (tasks differ in difficulty)"
    return Table(title, ("MACs", "of each", "kept out", "seen", "kept out loses more by"), rows)
