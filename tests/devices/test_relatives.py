"""Devices that nobody measured, predicted as their nearest relative."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_strategies import networks

from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.operators import Operator
from edgekit.core.quantity import Evidence
from edgekit.devices.cost_model import CostModel, load_cost_model, total_work
from edgekit.devices.device import Device, Figures, list_devices, load_device
from edgekit.devices.networks import mobilenet_v1, mobilenet_v2
from edgekit.devices.origins import origins_of
from edgekit.devices.precision import Precision
from edgekit.devices.relatives import SPREAD, Basis, nearest_relative, read_figures
from edgekit.devices.target import parse_target

SHIPPED = list_devices(data_folder("devices"))
NAMES = [device.name for device in SHIPPED]
PREDICTED = [device for device in SHIPPED if device.name != "host"]
WITHOUT_FIGURES = [device.name for device in PREDICTED if not device.runtime("tflite").has_figures]
PRECISIONS = (Precision.INT8, Precision.FP32)
RELATIVES = [load_cost_model(parse_target(f"{name}:tflite-{p}")) for name in WITHOUT_FIGURES for p in PRECISIONS]
relatives = st.sampled_from(RELATIVES)


def fitted(model: CostModel) -> CostModel:
    """The model of the relative itself."""
    assert model.relative is not None
    return load_cost_model(replace(model.target, device=model.relative.device))


def test_the_devices_of_the_issue_ship() -> None:
    assert {
        *("rpi3", "rpi4", "rpi5", "rpi-zero2", "rk3399", "jetson-xavier-cpu", "hikey960"),
        *("pixel3", "pixel2", "galaxy-s7", "host"),
    } <= set(NAMES)


def test_no_two_devices_share_a_name_or_an_alias() -> None:
    known = Counter(name.lower() for device in SHIPPED for name in (device.name, *device.aliases))
    assert max(known.values()) == 1


@pytest.mark.parametrize("device", SHIPPED, ids=lambda device: device.name)
def test_every_device_states_its_sources_and_how_it_is_measured(device: Device) -> None:
    assert device.sources
    assert device.protocol.threads == device.default_threads
    assert 1 <= device.big_cores <= device.cores
    for figures in device.figures:
        assert figures.source
        assert read_figures(device.folder, figures)


@pytest.mark.parametrize("device", PREDICTED, ids=lambda device: device.name)
@pytest.mark.parametrize(
    "operators", [mobilenet_v1(width=1.0, resolution=224), mobilenet_v2(width=0.35, resolution=32)]
)
def test_every_board_predicts_for_its_default_target(device: Device, operators: Sequence[Operator]) -> None:
    latency = load_cost_model(parse_target(device.name)).predict_latency(operators)
    assert latency.evidence is Evidence.PREDICTED
    assert latency.interval is not None
    assert 0 < latency.interval[0] <= latency.value <= latency.interval[1]


def test_a_relative_says_whose_figures_they_are_and_why() -> None:
    source = load_cost_model(parse_target("rpi3")).predict_latency(mobilenet_v1(width=1.0, resolution=224)).source
    for word in ("no figures of tflite on rpi3", "as rpi4 x 1.6", "ncnn", "Raspberry Pi 3 Model B+", "3.3 times wider"):
        assert word in source


def test_a_runtime_that_only_compares_boards_is_no_target() -> None:
    with pytest.raises(UsageError, match="ncnn") as caught:
        parse_target("rpi3:ncnn")
    assert "tflite" in caught.value.hint


def test_own_figures_go_before_any_relative() -> None:
    for name in ("rpi4", "rk3399", "jetson-xavier-cpu", "hikey960"):
        assert load_cost_model(parse_target(name)).relative is None
        assert all(origin.word == "own" for origin in origins_of(load_device(name)) if origin.name.startswith("tflite"))


@given(networks(), relatives)
def test_a_relative_scales_the_latency_and_widens_the_interval(
    operators: tuple[Operator, ...], model: CostModel
) -> None:
    assert model.relative is not None
    latency, known = model.predict_latency(operators), fitted(model).predict_latency(operators)
    assert latency.value == pytest.approx(model.relative.times * known.value)
    assert latency.interval is not None
    assert known.interval is not None
    spread = SPREAD[model.relative.basis]
    assert latency.interval[0] == pytest.approx(model.relative.times * known.interval[0] / spread)
    assert latency.interval[1] == pytest.approx(model.relative.times * known.interval[1] * spread)


@given(networks(), relatives, st.data())
def test_more_work_never_takes_less_time(
    operators: tuple[Operator, ...], model: CostModel, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(operators) - 1))
    more = replace(operators[index], macs=operators[index].macs + 1000, weights=operators[index].weights + 1000)
    larger = (*operators[:index], more, *operators[index + 1 :])
    assert 0 <= model.latency_ms(operators[:index]) <= model.latency_ms(operators) < model.latency_ms(larger)


def test_nothing_predicts_a_machine_with_other_instructions() -> None:
    host = replace(load_device("host"), isa="x86_64")
    with pytest.raises(UsageError, match="x86_64") as caught:
        nearest_relative(host, "tflite", Precision.INT8, 1, among=SHIPPED)
    assert "calibrate" in caught.value.hint
    (origin,) = {origin.word for origin in origins_of(host)}
    assert origin == "none"


def board(name: str, *, mcpu: str = "cortex-a72", clock_mhz: int = 1500, figures: tuple[Figures, ...] = ()) -> Device:
    """A board with figures of TFLite and four threads, in the folder of the Raspberry Pi 4."""
    return replace(load_device("rpi4"), name=name, mcpu=mcpu, clock_mhz=clock_mhz, figures=figures)


def nearest(device: Device, *among: Device) -> tuple[str, Basis, float]:
    found = nearest_relative(device, "tflite", Precision.FP32, 4, among=among)
    return found.device.name, found.basis, found.times


def test_the_same_cores_go_before_others_of_the_family_and_the_nearest_clock_before_others() -> None:
    device = board("new", clock_mhz=2000)
    same, far = board("same"), board("far", clock_mhz=500)
    family = board("family", mcpu="cortex-a73", clock_mhz=2000)
    little = board("little", mcpu="cortex-a53", clock_mhz=2000)
    assert nearest(device, little, family, far, same) == ("same", Basis.SAME_CORES, 0.75)
    assert nearest(device, little, family) == ("family", Basis.SAME_FAMILY, 1.0)
    assert nearest(device, little) == ("little", Basis.OTHER_CORES, 1.0)


def test_a_device_is_no_relative_of_its_own() -> None:
    with pytest.raises(UsageError):
        nearest(board("new"), board("new"))


def test_only_figures_with_as_many_threads_make_a_relative() -> None:
    one_thread = replace(load_device("hikey960"), name="one-thread")
    with pytest.raises(UsageError, match="threads = 4"):
        nearest(board("new"), one_thread)


def figures_in(folder: Path, name: str, rows: Sequence[str], *, runtime: str, clock_mhz: int = 1500) -> Figures:
    (folder / f"{name}.csv").write_text("\n".join(["network,precision,threads,ms", *rows]))
    return Figures(
        name="shared",
        runtime=runtime,
        version="1",
        board=name,
        clock_mhz=clock_mhz,
        table=f"{name}.csv",
        date="2020",
        source="a test",
        source_url="",
        licence="",
    )


@pytest.mark.parametrize(
    ("runtime", "mcpu", "basis"),
    [
        ("tflite", "cortex-a72", Basis.SAME_RUNTIME),
        ("ncnn", "cortex-a53", Basis.OTHER_RUNTIME),
        # Figures of another runtime say less than the clock of the same cores.
        ("ncnn", "cortex-a72", Basis.SAME_CORES),
    ],
)
def test_figures_of_both_boards_tell_how_fast_they_are(tmp_path: Path, runtime: str, mcpu: str, basis: Basis) -> None:
    def rows(times: float) -> list[str]:
        return [f"network {n},fp32,4,{times * n}" for n in range(1, 8)]

    mine = figures_in(tmp_path, "mine", rows(3.0), runtime=runtime, clock_mhz=1200)
    theirs = figures_in(tmp_path, "theirs", rows(1.0), runtime=runtime)
    device = replace(board("new", clock_mhz=1000, figures=(mine,)), folder=tmp_path)
    other = replace(board("other", mcpu=mcpu, figures=(theirs,)), folder=tmp_path)
    # Measured at 1200 MHz, wanted at 1000.
    times = 1.5 if basis is Basis.SAME_CORES else 3.6
    assert nearest(device, other) == ("other", basis, pytest.approx(times))


@pytest.mark.parametrize(
    "row", ["{n},int8,4,3", "{n},fp16,4,3", "{n},fp32,1,3"], ids=["int8", "half precision", "one thread"]
)
def test_figures_that_are_not_alike_tell_nothing(tmp_path: Path, row: str) -> None:
    mine = figures_in(tmp_path, "mine", [row.format(n=n) for n in range(8)], runtime="tflite")
    theirs = figures_in(tmp_path, "theirs", [f"{n},fp32,4,1" for n in range(8)], runtime="tflite")
    device = replace(board("new", figures=(mine,)), folder=tmp_path)
    assert nearest(device, replace(board("other", figures=(theirs,)), folder=tmp_path))[1] is Basis.SAME_CORES


@pytest.mark.parametrize("rows", [["a,fp32,4,-1"], ["a,fp32,4,nan"], ["a,fp32,four,1"], ["a,fp32"]])
def test_a_broken_table_of_figures_is_bad_input_that_names_it(tmp_path: Path, rows: list[str]) -> None:
    with pytest.raises(BadInputError, match=r"mine\.csv"):
        read_figures(tmp_path, figures_in(tmp_path, "mine", rows, runtime="ncnn"))


def test_dot_products_part_families_in_int8_alone() -> None:
    found = {
        precision: nearest_relative(load_device("rpi5"), "tflite", precision, 4, among=SHIPPED).basis
        for precision in PRECISIONS
    }
    assert found == {Precision.INT8: Basis.OTHER_RUNTIME, Precision.FP32: Basis.SAME_FAMILY}


def test_a_relative_holds_its_measured_networks_where_it_has_some() -> None:
    """Cells of NAS-Bench-201 on a Pixel 3 (HW-NAS-Bench, arXiv 2103.10584), in the interval of a model of MobileNets on rpi4."""
    from edgekit.devices.nasbench201 import executed, operators_of, parse_cell

    pixel3 = load_device("pixel3")
    model = load_cost_model(parse_target("pixel3:tflite-fp32"))
    cells = {
        network: ms
        for (network, _, _), ms in read_figures(pixel3.folder, pixel3.figures[0]).items()
        if network.startswith("|")
    }
    held = 0
    for network, ms in cells.items():
        work = total_work(operators_of(executed(parse_cell(network))), Precision.FP32)
        low, high = model.uncertainty.interval_ms(work, model.rates.latency_ms(work))
        held += low <= ms <= high
    assert held >= 0.9 * len(cells)


@pytest.mark.parametrize("name", ["rpi3", "pixel2"])
def test_a_relative_holds_what_xnnpack_published(name: str) -> None:
    """MobileNets in whole milliseconds, in no prediction: fewer than five networks say nothing of how fast a board is."""
    device = load_device(name)
    (figures,) = (one for one in device.figures if one.name == "xnnpack")
    builders = {"mobilenet_v1": mobilenet_v1, "mobilenet_v2": mobilenet_v2}
    for (network, precision, _), ms in read_figures(device.folder, figures).items():
        if network in builders:
            model = load_cost_model(parse_target(f"{name}:tflite-{precision}"))
            latency = model.predict_latency(builders[network](width=1.0, resolution=224))
            assert latency.interval is not None
            assert latency.interval[0] <= ms <= latency.interval[1]


def test_an_own_device_keeps_its_name_where_a_shipped_one_has_it_as_alias(tmp_path: Path) -> None:
    for name, alias in (("pi5", "mine"), ("rpi5", "pi5")):
        shutil.copytree(data_folder("devices") / "rpi4", tmp_path / name)
        path = tmp_path / name / "device.toml"
        text = path.read_text().replace('name = "rpi4"', f'name = "{name}"')
        aliases = next(line for line in text.splitlines() if line.startswith("aliases"))
        path.write_text(text.replace(aliases, f'aliases = ["{alias}"]'))
    assert load_device("pi5", folder=tmp_path).name == "pi5"
