"""A projector's rows and its place in the log are one thing: neither is there without the other, whatever fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import timedelta

import pytest

from framework import (
    Application,
    Backoff,
    Connection,
    Consistency,
    PostgresEventStore,
    Projector,
    Recorded,
    read_models,
)
from framework.policies import Defaults
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema

QUICK = Defaults(handler_retry=Backoff(attempts=3, first=timedelta(milliseconds=1)))


class Amounts(Projector[Moved]):
    """Lists every amount, as often as it is projected."""

    schema = "CREATE TABLE amounts (amount int NOT NULL)"

    def __init__(self, after_a_row: Callable[[int], None]) -> None:
        self.written = 0
        self._after_a_row = after_a_row

    async def project(self, event: Recorded[Moved], db: Connection) -> None:
        await db.execute("INSERT INTO amounts VALUES ($1)", event.data.amount)
        self.written += 1
        self._after_a_row(self.written)


@pytest.fixture
async def schema(dsn: str) -> AsyncGenerator[str]:
    async with fresh_schema(dsn) as name:
        yield name


async def amounts(dsn: str, schema: str, projector: Amounts) -> list[int]:
    """Return what is listed once one, and then another, amount was moved."""
    store = PostgresEventStore(dsn, schema=schema)
    async with Application(store=store, router=tills(), projectors=[projector], defaults=QUICK) as app:
        for amount in (1, 2):
            await app.dispatch(PutIn("a", amount), consistency=Consistency.STRONG)
        return [row["amount"] for row in await app.query(Amounts, "SELECT amount FROM amounts ORDER BY amount")]


async def test_an_event_that_failed_after_it_had_written_is_undone_and_comes_again(dsn: str, schema: str) -> None:
    def fail_once(written: int) -> None:
        if written == 1:
            raise OSError("the disk is full")

    assert await amounts(dsn, schema, Amounts(fail_once)) == [1, 2]


async def test_rows_are_undone_where_the_place_cannot_be_saved(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mend(written: int) -> None:
        if written == 2:
            monkeypatch.undo()

    monkeypatch.setattr(read_models, "SAVE", read_models.SAVE.replace("= $3", "= $3 / 0"))

    assert await amounts(dsn, schema, Amounts(mend)) == [1, 2]
