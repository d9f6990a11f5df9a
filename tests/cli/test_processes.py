"""`python -m framework processes` and `timers`: what is asked from outside is done by whoever runs the process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from click.testing import CliRunner, Result

from framework import Application, PostgresEventStore
from framework.cli import main
from framework.testing import eventually
from sample_bank.accounts import AskFirst, DepositMoney, OpenAccount, SendMoney
from sample_bank.bank import router
from sample_bank.transfers import CompleteTransfer
from tests.sample_bank.databases import fresh_schema

Run = Callable[..., Awaitable[Result]]


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


async def offer(bank: Application, run: Run) -> None:
    """Have `t` wait for an answer."""
    await bank.dispatch(OpenAccount("a"))
    await bank.dispatch(OpenAccount("b"))
    await bank.dispatch(DepositMoney("a", 100))
    await bank.dispatch(AskFirst("b", timedelta(days=1)))
    await bank.dispatch(SendMoney("a", 30, "b", "t"))

    async def is_offered() -> None:
        assert "DeclineTransfer" in (await run("processes", "show", "CompleteTransfer", "t")).stdout

    await eventually(is_offered)


async def test_an_instance_is_listed_shown_and_stopped(dsn: str, schema: str, run: Run) -> None:
    store = PostgresEventStore(dsn, schema=schema)
    async with Application(store=store, router=router, processes=[CompleteTransfer]) as bank:
        await offer(bank, run)

        listed = await run("processes", "list", "CompleteTransfer")
        shown = await run("processes", "show", "CompleteTransfer", "t", "--json")
        timers = await run("timers", "list", "CompleteTransfer")
        stopped = await run("processes", "stop", "CompleteTransfer", "t")

        async def is_gone() -> None:
            assert (await run("processes", "list", "CompleteTransfer")).stdout == "there are none\n"

        await eventually(is_gone)
        again = await run("processes", "stop", "CompleteTransfer", "t")
        after = await run("processes", "show", "CompleteTransfer", "t")

    assert (listed.exit_code, listed.stdout) == (0, "t  2 events  {'sender_id': 'a'}\n")
    document = json.loads(shown.stdout)
    assert [command["command_type"] for command in document["commands"]] == ["DeclineTransfer"]
    assert timers.stdout.endswith("  t  DeclineTransfer\n")
    assert (stopped.exit_code, stopped.stdout) == (0, "t will be stopped\n")
    assert (again.exit_code, again.stdout) == (1, "t does not run\n")
    assert (after.exit_code, after.stdout) == (0, "finished\n")


async def test_what_is_not_parked_is_neither_retried_nor_skipped(dsn: str, schema: str, run: Run) -> None:
    store = PostgresEventStore(dsn, schema=schema)
    async with Application(store=store, router=router, processes=[CompleteTransfer]) as bank:
        await offer(bank, run)

        retried = await run("processes", "retry", "CompleteTransfer", "t")
        skipped = await run("processes", "skip", "CompleteTransfer", "t")

    assert retried.stdout == "0 of t will be tried again\n"
    assert skipped.stdout == "t will go on without 0\n"


async def test_what_is_scheduled_with_the_application_is_listed(dsn: str, schema: str, run: Run) -> None:
    async with Application(store=PostgresEventStore(dsn, schema=schema), router=router) as bank:
        nothing = await run("timers", "list")
        await bank.schedule(OpenAccount("a"), after=timedelta(days=1), key="later")
        listed = await run("timers", "list", "--json")

    assert nothing.stdout == "nothing is scheduled\n"
    (timer,) = json.loads(listed.stdout)["timers"]
    assert (timer["instance"], timer["command_type"]) == ("later", "OpenAccount")


async def test_what_is_not_there_is_said_in_a_sentence(dsn: str, schema: str, run: Run) -> None:
    async with Application(store=PostgresEventStore(dsn, schema=schema), router=router, processes=[CompleteTransfer]):
        unknown = await run("processes", "list", "Nobody")
        nobody = await run("processes", "show", "CompleteTransfer", "nobody")

    assert (unknown.exit_code, nobody.exit_code) == (2, 2)
    assert "there is no subscription 'Nobody'" in unknown.stderr
    assert "has no instance 'nobody'" in nobody.stderr
