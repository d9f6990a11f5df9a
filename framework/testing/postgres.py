"""Stores on a PostgreSQL for tests: each test has a schema to itself, which the next one finds as good as new.

To make the tables takes longer than most tests. So a schema is made once, and emptied when its test is over: its
triggers are put off for that, which only its owner can do, and only of a schema that was made here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

import asyncpg

from framework import embedded, read_models
from framework.connections import connect, quoted
from framework.store.postgres import PostgresEventStore
from framework.store.postgres import schema as tables

T = TypeVar("T")

PATIENCE: Final = "SET LOCAL lock_timeout TO '500ms'"
"""How long what a test left open may keep its schema from being emptied."""

FILLED: Final = """
    SELECT relname, EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal) AS is_guarded
    FROM pg_class
    WHERE relnamespace = to_regnamespace($1) AND relkind = 'r' AND relname NOT IN ('migrations', 'functions')
"""
"""The tables of a schema that hold more than what it is, and whether triggers watch over them."""


class _Store(PostgresEventStore):
    """One that says whether a test has left it open."""

    @property
    def is_open(self) -> bool:
        return self._appender is not None


class PostgresSchemas:
    """Gives out stores, each in a schema that nobody else has at the time. It blocks: no loop may run around it.

    They lie in the *given* database, or in an embedded one that is gone with this. Use inside `with`.
    """

    def __init__(self, *, given: str | None) -> None:
        self._given = given
        # With a factory it leaves alone what others hold for the current loop.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._opened = AsyncExitStack()
        self._dsn = ""
        self._made: list[str] = []
        self._free: list[str] = []

    def __enter__(self) -> Self:
        self._run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        try:
            self._run(self._opened.aclose())
        finally:
            self._runner.close()

    @property
    def dsn(self) -> str:
        """The database they lie in."""
        return self._dsn

    @contextmanager
    def store(self) -> Generator[PostgresEventStore, None, None]:
        """Lend an empty store, not open yet; its events and read models are removed when the block ends."""
        schema = self._free.pop() if self._free else self._run(self._make())
        store = _Store(self._dsn, schema=schema, migrate=False)
        yield store
        # One that is still written to is not for the next test; it goes at the end, with all the others.
        if not store.is_open and self._run(self._empty(schema)):
            self._free.append(schema)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    async def _open(self) -> None:
        async with AsyncExitStack() as opened:
            folder = opened.enter_context(TemporaryDirectory(prefix="framework-testing-"))
            self._dsn = await opened.enter_async_context(
                embedded.database(Path(folder), given=self._given, durable=False)
            )
            self._connection = await connect(self._dsn)
            opened.push_async_callback(self._drop)
            self._opened = opened.pop_all()

    async def _make(self) -> str:
        schema = f"test_{uuid4().hex[:12]}"
        await tables.migrate(self._connection, schema)
        self._made.append(schema)
        return schema

    async def _empty(self, schema: str) -> bool:
        """Make *schema* as it was, and return True; False if something holds on to it."""
        connection = self._connection
        rows = await connection.fetch(FILLED, quoted(schema))
        statements = [PATIENCE, f"SET LOCAL search_path TO {quoted(schema)}"]
        statements += [
            f"ALTER TABLE {quoted(row['relname'])} DISABLE TRIGGER USER" for row in rows if row["is_guarded"]
        ]
        statements += [f"DELETE FROM {quoted(row['relname'])}" for row in rows]
        statements += [f"ALTER TABLE {quoted(row['relname'])} ENABLE TRIGGER USER" for row in rows if row["is_guarded"]]
        statements.append("INSERT INTO head DEFAULT VALUES")  # another log, at its beginning
        try:
            async with connection.transaction():
                await connection.execute(";".join(statements))
                await read_models.remove(self._connection, schema)
        except asyncpg.LockNotAvailableError:
            return False
        return True

    async def _drop(self) -> None:
        """Leave nothing behind in a database that is not ours."""
        try:
            for schema in self._made:
                await read_models.remove(self._connection, schema)
                await self._connection.execute(f"DROP SCHEMA {quoted(schema)} CASCADE")
        finally:
            await self._connection.close()
