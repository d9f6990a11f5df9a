"""Versions of a projector: which is shown, which is refused, and what is told of the rows of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import asyncpg
import pytest

from framework import Application, Backoff, Connection, Consistency, PostgresEventStore, Projector, Recorded
from framework.errors import SchemaMismatch
from framework.policies import Defaults
from framework.read_models import ReadModel, schema_name
from framework.testing import eventually
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema

QUICK = Defaults(handler_retry=Backoff(attempts=2, first=timedelta(milliseconds=1)))


class Sums(Projector[Moved]):
    """What was moved in each till, and who was told of it."""

    schema = "CREATE TABLE sums (till text PRIMARY KEY, amount bigint NOT NULL)"
    sign: ClassVar[int] = 1

    def __init__(self) -> None:
        self.told: list[int] = []
        self.failures = 0
        self.replayed: list[bool] = []

    async def project(self, event: Recorded[Moved], db: Connection) -> None:
        self.replayed.append(event.replaying)
        await db.execute(
            "INSERT INTO sums VALUES ($1, $2) ON CONFLICT (till) DO UPDATE SET amount = sums.amount + $2",
            event.stream,
            self.sign * event.data.amount,
        )

    async def committed(self, events: Sequence[Recorded[Moved]]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("nobody listens")
        self.told += [event.position for event in events]


class SumsAnew(Sums):
    name = "Sums"
    version = 2
    schema = "CREATE TABLE sums (till text PRIMARY KEY, amount bigint NOT NULL, note text); CREATE TABLE others ()"
    sign = -1


@pytest.fixture
async def schema(dsn: str) -> AsyncIterator[str]:
    async with fresh_schema(dsn) as name:
        yield name


@pytest.fixture
async def sql(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


def tills_of(dsn: str, schema: str, *projectors: Projector[Any]) -> Application:
    store = PostgresEventStore(dsn, schema=schema)
    return Application(store=store, router=tills(), projectors=projectors, defaults=QUICK)


async def put_in(app: Application, amount: int) -> None:
    await app.dispatch(PutIn("a", amount), consistency=Consistency.STRONG)


# What is shown -------------------------------------------------------------------------------------


async def test_views_under_the_projectors_name_show_its_rows_to_others(
    dsn: str, schema: str, sql: asyncpg.Connection[Any]
) -> None:
    async with tills_of(dsn, schema, Sums()) as app:
        await put_in(app, 5)

        assert await sql.fetch(f"SELECT till, amount FROM {schema}_sums.sums") == [("till-a", 5)]


async def test_the_views_turn_to_a_new_version_when_it_has_come_as_far_with_their_grants(
    dsn: str, schema: str, sql: asyncpg.Connection[Any]
) -> None:
    async with tills_of(dsn, schema, Sums()) as app:
        await put_in(app, 5)
    await sql.execute(f"GRANT SELECT ON {schema}_sums.sums TO PUBLIC")
    store = PostgresEventStore(dsn, schema=schema)
    async with store:
        fresh = ReadModel(dsn, SumsAnew(), schema)
        await fresh.open(store.log_id)
        before = await sql.fetch(f"SELECT amount FROM {schema}_sums.sums")
        await fresh.close()

    async with tills_of(dsn, schema, SumsAnew()) as app:
        await put_in(app, 1)
        after = await sql.fetch(f"SELECT amount, note FROM {schema}_sums.sums")

    assert (before, after) == ([(5,)], [(-6, None)])
    views = (
        f"SELECT relname, relacl::text LIKE '%=r/%' FROM pg_class WHERE relnamespace = '{schema}_sums'::regnamespace"
    )
    assert sorted(await sql.fetch(views)) == [("others", None), ("sums", True)]


async def test_views_on_which_something_hangs_are_left_and_named(
    dsn: str, schema: str, sql: asyncpg.Connection[Any]
) -> None:
    async with tills_of(dsn, schema, Sums()):
        await sql.execute(f"CREATE SCHEMA {schema}_mine; CREATE VIEW {schema}_mine.v AS TABLE {schema}_sums.sums")

    with pytest.raises(SchemaMismatch, match=f"(?s){schema}_sums cannot be replaced: .*: keep what is"):
        await tills_of(dsn, schema, SumsAnew()).__aenter__()


async def test_a_version_lowered_is_refused_with_the_remedy(dsn: str, schema: str) -> None:
    async with tills_of(dsn, schema, SumsAnew()):
        pass

    with pytest.raises(SchemaMismatch, match=r"'Sums' has come to version 2, and this program has 1: run the newer"):
        await tills_of(dsn, schema, Sums()).__aenter__()


async def test_a_schema_of_somebody_else_is_not_taken_for_views(
    dsn: str, schema: str, sql: asyncpg.Connection[Any]
) -> None:
    await sql.execute(f"CREATE SCHEMA {schema}_sums")

    with pytest.raises(SchemaMismatch, match=f"schema {schema}_sums exists but is not of projector 'Sums'"):
        await tills_of(dsn, schema, Sums()).__aenter__()

    assert await sql.fetchval("SELECT to_regnamespace($1) IS NULL", schema_name(schema, "Sums", 1))


# What is told --------------------------------------------------------------------------------------


async def test_a_projector_is_told_when_its_rows_are_there_and_not_while_replaying(dsn: str, schema: str) -> None:
    first, second = Sums(), SumsAnew()
    async with tills_of(dsn, schema, first) as app:
        await put_in(app, 1)
        await put_in(app, 2)
    async with tills_of(dsn, schema, second) as app:
        await put_in(app, 3)

    assert (first.told, first.replayed) == ([1, 2], [False, False])
    assert (second.told, second.replayed) == ([3], [True, True, False])


async def test_one_who_died_before_it_was_told_is_told_by_the_next_owner(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying, next_one = Sums(), Sums()
    with monkeypatch.context() as patched:
        patched.setattr(ReadModel, "settle", leave_it)
        async with tills_of(dsn, schema, dying) as app:
            await put_in(app, 1)
            await put_in(app, 2)
    async with tills_of(dsn, schema, next_one):
        await eventually(lambda: next_one.told == [1, 2])
    after = Sums()
    async with tills_of(dsn, schema, after) as app:
        await put_in(app, 3)

    assert after.told == [3]


async def leave_it(model: ReadModel, slot: int) -> None:
    """Note nothing, as if there had been no time for it."""


async def test_what_fails_to_tell_is_tried_again_and_let_go_in_the_end(dsn: str, schema: str) -> None:
    projector = Sums()
    async with tills_of(dsn, schema, projector) as app:
        projector.failures = 1
        await put_in(app, 1)
        projector.failures = QUICK.handler_retry.attempts
        await put_in(app, 2)
        await put_in(app, 3)
        rows = await app.query(Sums, "SELECT amount FROM sums")

    assert (projector.told, rows) == ([1, 3], [(6,)])
