"""A project that knows the framework as users do: wallets, their owners' bonus, and what a page shows of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Self

import attrs
import pytest

from framework import (
    Aggregate,
    Application,
    CommandRejected,
    Connection,
    PostgresEventStore,
    ProcessManager,
    Projector,
    Recorded,
    Router,
    Start,
)
from framework.testing import ManualClock, MemoryApplications, WatchedApplication, assert_correlated, given


@attrs.frozen
class Fill:
    wallet: str
    amount: int


@attrs.frozen
class AddBonus:
    wallet: str


@attrs.frozen
class Filled:
    wallet: str
    amount: int


@attrs.frozen
class BonusAdded:
    wallet: str
    amount: int


class Empty(CommandRejected):
    """There is nothing a bonus could be of."""


@attrs.frozen
class Wallet(Aggregate[Fill | AddBonus, Filled | BonusAdded]):
    content: int = 0

    def execute(self, command: Fill | AddBonus) -> Iterator[Filled | BonusAdded]:
        match command:
            case Fill(wallet, amount):
                yield Filled(wallet, amount)
            case AddBonus(wallet):
                if not self.content:
                    raise Empty(wallet)
                yield BonusAdded(wallet, self.content // 10)

    def apply(self, event: Filled | BonusAdded) -> Self:
        return attrs.evolve(self, content=self.content + event.amount)


@attrs.frozen
class Bonus(ProcessManager[Filled, AddBonus]):
    @classmethod
    def interested(cls, event: Filled) -> Start | None:
        return Start(event.wallet) if event.amount >= 100 else None

    def handle(self, event: Filled) -> Iterator[AddBonus]:
        yield AddBonus(event.wallet)


class Contents(Projector[Filled | BonusAdded]):
    schema = "CREATE TABLE contents (wallet text PRIMARY KEY, amount bigint NOT NULL)"

    async def project(self, event: Recorded[Filled | BonusAdded], db: Connection) -> None:
        await db.execute(
            "INSERT INTO contents AS c VALUES ($1, $2) ON CONFLICT (wallet) DO UPDATE SET amount = c.amount + $2",
            event.data.wallet,
            event.data.amount,
        )


router = Router()
router.register(Wallet, identity="wallet", prefix="wallet-")


def test_a_bonus_is_a_tenth() -> None:
    given(Wallet).having(Fill("a", 100)).when(AddBonus("a")).then(BonusAdded("a", 10))
    given(Wallet, Filled("a", 50)).having(Fill("a", 50)).when(AddBonus("a")).then_state(Wallet(110))


def test_an_empty_wallet_gets_none() -> None:
    given(Wallet).when(AddBonus("a")).then_raises(Empty)


async def test_who_fills_a_lot_gets_a_bonus(memory_application: MemoryApplications, manual_clock: ManualClock) -> None:
    async with memory_application(router, processes=[Bonus]) as wallets:
        await wallets.dispatch(Fill("a", 100))
        manual_clock.advance(timedelta(days=1))
        await wallets.dispatch(Fill("b", 99))

        added = await wallets.expect(BonusAdded, where=lambda bonus: bonus.amount == 10)
        await wallets.expect_none(BonusAdded, stream="wallet-b")

        filled, later = await wallets.recorded(types=[Filled])
        assert_correlated(filled, added)
        assert later.recorded_at - filled.recorded_at == timedelta(days=1)
        assert (await wallets.state(Wallet, "a")).content == 110


@pytest.mark.parametrize("amount", [100, 200, 300])
async def test_a_page_shows_what_is_in_a_wallet(postgres_store: PostgresEventStore, amount: int) -> None:
    async with WatchedApplication(
        store=postgres_store, router=router, processes=[Bonus], projectors=[Contents()]
    ) as wallets:
        await wallets.dispatch(Fill("a", amount))
        await wallets.settled()

        assert await wallets.query(Contents, "SELECT * FROM contents") == [("a", amount * 11 // 10)]
        assert [event.position for event in await wallets.recorded()] == [1, 2]


async def test_what_was_there_before_is_gone(postgres_store: PostgresEventStore) -> None:
    async with Application(store=postgres_store, router=router) as wallets:
        assert await wallets.state(Wallet, "a") == Wallet()
        assert await postgres_store.head() == 0
