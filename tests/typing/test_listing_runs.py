"""The listing does what it says, on either store."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from framework import Application, Consistency, MemoryEventStore
from framework.testing import eventually
from tests.typing import test_listing as listing


@pytest.fixture
async def database(dsn: str) -> AsyncGenerator[str]:
    """A database of one test's own: the listing keeps its log where everybody does."""
    name = f"listing_{uuid4().hex[:12]}"
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


async def test_the_main_function_runs(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    await listing.main(database)

    assert capsys.readouterr().out.splitlines() == [
        "account-a 2 2 (MoneyDeposited(account_id='a', balance=100, transfer_id=None),)",
        "[<Record id='a' amount=100>]",
    ]


async def test_the_application_runs_over_the_memory_store(database: str) -> None:
    application = Application(
        store=MemoryEventStore(),
        router=listing.router,
        processes=[listing.CompleteTransfer],
        projectors=[listing.Balances()],
        read_models=database,
    )
    async with application as bank:
        for account in ("a", "b"):
            await bank.dispatch(listing.OpenAccount(account))
        result = await bank.dispatch(listing.DepositMoney("a", 100), consistency=Consistency.STRONG)
        sent = await bank.dispatch(listing.SendMoney("a", 30, target_id="b", transfer_id="t"))
        with pytest.raises(listing.InsufficientFunds, match="71 exceeds 70"):
            await bank.dispatch(listing.SendMoney("a", 71, target_id="b", transfer_id="u"))

        async def arrived() -> None:
            rows = await bank.query(listing.Balances, "SELECT id, amount FROM balances ORDER BY id")
            assert [tuple(row) for row in rows] == [("a", 70), ("b", 30)]

        await eventually(arrived)

    assert (result.stream, result.version, result.position) == ("account-a", 2, 3)
    assert result.waited == {"Balances": "handled", "CompleteTransfer": "handled"}
    assert sent.events == (listing.MoneySent("a", 70, 30, "b", "t"),)
