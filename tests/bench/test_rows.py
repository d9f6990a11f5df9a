"""Every row of the benchmark does its work and counts it; how fast it is, a test does not ask."""

from __future__ import annotations

import pytest

from bench.__main__ import ROWS
from bench.harness import Bench, Pace, Row, measure

TINY = Pace(seconds=0.01, runs=1, warm_up=0.0, shrink=500)

ALIKE = {"append_processes_4": "append_processes_2"}
"""Rows that differ by a number from one that is run here."""

RUN_HERE = [row for row in ROWS if row.name not in ALIKE]


@pytest.mark.parametrize("row", RUN_HERE, ids=lambda row: row.name)
async def test_a_row_finds_in_the_database_what_it_did(row: Row, dsn: str) -> None:
    result = await measure(row, Bench(dsn, TINY))

    assert result.verdict in {"ok", "missed"}, result.notes
    assert result.value is not None
    assert result.value > 0


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
