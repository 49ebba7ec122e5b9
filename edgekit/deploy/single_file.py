"""One Python file out of several modules."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

_PROGRAMS = "edgekit.deploy.programs."
# What is not there on a fresh board deserves more than a traceback.
_NUMPY = """try:
    import numpy as np
except ImportError:
    print("run.py: numpy is missing: deploy/README.md says how it is installed", file=sys.stderr)
    raise SystemExit(8) from None"""


def single_file(modules: Sequence[Path]) -> str:
    """The modules one after the other, under the docstring of the last; imports stand once, and what they import of each other
    not at all.

    They import nothing but each other, the standard library and numpy, all at their top; one of them imports sys.
    """
    imports: set[str] = set()
    docstring, bodies = "", []
    for path in modules:
        text = path.read_text(encoding="utf-8")
        head, body = _parted(text)
        docstring = ast.get_source_segment(text, ast.parse(text).body[0]) or ""
        imports |= {ast.unparse(statement) for statement in head}
        bodies.append(body)
    kept = sorted((line for line in imports if _PROGRAMS not in line), key=lambda line: (line.startswith("from"), line))
    future, numpy = "from __future__ import annotations", "import numpy as np"
    standard = "\n".join(line for line in kept if line not in (future, numpy))
    return "\n\n".join((docstring, future, standard, _NUMPY, "\n\n\n".join(bodies))) + "\n"


def _parted(text: str) -> tuple[list[ast.Import | ast.ImportFrom], str]:
    """The imports of a module, and what comes after them."""
    head = [one for one in ast.parse(text).body if isinstance(one, (ast.Import, ast.ImportFrom))]
    last = max(one.end_lineno or 0 for one in head)
    return head, "\n".join(text.splitlines()[last:]).strip("\n")
