"""How a page names tests, and whether there are such."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent

CONTRACT: Final = "framework/testing/store_contract/"
STORES: Final = (
    "tests/store/test_memory.py::TestMemoryEventStore",
    "tests/store/test_postgres.py::TestPostgresEventStore",
)


def unknown_tests(cell: str, collected: Collection[str]) -> list[str]:
    """Return the tests named in *cell* that nobody runs; a test of the stores' contract must be run on every store.

    Raises `AssertionError` if *cell* names no test.
    """
    named = re.findall(r"`([\w/.]+)::([\w:]+)`", cell)
    assert named, f"no test is named in {cell!r}"
    return [f"{path}::{test}" for path, test in named if not set(_nodes(path, test)) <= set(collected)]


def _nodes(path: str, test: str) -> Iterator[str]:
    if not path.startswith(CONTRACT):
        yield f"{path}::{test}"
        return
    assert re.search(rf"^ *(async )?def {test}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path} has no {test}"
    for store in STORES:
        yield f"{store}::{test}"
