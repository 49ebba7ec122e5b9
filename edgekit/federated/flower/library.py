"""Flower itself: whether it is here, and what keeps it silent."""

from __future__ import annotations

from importlib.util import find_spec

from edgekit.core.errors import MissingExtraError

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""Read by Flower as it is imported, here and in every process started from here."""


def require_flower() -> None:
    """Raises MissingExtraError."""
    if find_spec("flwr") is None:
        raise MissingExtraError("federated learning over a network needs flwr", hint="pip install 'edgekit[federated]'")
