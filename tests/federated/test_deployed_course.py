"""A server and four clients as processes of the command line, over TLS: the same network as the simulator's, to the bit, or with
secure sums but for what is drawn at random on the clients."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tiny_supernet import LABELS, draw

from edgekit.federated.course import Course
from edgekit.federated.datasets import own_samples, server_pictures
from edgekit.federated.layout import Layout
from edgekit.federated.releases import units_of
from edgekit.federated.serving import read_config
from edgekit.federated.simulate import simulated, studied_of
from edgekit.federated.simulator import Simulator, one_thread
from edgekit.federated.start import start
from edgekit.federated.state import State
from edgekit.pruning.masks import kept as number_kept

CLIENTS = ("pi-1", "pi-2", "pi-3", "pi-4")
START_S = 120
COURSE = "density = 0.3\nrounds = 2\nper_round = 4\nbatch = 8\ncandidates = 2\ninterval = 1\n"
SECURE = COURSE + "secure = true\nclip = 1.0\n"


def pictures(folder: Path, seed: int, number: int) -> Path:
    rng = np.random.default_rng(seed)
    for label, name in enumerate(LABELS):
        (folder / name).mkdir(parents=True)
        for index in range(number):
            Image.fromarray(draw(label, rng)).save(folder / name / f"{index}.png")
    return folder


def edgekit(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "edgekit.cli.main", *map(str, arguments)]


@contextmanager
def running(command: list[str], log: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = os.environ | {"XDG_STATE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(30)


def listening(log: Path, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        found = [line for line in log.read_text().splitlines() if "listening at" in line]
        if found:
            return found[0].split("listening at ")[1].split()[0]
        time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, tiny_supernet: Path) -> Path:
    """The folder of two courses that four processes learnt together: `fl`, and with secure sums `sums`."""
    folder = tmp_path_factory.mktemp("deployed")
    subprocess.run(edgekit("federated", "keys", "init", folder / "keys", "--host", "127.0.0.1"), check=True)
    for number, name in enumerate(CLIENTS):
        enroll = edgekit("federated", "keys", "enroll", folder / "keys", name, "-o", folder / name)
        subprocess.run(enroll, check=True, stdout=subprocess.DEVNULL)
        pictures(folder / f"data {name}", number, 6)
    pictures(folder / "test", 99, 4)

    def served(stack: ExitStack, output: str, port: object, settings: str) -> tuple[subprocess.Popen[bytes], Path, str]:
        (folder / f"{output}.toml").write_text(
            f'keys = "keys"\noutput = "{output}"\ntask = "all"\nmodel = "{tiny_supernet}"\nport = {port}\nclients = 4\n'
            f'test = "test"\n[course]\n{settings}'
        )
        log = folder / f"server {output}.log"
        command = edgekit("federated", "server", "--config", folder / f"{output}.toml")
        server = stack.enter_context(running(command, log, folder / "home server"))
        return server, log, listening(log, server)

    with ExitStack() as stack:
        server, log, address = served(stack, "fl", 0, COURSE)
        for name in CLIENTS:
            ask = edgekit("federated", "client", "--server", address, "--keys", folder / name)
            data = folder / f"data {name}"
            stack.enter_context(
                running(
                    [*ask, "--data", str(data), "--target", "rpi4"], folder / f"{name}.log", folder / f"home {name}"
                )
            )
        assert server.wait(300) == 0, log.read_text()
        # The boards wait for the next server at the same address.
        server, log, _ = served(stack, "sums", address.rpartition(":")[2], SECURE)
        assert server.wait(300) == 0, log.read_text()
    return folder


def played(deployed: Path, model: Path, output: str) -> State:
    """The same course in this process."""
    with one_thread():
        begin = start(model=model, task="all", genotype=None)
        studied = studied_of(begin)
        simulator = Simulator(
            clients_by_number={
                number: simulated(name, studied, own_samples(deployed / f"data {name}", begin.labels, studied.size))
                for number, name in enumerate(CLIENTS)
            }
        )
        pictures = server_pictures(None, begin)
        return Course.of(begin, read_config(deployed / f"{output}.toml").course, pictures=pictures).run(simulator)


def check_messages(report: dict[str, Any], state: State) -> None:
    assert [one["clients"] for one in report["rounds"]] == [list(CLIENTS)] * 2
    assert [one["down_bytes"] for one in report["rounds"]] == [one.down_bytes for one in state.records]
    assert [one["up_bytes"] for one in report["rounds"]] == [one.up_bytes for one in state.records]


def test_it_is_the_network_of_the_simulator_to_the_bit(deployed: Path, tiny_supernet: Path) -> None:
    state = played(deployed, tiny_supernet, "fl")
    kept = load_file(deployed / "fl" / "state.safetensors")
    assert np.array_equal(kept["vector"], state.vector_V)
    check_messages(json.loads((deployed / "fl" / "report.json").read_text()), state)


def test_with_secure_sums_it_is_the_simulators_but_for_the_rounding_that_clients_draw(
    deployed: Path, tiny_supernet: Path
) -> None:
    """The sums are exact, but each client rounds its numbers up or down by bytes that nobody can foresee."""
    state = played(deployed, tiny_supernet, "sums")
    kept = load_file(deployed / "sums" / "state.safetensors")
    layout = Layout.of(start(model=tiny_supernet, task="all", genotype=None).module)
    assert kept["mask"].tobytes() == layout.pack([state.masks])
    unit_V = units_of(state.vector_V, layout.statistics(number_kept(state.masks)))
    assert np.abs((kept["vector"] - state.vector_V) / unit_V).max() < 1e-4
    check_messages(json.loads((deployed / "sums" / "report.json").read_text()), state)


def test_everyone_who_took_part_is_written_down_and_no_key_is(deployed: Path) -> None:
    access = (deployed / "fl" / "server" / "access.log").read_text()
    assert all(f'"{name}"' in access for name in CLIENTS)
    secrets = [path.read_text().splitlines()[1] for path in deployed.glob("*/*.key")]
    assert len(secrets) == 6
    written = [path.read_bytes() for path in deployed.rglob("*") if path.is_file() and path.suffix != ".key"]
    assert not any(secret.encode() in content for secret in secrets for content in written)


def test_what_was_learnt_can_be_built(deployed: Path, tmp_path: Path) -> None:
    build = edgekit("build", "--from", deployed / "fl", "--target", "rpi4:tflite-fp32", "--data", deployed / "test")
    subprocess.run([*build, "-o", str(tmp_path / "out")], check=True)
    assert (tmp_path / "out" / "model.tflite").is_file()
    assert (tmp_path / "out" / "labels.txt").read_text().splitlines() == list(LABELS)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["judgement"]["measure"] == "accuracy"
