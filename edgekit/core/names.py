"""What to answer to a name nobody knows."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """One sentence: the nearest known names, or where there are none the first of the list."""
    choices = sorted(set(known))
    if not choices:
        return "there is nothing to choose from"
    nearest = get_close_matches(name.lower(), choices, n=3, cutoff=0.6)
    if nearest:
        return "did you mean " + " or ".join(f'"{match}"' for match in nearest) + "?"
    listed = ", ".join(f'"{choice}"' for choice in choices[:12])
    return f"known: {listed}" + (f" and {len(choices) - 12} more" if len(choices) > 12 else "")
