"""From an append to whoever is told of it: how soon a handler has the event, and what it costs to wait for rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

from bench.append import Events
from bench.bank import AMOUNT, Account, MoneyDeposited, deposit, opening
from bench.harness import Bench, Row, Run, Sample, Sides, alone, at_least, at_most, check, steadily
from bench.nodes import Work, started
from bench.subscriptions import PATIENCE, SUM, OneByOne
from framework import Application, Consistency, EventHandler, PostgresEventStore, Recorded, Router
from framework.store.protocol import StreamWrite

CALLERS: Final = 16


class Hear(EventHandler[MoneyDeposited]):
    """Says the position of each event that it is given."""

    def __init__(self, say: Callable[[int], None]) -> None:
        self._say = say

    async def handle(self, event: Recorded[MoneyDeposited]) -> None:
        self._say(event.position)


def hearing(store: PostgresEventStore, say: Callable[[int], None]) -> Application:
    """Return an application that does nothing but to *say* what it hears of."""
    return Application(store=store, router=Router(), handlers=[Hear(say)])


def _until_heard(store: PostgresEventStore, heard: Callable[[], Awaitable[int]]) -> Run:
    """Append an event, wait until it is *heard* of, and so on; the latency is of both, the commit included."""
    events = Events()

    async def act(_caller: int, _turn: int) -> None:
        (appended,) = await store.append((StreamWrite(f"account-{uuid4()}", 0, (events.one(),)),))
        check("position that was heard of", await heard(), appended.position)

    return lambda seconds: alone(seconds, act)


@asynccontextmanager
async def _notice_local(bench: Bench) -> AsyncGenerator[Sides, None]:
    positions = asyncio.Queue[int]()
    async with bench.schema() as schema:
        store = PostgresEventStore(bench.dsn, schema=schema)
        async with hearing(store, positions.put_nowait):
            yield Sides(_until_heard(store, positions.get))


@asynccontextmanager
async def _notice_remote(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with (
        bench.schema() as schema,
        PostgresEventStore(bench.dsn, schema=schema) as store,
        started(Work("hear", bench.dsn, schema, callers=1, seconds=0)) as node,
    ):
        check("word of a node", await node.read(), b"ready\n")

        async def heard() -> int:
            return int(await node.read())

        yield Sides(_until_heard(store, heard))
        node.write(b"enough\n")


@asynccontextmanager
async def _strong(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with bench.schema() as schema:
        router = Router()
        router.register(Account, identity="account_id", prefix="account-")
        store = PostgresEventStore(bench.dsn, schema=schema)
        async with Application(store=store, router=router, projectors=[OneByOne()]) as application:
            accounts = [f"{number}" for number in range(CALLERS)]
            for account in accounts:
                await application.dispatch(opening(account))
            deposits = 0

            async def rows(sample: Sample) -> Sample:
                nonlocal deposits
                deposits += len(sample.latencies)
                check("amount", await application.query(OneByOne, SUM), [(AMOUNT * deposits,)])
                return sample

            async def strong(seconds: float) -> Sample:
                async def act(caller: int, _turn: int) -> None:
                    result = await application.dispatch(deposit(accounts[caller]), consistency=Consistency.STRONG)
                    check("who was waited for", set(result.waited.values()), {"handled"})

                return await rows(await steadily(seconds, CALLERS, act))

            async def eventual(seconds: float) -> Sample:
                async def act(caller: int, _turn: int) -> None:
                    await application.dispatch(deposit(accounts[caller]), consistency=Consistency.EVENTUAL)

                sample = await steadily(seconds, CALLERS, act)
                # It comes after, and is no part of them; but what it is behind by would be on the next run's account.
                await application.wait_for(await store.head(), [OneByOne], timeout=PATIENCE)
                return await rows(sample)

            yield Sides(strong, {"the same, eventual": eventual})


ROWS: Final = (
    Row("strong", "commands/s", at_least(0.5), _strong),
    Row("notice_local", "ms", at_most(5), _notice_local),
    Row("notice_remote", "ms", at_most(10), _notice_remote),
)
