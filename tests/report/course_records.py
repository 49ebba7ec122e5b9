"""The record of a small course of federated learning, as `report.json` has it."""

from __future__ import annotations

from typing import Any


def round_(number: int, **changed: object) -> dict[str, Any]:
    return {
        "number": number,
        "stage": "round",
        "seconds": 1.0,
        "clients": ["a", "b"],
        "left_out": {},
        "loss": 1.0 / (number + 1),
        "accuracy": 0.5 + number / 100,
        "down_bytes": 1000,
        "up_bytes": 900,
        "macs": 10**9,
        "kept_macs": 10**8,
        "dense_macs": 2 * 10**9,
        "peak_bytes": 10**6,
        "dense_peak_bytes": 2 * 10**6,
        "exchanged": 3,
        "densities": {"stem.weight": 0.1, "head.weight": 0.05 + number / 1000},
    } | changed


def course_record(**changed: object) -> dict[str, Any]:
    return {
        "origin": "signs43 ff.ff, all",
        "settings": {"density": 0.05, "rounds": 3},
        "kept": 50,
        "weights": 1000,
        "others": 20,
        "accuracy": 0.52,
        "epsilon": None,
        "delta": None,
        "traffic_bytes": 5700,
        "dense_traffic_bytes": 48960,
        "notes": ["The mask is drawn."],
        "rounds": [round_(number) for number in range(3)],
    } | changed
