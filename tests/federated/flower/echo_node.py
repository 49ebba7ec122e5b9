"""A node that echoes: python echo_node.py BUNDLE PORT [KIND], where it fails at requests of that kind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgekit.cli.interruption import Interruption
from edgekit.core.errors import EdgekitError
from edgekit.federated.flower.client import join
from edgekit.federated.transport import Kind


def answer(kind: Kind, request: bytes) -> bytes:
    if kind in sys.argv[3:]:
        raise ValueError("no answer")
    reply = kind.encode() + request
    sys.stdout.write(json.dumps({"kind": kind, "bytes_down": len(request), "bytes_up": len(reply)}) + "\n")
    sys.stdout.flush()
    return reply


if __name__ == "__main__":
    Interruption().listen()
    try:
        join(answer, server=f"127.0.0.1:{sys.argv[2]}", bundle=Path(sys.argv[1]))
    except EdgekitError as error:
        sys.stderr.write(error.message)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
