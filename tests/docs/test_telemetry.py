"""The page on telemetry has every span, attribute and metric there is."""

from __future__ import annotations

import re
from typing import Final

from framework import observe
from framework.observe import Metric
from tests.docs.naming import ROOT

PAGE: Final = (ROOT / "docs/reference/telemetry.md").read_text()

NAMES: Final = {name: getattr(observe, name) for name in dir(observe) if name.isupper()}
SPANS: Final = {text for name, text in NAMES.items() if name.endswith("_SPAN")}
METRICS: Final = [metric for metric in NAMES.values() if isinstance(metric, Metric)]


def first_cells(heading: str) -> set[str]:
    """Return what stands first in each row below *heading*."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE))


def test_every_span_is_on_the_page() -> None:
    assert first_cells("Spans") == SPANS


def test_every_metric_is_on_the_page_with_its_unit() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| [\w -]+, `([^`]+)` \|", PAGE, re.MULTILINE)

    assert set(rows) == {(metric.name, metric.unit) for metric in METRICS}
    assert len(METRICS) == len(rows)


def test_every_attribute_is_on_the_page() -> None:
    attributes = {text for text in NAMES.values() if isinstance(text, str) and "." in text}

    assert {cell for cell in first_cells("Attributes") if "." in cell} == attributes
