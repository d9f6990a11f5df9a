"""`python -m framework subscriptions` and `parked`: what is asked from outside is done by whoever runs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from click.testing import CliRunner, Result

from framework import Application, Backoff, Consistency, EventHandler, PostgresEventStore, Recorded
from framework.cli import main
from framework.policies import Defaults
from framework.testing import eventually
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema

Run = Callable[..., Awaitable[Result]]


class Mail(EventHandler[Moved]):
    """Remembers what it was given, and jams at some."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.jams_at: set[int] = set()

    async def handle(self, event: Recorded[Moved]) -> None:
        if event.data.amount in self.jams_at:
            raise OSError("no paper")
        self.seen.append(event.data.amount)


@pytest.fixture
async def schema(dsn: str) -> AsyncIterator[str]:
    async with fresh_schema(dsn) as schema:
        yield schema


@pytest.fixture
def run(dsn: str, schema: str) -> Run:
    """Runs a verb on the store, as a program of its own would."""

    async def run(*arguments: str) -> Result:
        runner = CliRunner(env={"FRAMEWORK_DSN": dsn, "FRAMEWORK_SCHEMA": schema})
        return await asyncio.to_thread(runner.invoke, main, arguments)

    return run


def shop(dsn: str, schema: str, mail: Mail) -> Application:
    once = Defaults(handler_retry=Backoff(attempts=1, first=timedelta(milliseconds=1)))
    return Application(store=PostgresEventStore(dsn, schema=schema), router=tills(), handlers=[mail], defaults=once)


async def test_one_is_listed_paused_and_resumed(dsn: str, schema: str, run: Run) -> None:
    mail = Mail()
    async with shop(dsn, schema, mail) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)

        listed, paused = await run("subscriptions", "list"), await run("subscriptions", "pause", "Mail")
        in_json = json.loads((await run("subscriptions", "list", "--json")).stdout)
        resumed = await run("subscriptions", "resume", "Mail")

        await app.dispatch(PutIn("a", 2))
        await eventually(lambda: mail.seen == [1, 2])
    assert (listed.exit_code, listed.stdout) == (0, "Mail  handler    position 1  1 of 1 slots run\n")
    assert (paused.stdout, resumed.stdout) == ("paused Mail\n", "resumed Mail\n")
    (document,) = in_json["subscriptions"]
    assert (document["name"], document["types"], document["is_paused"]) == ("Mail", ["Moved"], True)


async def test_one_begins_anew(dsn: str, schema: str, run: Run) -> None:
    mail = Mail()
    async with shop(dsn, schema, mail) as app:
        for amount in (1, 2):
            await app.dispatch(PutIn("a", amount), consistency=Consistency.STRONG)

        reset = await run("subscriptions", "reset", "Mail", "--to", "1")
        await eventually(lambda: mail.seen == [1, 2, 2])
        refused = await run("subscriptions", "reset", "Mail", "--to", "yesterday")

    assert reset.exit_code == 0
    assert reset.stdout.endswith("Mail begins anew behind position 1\n")  # the shop may log before it
    assert refused.exit_code == 2
    assert "Mail cannot start from 'yesterday'" in refused.stderr


async def test_one_is_deleted_when_nobody_runs_it(dsn: str, schema: str, run: Run) -> None:
    async with shop(dsn, schema, Mail()):
        refused = await run("subscriptions", "delete", "Mail")
    deleted, again = await run("subscriptions", "delete", "Mail"), await run("subscriptions", "delete", "Mail")

    assert (refused.exit_code, deleted.exit_code, again.exit_code) == (2, 0, 2)
    assert "Mail is run at this moment" in refused.stderr
    assert "there is no subscription 'Mail'; there are: none" in again.stderr
    assert (await run("subscriptions", "list")).stdout == "there are none\n"


async def test_what_is_parked_is_found_and_tried_again(dsn: str, schema: str, run: Run) -> None:
    mail = Mail()
    mail.jams_at = {1}
    async with shop(dsn, schema, mail) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        found = await run("parked", "list")
        mail.jams_at.clear()
        retried = await run("parked", "retry", "Mail", "--key", "till-a")
        await eventually(lambda: mail.seen == [1])
        await eventually(lambda: _is_empty(app))
        empty, unknown = await run("parked", "list"), await run("parked", "discard", "Fax")

    assert (found.exit_code, empty.exit_code) == (1, 0)
    assert found.stdout == "Mail  position 1  key till-a  OSError: no paper  (1 attempts)\n"
    assert (retried.stdout, empty.stdout) == ("1 of Mail will be tried again\n", "nothing is parked\n")
    assert "there is no subscription 'Fax'; there are: Mail" in unknown.stderr


async def test_what_is_parked_is_passed_over(dsn: str, schema: str, run: Run) -> None:
    mail = Mail()
    mail.jams_at = {1}
    async with shop(dsn, schema, mail) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        discarded = await run("parked", "discard", "Mail", "--position", "1")
        await eventually(lambda: _is_empty(app))

    assert (discarded.stdout, mail.seen) == ("Mail will go on without 1\n", [])


async def _is_empty(app: Application) -> None:
    assert await app.subscriptions.parked() == []
