"""Events on their way to handlers and projectors: how fast one takes a log, and what ten cost that share it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Final, TypeAlias, TypeVar, cast

from bench import bare, peer, peer_projection
from bench.bank import AMOUNT, Account, MoneyDeposited, deposit, opening
from bench.harness import Bench, Row, Run, Sample, Sides, at_least, at_most, check, repeatedly
from bench.read import PAGES, fill
from framework import Application, Connection, EventHandler, PostgresEventStore, Projector, Recorded, Router
from framework.store.protocol import LogPage

T = TypeVar("T")
Setup: TypeAlias = Callable[[Bench], AbstractAsyncContextManager[Sides]]

LOG: Final = 100_000
"""Events that one handler folds; ten times as many in the long form would say the same."""
PROJECTED: Final = 20_000
PEERS: Final = 4_000
ACCOUNTS: Final = 100
HANDLERS: Final = 10
PATIENCE: Final = timedelta(minutes=5)
NEAR: Final = 500
"""Events appended one after another, near the head."""


class Fold(EventHandler[MoneyDeposited]):
    """Adds up what was paid in."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.events = 0
        self.amount = 0
        self.is_done = asyncio.Event()

    async def handle(self, event: Recorded[MoneyDeposited]) -> None:
        self.amount += event.data.amount
        self.events += 1
        if self.events == self.number:
            self.is_done.set()


UPSERT: Final = (
    "INSERT INTO balances AS b VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET amount = b.amount + excluded.amount"
)
UPSERT_MANY: Final = """
    INSERT INTO balances AS b SELECT account, sum(amount) FROM unnest($1::text[], $2::bigint[]) AS m (account, amount)
    GROUP BY account ON CONFLICT (account) DO UPDATE SET amount = b.amount + excluded.amount
"""
TABLE: Final = "CREATE TABLE balances (account text PRIMARY KEY, amount bigint NOT NULL)"
SUM: Final = "SELECT sum(amount)::bigint AS amount FROM balances"


class OneByOne(Projector[MoneyDeposited]):
    """What was paid into each account, by one upsert for each event."""

    schema = TABLE

    async def project(self, event: Recorded[MoneyDeposited], db: Connection) -> None:
        await db.execute(UPSERT, event.stream, event.data.amount)


class InBatches(Projector[MoneyDeposited]):
    """The same, by one upsert for a batch."""

    schema = TABLE

    async def project_batch(self, events: Sequence[Recorded[MoneyDeposited]], db: Connection) -> None:
        await db.execute(UPSERT_MANY, [event.stream for event in events], [event.data.amount for event in events])


class CountingStore(PostgresEventStore):
    """Counts the rows that are read of its log."""

    rows = 0

    async def read_log(
        self, *, after: int = 0, limit: int = 1_000, types: Collection[str] | None = None, prefix: str = ""
    ) -> LogPage:
        page = await super().read_log(after=after, limit=limit, types=types, prefix=prefix)
        self.rows += len(page.events)
        return page


def named(cls: type[T], name: str) -> type[T]:
    """Return *cls* under a *name* that nothing is stored under yet."""
    return cast("type[T]", type(cls.__name__, (cls,), {"name": name}))


@asynccontextmanager
async def filled(bench: Bench, number: int) -> AsyncGenerator[tuple[str, int], None]:
    """Give a schema whose log has so many deposits, and how many these are."""
    async with bench.schema() as schema, PostgresEventStore(bench.dsn, schema=schema) as store:
        await fill(store, [f"account-{each}" for each in range(ACCOUNTS)], -(-bench.count(number) // ACCOUNTS))
        yield schema, await store.head()


@asynccontextmanager
async def _fold(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with filled(bench, LOG) as (schema, head), bench.connection(schema) as connection:
        names = map("fold-{}".format, count())

        async def ours() -> int:
            handler = named(Fold, next(names))(head)
            store = PostgresEventStore(bench.dsn, schema=schema)
            async with Application(store=store, router=Router(), handlers=[handler]):
                await handler.is_done.wait()
            check("amount", handler.amount, head * AMOUNT)
            return head

        def theirs(page: int) -> Run:
            return lambda seconds: repeatedly(seconds, lambda: bare.read_log(connection, page))

        yield Sides(
            lambda seconds: repeatedly(seconds, ours),
            {f"bare asyncpg and JSON, pages of {page:,}": theirs(page) for page in PAGES},
        )


@asynccontextmanager
async def _fold_shared(bench: Bench) -> AsyncGenerator[Sides, None]:
    def by(handlers: int) -> Run:
        async def run(_: float) -> Sample:
            number = bench.count(NEAR)
            async with bench.schema() as schema:
                store = CountingStore(bench.dsn, schema=schema)
                folds = [named(Fold, f"fold-{each}")(number) for each in range(handlers)]
                router = Router()
                router.register(Account, identity="account_id", prefix="account-")
                async with Application(store=store, router=router, handlers=folds) as application:
                    opened = await application.dispatch(opening("a"))
                    await application.wait_for(opened.position, [type(each) for each in folds], timeout=PATIENCE)
                    before = store.rows
                    for _ in range(number):
                        await application.dispatch(deposit("a"))
                    for fold in folds:
                        await fold.is_done.wait()
                    check("amounts", {fold.amount for fold in folds}, {number * AMOUNT})
                    return Sample((store.rows - before) / number)

        return run

    yield Sides(by(HANDLERS), {"one handler": by(1)})


def _projecting(bench: Bench, schema: str, head: int, projector: type[Projector[MoneyDeposited]]) -> Run:
    names = map((projector.__name__ + "{}").format, count())

    async def once() -> int:
        cls = named(projector, next(names))
        store = PostgresEventStore(bench.dsn, schema=schema)
        async with Application(store=store, router=Router(), projectors=[cls()]) as application:
            await application.wait_for(head, [cls], timeout=PATIENCE)
            check("amount", await application.query(cls, SUM), [(head * AMOUNT,)])
        return head

    return lambda seconds: repeatedly(seconds, once)


def _compared(projector: type[Projector[MoneyDeposited]]) -> Setup:
    """Return how *projector* is compared with the runner of `eventsourcing`."""

    @asynccontextmanager
    async def setup(bench: Bench) -> AsyncGenerator[Sides, None]:
        async with filled(bench, PROJECTED) as (schema, head), bench.schema() as other:
            async with bench.connection(other) as connection:
                await connection.execute(f"CREATE SCHEMA {other}")
            settings = peer.postgres(bench.dsn, other)
            with peer.opened(settings) as application:
                accounts = await peer.open_accounts(application, min(ACCOUNTS, bench.count(PEERS)))
                for turn in range(bench.count(PEERS)):
                    application.deposit(accounts[turn % len(accounts)])
                last = application.recorder.max_notification_id()
            amount = AMOUNT * bench.count(PEERS)

            async def theirs(_: float) -> Sample:
                return await asyncio.to_thread(peer_projection.project, settings, last or 0, amount)

            yield Sides(_projecting(bench, schema, head, projector), {"eventsourcing's projection runner": theirs})

    return setup


ROWS: Final[Sequence[Row]] = (
    Row("fold", "events/s", at_least(0.35), _fold),
    Row("fold_shared", "rows/event", at_most(1.1), _fold_shared),
    Row("project", "events/s", at_least(8), _compared(OneByOne)),
    Row("project_batch", "events/s", at_least(40), _compared(InBatches)),
)
