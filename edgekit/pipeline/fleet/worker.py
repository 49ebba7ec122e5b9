"""A process that builds one member of a fleet after another, so that heavy libraries are imported once; `pool.py` starts it.

Each line of stdin is a job (`edgekit.pipeline.fleet.member`); each line of stdout is {"stage": NAME}, or at the end of a job
{"failure": null or an object}. Where stdin ends, whoever gave the jobs is gone, and so is the worker, at once.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from edgekit.pipeline.fleet.member import Failure, arguments_of

GRACE_S: Final = 5.0


def main() -> None:
    say = _private_stdout()
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    is_building = threading.Event()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_read, args=(jobs, is_building), daemon=True).start()
    for number in itertools.count():
        job = jobs.get()
        is_building.set()
        failure = built(job, lambda stage: say({"stage": stage}))
        is_building.clear()
        if number == 0:
            gc.freeze()  # what libraries hold by now stays: it need not be looked through again and again
        say({"failure": None if failure is None else failure.to_json()})


def built(job: dict[str, Any], progress: Callable[[str], None]) -> Failure | None:
    """Whatever goes wrong with a job is an answer to it."""
    try:
        from edgekit.pipeline.build import build

        build(**arguments_of(job), overwrite=True, progress=progress)
    except Exception as error:
        return Failure.of(error)
    return None


def _private_stdout() -> Callable[[dict[str, Any]], None]:
    """What libraries print goes to stderr."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(record: dict[str, Any]) -> None:
        channel.write(json.dumps(record) + "\n")
        channel.flush()

    return say


def _read(jobs: queue.SimpleQueue[dict[str, Any]], is_building: threading.Event) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    if is_building.is_set():
        os.kill(os.getpid(), signal.SIGTERM)  # so that every `finally` on the way cleans up
        time.sleep(GRACE_S)
    os._exit(0)
