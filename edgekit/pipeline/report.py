"""Writes the page of a finished folder anew, from its record."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.errors import BadInputError
from edgekit.core.records import read_json, sha256_of, write_bytes, write_json
from edgekit.pipeline.result import REPORT_SCHEMA
from edgekit.report.pages import PAGE, page_of


def report(folder: Path | str) -> Path:
    """The path of `report.html`. Raises BadInputError for a folder without a record, or with one that an older edgekit wrote."""
    folder = Path(folder)
    path = folder / "report.json"
    record = read_json(path, schema_version=REPORT_SCHEMA)
    try:
        html = page_of(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInputError(
            f"{path} lacks what a page tells: {error}", hint="build the folder anew, with this edgekit"
        ) from error
    write_bytes(folder / PAGE, html.encode())
    if "sha256" in record:
        write_json(path, record | {"sha256": {**record["sha256"], PAGE: sha256_of(folder / PAGE)}})
    return folder / PAGE
