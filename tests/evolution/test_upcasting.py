"""What was stored years ago is read by everybody in the form of today, and stays in the log as it was."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any, Self, assert_never
from uuid import uuid4

import attrs
import pytest

from framework import (
    Aggregate,
    Application,
    Backoff,
    Connection,
    Consistency,
    EventHandler,
    MemoryEventStore,
    PostgresEventStore,
    ProcessManager,
    Projector,
    Recorded,
    Router,
    SnapshotEvery,
    Start,
    Upcast,
    Upcaster,
    event_type,
)
from framework.errors import UndecodablePayload, UnknownEventType, UpcastFailed
from framework.messages import Metadata
from framework.policies import Defaults
from framework.store.protocol import EventStore, Expected, NewEvent, StreamWrite
from framework.testing import eventually
from tests.sample_bank.databases import fresh_schema

QUICK = Defaults(handler_retry=Backoff(attempts=2, first=timedelta(milliseconds=1)))
OLD = {"sum": 5}


@attrs.frozen
class Deposit:
    purse: str
    amount: int


@attrs.frozen
class Note:
    amount: int


@event_type("deposited", version=3, was=("PutIn",))
@attrs.frozen
class Deposited:
    amount: int
    currency: str


@attrs.frozen
class FeeCharged:
    amount: int


@attrs.frozen
class Purse(Aggregate[Deposit, Deposited | FeeCharged]):
    content: int = 0
    paid: int = 0

    def execute(self, command: Deposit) -> Iterator[Deposited]:
        yield Deposited(command.amount, "EUR")

    def apply(self, event: Deposited | FeeCharged) -> Self:
        match event:
            case Deposited(amount=amount):
                return attrs.evolve(self, content=self.content + amount)
            case FeeCharged(amount=amount):
                return attrs.evolve(self, content=self.content - amount, paid=self.paid + amount)
            case _:
                assert_never(event)


@attrs.frozen
class Tally(ProcessManager[Deposited | FeeCharged, Deposit]):
    """Sends on whatever it hears of, under one instance."""

    @classmethod
    def interested(cls, event: Deposited | FeeCharged) -> Start:
        del event
        return Start("tally")

    def handle(self, event: Deposited | FeeCharged) -> Iterator[Deposit]:
        if event.amount < 1_000:
            yield Deposit("tally", 1_000 + event.amount)


class DepositedV1(Upcaster, event="deposited", version=1):
    """It was called a sum."""

    def upcast(self, data: dict[str, Any], metadata: Metadata) -> Iterator[Upcast]:
        yield Upcast({"amount": data["sum"]}, {**metadata, "steps": [1]})


class DepositedV2(Upcaster, event="deposited", version=2):
    """There was one currency."""

    def upcast(self, data: dict[str, Any], metadata: Metadata) -> Iterator[Upcast]:
        data["currency"] = "EUR"
        yield Upcast(data, {**metadata, "steps": [*metadata.get("steps", ()), 2]})


class DepositedWithFee(Upcaster, event="deposited-with-fee", version=1, becomes=("deposited", "FeeCharged")):
    """They were one event; the deposit is in the form of its second version."""

    def upcast(self, data: dict[str, Any], metadata: Metadata) -> Iterator[Upcast]:
        if data["gross"] < 0:
            raise ValueError("a negative deposit")
        yield Upcast({"amount": data["gross"]}, event="deposited", version=2)
        if data["fee"]:
            yield Upcast({"amount": data["fee"]}, event="FeeCharged")


class Heartbeat(Upcaster, event="heartbeat", version=1):
    """Means nothing any more."""

    def upcast(self, data: dict[str, Any], metadata: Metadata) -> Iterator[Upcast]:
        yield from ()


class Listening(EventHandler[Deposited | FeeCharged]):
    def __init__(self) -> None:
        self.heard: list[Recorded[Deposited | FeeCharged]] = []

    async def handle(self, event: Recorded[Deposited | FeeCharged]) -> None:
        self.heard.append(event)


class Fees(EventHandler[FeeCharged]):
    """Fails as often as it is told to, at its first event."""

    def __init__(self, failures: int = 0) -> None:
        self.heard: list[FeeCharged] = []
        self.failures = failures

    async def handle(self, event: Recorded[FeeCharged]) -> None:
        if self.failures:
            self.failures -= 1
            raise LookupError("not now")
        self.heard.append(event.data)


class InThrees(EventHandler[Deposited | FeeCharged]):
    batch_size = 10

    def __init__(self) -> None:
        self.heard: list[list[Deposited | FeeCharged]] = []

    async def handle_batch(self, events: Sequence[Recorded[Deposited | FeeCharged]]) -> int:
        self.heard.append([event.data for event in events])
        return min(3, len(events))


class Rows(Projector[Deposited | FeeCharged]):
    version = 1
    schema = "CREATE TABLE rows (number serial, position bigint, what text)"

    async def project(self, event: Recorded[Deposited | FeeCharged], db: Connection) -> None:
        await db.execute("INSERT INTO rows (position, what) VALUES ($1, $2)", event.position, repr(event.data))


@attrs.frozen
class Refund(ProcessManager[FeeCharged, Deposit]):
    @classmethod
    def interested(cls, event: FeeCharged) -> Start:
        return Start(f"fee-{event.amount}")

    def handle(self, event: FeeCharged) -> Iterator[Deposit]:
        yield Deposit("refunds", event.amount)


UPCASTERS: tuple[Upcaster, ...] = (DepositedV1(), DepositedV2(), DepositedWithFee(), Heartbeat())


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
        return
    async with fresh_schema(dsn) as schema:
        yield PostgresEventStore(dsn, schema=schema)


def purses(store: EventStore, snapshots: SnapshotEvery | None = None, **parts: Any) -> Application:
    router = Router()
    router.register(Purse, identity="purse", prefix="purse-", snapshots=snapshots)
    return Application(store=store, router=router, upcasters=UPCASTERS, defaults=QUICK, **parts)


def stored(name: str, version: int, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> NewEvent:
    cause = uuid4()
    return NewEvent(
        uuid4(), name, version, json.dumps(data).encode(), json.dumps(metadata or {}).encode(), cause, cause
    )


async def record(store: EventStore, stream: str, *events: NewEvent) -> int:
    (places,) = await store.append((StreamWrite(stream, Expected.ANY, events),), ())
    return places.position


HISTORY = (
    stored("PutIn", 1, {"sum": 5}, {"by": "clerk"}),
    stored("deposited", 2, {"amount": 7}),
    stored("heartbeat", 1, {}),
    stored("deposited-with-fee", 1, {"gross": 100, "fee": 3}),
    stored("deposited-with-fee", 1, {"gross": 10, "fee": 0}),
    stored("deposited", 3, {"amount": 1, "currency": "EUR"}),
)
TODAY = [
    Deposited(5, "EUR"),
    Deposited(7, "EUR"),
    Deposited(100, "EUR"),
    FeeCharged(3),
    Deposited(10, "EUR"),
    Deposited(1, "EUR"),
]


async def test_an_aggregate_is_folded_from_what_its_events_are_today(store: EventStore) -> None:
    async with purses(store) as bank:
        await record(store, "purse-a", *HISTORY)

        assert await bank.state(Purse, "a") == Purse(content=120, paid=3)
        assert await bank.state(Purse, "a", version=4) == Purse(content=109, paid=3)
        result = await bank.dispatch(Deposit("a", 2))
        assert (result.version, await bank.state(Purse, "a")) == (7, Purse(content=122, paid=3))


async def test_a_stream_that_ends_in_what_is_nothing_today_goes_on_behind_it(store: EventStore) -> None:
    async with purses(store) as bank:
        await record(store, "purse-a", stored("heartbeat", 1, {}))

        assert (await bank.dispatch(Deposit("a", 2))).version == 2


async def test_whoever_reads_the_log_reads_the_events_of_today(store: EventStore) -> None:
    async with purses(store) as bank:
        await record(store, "purse-a", *HISTORY)

        heard: list[Recorded[Any]] = []
        async for event in bank.events():
            heard.append(event)
            if event.position == len(HISTORY):
                break

    assert [event.data for event in heard] == TODAY
    assert [(event.type, event.type_version, event.position, event.version) for event in heard] == [
        ("deposited", 3, 1, 1),
        ("deposited", 3, 2, 2),
        ("deposited", 3, 4, 4),
        ("FeeCharged", 1, 4, 4),
        ("deposited", 3, 5, 5),
        ("deposited", 3, 6, 6),
    ]
    assert [event.metadata for event in heard[:3]] == [{"by": "clerk", "steps": [1, 2]}, {"steps": [2]}, {"steps": [2]}]
    assert heard[2].event_id == heard[3].event_id


async def test_what_was_stored_stays_as_it_was(store: EventStore) -> None:
    async with purses(store) as bank:
        await record(store, "purse-a", *HISTORY)
        await bank.state(Purse, "a")

        page = await store.read_log(after=0, limit=10)

    assert [(each.type, each.type_version, json.loads(each.data)) for each in page.events] == [
        (each.type, each.type_version, json.loads(each.data)) for each in HISTORY
    ]


async def test_a_handler_is_given_the_events_of_today_that_it_names(store: EventStore) -> None:
    every, fees = Listening(), Fees()
    async with purses(store, handlers=[every, fees]) as bank:
        await record(store, "purse-a", *HISTORY)
        await bank.wait_for(len(HISTORY), ["Listening", "Fees"])

    assert [event.data for event in every.heard] == TODAY
    assert fees.heard == [FeeCharged(3)]


async def test_those_who_catch_up_are_given_the_same_as_those_near_the_head(store: EventStore) -> None:
    fees = Fees()
    async with purses(store) as bank:
        await record(store, "purse-a", *HISTORY)
    async with purses(store, handlers=[fees]) as bank:
        last = await record(
            store, "purse-b", stored("PutIn", 1, OLD), stored("deposited-with-fee", 1, {"gross": 100, "fee": 8})
        )
        await bank.wait_for(last, ["Fees"])

    assert fees.heard == [FeeCharged(3), FeeCharged(8)]


async def test_a_batch_that_stops_inside_of_what_was_one_event_goes_on_before_it(store: EventStore) -> None:
    both = stored("deposited-with-fee", 1, {"gross": 100, "fee": 3})
    batches = InThrees()
    async with purses(store) as bank:
        last = await record(store, "purse-a", both, both._replace(event_id=uuid4()))
    async with purses(store, handlers=[batches]) as bank:
        await bank.wait_for(last, ["InThrees"])

    pair = [Deposited(100, "EUR"), FeeCharged(3)]
    assert batches.heard == [[*pair, *pair], pair]


async def test_what_was_one_event_is_parked_and_tried_again_as_one(store: EventStore) -> None:
    fees = Fees(failures=QUICK.handler_retry.attempts)
    async with purses(store, handlers=[fees]) as bank:
        both = stored("deposited-with-fee", 1, {"gross": 100, "fee": 3})
        later = stored("deposited-with-fee", 1, {"gross": 100, "fee": 4})
        last = await record(store, "purse-a", both, later)
        assert await bank.wait_for(last, ["Fees"]) == {"Fees": "parked"}

        parked = await bank.subscriptions.parked("Fees")
        assert [event.position for event in parked] == [1, 2]
        await bank.subscriptions.retry("Fees", key="purse-a")

        async def are_heard() -> None:
            assert fees.heard == [FeeCharged(3), FeeCharged(4)]

        await eventually(are_heard)


async def test_an_event_that_an_upcaster_fails_at_is_parked_and_read_anew_when_it_is_tried_again(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fees = Fees()
    async with purses(store, handlers=[fees]) as bank:
        last = await record(store, "purse-a", stored("deposited-with-fee", 1, {"gross": -1, "fee": 3}))
        assert await bank.wait_for(last, ["Fees"]) == {"Fees": "parked"}
        (parked,) = await bank.subscriptions.parked("Fees")
        assert parked.error is not None
        assert "DepositedWithFee failed at purse-a version 1: ValueError: a negative deposit" in parked.error

        def mended(_: object, data: dict[str, Any], __: Metadata) -> Iterator[Upcast]:
            yield Upcast({"amount": data["fee"]}, event="FeeCharged")

        monkeypatch.setattr(DepositedWithFee, "upcast", mended)
        await bank.subscriptions.retry("Fees")

        async def is_heard() -> None:
            assert fees.heard == [FeeCharged(3)]

        await eventually(is_heard)


async def test_a_process_is_given_the_events_of_today(store: EventStore) -> None:
    async with purses(store, processes=[Refund]) as bank:
        await record(store, "purse-a", *HISTORY)

        async def is_refunded() -> None:
            assert await bank.state(Purse, "refunds") == Purse(content=3)

        await eventually(is_refunded)


async def test_the_commands_of_what_was_one_event_are_all_sent_each_once(store: EventStore) -> None:
    async with purses(store, processes=[Tally]) as bank:
        await record(store, "purse-a", stored("deposited-with-fee", 1, {"gross": 100, "fee": 3}))

        async def are_sent() -> None:
            assert await bank.state(Purse, "tally") == Purse(content=1_100 + 1_003)

        await eventually(are_sent)


async def test_a_projector_writes_the_rows_of_the_events_of_today(dsn: str) -> None:
    async with fresh_schema(dsn) as schema:
        store = PostgresEventStore(dsn, schema=schema)
        async with purses(store, projectors=[Rows()]) as bank:
            last = await record(store, "purse-a", *HISTORY)
            await bank.wait_for(last, ["Rows"])
            rows = await bank.query(Rows, "SELECT position, what FROM rows ORDER BY number")

    assert [tuple(row) for row in rows] == list(zip([1, 2, 4, 4, 5, 6], map(repr, TODAY), strict=True))


async def test_a_snapshot_and_the_events_after_it_are_what_all_events_are(store: EventStore) -> None:
    async with purses(store, snapshots=SnapshotEvery(2)) as bank:
        await record(store, "purse-a", *HISTORY[:4])
        await bank.dispatch(Deposit("a", 1))
        await bank.snapshot(Purse, "a")
        await record(store, "purse-a", HISTORY[3]._replace(event_id=uuid4()))

        assert await bank.state(Purse, "a") == Purse(content=5 + 7 + 97 + 1 + 97, paid=6)


async def test_a_repeated_command_is_answered_with_the_events_of_today(store: EventStore) -> None:
    command_id = uuid4()
    async with purses(store) as bank:
        first = await bank.dispatch(Deposit("a", 2), command_id=command_id)
    router = Router()
    router.register(PurseOfTomorrow, identity="purse", prefix="purse-")
    async with Application(
        store=store, router=router, upcasters=[DepositedV1(), DepositedV2(), DepositedV3()]
    ) as tomorrow:
        again = await tomorrow.dispatch(Deposit("a", 2), command_id=command_id)

    assert (first.events, again.events) == ((Deposited(2, "EUR"),), (DepositedTomorrow(200),))


@event_type("deposited", version=4)
@attrs.frozen
class DepositedTomorrow:
    cents: int


class DepositedV3(Upcaster, event="deposited", version=3):
    def upcast(self, data: dict[str, Any], metadata: Metadata) -> Iterator[Upcast]:
        yield Upcast({"cents": data["amount"] * 100})


@attrs.frozen
class PurseOfTomorrow(Aggregate[Deposit, DepositedTomorrow]):
    def execute(self, command: Deposit) -> Iterator[DepositedTomorrow]:
        yield DepositedTomorrow(command.amount * 100)

    def apply(self, event: DepositedTomorrow) -> Self:
        del event
        return self


# What cannot be read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "error", "reason"),
    [
        (stored("deposited", 9, {}), UnknownEventType, "'deposited' version 9 is stored .purse-a version 1"),
        (stored("os.system", 1, {}), UnknownEventType, "'os.system' version 1"),
        (stored("deposited", 2, {"amount": "five"}), UndecodablePayload, "Deposited"),
        (
            stored("deposited", 1, {"total": 5}),
            UpcastFailed,
            "DepositedV1 failed at purse-a version 1: KeyError: 'sum'",
        ),
    ],
)
async def test_an_event_that_cannot_be_read_says_where_it_is_and_why(
    event: NewEvent, error: type[Exception], reason: str
) -> None:
    store = MemoryEventStore()
    async with purses(store) as bank:
        await record(store, "purse-a", event)

        with pytest.raises(error, match=reason):
            await bank.state(Purse, "a")
        with pytest.raises(error, match=reason):
            await anext(bank.events())


@pytest.mark.parametrize(
    ("yielded", "reason"),
    [
        ({"amount": 1}, "it yielded {'amount': 1}, and no Upcast"),
        (Upcast({}, event="FeeCharged"), "it yielded a 'FeeCharged', which it does not name in becomes="),
        (Upcast({}, version=1), "it leads from version 1 to 1"),
    ],
)
async def test_an_upcaster_that_breaks_its_contract_fails_at_its_event(
    yielded: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> Iterator[Any]:
        yield yielded

    monkeypatch.setattr(DepositedV1, "upcast", wrong)
    store = MemoryEventStore()
    async with purses(store) as bank:
        await record(store, "purse-a", stored("deposited", 1, OLD))

        with pytest.raises(UpcastFailed, match=f"DepositedV1 failed at purse-a version 1: {reason}"):
            await bank.state(Purse, "a")


async def test_a_strong_dispatch_waits_as_it_did(store: EventStore) -> None:
    every = Listening()
    async with purses(store, handlers=[every]) as bank:
        result = await bank.dispatch(Deposit("a", 2), consistency=Consistency.STRONG)

    assert (result.waited, [event.data for event in every.heard]) == ({"Listening": "handled"}, [Deposited(2, "EUR")])
