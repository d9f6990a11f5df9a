"""What is scheduled is begun by one session and withdrawn by another at the same time, and found among many."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from framework import PostgresEventStore
from framework.store.postgres import statements
from framework.store.protocol import OutboxRow, ProcessChange, TimerRow, Withdrawal
from framework.testing import eventually
from framework.testing.store_contract.parts import new_command, row_of
from tests.store.postgres.hands import Hands

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def timer(due_at: datetime = NOON) -> TimerRow:
    return TimerRow(due_at, new_command()._replace(timer="due"))


async def wait_for(hands: Hands, waiting: int) -> None:
    """Return when so many sessions wait for a lock of the store's schema."""

    async def they_wait() -> bool:
        pids = await hands.sql.fetch("SELECT DISTINCT pid FROM pg_locks WHERE NOT granted")
        return len(pids) == waiting

    await eventually(they_wait)


async def begun(store: PostgresEventStore, row: OutboxRow) -> bool:
    return await store.settle_refused(row, ProcessChange(commands=[new_command()], timers=[timer()]))


async def test_a_withdrawal_that_waits_for_one_who_begins_withdraws_what_that_has_scheduled_anew(
    store: PostgresEventStore, hands: Hands
) -> None:
    first = timer()
    await store.change_process("p", ProcessChange(timers=[first]))
    await store.fire("p", until=NOON, limit=1)
    row = await row_of(store, first.command)

    async with hands.sql.transaction():
        await hands.sql.execute("SELECT FROM outbox FOR UPDATE")
        begins = asyncio.ensure_future(begun(store, row))
        await wait_for(hands, 1)
        withdrawing = store.change_process("p", ProcessChange(withdrawn=[Withdrawal("i", None)]))
        withdraws = asyncio.ensure_future(withdrawing)
        await wait_for(hands, 2)

    assert await begins
    assert await withdraws == 1
    assert not await store.timers("p")


async def test_of_two_who_schedule_under_one_key_at_the_same_time_the_later_counts(
    store: PostgresEventStore, hands: Hands
) -> None:
    await store.change_process("p", ProcessChange(timers=[timer()]))
    others = [timer(), timer()]

    async with hands.sql.transaction():
        await hands.sql.execute("SELECT FROM timers FOR UPDATE")
        changes = [ProcessChange(withdrawn=[Withdrawal("i", None)], timers=[other]) for other in others]
        scheduling: list[asyncio.Future[int]] = []
        for number, change in enumerate(changes, start=1):
            scheduling.append(asyncio.ensure_future(store.change_process("p", change)))
            await wait_for(hands, number)

    assert await asyncio.gather(*scheduling) == [1, 1]
    assert [row.command.command_id for row in await store.timers("p")] == [others[1].command.command_id]


async def test_what_is_due_is_found_without_a_look_at_what_is_not(store: PostgresEventStore, hands: Hands) -> None:
    due, *later = [
        TimerRow(NOON + number * DAY, timer().command._replace(timer=f"k{number}")) for number in range(2_000)
    ]
    await store.change_process("p", ProcessChange(timers=[due, *later]))
    await hands.sql.execute("ANALYZE timers")
    await hands.sql.execute("SET plan_cache_mode = force_generic_plan")
    await hands.sql.execute(
        f"PREPARE fire (text, timestamptz, integer, integer, integer, bigint) AS {statements.FIRE_TIMERS}"
    )

    whole = f"'p', '{NOON.isoformat()}', 500, 1, NULL, NULL"
    plan = await hands.sql.fetch(f"EXPLAIN (ANALYZE) EXECUTE fire ({whole})")

    lines = [row[0] for row in plan]
    assert not [line for line in lines if "Seq Scan on timers" in line], "\n".join(lines)
    assert [row.command_id for row in await store.outbox("p", limit=9)] == [due.command.command_id]
