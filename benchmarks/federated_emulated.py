"""A federated client on the emulated board against one on this machine: how far apart their answers to the same requests are.

    edgekit lab up --device rpi4
    python benchmarks/federated_emulated.py [--board lab] [--site site]

The board needs edgekit and what it requires in the folder `--site` of its home; docs/federated-deployment.md says how they get
there. A course of one client runs here, with some pictures of three signs; the board gets its requests and its pictures. Seconds
of an emulated board mean nothing, and none are taken.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from harness import REPO_ROOT, Table
from numpy.typing import NDArray
from PIL import Image

from edgekit.devices.boards.board import load_board
from edgekit.devices.boards.session import open_transport
from edgekit.devices.boards.transport import Transport
from edgekit.federated.course import Course
from edgekit.federated.datasets import own_samples, server_pictures
from edgekit.federated.messages import Enrolled, Losses, Statistics, Update
from edgekit.federated.settings import Settings
from edgekit.federated.simulate import simulated, studied_of
from edgekit.federated.simulator import Simulator, one_thread
from edgekit.federated.start import start
from edgekit.federated.transport import Kind
from edgekit.federated.wire import decode

NAME, TASK, PICTURES, TIMEOUT_S = "pi-1", ("stop", "yield", "no entry"), 4, 540
SETTINGS = Settings(density=0.05, rounds=2, per_round=1, batch=4, candidates=2, interval=1, learning_rate=0.02)
ANSWERS: Mapping[Kind, type[Any]] = {
    Kind.OFFER: Enrolled,
    Kind.STATISTICS: Statistics,
    Kind.VOTE: Losses,
    Kind.TRAIN: Update,
}
CLIENT = f"""
import platform, sys
from pathlib import Path

from edgekit.federated.costs import ClientBudget
from edgekit.federated.joining import client_of
from edgekit.federated.simulator import one_thread
from edgekit.federated.transport import Kind

folder = Path(sys.argv[1])
client = client_of(name="{NAME}", data=folder / "data", budget=ClientBudget(), store=folder / "store")
with one_thread():
    for request in sorted(folder.glob("*.request")):
        kind = Kind(request.stem.partition("-")[2])
        request.with_suffix(".answer").write_bytes(client.answer(kind, request.read_bytes()))
print(platform.machine())
"""


@dataclass(kw_only=True)
class Recorded:
    """A transport that keeps what it carried."""

    inner: Simulator
    carried: list[tuple[Kind, bytes, bytes]] = field(default_factory=list)

    def clients(self) -> tuple[int, ...]:
        return tuple(self.inner.clients())

    def exchange(self, kind: Kind, requests: Mapping[int, bytes], timeout_s: float) -> Mapping[int, bytes]:
        answers = self.inner.exchange(kind, requests, timeout_s)
        self.carried += [(kind, requests[number], answer) for number, answer in answers.items()]
        return answers


def pictures(folder: Path) -> None:
    """Of each label one of the examples, in several places."""
    for name in TASK:
        x_HWC = np.asarray(Image.open(REPO_ROOT / "examples" / f"{name.replace(' ', '_')}.png").convert("RGB"))
        (folder / name).mkdir(parents=True)
        for index in range(PICTURES):
            Image.fromarray(np.roll(x_HWC, (3 * index, -2 * index), (0, 1))).save(folder / name / f"{index}.png")


def course(data: Path) -> list[tuple[Kind, bytes, bytes]]:
    with one_thread():
        begin = start(model="signs43", task=", ".join(TASK), genotype=None)
        size = begin.input_shape[1]
        studied = studied_of(begin)
        client = simulated(NAME, studied, own_samples(data, begin.labels, size))
        recorded = Recorded(inner=Simulator(clients_by_number={0: client}))
        Course.of(begin, SETTINGS, pictures=server_pictures(None, begin)).run(recorded)
    return recorded.carried


def answered(folder: Path, transport: Transport, python: tuple[str, ...], home: str, site: str) -> str:
    """Has the board answer the requests of `folder`, and puts the answers there; returns what machine it says it is."""
    work = f"{home}/federated-client"
    transport.exec(["rm", "-rf", "--", work], timeout_s=60)
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        transport.push(path, f"{work}/{path.relative_to(folder)}")
    environment = {"PYTHONPATH": f"{home}/{site}", "OMP_NUM_THREADS": "1"}
    command = ["env", "-u", "QEMU_PLUGIN", *python, f"{work}/client.py", work]  # nothing is counted: it only takes time
    done = transport.exec(command, timeout_s=TIMEOUT_S, env=environment)
    if done.code:
        raise SystemExit(done.stderr)
    for request in folder.glob("*.request"):
        transport.pull(f"{work}/{request.stem}.answer", request.with_suffix(".answer"))
    return done.stdout.strip()


def rows(number: int, kind: Kind, here: bytes, there: bytes) -> list[tuple[object, ...]]:
    """Of each field of numbers: how large it is here, and how far off there; of the others whether they are the same."""
    ours, theirs = (decode(one, ANSWERS[kind]) for one in (here, there))
    found: list[tuple[object, ...]] = []
    for one in fields(ours):
        a, b = getattr(ours, one.name), getattr(theirs, one.name)
        if isinstance(a, float | np.ndarray) and np.size(a):
            a_A: NDArray[np.float64] = np.asarray(a, np.float64).ravel()
            b_A: NDArray[np.float64] = np.asarray(b, np.float64).ravel()
            off = f"{np.abs(a_A - b_A).max():.2e}" if a_A.shape == b_A.shape else "another shape"
            found.append((f"{number} {kind}", one.name, a_A.size, f"{np.abs(a_A).max():.3g}", off))
        elif not isinstance(a, np.ndarray):
            found.append((f"{number} {kind}", one.name, "", "", "same" if a == b else f"{a} and {b}"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default="lab")
    parser.add_argument("--site", default="site", help="folder of the board's home; default: %(default)s")
    options = parser.parse_args()
    board = load_board(options.board)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures(folder / "data")
        carried = course(folder / "data")
        (folder / "client.py").write_text(CLIENT)
        for index, (kind, request, _) in enumerate(carried):
            (folder / f"{index}-{kind}.request").write_bytes(request)
        transport = open_transport(board)
        try:
            machine = answered(folder, transport, board.python, board.workspace, options.site)
        finally:
            transport.close()
        told = [
            row
            for index, (kind, _, answer) in enumerate(carried)
            for row in rows(index, kind, answer, (folder / f"{index}-{kind}.answer").read_bytes())
        ]
    print(
        Table(
            f"answers of {machine} against this machine's",
            ("request", "what", "numbers", "largest here", "largest difference"),
            told,
        )
    )


if __name__ == "__main__":
    main()
