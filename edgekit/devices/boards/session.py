"""A board in use: locked, probed, and asked again where it was lost for a moment."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from edgekit.core.errors import BadInputError, BoardError, LostBoardError, UnstableError
from edgekit.core.records import sha256_of
from edgekit.devices.boards.adb import AdbTransport
from edgekit.devices.boards.board import AdbBoard, Board, LocalBoard, QemuBoard, SshBoard
from edgekit.devices.boards.facts import BoardFacts
from edgekit.devices.boards.local import LocalTransport
from edgekit.devices.boards.lock import locked
from edgekit.devices.boards.measurement import BoardRun, check_stable
from edgekit.devices.boards.phone import measure_on_phone, phone_facts
from edgekit.devices.boards.qemu import QemuTransport
from edgekit.devices.boards.remote import last_line
from edgekit.devices.boards.ssh import SshTransport
from edgekit.devices.boards.transport import Completed, Transport
from edgekit.devices.device import Protocol

_PROGRAMS: Final = Path(__file__).with_name("programs")
_PROBE_S, _START_S = 30.0, 60.0
_TRIES, _PAUSE_S = 3, 1.0
_UNSTABLE_TRIES: Final = 2
# A measurement may take so many times as long as it is meant to: ten runs are made however slow they are.
_LIMIT: Final = 6
_UNSUITABLE: Final = 3
# What the programs of a board need beside Python, by the file's suffix.
_RUNTIMES: Final[Mapping[str, str]] = {
    ".tflite": "ai-edge-litert",
    ".onnx": "onnxruntime",
    ".so": "TVM's runtime (apache-tvm and apache-tvm-ffi)",
}
# How a program ends that the file itself has brought down.
_CRASHES: Final = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
_ONE_THREAD: Final = Protocol(threads=1)

Answer = TypeVar("Answer")


@contextmanager
def open_board(board: Board, *, wait_s: float = 0.0, tries: int = _TRIES) -> Iterator[BoardSession]:
    """Locks the board for this process and closes its transport at the end. Raises BoardError where it is in use or cannot be
    reached."""
    with locked(board, wait_s=wait_s):
        session = BoardSession(board, tries=tries)
        try:
            yield session
        finally:
            session.close()


class BoardSession:
    """What breaks on the way to a board is tried `tries` times, each time over a new connection."""

    def __init__(self, board: Board, *, tries: int = _TRIES) -> None:
        self.board = board
        self._tries = tries
        self._transport: Transport | None = None

    def facts(self) -> BoardFacts:
        """Raises BoardError where the board does not answer."""
        if self._phone is not None:
            return self._again(lambda transport: phone_facts(transport, self.board.workspace))
        done = self._again(lambda transport: self._exec(transport, "tell_facts.py", [self.board.workspace], _PROBE_S))
        record = self._answer(done, "tell_facts.py")
        return self._parsed(lambda: BoardFacts.from_json(record))

    def measure(self, path: Path, protocol: Protocol, *, seconds: float) -> BoardRun:
        """Latencies of a .tflite, .onnx or compiled .so file, in about `seconds` where ten runs take no longer; measured once more
        where they are not stable. A .so is native code, which does on the board whatever its user may.

        Raises UnstableError where they still are not, BoardError where the board is lost or emulated, or has no runtime for the
        file, BadInputError where the runtime cannot open it.
        """
        if self.board.emulated:
            raise BoardError(f"{self.board.name} is emulated", hint="count its instructions instead")
        options = ["--runs", str(protocol.runs), "--warm-up", str(protocol.warmup_runs_max), "--seconds", str(seconds)]
        limit_s = _LIMIT * seconds + _START_S
        for attempt in range(_UNSTABLE_TRIES):
            if (program := self._phone) is not None:
                run = self._on_phone(path, program, protocol, seconds=seconds, limit_s=limit_s)
            else:
                run = self._run_model(path, options, protocol, limit_s=limit_s)
            try:
                check_stable(run, self.board.name)
            except UnstableError:
                if attempt + 1 == _UNSTABLE_TRIES:
                    raise
            else:
                return run
        raise AssertionError

    def count(self, path: Path, *, limit_s: float = 300.0) -> BoardRun:
        """The instructions that a run of the file executes on one thread of an emulated board. Raises as `measure` does."""
        return self._run_model(path, ["--count"], _ONE_THREAD, limit_s=limit_s)

    def outputs(self, path: Path, inputs: Path, target: Path, *, limit_s: float = 300.0) -> BoardRun:
        """Writes to `target` what the file answers to `inputs`, both .npy: [N, ...] float32 in, in the file's own layout, and the
        file's own type out. Raises BadInputError for a file with several inputs or outputs, or of other shapes."""
        remote = [self._place(inputs.name), self._place(f"{path.stem}.outputs.npy")]

        def ask(transport: Transport) -> BoardRun:
            transport.push(inputs, remote[0])
            options = ["--inputs", remote[0], "--outputs", remote[1]]
            run = self._run_once(transport, path, options, _ONE_THREAD, limit_s=limit_s)
            transport.pull(remote[1], target)
            return run

        return self._again(ask)

    def kernels(self, library: Path, functions: Path, *, threads: int, limit_s: float = 300.0) -> tuple[float, ...]:
        """What each function of a compiled library costs: microseconds, the least of several rounds, or on an emulated board the
        instructions that it executes on one thread.

        `functions` is a JSON file: a list of `name` and `arguments`, [shape, type] each. Raises BoardError.
        """
        if self._phone is not None:
            raise BoardError(f"{self.board.name} runs no Python", hint="tune on a board that does")

        def ask(transport: Transport) -> tuple[float, ...]:
            remote = [self._place(library.name), self._place(functions.name)]
            for source, target in zip((library, functions), remote, strict=True):
                transport.push(source, target)
            for name in ("tell_facts.py", "run_model.py"):
                transport.push(_PROGRAMS / name, self._place(name))
            counting = ["--count"] if self.board.emulated else []
            of_threads = "1" if self.board.emulated else str(threads)
            arguments = [*remote, "--threads", of_threads, "--limit", str(math.ceil(limit_s)), *counting]
            record = self._answer(self._exec(transport, "time_kernels.py", arguments, limit_s), "time_kernels.py")
            return self._parsed(lambda: tuple(float(cost) for cost in record["costs"]))

        return self._again(ask)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    @property
    def runs_python(self) -> bool:
        """Where it does not, latencies alone can be had."""
        return self._phone is None

    @property
    def _phone(self) -> Path | None:
        """The program that stands in for Python."""
        native = self.board.benchmark_model if isinstance(self.board, AdbBoard) else ""
        return Path(native) if native else None

    def _on_phone(self, path: Path, program: Path, protocol: Protocol, *, seconds: float, limit_s: float) -> BoardRun:
        if path.suffix != ".tflite":
            raise BoardError(
                f"{self.board.name} runs only .tflite files, not {path}", hint="measure it on another board"
            )
        workspace = self.board.workspace.rstrip("/")
        return self._again(
            lambda transport: measure_on_phone(
                transport, path, program, workspace, protocol, seconds=seconds, limit_s=limit_s
            )
        )

    def _run_model(self, path: Path, options: Sequence[str], protocol: Protocol, *, limit_s: float) -> BoardRun:
        return self._again(lambda transport: self._run_once(transport, path, options, protocol, limit_s=limit_s))

    def _run_once(
        self, transport: Transport, path: Path, options: Sequence[str], protocol: Protocol, *, limit_s: float
    ) -> BoardRun:
        if self._phone is not None:
            raise BoardError(f"{self.board.name} runs no Python", hint="only its latencies can be measured")
        if path.suffix not in _RUNTIMES:
            raise BadInputError(
                f"{path} is not a model file that boards run", hint=f"give a file that ends in {', '.join(_RUNTIMES)}"
            )
        sha256 = sha256_of(path)
        remote = self._place(f"{sha256[:16]}{path.suffix}")
        transport.push(path, remote)
        transport.push(_PROGRAMS / "tell_facts.py", self._place("tell_facts.py"))
        arguments = [remote, "--threads", str(protocol.threads), "--limit", str(math.ceil(limit_s)), *options]
        done = self._exec(transport, "run_model.py", arguments, limit_s)
        if done.code == _UNSUITABLE:
            raise BadInputError(
                f"{path} was refused on {self.board.name}: {last_line(done.stderr)}",
                hint="give a complete file for this board, and inputs of its shape",
            )
        if (crash := _crash(done.code)) is not None:
            raise BadInputError(
                f"{path} crashed the program that ran it on {self.board.name} ({crash.name})",
                hint="the file is damaged, or was made for another board",
            )
        record = self._answer(done, "run_model.py", _RUNTIMES[path.suffix])
        run = self._parsed(lambda: BoardRun.from_json(record, protocol))
        if run.sha256 != sha256:
            raise LostBoardError(f"{path} arrived damaged on {self.board.name}", hint="free some space on the board")
        return run

    def _exec(self, transport: Transport, program: str, arguments: Sequence[str], limit_s: float) -> Completed:
        transport.push(_PROGRAMS / program, self._place(program))
        argv = [*self.board.python, self._place(program), *arguments]
        return transport.exec(argv, timeout_s=limit_s, env=self.board.env)

    def _answer(self, done: Completed, program: str, runtime: str = _RUNTIMES[".tflite"]) -> Mapping[str, Any]:
        if done.code:
            raise BoardError(
                f"{program} failed on {self.board.name} with exit code {done.code}: {last_line(done.stderr)}",
                hint=f"Python, numpy and {runtime} must be installed there; see docs/boards.md",
            )
        return self._parsed(lambda: dict(json.loads(done.stdout)))

    def _place(self, name: str) -> str:
        return f"{self.board.workspace.rstrip('/')}/{name}"

    def _parsed(self, parse: Callable[[], Answer]) -> Answer:
        try:
            return parse()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LostBoardError(
                f"{self.board.name} gave an answer that cannot be read: {error}",
                hint="check whether its login prints something",
            ) from error

    def _again(self, ask: Callable[[Transport], Answer]) -> Answer:
        for attempt in range(self._tries):
            try:
                if self._transport is None:
                    self._transport = open_transport(self.board)
                return ask(self._transport)
            except LostBoardError:
                self.close()
                if attempt + 1 == self._tries:
                    raise
                time.sleep(_PAUSE_S * 2**attempt)
        raise AssertionError


def _crash(code: int) -> signal.Signals | None:
    """Of a program on this machine its exit code is less than 0, of one behind a shell more than 128."""
    number = -code if code < 0 else code - 128
    return signal.Signals(number) if number in _CRASHES else None


def open_transport(board: Board) -> Transport:
    """Raises BoardError where it cannot be reached."""
    match board:
        case SshBoard():
            return SshTransport(board)
        case AdbBoard():
            return AdbTransport(board)
        case QemuBoard():
            return QemuTransport(board)
        case LocalBoard():
            return LocalTransport()
    raise TypeError(board)
