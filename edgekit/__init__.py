"""From a task and a board to a verified model."""

from edgekit.version import VERSION as __version__

__all__ = ["__version__"]
