"""The bank's program is killed, over and over, at moments nobody chose; what it leaves is never wrong."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from time import perf_counter

import asyncpg
import attrs
import pytest

from framework.read_models import schema_name
from sample_bank.audit import audit
from sample_bank.bank import bank
from sample_bank.work import Plan, settle
from tests.plugins.findings import Say
from tests.sample_bank.programs import environment

ROOT = Path(__file__).parent.parent.parent

KILLS = 24
KILLS_OF_ONE_RUN = 2
"""A run is taken up again under its name until it was killed so often; then the next one begins."""
TRANSFERS = 500

BALANCES_BY_EVENTS = """
    SELECT data ->> 'account_id',
           sum(CASE event_type WHEN 'MoneyDeposited' THEN  (data ->> 'amount')::bigint
                               WHEN 'MoneyReturned'  THEN  (data ->> 'amount')::bigint
                               WHEN 'MoneyWithdrawn' THEN -(data ->> 'amount')::bigint
                               WHEN 'MoneySent'      THEN -(data ->> 'amount')::bigint
                               ELSE 0 END)::bigint
      FROM {log}.events WHERE position <= $1 GROUP BY 1
"""

TRANSFERS_BY_EVENTS = """
    SELECT data ->> 'transfer_id'                                                AS transfer_id,
           count(*) FILTER (WHERE event_type = 'MoneySent')                      AS sent,
           count(*) FILTER (WHERE event_type IN ('MoneyDeposited', 'MoneyReturned')) AS ended
      FROM {log}.events WHERE data ->> 'transfer_id' IS NOT NULL GROUP BY 1
"""

NUMBERING = "SELECT count(*), count(DISTINCT position), min(position), max(position) FROM {log}.events"


@attrs.frozen
class Found:
    """What one moment's database holds."""

    head: int
    projected: int
    """The position that the balances stand for."""
    on_their_way: int
    """Transfers that were sent and neither arrived nor came back."""
    ended: int


async def look(dsn: str, schema: str) -> Found:
    """Check that nothing is wrong with what the log and the balances hold at this moment, and return it."""
    log, rows = f'"{schema}"', f'"{schema_name(schema, "Balances", 1)}"'
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(dsn)
    try:
        # One snapshot: what the dead left on its way may still commit while this looks.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            progress = "SELECT position FROM framework_projections.progress WHERE schema_name = $1"
            projected = int(await connection.fetchval(progress, rows.strip('"')))
            balances = await pairs(connection, f"SELECT account_id, amount FROM {rows}.balances")
            folded = await pairs(connection, BALANCES_BY_EVENTS.format(log=log), projected)
            transfers = await connection.fetch(TRANSFERS_BY_EVENTS.format(log=log))
            count, distinct, first, head = await connection.fetchrow(NUMBERING.format(log=log)) or (0, 0, 0, 0)
    finally:
        await connection.close()
    assert balances == folded
    assert [row["transfer_id"] for row in transfers if row["sent"] != 1 or row["ended"] > 1] == []
    assert (count, distinct, first, head) == (head, head, 1, head)
    ended = sum(row["ended"] for row in transfers)
    return Found(head, projected, len(transfers) - ended, ended)


async def pairs(connection: asyncpg.Connection[asyncpg.Record], sql: str, *arguments: object) -> dict[str, int]:
    return {row[0]: row[1] for row in await connection.fetch(sql, *arguments)}


@asynccontextmanager
async def program(dsn: str, schema: str, run: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run the demo in a process of its own, and see to it that it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sample_bank", "demo", "--schema", schema, "--run", run, "--transfers", str(TRANSFERS)),
        cwd=ROOT,
        env=environment(dsn),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(process: asyncio.subprocess.Process, text: str) -> str:
    """Return what the *process* says up to a line with *text*, or to its end."""
    assert process.stdout is not None
    said = ""
    while line := (await process.stdout.readline()).decode():
        said += line
        if text in line:
            break
    return said


async def whole_run(dsn: str, schema: str, run: str) -> float:
    """Let a run come to its end, and return the seconds from its first transfer on until the last had arrived."""
    async with program(dsn, schema, run) as process:
        said = await line_with(process, "sending")
        started = perf_counter()
        said += await line_with(process, "every transfer")
        took_s = perf_counter() - started
        rest, _ = await process.communicate()
        said += rest.decode()
        assert process.returncode == 0, said
        assert said.endswith("\nmoney conserved: yes\n")
        return took_s


async def killed(process: asyncio.subprocess.Process, dsn: str, schema: str) -> bool:
    """Kill the *process*, and say whether it still ran. It is known to be dead at once: others wait for its lease."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    was_killed = await process.wait() == -signal.SIGKILL
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(dsn)
    try:
        if await connection.fetchval("SELECT to_regclass($1)", f'"{schema}".members'):
            await connection.execute(
                f'DELETE FROM framework_nodes.heartbeats AS h USING "{schema}".members AS m WHERE m.node = h.node'
            )
    finally:
        await connection.close()
    return was_killed


async def check_after_restart(dsn: str, schema: str) -> None:
    """Open the bank again, let it finish what was begun, and count the money."""
    async with bank(dsn, schema=schema) as application:
        await settle(application, Plan("any").account_ids[0])
        counted = await audit(application, dsn, schema=schema)
    assert counted.is_conserved, counted
    found = await look(dsn, schema)
    assert found.on_their_way == 0


@pytest.mark.timeout(300)
async def test_whatever_moment_the_program_is_killed_at_no_money_is_made_or_lost(
    dsn: str, schema: str, chance: Random, say: Say
) -> None:
    lasts_s = await whole_run(dsn, schema, "first")
    kills = half_done = behind = recovering = 0
    runs = ["run 1"]
    kills_of_run = 0

    while kills < KILLS:
        is_early = chance.random() < 1 / 6
        async with program(dsn, schema, runs[-1]) as process:
            # Most are killed at work; some while they start, and find what the one before has left.
            await line_with(process, "Run " if is_early else "sending")
            await asyncio.sleep(chance.uniform(0, lasts_s))
            was_killed = await killed(process, dsn, schema)
        found = await look(dsn, schema)
        kills += was_killed
        kills_of_run += was_killed
        half_done += found.on_their_way > 0
        behind += found.projected < found.head
        if not was_killed or kills_of_run == KILLS_OF_ONE_RUN:
            runs.append(f"run {len(runs) + 1}")
            kills_of_run = 0
        if chance.random() < 2 / 3:
            await check_after_restart(dsn, schema)
        else:
            recovering += 1

    await check_after_restart(dsn, schema)
    await whole_run(dsn, schema, runs[-1])
    found = await look(dsn, schema)
    say(
        f"{kills} kills of the bank: {half_done} left transfers on their way, {behind} left tables behind the log,"
        f" {recovering} were followed by a restart that was killed as well; {found.ended:,} transfers have ended"
    )
    assert half_done > 0, "no kill came at a moment that matters"
    assert behind > 0, "no kill came at a moment that matters"


@pytest.mark.timeout(120)
async def test_a_program_killed_while_it_sets_up_can_be_started_again(dsn: str, schema: str, chance: Random) -> None:
    for _ in range(5):
        async with program(dsn, schema, "monday") as process:
            await line_with(process, "Run ")
            await asyncio.sleep(chance.uniform(0, 0.2))
            assert await killed(process, dsn, schema)

    await whole_run(dsn, schema, "monday")
    assert (await look(dsn, schema)).on_their_way == 0
