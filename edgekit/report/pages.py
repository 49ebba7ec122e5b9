"""Which page a record gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgekit.report.build_page import build_page
from edgekit.report.compression_page import compression_page
from edgekit.report.federated_page import federated_page
from edgekit.report.networks_page import networks_page

PAGE: Final = "report.html"


def page_of(record: Mapping[str, Any]) -> str:
    """The HTML of `report.html`, a pure function of the record of `report.json`: of a course, a compression, or a build of one
    network or several. Raises KeyError for a record that lacks what it needs."""
    if "rounds" in record:
        return federated_page(record)
    if "trials" in record:
        return compression_page(record)
    return networks_page(record) if "variants" in record else build_page(record)
