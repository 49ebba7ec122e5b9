"""Own classes from a few pictures on a quarter of the supernet, against a linear probe on the whole of it.

    python benchmarks/own_classes.py --model FOLDER --data FOLDER [--labels N ...] [--draws N] [-o RESULT.json]

FOLDER of --data holds train*.parquet, validation.parquet and classes.tsv. The own classes are those that the vocabulary of
the supernet does not know; --labels names others by their index, for a supernet that knows them all. Of random sets of 5
classes, and of all of them, 5, 10 and 50 training pictures each are drawn; both ways learn from the same, and are judged in
float32 on the validation pictures of these classes:

- a build with --examples at 25 % of the MACs: bricks for the labels that stand in, head in closed form;
- logistic regression on the features of the full supernet, standardised, its strength chosen by cross-validation.

Standard errors are over draws, of the gap draw by draw. Where training has seen the classes it is no test of the bar.
"""

from __future__ import annotations

import argparse
import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import pyarrow.parquet as pq
import torch
from harness import IMAGES, Table, absent, bars, load_assembler, open_model, options_of, publish, standard_error
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.costs import CostOf
from edgekit.assembler.own_classes.head import OwnHead, fit_head
from edgekit.assembler.own_classes.learning import pooled, stand_ins
from edgekit.core.budget import Budget, Share
from edgekit.core.images import open_image, scaled
from edgekit.core.model import Preprocessing
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.resizing import resized
from edgekit.supernet.subnet import slice_subnet
from edgekit.tasks.task import Task
from edgekit.tasks.vocabulary import Vocabulary

LIMIT = 0.25
BAR_GAP = 0.02
PICTURES = (5, 10, 50)
FEW_CLASSES = 5
POOL = 150  # training pictures of a class that draws choose from


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """`x_NCHW` uint8 at the supernet's size; `y_N` numbers the own classes."""

    x_NCHW: Tensor
    y_N: NDArray[np.int64]

    @classmethod
    def read(cls, folder: Path, split: str, labels: list[int], size: int, most: int | None = None) -> Pictures:
        """The first `most` of each label."""
        kept: list[list[NDArray[np.uint8]]] = [[] for _ in labels]
        numbered = {label: number for number, label in enumerate(labels)}
        for path in sorted(folder.glob(f"{split}*.parquet")):
            table = pq.read_table(path, columns=["image", "label"])
            for row, label in enumerate(table["label"].to_pylist()):
                of_label = kept[numbered[label]] if label in numbered else None
                if of_label is not None and (most is None or len(of_label) < most):
                    encoded = io.BytesIO(table["image"][row].as_py()["bytes"])
                    image = open_image(encoded, name=f"{path}, row {row}")
                    of_label.append(scaled(image, Preprocessing(height=size, width=size)))
        x_NHWC = np.stack([image for of_label in kept for image in of_label])
        y_N = np.repeat(np.arange(len(labels)), [len(of_label) for of_label in kept])
        return cls(x_NCHW=torch.from_numpy(x_NHWC).permute(0, 3, 1, 2), y_N=y_N)

    def inputs(self, chosen: NDArray[np.int64], size: int) -> Tensor:
        """float32 in [0, 1]."""
        return resized(self.x_NCHW[torch.from_numpy(chosen)].float() / 255, size).contiguous()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Of one draw; `left_out` is what the build would have printed, `covered` whether its interval holds `own`."""

    classes: int
    pictures: int
    genotype: str
    macs_share: float
    own: float
    probe: float
    own_on_full: float
    left_out: float
    covered: bool

    @property
    def gap(self) -> float:
        return self.probe - self.own


class Study:
    """Features of the full supernet are computed once for all draws."""

    def __init__(self, assembler: Assembler, cost_of: CostOf, vocabulary: Vocabulary, train: Pictures, test: Pictures):
        self.assembler, self.cost_of, self.vocabulary = assembler, cost_of, vocabulary
        self.train, self.test = train, test
        full = assembler.supernet.spec.full
        self.full_train, self.full_test = (
            self._features(full, pictures, np.arange(len(pictures.y_N))) for pictures in (train, test)
        )

    def outcome(self, classes: NDArray[np.int64], pictures: int, rng: np.random.Generator) -> Outcome:
        drawn = np.concatenate([rng.permutation(np.flatnonzero(self.train.y_N == c))[:pictures] for c in classes])
        judged = np.flatnonzero(np.isin(self.test.y_N, classes))
        order = {int(c): number for number, c in enumerate(classes)}
        y_N, truth_N = (
            np.array([order[int(c)] for c in of[chosen]])
            for of, chosen in ((self.train.y_N, drawn), (self.test.y_N, judged))
        )
        genotype, macs_share = self._assembled(drawn, y_N)
        head = fit_head(self._features(genotype, self.train, drawn), y_N)
        on_full = fit_head(self.full_train[drawn], y_N)
        probe = make_pipeline(
            StandardScaler(),
            GridSearchCV(
                LogisticRegression(max_iter=500),
                {"C": np.geomspace(1e-4, 1, 5).tolist()},
                cv=min(5, pictures),
            ),
        ).fit(self.full_train[drawn], y_N)
        own = _accuracy(head, self._features(genotype, self.test, judged), truth_N)
        low, high = head.left_out.interval
        return Outcome(
            classes=len(classes),
            pictures=pictures,
            genotype=str(genotype),
            macs_share=macs_share,
            own=own,
            probe=float(probe.score(self.full_test[judged], truth_N)),
            own_on_full=_accuracy(on_full, self.full_test[judged], truth_N),
            left_out=head.left_out.accuracy,
            covered=low <= own <= high,
        )

    def _assembled(self, drawn: NDArray[np.int64], y_N: NDArray[np.int64]) -> tuple[Genotype, float]:
        """(the genotype for these pictures, its share of the full MACs)."""
        spec = self.assembler.supernet.spec
        task = stand_ins(self.assembler.supernet, self.vocabulary, self.train.inputs(drawn, spec.image_size), y_N)
        tables = self.assembler.tables(task, self.cost_of)
        found = self.assembler.searcher.search(task, Budget(macs=Share(fraction=LIMIT)), tables, seed=0)
        return found.genotype, found.cost.macs / tables.full.macs

    def _features(self, genotype: Genotype, pictures: Pictures, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        subnet = slice_subnet(self.assembler.supernet, genotype, Task(indices=(0, 1), text=""))
        size = self.assembler.supernet.spec.image_size_of(genotype)
        parts = np.array_split(chosen, max(1, len(chosen) // 200))
        return np.concatenate([pooled(subnet, pictures.inputs(part, size)) for part in parts])


def _accuracy(head: OwnHead, features_ND: NDArray[np.float64], y_N: NDArray[np.int64]) -> float:
    return float(((features_ND @ head.w_CD.T + head.b_C).argmax(1) == y_N).mean())


def own_labels(options: argparse.Namespace, vocabulary: Vocabulary) -> list[int]:
    if options.labels:
        return sorted(set(options.labels))
    classes = options.data / "classes.tsv"
    if not classes.is_file():
        absent(f"no classes.tsv in {options.data}: it names the labels, also those that the supernet does not know")
    with classes.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    unknown = [int(row["label"]) for row in rows if vocabulary.by_name(row["name"].split(", ")[0]) is None]
    if len(unknown) < FEW_CLASSES:
        absent(
            f"the supernet knows all but {len(unknown)} of the labels: name one trained without some, or use --labels"
        )
    return unknown


def row(outcomes: list[Outcome]) -> tuple[object, ...]:
    def mean(name: str) -> str:
        values = [getattr(outcome, name) for outcome in outcomes]
        return f"{100 * fmean(values):.1f} +- {100 * standard_error(values):.1f}"

    return (
        f"{outcomes[0].classes} classes, {outcomes[0].pictures} pictures each",
        *map(mean, ("own", "probe", "gap", "own_on_full", "left_out")),
        f"{sum(outcome.covered for outcome in outcomes)} of {len(outcomes)}",
        f"{100 * fmean(outcome.macs_share for outcome in outcomes):.1f}",
    )


def main() -> None:
    parser = options_of(__doc__, model="things200")
    parser.set_defaults(data=IMAGES / "things200")
    parser.add_argument("--labels", type=int, nargs="+", help="indices in place of those that the vocabulary lacks")
    parser.add_argument("--draws", type=int, default=8)
    options = parser.parse_args()
    model = open_model(options, needs_data=True)
    labels = own_labels(options, model.vocabulary)
    assembler, cost_of = load_assembler(model)
    size = model.spec.image_size
    train = Pictures.read(options.data, "train", labels, size, POOL)
    test = Pictures.read(options.data, "validation", labels, size)
    study = Study(assembler, cost_of, model.vocabulary, train, test)
    rng = np.random.default_rng(options.seed)
    groups = [
        [study.outcome(rng.permutation(len(labels))[:classes], pictures, rng) for _ in range(options.draws)]
        for classes in sorted({min(FEW_CLASSES, len(labels)), len(labels)})
        for pictures in PICTURES
    ]
    columns = (
        "accuracy, %",
        f"own, {LIMIT:.0%} MACs",
        "probe, full",
        "gap",
        "own, full",
        "left out",
        "covered",
        "MACs, %",
    )
    kept = bars(
        *(
            (
                f"{outcomes[0].classes} classes, {outcomes[0].pictures} pictures: behind the probe by",
                f"{100 * fmean(outcome.gap for outcome in outcomes):.1f} points",
                f"at most {100 * BAR_GAP:.0f}",
                fmean(outcome.gap for outcome in outcomes) <= BAR_GAP,
            )
            for outcomes in groups
        )
    )
    title = f"{len(labels)} own classes" + (" named by --labels: training may have seen them" if options.labels else "")
    figures = {
        "limit_macs": LIMIT,
        "bar_gap": BAR_GAP,
        "labels": labels,
        "labels_named_by_hand": bool(options.labels),
        "draws": options.draws,
        "outcomes": [asdict(outcome) | {"gap": outcome.gap} for outcomes in groups for outcome in outcomes],
    }
    publish("own_classes", [Table(title, columns, list(map(row, groups))), kept], figures, options.output, model=model)


if __name__ == "__main__":
    main()
