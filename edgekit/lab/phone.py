"""The device side of adb, for the emulated board: `python -m edgekit.lab.phone PORT FOLDER SHELL...`.

Listens on 127.0.0.1. Commands run by SHELL, which finds them in SSH_ORIGINAL_COMMAND; files are pushed to and pulled from
/data/local/tmp, which is FOLDER of this machine. Speaks what the adb client asks of a device without keys: CNXN, OPEN, OKAY,
WRTE, CLSE; services `shell` (version 2 too), `exec` and `sync` (version 1).
It needs nothing but the standard library, as the board's shell does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

STORAGE = PurePosixPath("/data/local/tmp")

_CNXN, _OPEN, _OKAY, _WRTE, _CLSE = b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE"
_HEADER = struct.Struct("<4s5I")  # command, two arguments, length and sum of the payload, command inverted
_VERSION, _MAX_PAYLOAD_BYTES = 0x01000000, 256 * 1024
_BANNER = (
    b"device::ro.product.name=edgekit_lab;ro.product.model=emulated board;ro.product.device=edgekit_lab;"
    b"features=shell_v2,cmd\0"
)
_PIECE_BYTES = 64 * 1024  # the most that a DATA of sync may hold

_SHELL_PACKET = struct.Struct("<BI")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)

_SYNC = struct.Struct("<4sI")


class Connection:
    """One adb server. A stream in it is one command, or one run of file transfers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, phone: Phone) -> None:
        self._reader, self._writer, self._phone = reader, writer, phone
        self._streams: dict[int, Stream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._last_stream = 0

    async def serve(self) -> None:
        try:
            while True:
                header = await self._reader.readexactly(_HEADER.size)
                command, argument, ours, length, _, _ = _HEADER.unpack(header)
                payload = await self._reader.readexactly(length)
                await self._take(command, argument, ours, payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the server has gone
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._writer.close()

    async def send(self, command: bytes, first: int, second: int, payload: bytes = b"") -> None:
        inverted = int.from_bytes(command, "little") ^ 0xFFFFFFFF
        self._writer.write(_HEADER.pack(command, first, second, len(payload), sum(payload), inverted) + payload)
        await self._writer.drain()

    async def _take(self, command: bytes, theirs: int, ours: int, payload: bytes) -> None:
        stream = self._streams.get(ours)
        if command == _CNXN:
            await self.send(_CNXN, _VERSION, _MAX_PAYLOAD_BYTES, _BANNER)
        elif command == _OPEN:
            self._last_stream += 1
            opened = Stream(self, ours=self._last_stream, theirs=theirs)
            self._streams[opened.ours] = opened
            await self.send(_OKAY, opened.ours, theirs)
            service = payload.rstrip(b"\0").decode()
            self._tasks[opened.ours] = asyncio.create_task(self._run(opened, service))
        elif command == _WRTE and stream:
            stream.incoming.feed_data(payload)
            await self.send(_OKAY, ours, theirs)
        elif command == _OKAY and stream:
            stream.may_write.set()
        elif command == _CLSE and stream:
            self._tasks[ours].cancel()

    async def _run(self, stream: Stream, service: str) -> None:
        try:
            with suppress(asyncio.IncompleteReadError):
                await self._phone.serve(stream, service)
            await stream.may_write.wait()
        finally:
            del self._streams[stream.ours], self._tasks[stream.ours]
            with suppress(ConnectionError):
                await self.send(_CLSE, stream.ours, stream.theirs)


class Stream:
    """`incoming` is what the client has written; `may_write` is set when it has taken what we wrote last."""

    def __init__(self, connection: Connection, *, ours: int, theirs: int) -> None:
        self._connection = connection
        self.ours, self.theirs = ours, theirs
        self.incoming = asyncio.StreamReader()
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def write(self, content: bytes) -> None:
        for start in range(0, len(content), _PIECE_BYTES):
            await self.may_write.wait()
            self.may_write.clear()
            await self._connection.send(_WRTE, self.ours, self.theirs, content[start : start + _PIECE_BYTES])


class Phone:
    def __init__(self, folder: Path, shell: Sequence[str]) -> None:
        self._folder, self._shell = folder, shell

    async def serve(self, stream: Stream, service: str) -> None:
        kind, _, command = service.partition(":")
        name, *options = kind.split(",")
        if name == "sync":
            await self._transfer_files(stream)
        elif name in ("shell", "exec"):
            await self._run_command(stream, command, packed="v2" in options)

    async def _run_command(self, stream: Stream, command: str, *, packed: bool) -> None:
        """`packed`: stdin, stdout, stderr and the exit code each in packets of its own, else stdout and stderr as they come."""
        process = await asyncio.create_subprocess_exec(
            *self._shell,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if packed else asyncio.subprocess.STDOUT,
            env={**os.environ, "SSH_ORIGINAL_COMMAND": command},
            start_new_session=True,
        )
        feeding = asyncio.create_task(_feed(stream, process, packed=packed))
        outputs = [(process.stdout, _STDOUT), (process.stderr, _STDERR)]
        try:
            await asyncio.gather(
                *(_forward(output, stream, identifier if packed else None) for output, identifier in outputs if output)
            )
            code = await process.wait()
            if packed:
                # As a shell says that a signal ended a program.
                await stream.write(_SHELL_PACKET.pack(_EXIT, 1) + bytes([code if code >= 0 else 128 - code]))
        except asyncio.CancelledError:  # the client has gone
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            feeding.cancel()

    async def _transfer_files(self, stream: Stream) -> None:
        while True:
            request, length = _SYNC.unpack(await stream.incoming.readexactly(_SYNC.size))
            argument = (await stream.incoming.readexactly(length)).decode()
            if request == b"QUIT":
                return
            try:
                if request == b"STAT":
                    await self._tell_status(stream, argument)
                elif request == b"LIST":
                    await self._list(stream, argument)
                elif request == b"SEND":
                    await self._receive_file(stream, argument)
                elif request == b"RECV":
                    await self._send_file(stream, argument)
                else:
                    raise OSError(f"unknown request {request!r}")
            except OSError as error:
                reason = (error.strerror or str(error)).encode()
                await stream.write(_SYNC.pack(b"FAIL", len(reason)) + reason)

    async def _tell_status(self, stream: Stream, name: str) -> None:
        try:
            found = self._path(name).stat()
            status = found.st_mode, found.st_size, int(found.st_mtime)
        except OSError:
            status = 0, 0, 0
        await stream.write(struct.pack("<4s3I", b"STAT", *status))

    async def _list(self, stream: Stream, name: str) -> None:
        for path in sorted(self._path(name).iterdir()):
            found, entry = path.stat(), path.name.encode()
            numbers = found.st_mode, found.st_size, int(found.st_mtime), len(entry)
            await stream.write(struct.pack("<4s4I", b"DENT", *numbers) + entry)
        await stream.write(struct.pack("<4s4I", b"DONE", 0, 0, 0, 0))

    async def _receive_file(self, stream: Stream, argument: str) -> None:
        name, _, mode = argument.rpartition(",")
        content = bytearray()
        while True:
            kind, length = _SYNC.unpack(await stream.incoming.readexactly(_SYNC.size))
            if kind == b"DONE":
                break
            content += await stream.incoming.readexactly(length)
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(int(mode) & 0o777 | 0o600)
        await stream.write(_SYNC.pack(b"OKAY", 0))

    async def _send_file(self, stream: Stream, name: str) -> None:
        with self._path(name).open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                await stream.write(_SYNC.pack(b"DATA", len(piece)) + piece)
        await stream.write(_SYNC.pack(b"DONE", 0))

    def _path(self, name: str) -> Path:
        """Of this machine. Raises PermissionError for what lies outside the storage, also by `..` and links."""
        path = (self._folder / os.path.relpath(name, STORAGE)).resolve()
        if not name.startswith("/") or not path.is_relative_to(self._folder):
            raise PermissionError(0, f"{name} is not in {STORAGE}")
        return path


async def _feed(stream: Stream, process: asyncio.subprocess.Process, *, packed: bool) -> None:
    """Hands on what the client types or pipes into the command."""
    assert process.stdin  # noqa: S101 (made with a pipe)
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            if packed:
                kind, length = _SHELL_PACKET.unpack(await stream.incoming.readexactly(_SHELL_PACKET.size))
                content = await stream.incoming.readexactly(length)
                if kind == _CLOSE_STDIN:
                    break
                if kind != _STDIN:  # the size of the client's window
                    continue
            else:
                content = await stream.incoming.read(_PIECE_BYTES)
            process.stdin.write(content)
            await process.stdin.drain()
    process.stdin.close()


async def _forward(output: asyncio.StreamReader, stream: Stream, identifier: int | None) -> None:
    while content := await output.read(_PIECE_BYTES // 2):
        head = b"" if identifier is None else _SHELL_PACKET.pack(identifier, len(content))
        await stream.write(head + content)


async def serve(port: int, phone: Phone) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(reader, writer, phone).serve()

    async with await asyncio.start_server(connect, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    _port, _folder, *_shell_command = sys.argv[1:]
    asyncio.run(serve(int(_port), Phone(Path(_folder).resolve(), _shell_command)))
