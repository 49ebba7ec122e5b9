"""The rooms of docs/design.md: a room imports only from floors below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import edgekit

PACKAGE = Path(edgekit.__file__).parent
FLOOR = {
    "core": 1,
    "tasks": 2,
    "supernet": 3,
    "devices": 3,
    "networks": 3,
    "pruning": 3,
    "assembler": 4,
    "exporters": 4,
    "lab": 4,
    "report": 4,
    "deploy": 5,
    "passes": 5,
    "pipeline": 6,
    "federated": 7,
    "cli": 8,
    "testing": 8,
}


def rooms_imported_by(path: Path) -> set[str]:
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append(node.module or "")
    parts = [module.split(".") for module in modules]
    return {part[1] for part in parts if part[0] == "edgekit" and len(part) > 1 and part[1] in FLOOR}


def test_every_room_has_a_floor() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(FLOOR)


@pytest.mark.parametrize("room", FLOOR)
def test_a_room_imports_only_from_below(room: str) -> None:
    upwards = {
        str(path.relative_to(PACKAGE)): other
        for path in (PACKAGE / room).rglob("*.py")
        for other in rooms_imported_by(path) - {room}
        if FLOOR[other] >= FLOOR[room]
    }
    assert upwards == {}
