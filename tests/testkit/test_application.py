"""What a test waits for: an application that has settled, an event that comes, and one that does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from framework import Application, Backoff, EventHandler, MemoryEventStore, Recorded
from framework.clock import SYSTEM_CLOCK
from framework.codec import Codec
from framework.errors import ConfigurationError, NotRunning, SubsystemFailed, UndecodablePayload
from framework.policies import Defaults
from framework.runtime.processes import Bell, ProcessType, Relay
from framework.store.memory.subscriptions import MemorySubscriptions
from framework.store.protocol import Expected, NewEvent, OutboxRow, Part, ProcessChange, StreamWrite
from framework.store.subscriptions import Definition, Lease, Terms
from framework.testing import ManualClock, MemoryApplications, WatchedApplication, assert_correlated
from framework.testing.store_contract.parts import take
from tests.runtime.till import Moved, PutIn, tills
from tests.typing.test_listing import (
    Account,
    AccountEvent,
    AccountOpened,
    CompleteTransfer,
    DepositMoney,
    MoneyDeposited,
    MoneySent,
    OpenAccount,
    SendMoney,
    router,
)

SOON = timedelta(milliseconds=20)
"""Long enough for a test that waits in vain."""


class Gated(EventHandler[AccountEvent]):
    """Lets one account's deposits through when the gate is open."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()

    async def handle(self, event: Recorded[AccountEvent]) -> None:
        if isinstance(event.data, MoneyDeposited) and event.data.account_id == "b":
            self.arrived.set()
            await self.gate.wait()


class Mute(EventHandler[AccountEvent]):
    """Handles nothing: it never gets so far."""

    async def handle(self, event: Recorded[AccountEvent]) -> None:
        raise NotImplementedError


class DryPen(MemorySubscriptions):
    """Fails, when the gate is open, in a way that nobody foresaw."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def terms(self, lease: Lease) -> Terms:
        await self.gate.wait()
        message = "the pen is dry"
        raise RuntimeError(message)


@pytest.fixture
async def bank() -> AsyncIterator[WatchedApplication]:
    application = WatchedApplication(store=MemoryEventStore(), router=router, processes=[CompleteTransfer])
    async with application as bank:
        yield bank


async def opened(bank: Application) -> None:
    """Open two accounts, one with money: three events."""
    await bank.dispatch(OpenAccount("a"))
    await bank.dispatch(DepositMoney("a", 100))
    await bank.dispatch(OpenAccount("b"))


# Settled -------------------------------------------------------------------------------------------


async def test_what_has_settled_has_done_what_its_processes_ask_for(bank: WatchedApplication) -> None:
    await opened(bank)
    for number in range(10):
        await bank.dispatch(SendMoney("a", 10, "b", f"t{number}"))

    await bank.settled()

    assert (await bank.state(Account, "b")).balance == 100


async def test_a_handler_at_work_is_waited_for() -> None:
    handler = Gated()
    async with MemoryApplications(ManualClock())(router, handlers=[handler]) as bank:
        await opened(bank)
        await bank.dispatch(DepositMoney("b", 1))
        await handler.arrived.wait()

        with pytest.raises(AssertionError, match="the log ends at position 4, and Gated slot 0 has come to 3"):
            await bank.settled(within=SOON)
        handler.gate.set()
        await bank.settled()


async def test_what_a_process_led_to_is_waited_for() -> None:
    handler = Gated()
    async with MemoryApplications(ManualClock())(router, handlers=[handler], processes=[CompleteTransfer]) as bank:
        await opened(bank)
        await bank.settled()
        await bank.dispatch(SendMoney("a", 10, "b", "t"))
        await bank.expect(MoneyDeposited, after=4)

        with pytest.raises(AssertionError, match="Gated slot 0 has come to 4"):
            await bank.settled(within=SOON)
        handler.gate.set()
        await bank.settled()


async def test_a_handler_without_events_of_its_types_does_not_keep_it_from_settling() -> None:
    class OfTransfers(EventHandler[MoneySent]):
        async def handle(self, event: Recorded[MoneySent]) -> None: ...

    async with MemoryApplications(ManualClock())(router, handlers=[OfTransfers()]) as bank:
        await opened(bank)

        await bank.settled()


async def test_an_empty_log_has_settled(bank: WatchedApplication) -> None:
    await bank.settled()


class SlowOutbox(MemoryEventStore):
    """Keeps a relay from learning what to send until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def outbox(
        self, process: str, *, limit: int, part: Part | None = None, but: Collection[str] = ()
    ) -> Sequence[OutboxRow]:
        await self.gate.wait()
        return await super().outbox(process, limit=limit, part=part, but=but)


async def test_commands_that_are_not_sent_yet_are_waited_for() -> None:
    store = SlowOutbox()
    async with WatchedApplication(store=store, router=router, processes=[CompleteTransfer]) as bank:
        await opened(bank)
        await bank.dispatch(SendMoney("a", 10, "b", "t"))

        with pytest.raises(AssertionError, match="a process has commands on their way"):
            await bank.settled(within=SOON)
        store.gate.set()
        await bank.settled()

        assert (await bank.state(Account, "b")).balance == 10


class OneCommand:
    """A process with a command to send, whose answer is held back until `answered` is set."""

    def __init__(self) -> None:
        self.bell, self.sending, self.answered = Bell(), asyncio.Event(), asyncio.Event()
        self._store, self._process = MemoryEventStore(), ProcessType(CompleteTransfer, Codec())
        self.relay = Relay(self._process, self._store, self.bell, self._send, Backoff(), SYSTEM_CLOCK)

    async def fill(self) -> None:
        subscriptions, name = self._store.subscriptions, self._process.name
        await subscriptions.define(Definition(name, None, 1, "stream"), start=0)
        lease = await take(self._store, name)
        command = self._process.codec.encode(DepositMoney("b", 1))
        row = OutboxRow(name, "t", 0, 0, uuid4(), "DepositMoney", command, uuid4(), uuid4())
        await self._store.advance_process(lease, ProcessChange(commands=[row]), position=1)
        self.bell.rung.set()

    async def _send(self, command: object, command_id: UUID) -> None:
        del command, command_id
        self.sending.set()
        await self.answered.wait()


@asynccontextmanager
async def at_rest() -> AsyncGenerator[OneCommand, None]:
    """A process whose relay has found nothing to send yet."""
    process = OneCommand()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(process.relay.run())
        await process.relay.at_rest()
        yield process
        running.cancel()


async def test_a_relay_is_not_at_rest_before_it_has_looked_again() -> None:
    async with at_rest() as process:
        process.answered.set()
        await process.fill()  # and the relay has no turn before the next line

        await process.relay.at_rest()

        assert process.sending.is_set()


async def test_a_relay_is_not_at_rest_while_it_sends() -> None:
    async with at_rest() as process:
        await process.fill()
        await process.sending.wait()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.relay.at_rest(), SOON.total_seconds())

        process.answered.set()
        await process.relay.at_rest()


async def test_a_parked_command_does_not_keep_it_from_settling() -> None:
    once = Defaults(handler_retry=Backoff(attempts=1))
    async with MemoryApplications(ManualClock())(router, processes=[CompleteTransfer], defaults=once) as bank:
        await bank.dispatch(OpenAccount("a"))
        await bank.dispatch(DepositMoney("a", 100))
        await bank.dispatch(SendMoney("a", 10, "nobody", "t"))

        await bank.settled()

        await bank.expect_none(MoneyDeposited, where=lambda deposited: deposited.account_id == "nobody")


async def wait_while_a_part_dies(wait: Callable[[WatchedApplication], Awaitable[object]]) -> None:
    store = MemoryEventStore()
    store.subscriptions = broken = DryPen()
    async with WatchedApplication(store=store, router=router, handlers=[Mute()]) as bank:
        await bank.dispatch(OpenAccount("a"))
        asyncio.get_running_loop().call_soon(broken.gate.set)  # when it is waited for already
        async with asyncio.timeout(5):
            await wait(bank)
        pytest.fail("the wait came to an end")


async def test_who_waits_is_told_at_once_of_a_part_that_dies() -> None:
    with pytest.raises(SubsystemFailed, match="the pen is dry"):
        await wait_while_a_part_dies(lambda bank: bank.settled(within=timedelta(hours=1)))
    with pytest.raises(SubsystemFailed, match="the pen is dry"):
        await wait_while_a_part_dies(lambda bank: bank.expect(MoneySent, within=timedelta(hours=1)))


async def test_an_application_that_is_not_open_is_not_waited_for() -> None:
    bank = MemoryApplications(ManualClock())(router)

    with pytest.raises(NotRunning):
        await bank.settled()
    with pytest.raises(NotRunning):
        await bank.expect(MoneySent)


# Events that come, and that do not -----------------------------------------------------------------


async def test_an_event_is_expected_before_it_comes(bank: WatchedApplication) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(bank.expect(AccountOpened, where=lambda opened: opened.account_id == "b"))
        await opened(bank)

    recorded = waiting.result()

    assert (recorded.data, recorded.stream, recorded.position) == (AccountOpened("b"), "account-b", 3)


async def test_the_first_that_fits_is_returned(bank: WatchedApplication) -> None:
    await opened(bank)
    await bank.dispatch(DepositMoney("b", 7))

    assert (await bank.expect(AccountOpened)).position == 1
    assert (await bank.expect(AccountOpened, after=1)).position == 3
    assert (await bank.expect(AccountOpened, stream="account-b")).position == 3
    assert (await bank.expect(MoneyDeposited, where=lambda deposited: deposited.balance < 10)).position == 4


async def test_what_came_instead_is_listed(bank: WatchedApplication) -> None:
    await opened(bank)

    with pytest.raises(AssertionError) as failure:
        await bank.expect(MoneySent, after=1, within=SOON)

    assert str(failure.value) == (
        "no MoneySent as expected within 0:00:00.020000 above position 1; there came\n"
        "  MoneyDeposited(account_id='a', balance=100, transfer_id=None) in account-a at position 2\n"
        "  AccountOpened(account_id='b') in account-b at position 3"
    )


async def test_of_many_that_came_the_last_are_listed() -> None:
    async with MemoryApplications(ManualClock())(tills(), defaults=Defaults(page=7)) as app:
        await app.dispatch_many([PutIn("a", amount) for amount in range(1, 24)])

        with pytest.raises(
            AssertionError, match=r"came\n  3 more before\n  Moved\(amount=4\) in till-a at position 4\n"
        ):
            await app.expect(Moved, where=lambda moved: moved.amount > 23, within=SOON)


async def test_what_cannot_be_read_is_listed_and_otherwise_raised() -> None:
    store = MemoryEventStore()
    async with WatchedApplication(store=store, router=tills()) as app:
        cause = uuid4()
        event = NewEvent(uuid4(), "Moved", 1, b'{"amount": "much"}', b"{}", cause, cause)
        await store.append([StreamWrite("till-a", Expected.ANY, [event])])

        with pytest.raises(AssertionError, match="Moved, which cannot be read in till-a at position 1"):
            await app.expect(Moved, stream="till-b", within=SOON)
        with pytest.raises(UndecodablePayload, match="amount"):
            await app.recorded()


async def test_a_type_that_is_not_known_is_not_waited_for(bank: WatchedApplication) -> None:
    with pytest.raises(ConfigurationError):
        await bank.expect(Moved)


async def test_an_event_that_must_not_come_is_named(bank: WatchedApplication) -> None:
    await opened(bank)
    await bank.dispatch(SendMoney("a", 10, "b", "t"))

    await bank.expect_none(MoneySent, after=4)
    await bank.expect_none(MoneySent, stream="account-b")
    await bank.expect_none(MoneySent, where=lambda sent: sent.amount > 10)
    with pytest.raises(AssertionError, match=r"expected no MoneyDeposited, but there is MoneyDeposited\(.*position 5"):
        await bank.expect_none(MoneyDeposited, where=lambda deposited: deposited.transfer_id == "t")


async def test_what_one_command_led_to_is_correlated(bank: WatchedApplication) -> None:
    await opened(bank)
    await bank.dispatch(SendMoney("a", 10, "b", "t"))
    opening = await bank.expect(AccountOpened)
    sent = await bank.expect(MoneySent)
    arrived = await bank.expect(MoneyDeposited, stream="account-b")

    assert_correlated(sent, arrived)
    with pytest.raises(AssertionError, match=r"AccountOpened\(account_id='a'\) .* has the correlation"):
        assert_correlated(sent, arrived, opening)


async def test_all_that_was_recorded_is_read_page_by_page() -> None:
    async with MemoryApplications(ManualClock())(tills(), defaults=Defaults(page=2)) as app:
        for amount, till in enumerate("ababa", start=1):
            await app.dispatch(PutIn(till, amount))

        assert [event.data.amount for event in await app.recorded(types=[Moved])] == [1, 2, 3, 4, 5]
        assert [event.data.amount for event in await app.recorded(stream="till-a", after=1)] == [3, 5]


async def test_applications_of_one_fixture_have_one_clock_and_a_log_each() -> None:
    clock = ManualClock()
    applications = MemoryApplications(clock)
    async with applications(tills()) as one, applications(tills()) as other:
        await one.dispatch(PutIn("a", 1))
        clock.advance(timedelta(days=1))
        await other.dispatch(PutIn("a", 2))

        ((first,), (second,)) = (await one.recorded(), await other.recorded())
        assert (first.position, second.position) == (1, 1)
        assert second.recorded_at - first.recorded_at == timedelta(days=1)
