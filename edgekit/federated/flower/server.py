"""A server's part, two processes: the course here, Flower's SuperLink in another. What `edgekit federated server` runs."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from flwr.common.constant import SubStatus
from flwr.common.serde import context_from_proto, run_from_proto
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest, PushTaskOutputRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from edgekit.core.errors import BadInputError, EdgekitError
from edgekit.federated.flower.grid_transport import Exchange
from edgekit.federated.flower.settings import PORTS, SECRET, Ports, Settings, read_ports
from edgekit.federated.flower.strategy import Course, server_app
from edgekit.federated.keys import ServerKeys
from edgekit.federated.private_files import private_folder, write_private

LOG_FILE = "superlink.log"
_START_S, _STOP_S, _POLL_S = 60.0, 10.0, 0.05
# On one machine: what does not answer at once is gone.
_TRIES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class SuperLink:
    """A running one. `pid` is its process; it ends with `running_superlink`, or with this process."""

    pid: int
    ports: Ports
    authority: bytes
    secret: bytes = field(repr=False)
    log: Path

    @property
    def runtime(self) -> str:
        return f"127.0.0.1:{self.ports.runtime}"


def serve(
    course: Course,
    *,
    keys: Path,
    state: Path,
    host: str = "127.0.0.1",
    port: int = 8443,
    ready: Callable[[SuperLink], None] = lambda _: None,
    report: Callable[[Exchange], None] = lambda _: None,
) -> None:
    """Runs a course with the nodes that call at `host`:`port`, to its end. What the course raises comes out of here.

    `ready` is told once nodes may call, `report` after each exchange. In `state`: access.log (who was let in, who was refused) and
    superlink.log. Raises BadInputError where the keys are no good or the port is taken, EdgekitError where the SuperLink dies.
    """
    with running_superlink(keys=keys, state=state, host=host, port=port) as superlink:
        ready(superlink)
        try:
            _run(course, superlink, report=report)
        except httpx.TransportError as error:
            raise EdgekitError("the SuperLink has ended", hint=f"its last messages are in {superlink.log}") from error


@contextmanager
def running_superlink(*, keys: Path, state: Path, host: str, port: int) -> Iterator[SuperLink]:
    """Started, listening, and at the end stopped. Raises BadInputError, with what it said last, where it does not start."""
    server_keys = ServerKeys(folder=keys.resolve())
    server_keys.check()
    private_folder(state)
    secret = secrets.token_bytes(32)
    write_private(state / SECRET, secret)
    Settings(keys=str(server_keys.folder), host=host, port=port).write(state)
    (state / PORTS).unlink(missing_ok=True)
    log = state / LOG_FILE
    write_private(log, b"")
    process = _start(state, log)
    try:
        ports = _wait(process, state, log)
        yield SuperLink(
            pid=process.pid, ports=ports, authority=server_keys.authority.read_bytes(), secret=secret, log=log
        )
    finally:
        _stop(process)
        (state / SECRET).unlink(missing_ok=True)


def _start(state: Path, log: Path) -> subprocess.Popen[bytes]:
    """It reads the end of this process from its standard input. Of its command line everyone on the machine may read."""
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 (our own module)
            [sys.executable, "-P", "-m", "edgekit.federated.flower.superlink", str(state.resolve())],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "FLWR_HOME": str((state / "flower").resolve())},
            start_new_session=True,  # Ctrl-C in a terminal is for us alone: the course ends before its SuperLink
        )


def _wait(process: subprocess.Popen[bytes], state: Path, log: Path) -> Ports:
    deadline_s = time.monotonic() + _START_S
    while not (state / PORTS).exists():
        if process.poll() is not None or time.monotonic() > deadline_s:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise BadInputError(
                f"the SuperLink does not start: {last[0] if last else 'it says nothing'}", hint=f"see {log}"
            )
        time.sleep(_POLL_S)
    return read_ports(state)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _run(course: Course, superlink: SuperLink, *, report: Callable[[Exchange], None]) -> None:
    """As Flower's `flwr-serverapp` does in a process of its own: claims the run's task, beats, runs the app, says how it went."""
    token = _claim(superlink)
    with closing(_client(superlink, RuntimeTokenHttpInterceptor(token))) as client:
        task = client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = task.task_id, task.run.run_id
        TaskIdentity.node_id = task.context.node_id
        grid = HttpGrid(superlink.runtime, root_certificates=superlink.authority, token=token)
        grid._retry_invoker.max_tries = _TRIES
        grid.set_run(run_from_proto(task.run))
        heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
        heartbeat.start()
        status = SubStatus.FAILED
        try:
            server_app(course, report=report)(grid=grid, context=context_from_proto(task.context))
            status = SubStatus.COMPLETED
        finally:
            heartbeat.stop()
            grid.close()
            with suppress(httpx.HTTPError):
                client.PushTaskOutput(PushTaskOutputRequest(sub_status=status))


def _claim(superlink: SuperLink) -> str:
    """The one task of the one run."""
    signing = SuperExecAuthHttpInterceptor(
        master_secret=superlink.secret, protected_methods={"/flwr.proto.Runtime/AcquireTask"}
    )
    with closing(_client(superlink, signing)) as client:
        return client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])).token


def _client(superlink: SuperLink, authentication: ProtobufClientInterceptor) -> RuntimeHttpClient:
    return RuntimeHttpClient.from_server_address(
        superlink.runtime,
        insecure=False,
        root_certificates=superlink.authority,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-serverapp"), authentication],
    )
