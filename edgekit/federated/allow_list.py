"""The nodes that may take part: who, with which key, until when."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from edgekit.core.errors import UsageError
from edgekit.core.names import did_you_mean
from edgekit.core.records import read_json
from edgekit.federated.private_files import write_private

FILE = "nodes.json"
_SCHEMA = 1


class Standing(StrEnum):
    """Of a key, at a moment."""

    ENROLLED = "enrolled"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """`number` names it in a course, for ever: no later node gets it. `public_key` is PEM; moments are ISO 8601, in UTC."""

    number: int
    name: str
    public_key: str
    enrolled_at: str
    expires_at: str
    revoked_at: str = ""

    def standing(self, now: datetime) -> Standing:
        if self.revoked_at:
            return Standing.REVOKED
        return Standing.EXPIRED if now >= datetime.fromisoformat(self.expires_at) else Standing.ENROLLED

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.public_key.encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class AllowList:
    nodes: tuple[Node, ...] = ()

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def holder_of(self, public_key: bytes) -> Node | None:
        return next((node for node in self.nodes if node.public_key.encode() == public_key), None)

    def with_node(self, name: str, public_key: bytes, *, now: datetime, expires: datetime) -> tuple[AllowList, Node]:
        """Raises UsageError where a node of this name is enrolled."""
        if any(node.name == name and node.standing(now) is Standing.ENROLLED for node in self.nodes):
            raise UsageError(
                f'a node "{name}" is already enrolled', hint="choose another name, or revoke that one first"
            )
        node = Node(
            number=1 + max((node.number for node in self.nodes), default=0),
            name=name,
            public_key=public_key.decode(),
            enrolled_at=now.isoformat(timespec="seconds"),
            expires_at=expires.isoformat(timespec="seconds"),
        )
        return AllowList(nodes=(*self.nodes, node)), node

    def without(self, name: str, *, now: datetime) -> tuple[AllowList, Node]:
        """Every key of this name is revoked. Raises UsageError where there is none that is not."""
        held = [node for node in self.nodes if node.name == name and not node.revoked_at]
        if not held:
            known = [node.name for node in self.nodes if not node.revoked_at]
            raise UsageError(f'no node "{name}" is enrolled', hint=did_you_mean(name, known))
        moment = now.isoformat(timespec="seconds")
        revoked = {node.number: replace(node, revoked_at=moment) for node in held}
        return AllowList(nodes=tuple(revoked.get(node.number, node) for node in self.nodes)), revoked[held[-1].number]

    def write(self, folder: Path) -> None:
        """Raises BadInputError."""
        record = {"schema_version": _SCHEMA, "nodes": [asdict(node) for node in self.nodes]}
        write_private(folder / FILE, (json.dumps(record, indent=2) + "\n").encode())


def read_allow_list(folder: Path) -> AllowList:
    """Raises BadInputError."""
    record = read_json(folder / FILE, schema_version=_SCHEMA)
    return AllowList(nodes=tuple(Node(**node) for node in record["nodes"]))


class LiveAllowList:
    """The list as it is on disk now: read anew as soon as its file is another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self._list = AllowList()

    def current(self) -> AllowList:
        status = (self._folder / FILE).stat()
        seen = (status.st_ino, status.st_mtime_ns)
        if seen != self._seen:
            self._list, self._seen = read_allow_list(self._folder), seen
        return self._list


def fingerprint(public_key: bytes) -> str:
    return "sha256:" + hashlib.sha256(public_key).hexdigest()[:16]


def now_utc() -> datetime:
    return datetime.now(UTC)
