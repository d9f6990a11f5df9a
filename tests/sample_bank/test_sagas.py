"""A transfer that is offered ends in exactly one of two ways, whichever of them is first, and by how little."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from framework import MemoryEventStore
from framework.store.protocol import Appended, Receipt, StreamWrite
from framework.testing import ManualClock, WatchedApplication
from sample_bank.accounts import (
    AcceptTransfer,
    Account,
    AskFirst,
    CloseAccount,
    DepositMoney,
    MoneyDeposited,
    MoneyOffered,
    MoneyReturned,
    OpenAccount,
    SendMoney,
    TransferDeclined,
    TransferNotOffered,
)
from sample_bank.bank import router
from sample_bank.transfers import CompleteTransfer

DAY = timedelta(days=1)


class HeldStore(MemoryEventStore):
    """Holds back whoever would record an event of one type, once they have decided and until the test lets go."""

    held = ""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.is_held = asyncio.Event()
        self.released = asyncio.Event()

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        if self.held in {event.type for write in writes for event in write.events}:
            self.is_held.set()
            await self.released.wait()
        return await super().append(writes, receipts)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> HeldStore:
    return HeldStore(clock)


def opened(store: HeldStore, clock: ManualClock) -> WatchedApplication:
    return WatchedApplication(store=store, router=router, processes=[CompleteTransfer], clock=clock)


async def offer(bank: WatchedApplication) -> None:
    """Send 30 of 100 from `a` to `b`, who asks first."""
    for account in ("a", "b"):
        await bank.dispatch(OpenAccount(account))
    await bank.dispatch(DepositMoney("a", 100))
    await bank.dispatch(AskFirst("b", DAY))
    await bank.dispatch(SendMoney("a", 30, "b", "t"))
    await bank.expect(MoneyOffered)
    await bank.settled()


async def balances(bank: WatchedApplication) -> tuple[int, int]:
    return (await bank.state(Account, "a")).balance, (await bank.state(Account, "b")).balance


async def endings(bank: WatchedApplication) -> list[str]:
    """Return how the transfer has ended, in the order of the log."""
    await bank.settled()
    endings: list[type[MoneyDeposited | MoneyReturned]] = [MoneyDeposited, MoneyReturned]
    events = await bank.recorded(types=endings)
    return [event.type for event in events if event.data.transfer_id == "t"]


async def test_what_is_accepted_in_time_has_arrived(store: HeldStore, clock: ManualClock) -> None:
    async with opened(store, clock) as bank:
        await offer(bank)
        await bank.dispatch(AcceptTransfer("b", "t"))
        await bank.settled()
        clock.advance(9 * DAY)

        assert await endings(bank) == ["MoneyDeposited"]
        assert await balances(bank) == (70, 30)


async def test_what_nobody_answers_is_given_back_at_its_deadline(store: HeldStore, clock: ManualClock) -> None:
    async with opened(store, clock) as bank:
        await offer(bank)
        clock.advance(DAY - timedelta(seconds=1))
        assert await endings(bank) == []
        clock.advance(timedelta(seconds=1))

        assert await endings(bank) == ["MoneyReturned"]
        assert await balances(bank) == (100, 0)


async def test_what_is_offered_to_an_account_that_is_closed_meanwhile_is_given_back(
    store: HeldStore, clock: ManualClock
) -> None:
    async with opened(store, clock) as bank:
        await offer(bank)
        await bank.dispatch(CloseAccount("b"))
        clock.advance(DAY)

        assert await endings(bank) == ["MoneyReturned"]
        assert await balances(bank) == (100, 0)


async def test_an_acceptance_that_was_decided_before_the_deadline_and_recorded_after_it_comes_too_late(
    store: HeldStore, clock: ManualClock
) -> None:
    async with opened(store, clock) as bank, WatchedApplication(store=store, router=router, clock=clock) as branch:
        await offer(bank)
        store.held = "MoneyDeposited"
        acceptance = asyncio.ensure_future(branch.dispatch(AcceptTransfer("b", "t")))
        await store.is_held.wait()
        clock.advance(DAY)
        await bank.expect(TransferDeclined)
        store.released.set()

        with pytest.raises(TransferNotOffered):
            await acceptance
        assert await endings(bank) == ["MoneyReturned"]
        assert await balances(bank) == (100, 0)


async def test_a_deadline_that_was_decided_before_the_acceptance_and_recorded_after_it_changes_nothing(
    store: HeldStore, clock: ManualClock
) -> None:
    async with opened(store, clock) as bank, WatchedApplication(store=store, router=router, clock=clock) as branch:
        await offer(bank)
        store.held = "TransferDeclined"
        clock.advance(DAY)
        await store.is_held.wait()
        await branch.dispatch(AcceptTransfer("b", "t"))
        store.released.set()

        assert await endings(bank) == ["MoneyDeposited"]
        assert await balances(bank) == (70, 30)
        assert not await bank.recorded(types=[TransferDeclined])
        assert not await store.parked("CompleteTransfer")
