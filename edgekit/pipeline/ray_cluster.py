"""A connection to a Ray cluster. Who reaches one can run programs on it, and its answers are unpickled: it must be your own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from typing import Any, Final

from edgekit.core.errors import MissingExtraError, UsageError

LOCAL: Final = "local"
"""In place of an address: a cluster of this machine alone, which ends with the connection."""

_ANSWERS_WITHIN_S: Final = 5.0
# Ray reports to its makers unless told not to, and warns of a change that does not concern us.
_SILENT: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def require_ray() -> None:
    """Raises MissingExtraError."""
    if find_spec("ray") is None:
        raise MissingExtraError("Ray is not installed", hint="pip install 'edgekit[ray]'")


@contextmanager
def ray_cluster(address: str) -> Iterator[None]:
    """Connected to `HOST:PORT`, `ray://HOST:PORT`, `auto` (the cluster that this machine belongs to) or LOCAL; through the caller's
    own connection, where there is one. Raises MissingExtraError, and UsageError where nothing answers."""
    require_ray()
    os.environ.update(_SILENT)
    import ray

    if ray.is_initialized():
        yield
        return
    place: dict[str, Any] = {"address": address}
    if address == LOCAL:
        place |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        _check_answers(address)
        with _same_sigterm(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **place)
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address}: {' '.join(str(error).split())[:200]}",
            hint="start one with ray start --head, which prints its address; see docs/fleet.md",
        ) from error
    try:
        with redirect_stdout(sys.stderr):  # where Ray tells of jobs that it gives to another worker
            yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes. Raises OSError, ValueError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_WITHIN_S).close()


@contextmanager
def _same_sigterm() -> Iterator[None]:
    """Ray takes the signal for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
