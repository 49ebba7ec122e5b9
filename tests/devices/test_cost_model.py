import json
import math
import random
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_strategies import networks

from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.operators import Operator, OperatorKind, Tensor
from edgekit.core.quantity import Evidence
from edgekit.devices.calibration import (
    Measurement,
    calibrate,
    cost_model_record,
    fit_rates,
    read_measurements,
    windows_pay,
)
from edgekit.devices.cost_model import Rates, load_cost_model, total_work, work_of
from edgekit.devices.device import list_devices, load_device
from edgekit.devices.nasbench201 import operators_of, parse_cell
from edgekit.devices.networks import mobilenet_v1, mobilenet_v2, reference_network
from edgekit.devices.precision import Precision
from edgekit.devices.target import parse_target

MODELS = {one: load_cost_model(parse_target(f"rpi4:tflite-{one}")) for one in (Precision.INT8, Precision.FP32)}
TABLE = data_folder("devices") / "rpi4" / "mlperf_tflite_2.4.1.csv"
NASBENCH_OPERATORS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
models = st.sampled_from(list(MODELS.values()))


def grown(operator: Operator) -> Operator:
    return replace(operator, macs=operator.macs + 1000, weights=operator.weights + 1000)


@given(networks(), models, st.data())
def test_latency_is_positive_and_grows_with_operators_and_work(operators, model, data):
    index = data.draw(st.integers(0, len(operators) - 1))
    latency_ms = model.latency_ms(operators)
    assert 0 < model.latency_ms(operators[:index]) < latency_ms
    larger = (*operators[:index], grown(operators[index]), *operators[index + 1 :])
    assert model.latency_ms(larger) > latency_ms


@given(networks(), models)
def test_latency_is_the_overhead_and_the_sum_of_the_operators(operators, model):
    expected_ms = model.overhead_ms + math.fsum(model.operator_ms(operator) for operator in operators)
    assert model.latency_ms(operators) == pytest.approx(expected_ms)


@given(networks(), models)
def test_prediction_is_the_latency_with_an_interval_and_a_source(operators, model):
    prediction = model.predict_latency(operators)
    assert prediction.value == pytest.approx(model.latency_ms(operators))
    assert prediction.evidence is Evidence.PREDICTED
    low, high = prediction.interval
    assert 0 < low < prediction.value < high < math.inf
    for word in ("rpi4", "tflite", "2.4.1", model.target.precision, "4 threads", "leave-one-out"):
        assert word in prediction.source


@pytest.mark.parametrize("precision", MODELS)
def test_interval_widens_below_the_measured_networks(precision: Precision):
    model = MODELS[precision]

    def high_over_low(resolution: int) -> float:
        low, high = model.predict_latency(mobilenet_v1(width=0.25, resolution=resolution)).interval
        return high / low

    assert high_over_low(160) < high_over_low(64) < high_over_low(32) < high_over_low(8)


@pytest.mark.parametrize("row", read_measurements(TABLE), ids=str)
def test_measured_networks_are_within_the_stated_interval(row: Measurement):
    family, width, resolution = row.network.split()
    operators = reference_network(family, width=float(width), resolution=int(resolution))
    low, high = MODELS[row.precision].predict_latency(operators).interval
    assert low <= row.latency_ms <= high


def test_resnet50_which_was_never_fitted_is_predicted_within_ten_percent():
    """fp32, MLPerf Inference v1.0, same board and runtime: 591.3 ms. The network: arXiv 1512.03385, table 1."""
    assert MODELS[Precision.FP32].latency_ms(resnet50()) == pytest.approx(591.3, rel=0.1)


WITH_FIGURES = [
    device for device in list_devices(data_folder("devices")) if any(runtime.has_figures for runtime in device.runtimes)
]


@pytest.mark.parametrize("device", WITH_FIGURES, ids=lambda device: device.name)
def test_shipped_cost_model_follows_from_the_shipped_table(device):
    for runtime in (one for one in device.runtimes if one.has_figures):
        shipped = json.loads((device.folder / f"{runtime.name}.json").read_text())
        fitted = json.loads(json.dumps(cost_model_record(device, runtime)))
        for precision in runtime.precisions:
            for fit in (shipped, fitted):
                fit["flat"] = flat(fit["precisions"][precision])
            assert shipped["flat"] == pytest.approx(fitted["flat"], rel=1e-3, abs=1e-6)
        assert shipped["calibration"] == fitted["calibration"]


def test_fit_finds_the_rates_that_made_the_data_though_some_rows_are_wrong():
    rates = {
        Precision.INT8: Rates(
            ms_per_mmac=0.03,
            ms_per_patch_mbyte=2.0,
            ms_per_window_mbyte=0.0,
            ms_per_activation_mbyte=0.9,
            ms_per_weight_mbyte=0.3,
            ms_per_operator=0.01,
            ms_per_run=0.2,
        )
    }
    rates[Precision.FP32] = replace(
        rates[Precision.INT8], ms_per_mmac=0.08, ms_per_activation_mbyte=0.4, ms_per_weight_mbyte=0.2
    )
    made = [
        replace(row, latency_ms=rates[row.precision].latency_ms(row.work) * (2 if index % 19 == 0 else 1))
        for index, row in enumerate(read_measurements(TABLE))
    ]
    for precision, fitted in fit_rates(made).items():
        for rate in fields(Rates):
            assert getattr(fitted, rate.name) == pytest.approx(getattr(rates[precision], rate.name), rel=1e-4)


def test_pools_get_a_rate_of_their_own_where_networks_tell_it():
    rates = Rates(
        ms_per_mmac=0.08,
        ms_per_patch_mbyte=2.0,
        ms_per_window_mbyte=0.5,
        ms_per_activation_mbyte=0.4,
        ms_per_weight_mbyte=0.2,
        ms_per_operator=0.01,
        ms_per_run=0.2,
    )
    rng = random.Random(0)
    cells = {"|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*rng.choices(NASBENCH_OPERATORS, k=6)) for _ in range(50)}
    made = [
        Measurement(network=cell, groups=(), precision=Precision.FP32, latency_ms=rates.latency_ms(work), work=work)
        for cell in sorted(cells)
        for work in [total_work(operators_of(parse_cell(cell)), Precision.FP32)]
    ]
    assert calibrate(made)[Precision.FP32].rates.ms_per_window_mbyte == pytest.approx(0.5, rel=0.02)
    assert not windows_pay(read_measurements(TABLE)), "one pool a network says nothing of them"


@pytest.mark.parametrize(("rows", "computed"), [(1, 1), (2, 4), (4, 4), (9, 12), (49, 52), (64, 64)])
def test_rows_of_a_convolution_are_computed_in_tiles(rows: int, computed: int):
    operator = Operator(
        name="conv",
        kind=OperatorKind.CONV,
        inputs=(Tensor(name="x", elements=8 * rows),),
        output=Tensor(name="y", elements=16 * rows),
        macs=8 * 16 * rows * 10**6,
        channels=16,
    )
    assert work_of(operator, Precision.FP32).mmacs == pytest.approx(8 * 16 * computed)
    depthwise = replace(operator, kind=OperatorKind.DEPTHWISE)
    assert work_of(depthwise, Precision.FP32).mmacs == pytest.approx(8 * 16 * rows)


def test_too_few_networks_are_refused():
    with pytest.raises(BadInputError):
        calibrate(read_measurements(TABLE)[:5])


@pytest.mark.parametrize(
    "line", ["mobilenet_v1,1.0,224,int8,", "mobilenet_v1,1.0,224,int8,-3", "mobilenet_v1,1,224,int9,3"]
)
def test_broken_row_is_bad_input_that_names_its_line(tmp_path: Path, line: str):
    table = tmp_path / "table.csv"
    table.write_text(f"family,width,resolution,precision,p50_ms\nmobilenet_v1,1.0,224,int8,28.5\n{line}\n")
    with pytest.raises(BadInputError, match="line 3"):
        read_measurements(table)


@pytest.mark.parametrize(
    "content", [None, "", "{}", '{"schema_version": 1}', '{"schema_version": 1, "precisions": []}']
)
def test_broken_cost_model_is_bad_input(tmp_path: Path, content: str | None):
    shutil.copytree(data_folder("devices") / "rpi4", tmp_path / "rpi4")
    path = tmp_path / "rpi4" / "tflite.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(BadInputError, match=r"tflite\.json"):
        load_cost_model(parse_target("rpi4", folder=tmp_path))


@pytest.mark.parametrize("rate", [-1, None, "NaN", math.nan])
def test_missing_or_impossible_rate_in_a_cost_model_is_bad_input(tmp_path: Path, rate: object):
    shutil.copytree(data_folder("devices") / "rpi4", tmp_path / "rpi4")
    path = tmp_path / "rpi4" / "tflite.json"
    record = json.loads(path.read_text())
    rates = record["precisions"]["int8"]["rates"]
    if rate is None:
        del rates["ms_per_mmac"]
    else:
        rates["ms_per_mmac"] = rate
    path.write_text(json.dumps(record))
    with pytest.raises(BadInputError, match=r"tflite\.json"):
        load_cost_model(parse_target("rpi4:tflite-int8", folder=tmp_path))


def test_threads_that_were_not_measured_are_refused():
    with pytest.raises(UsageError, match="threads"):
        load_cost_model(replace(parse_target("rpi4"), threads=1))


def test_int8_is_faster_than_fp32():
    operators = mobilenet_v2(width=1.0, resolution=224)
    assert MODELS[Precision.INT8].latency_ms(operators) < MODELS[Precision.FP32].latency_ms(operators)
    assert load_device("rpi4").default_precision is Precision.INT8


def resnet50() -> list[Operator]:
    """ResNet-50 at 224 x 224, stride in the 3 x 3 convolutions."""
    operators = []

    def add(kind: OperatorKind, inputs: int, outputs: int, size: int, *, kernel: int = 0, read: int = 0) -> None:
        weights = kernel**2 * inputs * outputs
        operators.append(
            Operator(
                name=f"{len(operators)}",
                kind=kind,
                inputs=(Tensor(name="x", elements=read or size**2 * inputs),),
                output=Tensor(name="y", elements=size**2 * outputs),
                macs=weights * size**2,
                weights=weights,
                biases=outputs if weights else 0,
                channels=outputs,
                kernel=max(kernel, 1),
            )
        )

    add(OperatorKind.CONV, 3, 64, 112, kernel=7, read=3 * 224**2)
    add(OperatorKind.POOL, 64, 64, 56, read=64 * 112**2)
    channels = 64
    for hidden, blocks, size in ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)):
        for block in range(blocks):
            size_in = size * 2 if block == 0 and hidden > 64 else size
            add(OperatorKind.CONV, channels, hidden, size_in, kernel=1)
            add(OperatorKind.CONV, hidden, hidden, size, kernel=3, read=hidden * size_in**2)
            add(OperatorKind.CONV, hidden, 4 * hidden, size, kernel=1)
            if block == 0:
                add(OperatorKind.CONV, channels, 4 * hidden, size, kernel=1, read=channels * size_in**2)
            channels = 4 * hidden
            add(OperatorKind.ADD, channels, channels, size, read=2 * channels * size**2)
    add(OperatorKind.POOL, 2048, 2048, 1, read=2048 * 49)
    add(OperatorKind.DENSE, 2048, 1001, 1, kernel=1)
    add(OperatorKind.OTHER, 1001, 1001, 1)
    return operators


def test_resnet50_has_its_published_work():
    assert sum(operator.macs for operator in resnet50()) / 1e9 == pytest.approx(4.1, rel=0.01)


def flat(record, path: str = "") -> dict[str, float]:
    if isinstance(record, dict):
        return {key: value for name, item in record.items() for key, value in flat(item, f"{path}/{name}").items()}
    if isinstance(record, list):
        return {key: value for name, item in enumerate(record) for key, value in flat(item, f"{path}/{name}").items()}
    return {path: record}
