"""`python -m framework subscriptions lag`: what reads the log is seen from outside of every program that does."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from click.testing import CliRunner, Result

from framework import PostgresEventStore
from framework.cli import main
from framework.policies import LEASE
from framework.store.protocol import Expected, StreamWrite
from framework.store.subscriptions import Definition, Report
from framework.testing.store_contract.parts import new_events, working
from tests.sample_bank.databases import fresh_schema

THIS_PROCESS = f"{socket.gethostname()}:{os.getpid()}"

Verb = Callable[..., Awaitable[Result]]


@pytest.fixture
async def schema(dsn: str) -> AsyncIterator[str]:
    async with fresh_schema(dsn) as name:
        yield name


@pytest.fixture
async def store(dsn: str, schema: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore(dsn, schema=schema) as store:
        await store.subscriptions.define(Definition("mail", None, 1, "stream"), start=0)
        await store.append([StreamWrite("a", Expected.NO_STREAM, new_events(3))])
        yield store


@pytest.fixture
def lag(dsn: str, schema: str) -> Verb:
    async def run(*arguments: str) -> Result:
        runner = CliRunner(env={"FRAMEWORK_DSN": dsn, "FRAMEWORK_SCHEMA": schema})
        return await asyncio.to_thread(runner.invoke, main, ["subscriptions", "lag", *arguments])

    return run


async def test_a_slot_that_nobody_runs_is_something_to_look_at(store: PostgresEventStore, lag: Verb) -> None:
    assert (await store.subscriptions.lag())[0].state == "unowned"

    found = await lag()

    assert found.exit_code == 1
    headings, mail = found.stdout.splitlines()
    assert headings.split("  ")[0] == "subscription"
    assert mail.split()[:4] == ["mail", "0", "0", "3"]
    assert "unowned" in mail


async def test_how_far_a_slot_is_and_what_keeps_it_is_said_in_json_too(store: PostgresEventStore, lag: Verb) -> None:
    async with working(store, "mail") as worker:
        (lease,) = worker.held
        await store.subscriptions.advance(lease, 2)
        await store.subscriptions.report([Report(lease, "retrying", "OSError: no route", 1, 2.5, "notification")])

        said, document = await lag(), await lag("--json")

    assert (said.exit_code, document.exit_code) == (0, 0)
    assert said.stdout.splitlines()[-1] == "mail slot 0: OSError: no route"
    (slot,) = json.loads(document.stdout)["slots"]
    assert (slot["position"], slot["head"], slot["events_behind"], slot["rate"]) == (2, 3, 1, 2.5)
    assert (slot["state"], slot["parked_keys"], slot["owner"]) == ("retrying", 1, THIS_PROCESS)
    assert slot["woken_by"] == "notification"


async def test_the_view_is_there_for_any_program_and_knows_how_long_a_heartbeat_lasts(
    store: PostgresEventStore, dsn: str, schema: str
) -> None:
    async with working(store, "mail"):
        sql = await asyncpg.connect(dsn)
        try:
            (row,) = await sql.fetch(f"SELECT * FROM {schema}.subscription_lag")
            definition = await sql.fetchval("SELECT pg_get_viewdef($1::regclass)", f"{schema}.subscription_lag")
        finally:
            await sql.close()

    assert (row["events_behind"], row["state"], row["owner"]) == (3, "running", THIS_PROCESS)
    assert f"'00:00:{LEASE.total_seconds():02.0f}'" in definition
