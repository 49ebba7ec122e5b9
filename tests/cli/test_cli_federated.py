"""edgekit federated and edgekit build --from, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from edgekit_command import assert_fails, edgekit, edgekit_json
from PIL import Image
from safetensors.numpy import load_file
from tiny_supernet import LABELS, draw

SHORT = ("--rounds", "2", "--number", "3", "--per-round", "3", "--density", "0.3", "--candidates", "2", "--batch", "8")


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in folders of their labels, to learn from and to be judged on."""
    folder, rng = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    for split, number in (("train", 12), ("test", 5)):
        for label, name in enumerate(LABELS):
            (folder / split / name).mkdir(parents=True)
            for index in range(number):
                Image.fromarray(draw(label, rng)).save(folder / split / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, tiny_supernet: Path, stripes: Path) -> Path:
    folder = tmp_path_factory.mktemp("course") / "fl"
    done = simulate(tiny_supernet, stripes, folder)
    assert done.returncode == 0, done.stderr
    return folder


def simulate(model: Path, data: Path, output: Path, *more: str, task: str = "all"):  # type: ignore[no-untyped-def]
    arguments = ["--task", task, "--model", model, "--data", data, "--clients", "even", *SHORT, *more, "-o", output]
    return edgekit("federated", "simulate", *arguments)


def test_a_course_leaves_all_that_a_reader_and_a_build_need(learnt: Path) -> None:
    names = {path.name for path in learnt.iterdir()}
    assert names == {
        "network.pt2",
        "labels.txt",
        "pictures.npz",
        "card.md",
        "report.html",
        "report.json",
        "state.safetensors",
    }
    report = json.loads((learnt / "report.json").read_text())
    assert report["kept"] == round(0.3 * report["weights"])
    assert len(report["rounds"]) == 2
    assert 0 < report["traffic_bytes"] < report["dense_traffic_bytes"]
    assert (learnt / "labels.txt").read_text().splitlines() == list(LABELS)
    page = (learnt / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") >= 4
    assert edgekit("report", learnt).returncode == 0
    assert (learnt / "report.html").read_text() == page


def test_a_ray_cluster_learns_the_same_network_to_the_bit(
    tiny_supernet: Path, stripes: Path, learnt: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="needs the extra ray")
    done = simulate(tiny_supernet, stripes, tmp_path / "fl", "--ray", "local")
    assert done.returncode == 0, done.stderr
    here, there = (load_file(folder / "state.safetensors") for folder in (learnt, tmp_path / "fl"))
    assert np.array_equal(here["vector"], there["vector"])
    assert (learnt / "card.md").read_text() == (tmp_path / "fl" / "card.md").read_text()


def test_the_same_command_again_finds_it_finished(tiny_supernet: Path, stripes: Path, learnt: Path) -> None:
    before = (learnt / "state.safetensors").read_bytes()
    done = simulate(tiny_supernet, stripes, learnt, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["kept"] > 0
    assert "round" not in done.stderr.replace("per-round", "")
    assert (learnt / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--density", "0"), 2, "density is 0.0, expected above 0"),
        (("--number", "10000"), 2, "clients"),
        (("--clients", "odd"), 2, '"odd" is not a way to deal out samples'),
        (("--data", "/nowhere"), 9, "/nowhere"),
        (("--public", "/nowhere"), 9, "/nowhere"),
        (("--model", "nosuch"), 2, "nosuch"),
        (("--seed", "1"), 2, "another course"),
        (("--ram-mb", "-1"), 2, "ram_bytes"),
    ],
)
def test_bad_input_is_said_in_one_sentence(
    tiny_supernet: Path, stripes: Path, learnt: Path, more: tuple[str, ...], code: int, words: str
) -> None:
    done = simulate(tiny_supernet, stripes, learnt, *more)
    assert_fails(done, code, words)


def test_a_server_with_labelled_pictures_prunes_on_them(tiny_supernet: Path, stripes: Path, tmp_path: Path) -> None:
    place = tmp_path / "fl"
    done = simulate(tiny_supernet, stripes, place, "--public", str(stripes), "--rounds", "20", "--density", "0.1")
    assert done.returncode == 0, done.stderr
    assert "pruned gradually by the server, voted for among 2" in (place / "card.md").read_text()
    assert_fails(simulate(tiny_supernet, stripes, place, "--rounds", "20", "--density", "0.1"), 2, "another course")


def test_what_was_learnt_becomes_a_verified_file(learnt: Path, stripes: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    report = edgekit_json("build", "--from", learnt, "--target", "rpi4:fp32", "--data", stripes / "test", "-o", place)
    assert report["labels"] == list(LABELS)
    assert report["judgement"]["measure"] == "accuracy"
    assert "What each pass bought and cost" in (place / "report.html").read_text()
    assert edgekit("verify", place).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--from", "LEARNT", "--task", "stop", "-o", "OUT"), 2, "--from takes no --task"),
        (("--from", "LEARNT"), 2, "--output"),
        (("--from", "/nowhere", "-o", "OUT"), 9, "holds no finished course"),
    ],
)
def test_what_a_build_of_a_course_does_not_take(
    learnt: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    given = [one.replace("LEARNT", str(learnt)).replace("OUT", str(tmp_path / "out")) for one in arguments]
    assert_fails(edgekit("build", *given), code, words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (None, 9, "cannot read"),
        ("keys = ", 9, "is not TOML"),
        ('task = "all"', 2, "lacks keys and output"),
        ('kees = "k"', 2, "unknown key kees"),
        ('keys = "k"\noutput = "o"\ntask = "all"\nport = "x"', 2, "port is 'x'"),
        ('keys = "k"\noutput = "o"\ntask = "all"\n[course]\nround = 3', 2, "unknown key round"),
        ('keys = "k"\noutput = "o"\ntask = "all"\n[course]\nrounds = 0', 2, "rounds is 0"),
    ],
)
def test_a_servers_file_is_checked(tmp_path: Path, text: str | None, code: int, words: str) -> None:
    if text is not None:
        (tmp_path / "fed.toml").write_text(text)
    assert_fails(edgekit("federated", "server", "--config", tmp_path / "fed.toml"), code, words)
