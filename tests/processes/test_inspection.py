"""Instances of processes are listed and looked at, and got going again, or stopped, from anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import attrs
import pytest

from framework import (
    Backoff,
    CommandRejected,
    MemoryEventStore,
    Metadata,
    PostgresEventStore,
    ProcessManager,
    Router,
    Start,
)
from framework.errors import InvalidRequest, UnknownHandler, UnknownSubscription
from framework.policies import Defaults
from framework.runtime.instances import InstanceDetails, Instances
from framework.store.protocol import EventStore
from framework.testing import ManualClock, WatchedApplication, eventually
from sample_bank.accounts import (
    Account,
    AskFirst,
    CloseAccount,
    DeclineTransfer,
    DepositMoney,
    MoneyDeposited,
    MoneyReturned,
    MoneySent,
    OpenAccount,
    ReturnMoney,
    SendMoney,
)
from sample_bank.transfers import CompleteTransfer

DAY = timedelta(days=1)
QUICK = Defaults(handler_retry=Backoff(attempts=1, first=timedelta(milliseconds=1)))


class StrikeError(Exception):
    """Nobody works."""


class OutOfOffice(CommandRejected):
    """Nothing is given back today."""


@attrs.define
class Office:
    """Where money is given back, while it is open."""

    is_open: bool = True

    def check(self, state: Account, command: ReturnMoney, metadata: Metadata) -> None:
        del state, metadata
        if not self.is_open:
            raise OutOfOffice(command.transfer_id)


strike = False
"""Whether `Sloppy` fails."""


@attrs.frozen
class Sloppy(ProcessManager[MoneySent, DepositMoney]):
    """Fails while there is a strike."""

    @classmethod
    def interested(cls, event: MoneySent) -> Start:
        return Start(event.transfer_id)

    def handle(self, event: MoneySent) -> Iterator[DepositMoney]:
        if strike:
            raise StrikeError
        yield DepositMoney(event.target_id, event.amount, event.transfer_id)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str, clock: ManualClock) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore(clock)
        return
    schema = f"instances_{uuid4().hex[:12]}"
    yield PostgresEventStore(dsn, schema=schema)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    finally:
        await connection.close()


def opened(
    store: EventStore, clock: ManualClock, office: Office, process: type[ProcessManager[Any, Any]] = CompleteTransfer
) -> WatchedApplication:
    router = Router()
    router.register(Account, identity="account_id", prefix="account-")
    router.register_command(ReturnMoney, Account, check=office.check)
    return WatchedApplication(store=store, router=router, processes=[process], clock=clock, defaults=QUICK)


async def send(bank: WatchedApplication, *transfers: str, target: str = "b") -> None:
    """Have `a` send one to *target* by each of *transfers*; `b` asks first, and `closed` takes nothing."""
    for account in ("a", "b", "closed"):
        await bank.dispatch(OpenAccount(account))
    await bank.dispatch(CloseAccount("closed"))
    await bank.dispatch(AskFirst("b", DAY))
    await bank.dispatch(DepositMoney("a", 100))
    for transfer in transfers:
        await bank.dispatch(SendMoney("a", 1, target, transfer))
    await bank.settled()


async def details(bank: WatchedApplication, instance: str) -> InstanceDetails:
    found = await bank.processes.get(CompleteTransfer, instance)
    assert found is not None
    return found


async def is_gone(bank: WatchedApplication, instance: str) -> None:
    async def gone() -> None:
        assert instance not in [each.instance for each in await bank.processes.list(CompleteTransfer)]

    await eventually(gone)


async def test_those_that_run_are_listed_page_by_page(store: EventStore, clock: ManualClock, office: Office) -> None:
    async with opened(store, clock, office) as bank:
        await send(bank, "t2", "t1", "t3")
        await bank.dispatch(SendMoney("a", 1, "closed", "done"))
        await bank.settled()

        first = await bank.processes.list(CompleteTransfer, limit=2)
        second = await bank.processes.list("CompleteTransfer", after="t2")

    assert [(each.instance, each.version, each.state) for each in first] == [
        ("t1", 2, {"sender_id": "a"}),
        ("t2", 2, {"sender_id": "a"}),
    ]
    assert [each.instance for each in second] == ["t3"]


async def test_one_is_shown_with_what_it_has_scheduled(store: EventStore, clock: ManualClock, office: Office) -> None:
    async with opened(store, clock, office) as bank:
        due_at = clock.now() + DAY
        await send(bank, "t", "u")

        found = await details(bank, "t")

        assert await bank.processes.get(CompleteTransfer, "nobody") is None
    (command,) = found.commands
    assert (found.process, found.instance, found.state) == ("CompleteTransfer", "t", {"sender_id": "a"})
    assert (command.command_type, command.command) == ("DeclineTransfer", {"account_id": "b", "transfer_id": "t"})
    assert (command.due_at, command.timer, command.parked) == (due_at, "deadline", None)
    assert found.parked_events == []


async def test_a_refusal_nobody_answered_is_shown_and_its_command_sent_again(
    store: EventStore, clock: ManualClock, office: Office
) -> None:
    office.is_open = False
    async with opened(store, clock, office) as bank:
        await send(bank, "t", target="closed")
        (command,) = (await details(bank, "t")).commands
        assert (command.command_type, command.parked) == ("ReturnMoney", "OutOfOffice: t")

        office.is_open = True
        assert await bank.processes.retry(CompleteTransfer, "t") == 1

        await bank.expect(MoneyReturned)
        await is_gone(bank, "t")
        assert await bank.processes.retry(CompleteTransfer, "t") == 0


async def test_one_goes_on_without_what_is_parked(store: EventStore, clock: ManualClock, office: Office) -> None:
    office.is_open = False
    async with opened(store, clock, office) as bank:
        await send(bank, "t", target="closed")
        office.is_open = True

        assert await bank.processes.skip(CompleteTransfer, "t") == 1

        await bank.expect_none(MoneyReturned)
        found = await details(bank, "t")
        assert (found.commands, found.state) == ([], {"sender_id": "a"})


async def test_an_event_that_it_failed_at_is_tried_again_or_passed_over(
    store: EventStore, clock: ManualClock, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store, clock, office, Sloppy) as bank:
        monkeypatch.setattr("tests.processes.test_inspection.strike", True)
        await send(bank, "t", "u")
        found = await bank.processes.get(Sloppy, "t")
        assert found is not None
        (event,) = found.parked_events
        assert (event.key, event.error) == ("t", "StrikeError: ")
        assert found.state is None

        monkeypatch.setattr("tests.processes.test_inspection.strike", False)
        assert await bank.processes.skip(Sloppy, "u") == 1
        assert await bank.processes.retry(Sloppy, "t") == 1

        async def none_is_parked() -> None:
            assert not await store.subscriptions.parked()

        await eventually(none_is_parked)
        assert [each.instance for each in await bank.processes.list(Sloppy)] == ["t"]


async def test_one_is_stopped_with_what_it_has_scheduled_by_whoever_asks(
    store: EventStore, clock: ManualClock, office: Office
) -> None:
    async with store, opened(store, clock, office) as bank:
        await send(bank, "t", "u")
        elsewhere = Instances(store, None, ())

        assert await elsewhere.stop("CompleteTransfer", "t")

        await is_gone(bank, "t")
        assert await bank.processes.get(CompleteTransfer, "t") is not None, "it is known to have ended"
        assert (await details(bank, "t")).commands == []
        assert not await elsewhere.stop("CompleteTransfer", "t")
        assert not await elsewhere.stop("CompleteTransfer", "nobody")
        clock.advance(DAY)
        returned = await bank.expect(MoneyReturned)
        assert returned.data.transfer_id == "u"
        await bank.expect_none(MoneyReturned, after=returned.position)


async def test_what_is_to_be_stopped_is_stopped_by_who_runs_it_next(
    store: EventStore, clock: ManualClock, office: Office
) -> None:
    async with opened(store, clock, office) as bank:
        await send(bank, "t")
    async with store:
        assert await Instances(store, None, ()).stop("CompleteTransfer", "t")

    async with opened(store, clock, office) as bank:
        await is_gone(bank, "t")


async def test_a_history_has_the_events_and_what_became_of_the_commands(
    store: EventStore, clock: ManualClock, office: Office
) -> None:
    async with opened(store, clock, office) as bank:
        await send(bank, "t", "other")

        before = [step async for step in bank.processes.history(CompleteTransfer, "t")]
        clock.advance(DAY)
        await bank.settled()
        after = [step async for step in bank.processes.history(CompleteTransfer, "t")]

    assert [(step.event.type, step.state is None) for step in after] == [
        ("MoneySent", False),
        ("MoneyOffered", False),
        ("TransferDeclined", False),
        ("MoneyReturned", True),
    ]
    assert [(sent.command, sent.outcome) for step in before for sent in step.commands] == [
        (DepositMoney("b", 1, "t"), "accepted"),
        (DeclineTransfer("b", "t"), "open"),
    ]
    assert [(sent.command, sent.outcome) for step in after for sent in step.commands] == [
        (DepositMoney("b", 1, "t"), "accepted"),
        (DeclineTransfer("b", "t"), "accepted"),
        (ReturnMoney("a", 1, "t"), "accepted"),
    ]


async def test_a_history_has_refusals_and_what_they_led_to(
    store: EventStore, clock: ManualClock, office: Office
) -> None:
    async with opened(store, clock, office) as bank:
        await send(bank, "t", target="closed")

        sent, returned = [step async for step in bank.processes.history(CompleteTransfer, "t")]

    assert [(each.command, each.outcome, each.refusal) for each in sent.commands] == [
        (DepositMoney("closed", 1, "t"), "refused", "AccountIsClosed: closed"),
        (ReturnMoney("a", 1, "t"), "accepted", None),
    ]
    assert (returned.event.type, returned.state, returned.commands) == ("MoneyReturned", None, [])


async def test_a_history_says_what_an_instance_fails_with(
    clock: ManualClock, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(MemoryEventStore(clock), clock, office, Sloppy) as bank:
        await send(bank, "t")
        monkeypatch.setattr("tests.processes.test_inspection.strike", True)

        (step,) = [step async for step in bank.processes.history(Sloppy, "t")]

    assert (step.error, step.state, step.commands) == ("StrikeError: ", None, [])


async def test_a_process_that_never_ran_is_named_with_those_that_have(
    store: EventStore, clock: ManualClock, office: Office
) -> None:
    async with opened(store, clock, office) as bank:
        for asked in (bank.processes.get, bank.processes.retry, bank.processes.skip, bank.processes.stop):
            with pytest.raises(UnknownSubscription, match="there are: CompleteTransfer"):
                await asked("Nobody", "t")
        with pytest.raises(UnknownSubscription):
            await bank.processes.list("Nobody")
        with pytest.raises(UnknownHandler):
            _ = [step async for step in bank.processes.history("Nobody", "t")]
        with pytest.raises(InvalidRequest):
            await bank.processes.list(CompleteTransfer, limit=0)


async def test_what_arrives_ends_a_transfer_and_it_is_listed_no_more(
    store: EventStore, clock: ManualClock, office: Office
) -> None:
    async with opened(store, clock, office) as bank:
        await send(bank)
        await bank.dispatch(OpenAccount("c"))
        await bank.dispatch(SendMoney("a", 1, "c", "t"))
        await bank.expect(MoneyDeposited, where=lambda deposited: deposited.transfer_id == "t")

        await is_gone(bank, "t")
