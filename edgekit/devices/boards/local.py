"""This machine as a board."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.core.errors import BoardError
from edgekit.devices.boards import processes
from edgekit.devices.boards.transport import Completed


class LocalTransport:
    def push(self, source: Path, target: str) -> None:
        whole = Path(target)
        part = whole.with_name(whole.name + ".part")
        try:
            whole.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, part)
            part.replace(whole)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise BoardError(
                f"cannot write {target}: {error.strerror or error}", hint="free some space, or choose another workspace"
            ) from error

    def exec(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Completed:
        return processes.run(argv, timeout_s=timeout_s, env=env)

    def pull(self, source: str, target: Path) -> None:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise BoardError(f"cannot read {source}: {error.strerror or error}", hint="measure again") from error

    def close(self) -> None:
        """Nothing is open."""
