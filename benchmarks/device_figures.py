"""Writes the tables of figures beside the devices: what ncnn, HW-NAS-Bench (arXiv 2103.10584) and XNNPACK measured on them.

    python benchmarks/device_figures.py

Needs shared/data/latency beside the repository. Of HW-NAS-Bench it takes 100 random networks of NAS-Bench-201 with a path from
input to output, and 100 blocks of FBNet, whose latencies are those above a skip in the same place. XNNPACK's are those that its
README states, of the Raspberry Pi 3+ under a 32-bit system.
"""

from __future__ import annotations

import csv
import io
import random
import sys
from collections.abc import Mapping

from harness import LATENCIES
from nasbench201_rows import read_rows
from ncnn_rows import figures_of, read_settings, setting_of

from edgekit.core.data_folders import data_folder
from edgekit.core.records import write_bytes
from edgekit.devices.relatives import FigureKey

# Device, board as ncnn's benchmark begins its name, (threads, power mode), whether its cores compute in half precision.
NCNN = (
    ("rpi3", "Raspberry Pi 3 Model B+", ((1, 0), (4, 0)), False),
    ("rpi-zero2", "Raspberry Pi 3 Model B+", ((1, 0), (4, 0)), False),
    ("rpi4", "Raspberry Pi 4 Model B", ((1, 0), (4, 0)), False),
    ("rpi5", "Rockchip RK3588 (Quad Core A76", ((1, 0), (4, 2)), True),
    ("rk3399", "Rockchip RK3399 (Cortex-A72", ((1, 2), (2, 2)), False),
    ("jetson-xavier-cpu", "NVIDIA Jetson AGX Xavier", ((1, 0), (2, 0), (4, 0), (8, 0)), True),
    ("hikey960", "Kirin 970", ((1, 2), (4, 2)), False),
    ("pixel2", "Qualcomm MSM8998 Snapdragon 835", ((1, 2), (4, 2)), False),
)
HW_NAS_BENCH = (("rpi4", "raspi4"), ("pixel3", "pixel3"))
NETWORKS = 100
XNNPACK = {
    "rpi3": {
        "fp32": {"mobilenet_v1": 114, "mobilenet_v2": 79, "mobilenet_v3_large": 67, "mobilenet_v3_small": 22},
        "int8": {"mobilenet_v1": 46, "mobilenet_v2": 30},
    },
    "rpi4": {
        "fp32": {"mobilenet_v1": 77, "mobilenet_v2": 46, "mobilenet_v3_large": 40, "mobilenet_v3_small": 15},
        "int8": {"mobilenet_v1": 24, "mobilenet_v2": 17},
    },
    "pixel2": {"fp32": {"mobilenet_v1": 27, "mobilenet_v2": 18, "mobilenet_v3_large": 16, "mobilenet_v3_small": 6}},
}
XNNPACK_THREADS = 4
# Latencies of blocks are differences: what is not well above the rounding of both tables says nothing.
LEAST_MS = 0.1


def main() -> int:
    settings = read_settings()
    for device, board, threads_and_mode, half_precision in NCNN:
        figures: dict[FigureKey, float] = {}
        for threads, mode in threads_and_mode:
            latencies = setting_of(settings, board, threads, mode)
            figures |= figures_of(latencies, threads, half_precision=half_precision)
        _write(device, "ncnn.csv", figures)
    rows, _ = read_rows()
    cells = random.Random(0).sample(rows, NETWORKS)  # noqa: S311
    blocks = random.Random(0).sample(_blocks(), NETWORKS)  # noqa: S311
    for device, column in HW_NAS_BENCH:
        figures = {(row.architecture, "fp32", 0): row.latency_ms[column] for row in cells}
        figures |= {(_name(block), "fp32", 0): _ms(block, column) for block in blocks}
        _write(device, "hw_nas_bench.csv", figures)
    for device, of_precision in XNNPACK.items():
        figures = {
            (network, precision, XNNPACK_THREADS): float(ms)
            for precision, latencies in of_precision.items()
            for network, ms in latencies.items()
        }
        _write(device, "xnnpack.csv", figures)
    return 0


def _blocks() -> list[dict[str, str]]:
    with (LATENCIES / "fbnet_block_lut_recovered.csv").open(newline="") as file:
        blocks = list(csv.DictReader(file))
    return [block for block in blocks if all(_ms(block, column) > LEAST_MS for _, column in HW_NAS_BENCH)]


def _name(block: Mapping[str, str]) -> str:
    channels = f"{block['c_in']}-{block['c_out']}"
    return f"FBNet layer {block['layer']} {block['op']} {channels} stride {block['stride']} at {block['h_in']}"


def _ms(block: Mapping[str, str], column: str) -> float:
    return float(block[f"{column}_ms_minus_skip"])


def _write(device: str, name: str, figures: Mapping[FigureKey, float]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", "precision", "threads", "ms"])
    writer.writerows((*key, f"{ms:.6g}") for key, ms in figures.items())
    path = data_folder("devices") / device / name
    write_bytes(path, text.getvalue().encode())
    print(f"{path}: {len(figures)} rows")


if __name__ == "__main__":
    sys.exit(main())
