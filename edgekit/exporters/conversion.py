"""One kind of error for all that converters raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgekit.core.errors import ConversionError, EdgekitError


@contextmanager
def converting(what: str, *, to: str) -> Iterator[None]:
    """Turns whatever an unsupported network makes a converter trip over into a ConversionError."""
    try:
        yield
    except EdgekitError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(
            f"cannot convert {what} to {to}: {reason}",
            hint=f"an earlier pass may have used an operator that {to} does not have",
        ) from error
