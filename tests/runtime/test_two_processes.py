"""Two processes at one account, at the same time: both get on, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from framework import Application, PostgresEventStore
from tests.runtime.till import Till, tills
from tests.sample_bank.databases import fresh_schema

ROOT = Path(__file__).parent.parent.parent
CALLERS, EACH = 8, 10


async def started(dsn: str, schema: str) -> Process:
    arguments = "-m", "tests.runtime.depositor", dsn, schema, f"{CALLERS}", f"{EACH}"
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def ended(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


@pytest.mark.timeout(60)
async def test_two_processes_at_one_account_both_get_on_and_lose_nothing(dsn: str) -> None:
    async with fresh_schema(dsn) as schema, AsyncExitStack() as ending:
        processes = [await started(dsn, schema) for _ in range(2)]
        for process in processes:
            ending.push_async_callback(ended, process)
        said = await asyncio.gather(*[process.communicate(b"go\n") for process in processes])

        async with Application(store=PostgresEventStore(dsn, schema=schema), router=tills()) as app:
            state = await app.state(Till, "hot")

    one, other = (json.loads(out.splitlines()[-1]) for out, _ in said)  # behind what was logged
    assert sorted(one + other) == list(range(1, len(one + other) + 1))
    assert state == Till(len(one + other))
    assert min(len(one), len(other)) >= CALLERS * EACH
    assert min(one) < max(other)
    assert min(other) < max(one), "neither waited until the other was through"
