"""What runs of itself: transfers that a process carries from one account to another, and timers that are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, Self, TypeAlias, assert_never
from uuid import UUID, uuid4

import attrs

from bench.bank import REFERENCE
from bench.dispatch import warm
from bench.harness import Bench, Row, Run, Sample, Sides, alone, at_least, at_most, check, steadily
from framework import Aggregate, Application, PostgresEventStore, ProcessManager, Router, Start, Stop
from framework.clock import new_id, now

ACCOUNTS: Final = 1_000
AT_ONCE: Final = 64
AMOUNT: Final = 1
PATIENCE_S: Final = 30

ARMED: Final = 1_000_000
FEW: Final = 1_000
PROCESS: Final = "Reminders"
LATER: Final = datetime(2100, 1, 1, tzinfo=UTC)
FIRST: Final = LATER + timedelta(seconds=1)

ARM: Final = """
    INSERT INTO timers
           (process, instance, key, due_at, command_id, command_type, command, correlation_id, causation_id, hash)
    SELECT $1, i::text, 'deadline', $2::timestamptz + i * interval '1 second', gen_random_uuid(), 'Remind',
           '{"account_id": "7c2ad1f2-9d2e-4a83-9a0e-2f4c0d1f3b55", "amount": 125}', gen_random_uuid(),
           gen_random_uuid(), i
      FROM generate_series(1, $3::integer) AS i
"""


# The domain ------------------------------------------------------------------------------------------


@attrs.frozen
class Send:
    account_id: str
    transfer_id: UUID
    target_id: str
    amount: int
    sent_at: datetime
    reference: str


@attrs.frozen
class Receive:
    account_id: str
    transfer_id: UUID
    amount: int
    reference: str


@attrs.frozen
class Sent:
    transfer_id: UUID
    target_id: str
    amount: int
    sent_at: datetime
    reference: str


@attrs.frozen
class Received:
    transfer_id: UUID
    amount: int
    reference: str


@attrs.frozen
class Purse(Aggregate[Send | Receive, Sent | Received]):
    """Holds less than nothing, if need be."""

    balance: int = 0

    def execute(self, command: Send | Receive) -> Iterator[Sent | Received]:
        match command:
            case Send(_, transfer_id, target_id, amount, sent_at, reference):
                yield Sent(transfer_id, target_id, amount, sent_at, reference)
            case Receive(_, transfer_id, amount, reference):
                yield Received(transfer_id, amount, reference)
            case _:
                assert_never(command)

    def apply(self, event: Sent | Received) -> Self:
        change = -event.amount if isinstance(event, Sent) else event.amount
        return attrs.evolve(self, balance=self.balance + change)


Event: TypeAlias = Sent | Received


@attrs.frozen
class Transfer(ProcessManager[Event, Receive]):
    @classmethod
    def interested(cls, event: Event) -> Start | Stop:
        return Start(str(event.transfer_id)) if isinstance(event, Sent) else Stop(str(event.transfer_id))

    def handle(self, event: Event) -> Iterator[Receive]:
        if isinstance(event, Sent):
            yield Receive(event.target_id, event.transfer_id, event.amount, event.reference)


# Transfers -------------------------------------------------------------------------------------------


class Senders:
    """Callers who send money between the same accounts, each waiting until it has arrived."""

    def __init__(self, application: Application, accounts: Sequence[str]) -> None:
        self._application = application
        self._accounts = accounts
        self._arrivals: dict[UUID, asyncio.Future[None]] = {}
        self.sent = 0

    async def watch(self) -> None:
        """Tell each caller of its arrival, for ever."""
        async with aclosing(self._application.events(types=[Received])) as events:
            async for event in events:
                self._arrivals.pop(event.data.transfer_id).set_result(None)

    async def send(self, seconds: float) -> Sample:
        """Send `AT_ONCE` at a time, and check all balances."""

        async def act(caller: int, turn: int) -> None:
            place = caller + turn * AT_ONCE
            sender, target = (self._accounts[each % len(self._accounts)] for each in (place, place + 1))
            transfer_id = new_id()
            arrival = self._arrivals[transfer_id] = asyncio.get_running_loop().create_future()
            await self._application.dispatch(Send(sender, transfer_id, target, AMOUNT, now(), REFERENCE))
            async with asyncio.timeout(PATIENCE_S):
                await arrival

        sample = await steadily(seconds, AT_ONCE, act)
        self.sent += len(sample.latencies)
        balances = [(await self._application.state(Purse, each)).balance for each in self._accounts]
        check("money", sum(balances), 0)
        return sample


@asynccontextmanager
async def _transfer(bench: Bench) -> AsyncGenerator[Sides, None]:
    router = Router()
    router.register(Purse, identity="account_id")
    async with bench.schema() as schema, warm(bench) as deposits:
        store = PostgresEventStore(bench.dsn, schema=schema)
        async with Application(store=store, router=router, processes=[Transfer]) as application:
            # Two at least: nobody sends to himself.
            senders = Senders(application, [str(uuid4()) for _ in range(bench.count(ACCOUNTS) + 1)])
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(senders.watch())
                yield Sides(senders.send, {"dispatch_warm": deposits})
                watching.cancel()
            head = await store.head()
            check("events", head, 2 * senders.sent)
            check("processes", await application.wait_for(head, [Transfer]), {"Transfer": "handled"})


# Timers ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def _polled(bench: Bench, armed: int) -> AsyncGenerator[Run, None]:
    """Arm so many timers, none of which is due before the last one, and give what looks for those that are."""
    async with bench.schema() as schema, PostgresEventStore(bench.dsn, schema=schema) as store:
        async with bench.connection(schema) as connection:
            await connection.execute(ARM, PROCESS, LATER, armed)
            await connection.execute("VACUUM ANALYZE timers")

        async def act(_: int, __: int) -> None:
            check("next timer", await store.fire(PROCESS, until=LATER, limit=AT_ONCE), FIRST)

        async def look(seconds: float) -> Sample:
            sample = await alone(seconds, act)
            check("fired", len(await store.outbox(PROCESS, limit=1)), 0)
            return sample

        yield look
        await store.fire(PROCESS, until=FIRST, limit=AT_ONCE)
        check("fired", len(await store.outbox(PROCESS, limit=AT_ONCE)), 1)


@asynccontextmanager
async def _timers(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with _polled(bench, bench.count(ARMED)) as many, _polled(bench, bench.count(FEW)) as few:
        yield Sides(many, {f"{FEW:,} armed": few})


ROWS: Final[Sequence[Row]] = (
    Row("transfer", "transfers/s", at_least(0.15), _transfer),
    Row("timers", "ms", at_most(1.5), _timers),
)
