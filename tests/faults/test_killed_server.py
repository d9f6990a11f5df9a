"""The database server is killed under load; the program goes on by itself, and what was acknowledged is there."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from framework import Application, embedded
from framework.errors import NoPostgresBinaries
from sample_bank.accounts import DepositMoney, InsufficientFunds, OpenAccount
from sample_bank.audit import audit
from sample_bank.bank import SCHEMA, bank
from sample_bank.transfers import transfer_command_id
from sample_bank.work import Plan, insist, settle

SENT = "SELECT data ->> 'transfer_id' FROM {schema}.events WHERE event_type = 'MoneySent'"


class Customers:
    """They send what a plan says, and remember what they were told."""

    def __init__(self, plan: Plan) -> None:
        self.accepted: list[str] = []
        self.enough = asyncio.Event()
        """Set when a part of the transfers was accepted."""
        self._sendings = plan.sendings()
        self._at_once = plan.at_once

    async def send_all(self, application: Application) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._send(application))

    async def _send(self, application: Application) -> None:
        for sending in self._sendings:
            try:
                await insist(application, sending, transfer_command_id(sending.transfer_id))
            except InsufficientFunds:
                continue
            self.accepted.append(sending.transfer_id)
            if len(self.accepted) >= 200:
                self.enough.set()


def kill_server(data_folder: Path) -> None:
    """Kill the server of *data_folder*; its children see that it is gone, and end too."""
    lock = (data_folder / "postgres" / "postmaster.pid").read_text()
    os.kill(int(lock.splitlines()[0]), signal.SIGKILL)


async def sent(dsn: str) -> list[str]:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch(SENT.format(schema=SCHEMA))]
    finally:
        await connection.close()


@pytest.mark.timeout(120)
async def test_a_killed_server_loses_nothing_that_was_acknowledged(chance: Random) -> None:
    plan = Plan("monday", transfers=3_000, at_once=100)
    customers = Customers(plan)
    with TemporaryDirectory(prefix="framework-tests-") as folder:
        try:
            async with embedded.server(Path(folder)) as dsn:
                async with bank(dsn) as application:
                    for account in plan.account_ids:
                        await application.dispatch(OpenAccount(account))
                        await application.dispatch(DepositMoney(account, 1_000))
                    async with asyncio.TaskGroup() as group:
                        sending = group.create_task(customers.send_all(application))
                        await customers.enough.wait()
                        await asyncio.sleep(chance.uniform(0, 0.1))
                        kill_server(Path(folder))
                        assert not sending.done()
                        async with embedded.server(Path(folder)) as again:
                            assert again == dsn
                            await sending
                    await settle(application, plan.account_ids[0])
                    counted = await audit(application, dsn, schema=SCHEMA)
                recorded = await sent(dsn)
        except NoPostgresBinaries as reason:
            pytest.skip(str(reason))

    assert counted.is_conserved, counted
    assert len(recorded) == len(set(recorded))
    assert set(recorded) == set(customers.accepted)
    assert len(recorded) > 1_000
