"""Those who use a database while something happens to it, and remember what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Self
from uuid import UUID

import attrs

from framework import Application, Consistency, DispatchResult, PostgresEventStore
from framework.clock import new_id
from framework.errors import OutcomeUnknown, StorageUnavailable
from framework.store.protocol import EventStore, Expected, NewEvent, StoredEvent, StreamWrite
from framework.testing import eventually
from sample_bank.accounts import DepositMoney, OpenAccount
from sample_bank.balances import Balances
from sample_bank.bank import bank

BACK_WITHIN_S: Final = 10.0
"""Everything works again this long after the server does."""

LAST: Final = "last"
AT_ONCE: Final = 8
WARM: Final = 50
"""Appends that are answered before anything is done to the server."""

HASTY_S: Final = 0.2
"""When the hasty give up; the patient wait longer than any test lasts."""

BALANCE: Final = "SELECT amount FROM balances WHERE account_id = 'witness'"


def event(type_: str = "happened") -> NewEvent:
    cause = new_id()
    return NewEvent(new_id(), type_, 1, b"{}", b"{}", cause, cause)


@attrs.frozen
class Told:
    """An append of several events, and the error it was answered with, if it was one."""

    event_ids: frozenset[UUID]
    error: Exception | None


class Witnesses:
    """Writers with and without patience, one who reads the log as it grows, and a bank."""

    def __init__(self, patient: EventStore, hasty: EventStore, far: EventStore, application: Application) -> None:
        self.schema = patient.namespace
        self.told: list[Told] = []
        self.warm = asyncio.Event()
        self._patient = patient
        self._hasty = hasty
        self._far = far
        self._bank = application
        self._is_over = False
        self._deposited = 0
        self._reading: asyncio.Task[Sequence[StoredEvent]]
        self._writing: Sequence[asyncio.Task[None]]

    @classmethod
    @asynccontextmanager
    async def of(cls, dsn: str, *, schema: str = "witnesses") -> AsyncGenerator[Self, None]:
        """Have the database at *dsn* used while inside."""
        async with (
            PostgresEventStore(dsn, schema=schema) as patient,
            PostgresEventStore(dsn, schema=schema, give_up_after_s=HASTY_S) as hasty,
            PostgresEventStore(dsn, schema=schema) as far,
            bank(dsn, schema=f"{schema}_bank") as application,
        ):
            await application.dispatch(OpenAccount("witness"))
            self = cls(patient, hasty, far, application)
            async with asyncio.TaskGroup() as group:
                self._reading = group.create_task(self._read())
                self._writing = [
                    group.create_task(self._write(n, store)) for n in range(AT_ONCE) for store in (patient, hasty)
                ]
                try:
                    await self.warm.wait()
                    yield self
                finally:
                    for task in (self._reading, *self._writing):
                        task.cancel()

    async def hear_of_trouble(self) -> None:
        """Return when those without patience were told that something is wrong."""
        await eventually(lambda: any(told.error for told in self.told), within=timedelta(seconds=10))

    async def fall_silent(self) -> None:
        """Return when nobody has been answered for a moment; raises `TimeoutError` if that does not come."""
        answered = -1
        async with asyncio.timeout(BACK_WITHIN_S):
            while answered < len(self.told):
                answered = len(self.told)
                await asyncio.sleep(0.3)

    async def deposit(self, consistency: Consistency | Sequence[type] = Consistency.EVENTUAL) -> DispatchResult:
        """Have the bank take some money."""
        self._deposited += 10
        return await self._bank.dispatch(DepositMoney("witness", 10), command_id=new_id(), consistency=consistency)

    async def check(self) -> None:
        """See everything work again within `BACK_WITHIN_S`, and what everyone was told come true."""
        async with asyncio.timeout(BACK_WITHIN_S):
            self._is_over = True
            await asyncio.wait(self._writing)
            await self._patient.append([StreamWrite("end", 0, [event(LAST)])])
            seen = await self._reading
            result = await self.deposit(consistency=[Balances])
        log = (await self._patient.read_log(limit=1_000_000)).events

        assert result.waited == {"Balances": "handled"}
        assert [row["amount"] for row in await self._bank.query(Balances, BALANCE)] == [self._deposited]
        assert [stored.position for stored in log] == list(range(1, len(log) + 1))
        assert seen == log
        self._compare({stored.event_id for stored in log})

    def _compare(self, recorded: set[UUID]) -> None:
        for told in self.told:
            assert told.event_ids <= recorded or not told.event_ids & recorded, "an append is half there"
            match told.error:
                case None:
                    assert told.event_ids <= recorded, "what was acknowledged is gone"
                case StorageUnavailable():
                    assert not told.event_ids & recorded, "what was said not to be recorded is there"
                case OutcomeUnknown():
                    pass
                case _:
                    raise told.error

    async def _write(self, number: int, store: EventStore) -> None:
        while not self._is_over:
            events = [event() for _ in range(3)]
            writes = [
                StreamWrite(f"a-{number}", Expected.ANY, events[:2]),
                StreamWrite(f"b-{number}", Expected.ANY, events[2:]),
            ]
            error: Exception | None = None
            try:
                await store.append(writes)
            except Exception as caught:  # noqa: BLE001  whether it is of the right kind is checked in the end
                error = caught
            self.told.append(Told(frozenset(each.event_id for each in events), error))
            if len(self.told) >= WARM:
                self.warm.set()

    async def _read(self) -> Sequence[StoredEvent]:
        seen: list[StoredEvent] = []
        while not seen or seen[-1].type != LAST:
            after = len(seen)
            try:
                await self._far.wait_beyond(after)
                seen += (await self._far.read_log(after=after)).events
            except StorageUnavailable:
                await asyncio.sleep(0.05)  # as whoever runs a subscription does
        return seen
