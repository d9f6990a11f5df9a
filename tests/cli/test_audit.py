"""`python -m framework audit`: what was asked is read, and forgotten when somebody says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from framework import Application, PostgresEventStore
from framework.audit import AuditLog
from framework.cli import main
from tests.runtime.till import NotEnough, PutIn, TakeOut, tills
from tests.sample_bank.databases import fresh_schema

Run = Callable[..., Awaitable[Result]]
SOON = datetime(3000, 1, 1, tzinfo=UTC).isoformat()


@pytest.fixture
async def schema(dsn: str) -> AsyncIterator[str]:
    async with fresh_schema(dsn) as schema:
        yield schema


@pytest.fixture
def run(dsn: str, schema: str) -> Run:
    """Runs a verb on the store, as a program of its own would."""

    async def run(*arguments: str, answer: str = "") -> Result:
        runner = CliRunner(env={"FRAMEWORK_DSN": dsn, "FRAMEWORK_SCHEMA": schema})
        return await asyncio.to_thread(runner.invoke, main, arguments, answer)

    return run


@pytest.fixture
async def app(dsn: str, schema: str) -> AsyncIterator[Application]:
    store = PostgresEventStore(dsn, schema=schema)
    audit = AuditLog(store, hide_metadata={"token"})
    async with Application(store=store, router=tills(), middleware=[audit]) as app:
        yield app


async def test_what_was_asked_is_listed_with_what_became_of_it(app: Application, run: Run) -> None:
    command_id, correlation_id = uuid4(), uuid4()
    await app.dispatch(
        PutIn("a", 5), command_id=command_id, correlation_id=correlation_id, metadata={"by": "me", "token": "t"}
    )
    with pytest.raises(NotEnough):
        await app.dispatch(TakeOut("a", 9))

    listed, first = await run("audit", "list"), await run("audit", "list", "--limit", "1")
    about = [await run("audit", "list", "--about", str(each), "--json") for each in (command_id, correlation_id)]
    rest = await run("audit", "list", "--after", "2")

    put, took = listed.stdout.splitlines()
    assert put.startswith("1  ")
    assert put.endswith(f"  PutIn  {command_id}  accepted  till-a version 1")
    assert took.endswith("  refused  NotEnough: 9 exceeds 5")
    assert first.stdout.splitlines() == [put, "there may be more behind number 1"]
    for result in about:
        (entry,) = json.loads(result.stdout)["entries"]
        assert (entry["number"], entry["type"], entry["data"]) == (1, "PutIn", {"till": "a", "amount": 5})
        assert entry["metadata"] == {"by": "me", "token": "[hidden]"}
        assert entry["outcome"]["version"] == 1
    assert rest.stdout == "nothing was asked\n"


async def test_what_is_old_is_forgotten_only_when_somebody_says_yes(app: Application, run: Run) -> None:
    for amount in (1, 2):
        await app.dispatch(PutIn("a", amount))

    refused = [await run("audit", "prune", "--before", SOON, answer=answer) for answer in ("n\n", "")]
    before_any = await run("audit", "prune", "--before", "2000-01-01T00:00+00:00", "--yes")
    pruned = await run("audit", "prune", "--before", SOON, answer="y\n")

    assert [result.exit_code for result in refused] == [2, 2]
    assert "nothing was forgotten: it needs a yes, or --yes" in refused[0].stderr
    assert before_any.stdout == "0 entries were forgotten\n"
    assert pruned.stdout == "2 entries were forgotten\n"
    assert (await run("audit", "list")).stdout == "nothing was asked\n"


async def test_a_moment_that_is_none_is_named(app: Application, run: Run) -> None:
    await app.dispatch(PutIn("a", 1))

    results = [await run("audit", "prune", "--before", each, "--yes") for each in ("yesterday", "2026-01-31")]

    assert [result.exit_code for result in results] == [2, 2]
    assert "'yesterday' is no moment: write one as 2026-01-31T00:00+00:00" in results[0].stderr
    assert "is no moment: give it a time zone" in results[1].stderr
