"""`edgekit assemble`, and the build of what it answers."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest
from edgekit_command import assert_fails, edgekit, edgekit_json
from safetensors.torch import load_file, save_file

from edgekit.core.errors import ExitCode
from edgekit.core.records import sha256_of
from edgekit.supernet.storage import CARD, WEIGHTS

TASK = "red rows, blue columns, green rows"


@pytest.fixture
def asked(tiny_supernet):
    return ("--model", tiny_supernet, "--task", TASK)


@pytest.fixture(scope="module")
def choosy(tiny_supernet, tmp_path_factory):
    """The same with a predictor by which every brick helps."""
    folder = shutil.copytree(tiny_supernet, tmp_path_factory.mktemp("choosy") / "stripes")
    tensors = load_file(folder / WEIGHTS)
    for name in tensors:
        if name.startswith("predictor.traits"):
            tensors[name] = tensors[name].abs() * (tensors[name].ndim > 1)
    tensors["predictor.level"].zero_()
    tensors["predictor.shape"].fill_(1.0)
    tensors["predictor.base"][:] = -1.0
    tensors["predictor.common"][:] = -0.05
    save_file(tensors, folder / WEIGHTS)
    card = json.loads((folder / CARD).read_text())
    card["sha256"][WEIGHTS] = sha256_of(folder / WEIGHTS)
    (folder / CARD).write_text(json.dumps(card))
    return ("--model", folder, "--task", TASK)


def test_the_answer_is_a_genotype_with_its_figures_and_a_command_that_builds_it(asked, tmp_path):
    answer = edgekit_json("assemble", *asked, "--latency-ms", "1.0")
    figures = {figure["name"]: figure for figure in answer["figures"]}
    assert figures.keys() == {"accuracy", "latency", "size", "peak RAM", "MACs"}
    assert {figure["evidence"] for figure in figures.values()} == {"predicted"}
    for name in ("accuracy", "latency"):
        low, high = figures[name]["interval"]
        assert low <= figures[name]["value"] <= high
    assert figures["latency"]["value"] <= 1.0
    assert answer["at_once"]["figures"][0]["value"] <= figures["accuracy"]["value"] + 1e-6
    assert answer["seconds"].keys() == {"prices", "archive", "search"}

    command = shlex.split(answer["command"])
    assert command[:2] == ["edgekit", "build"]
    built = edgekit_json(*command[1:-1], tmp_path / "out")
    assert built["genotype"] == answer["genotype"]
    of_file = {figure["name"]: figure for figure in built["figures"]}
    assert of_file["latency"]["value"] == pytest.approx(figures["latency"]["value"], rel=0.02)
    assert of_file["accuracy"] == figures["accuracy"]
    assert built["plan"]["genotype"] == answer["genotype"]


def test_the_same_is_printed_in_words(asked):
    lines = edgekit("assemble", *asked, "--macs", "50%").stdout.splitlines()
    assert lines[0].split() == ["figure", "value", "interval", "evidence", "source"]
    assert any(line.startswith("genotype") for line in lines)
    assert any("edgekit build" in line and "--genotype" in line for line in lines)


def test_what_is_asked_reaches_the_command_that_builds(tiny_supernet):
    for flag in ("--presence", "--grouped", "--other"):
        answer = edgekit_json("assemble", "--model", tiny_supernet, "--task", "colour=red", flag)
        assert flag in shlex.split(answer["command"])


def test_the_front_lists_networks_from_fast_to_accurate(choosy):
    found = edgekit_json("assemble", *choosy, "--front")
    points = [{figure["name"]: figure["value"] for figure in point["figures"]} for point in found["front"]]
    assert len(points) > 3
    latencies = [point["latency"] for point in points]
    assert latencies == sorted(latencies)
    for one in points:
        for other in points:
            beaten = one["accuracy"] > other["accuracy"] and all(
                one[name] < other[name] for name in ("latency", "size", "peak RAM")
            )
            assert not beaten
    assert all(figure["evidence"] == "predicted" for point in found["front"] for figure in point["figures"])

    lines = edgekit("assemble", *choosy, "--front").stdout.splitlines()
    header = lines[0]
    assert all(
        word in header for word in ("latency ms", "accuracy", "size bytes", "peak RAM bytes", "evidence", "genotype")
    )
    assert lines.index("") <= 21
    assert sum(point["genotype"] in line for point in found["front"] for line in lines[1 : lines.index("")]) > 0


def test_limits_cut_the_front(choosy):
    whole = edgekit_json("assemble", *choosy, "--front")["front"]
    cut = edgekit_json("assemble", *choosy, "--front", "--size-bytes", "50%")["front"]
    assert 0 < len(cut) < len(whole)


def test_a_floor_may_be_a_share_of_what_the_full_supernet_reaches(asked):
    answer = edgekit_json("assemble", *asked, "--min-accuracy", "60%")
    assert answer["plan"]["budget"] == {"min_accuracy": "60%"}
    assert edgekit_json("build", *asked, "--min-accuracy", "60%", "--dry-run")["budget"] == {"min_accuracy": "60%"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--latency-ms", "0.0001"), ExitCode.INFEASIBLE, ("smallest network",)),
        (("--latency-ms", "0.0001", "--front"), ExitCode.INFEASIBLE, ("smallest network",)),
        (("--min-accuracy", "0"), ExitCode.USAGE, ("min_accuracy",)),
        (("--min-accuracy", "97"), ExitCode.USAGE, ("min_accuracy", "95%")),
        (("--min-accuracy", "105%"), ExitCode.USAGE, ("share",)),
        (("--target", "rpi6"), ExitCode.USAGE, ("did you mean",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_had_is_said(asked, arguments, code, words):
    assert_fails(edgekit("assemble", *asked, *arguments), code, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--genotype", "0f.0f.0f", "--macs", "50%"), ("limits",)),
        (("--genotype", "0f.0f.0f", "--variants", "1,2ms"), ("variants",)),
        (("--genotype", "0d.0f.0f"), ('did you mean "07.0f.0f"?',)),
        (("--genotype", "zz"), ("not a genotype",)),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_genotype_that_cannot_be_built_is_refused(asked, tmp_path, arguments, words):
    assert_fails(edgekit("build", *asked, "-o", tmp_path / "out", *arguments), ExitCode.USAGE, *words)
    assert list(tmp_path.iterdir()) == []
