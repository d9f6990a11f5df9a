"""What every event store must do, as tests: the shipped contract of `framework.store.protocol`.

Subclass it in a test module and say how a store is made::

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self) -> AsyncIterator[MyStore]:
            async with MyStore() as store:
                yield store

It is written for pytest-asyncio in auto mode, fixture and tests on one loop. For readable failures, name this
module to `pytest.register_assert_rewrite` in a conftest.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from framework.clock import new_id
from framework.errors import (
    DuplicateEvent,
    ProgressMoved,
    ReceiptTaken,
    StoreError,
    WrongExpectedVersion,
)
from framework.store.protocol import (
    Appended,
    EventStore,
    Expected,
    InstanceRow,
    NewEvent,
    OutboxRow,
    ProcessChange,
    Receipt,
    StoredEvent,
    StreamWrite,
)

PATIENCE_S = 10
"""How long something that must happen soon may take."""


JSON_VALUES: Sequence[dict[str, Any]] = (
    {"text": "ä 漢 😀 \u202e ' \" \\ \\u0041 \t\n\r\x01 {x} %s $1"},
    {"nesting": {"": "", "a.b": {"c": [[], {}, [[[1]]]]}, "long": "x" * 100_000}},
    {"integers": [0, -1, 2**53 + 1, 2**63, -(2**64), 10**40]},
    {"floats": [0.1, -1.5, 1e-7, 1e22, 1.7976931348623157e308, 5e-324]},
    {"constants": [True, False, None]},
    {"keys": {"b": 1, "aa": 2, "a": {"z": 1, "y": 2}}},
)
"""What has to come back as it went in."""


# What the tests are made of -------------------------------------------------------------------------------


def new_event(data: object = None, *, type_: str = "happened", metadata: object = None) -> NewEvent:
    """Return an event with fresh ids, *data* and *metadata* as JSON."""
    return NewEvent(
        event_id=new_id(),
        type=type_,
        type_version=1,
        data=as_json({} if data is None else data),
        metadata=as_json({} if metadata is None else metadata),
        correlation_id=new_id(),
        causation_id=new_id(),
    )


def new_events(count: int) -> list[NewEvent]:
    """Return *count* events, numbered from 1."""
    return [new_event({"number": number}) for number in range(1, count + 1)]


def new_receipt(stream: str = "s", *, count: int = 1, refusal: bytes | None = None) -> Receipt:
    """Return the receipt of a command with a fresh id, decided on an empty *stream*."""
    return Receipt(new_id(), b"\x00digest\xff", stream, 1, count, refusal)


def new_command(process: str = "p", instance: str = "i") -> OutboxRow:
    """Return a command of *instance* with fresh ids; its number is the store's to give."""
    return OutboxRow(process, instance, 0, 0, new_id(), "Do", b'{"it": "now"}', new_id(), new_id())


def as_json(value: object) -> bytes:
    """Return *value* as a JSON document."""
    return json.dumps(value).encode()


def value_of(document: bytes) -> Any:
    """Return what a JSON *document* says, numbers exact; two documents that say the same are equal."""
    return json.loads(document, parse_int=Decimal, parse_float=Decimal)


def content_of(event: NewEvent | StoredEvent) -> tuple[object, ...]:
    """Return all of an event that its writer gave."""
    return (
        event.event_id,
        event.type,
        event.type_version,
        value_of(event.data),
        value_of(event.metadata),
        event.correlation_id,
        event.causation_id,
    )


def contents_of(events: Iterable[NewEvent | StoredEvent]) -> list[tuple[object, ...]]:
    """Return what the writers of *events* gave."""
    return [content_of(event) for event in events]


def ids_of(rows: Iterable[OutboxRow]) -> list[UUID]:
    """Return the command ids of *rows*."""
    return [row.command_id for row in rows]


async def write(store: EventStore, stream: str, *events: NewEvent, expected: int = Expected.ANY) -> Appended:
    """Append *events* to one *stream*."""
    (appended,) = await store.append([StreamWrite(stream, expected, events)])
    return appended


async def write_to(
    store: EventStore, events: Sequence[NewEvent], *receipts: Receipt, stream: str = "s", expected: int = 0
) -> Appended:
    """Append *events* with *receipts* to one *stream*, new unless said otherwise."""
    (appended,) = await store.append([StreamWrite(stream, expected, events)], receipts)
    return appended


async def log_of(store: EventStore) -> Sequence[StoredEvent]:
    """Return the whole log."""
    return (await store.read_log(limit=100_000)).events


async def advance(store: EventStore, *commands: OutboxRow, process: str = "p") -> None:
    """Put *commands* in the outbox of *process*."""
    at = await store.load_checkpoint(process)
    await store.advance_process(process, ProcessChange(commands=commands), position=at + 1, expected=at)


async def waiting(store: EventStore, process: str = "p") -> list[UUID]:
    """Return the ids of the commands that *process* has to send, in order."""
    return ids_of(await store.outbox(process, limit=1_000))


async def row_of(store: EventStore, command: OutboxRow) -> OutboxRow:
    """Return *command* as the outbox holds it."""
    rows = await store.outbox(command.process, limit=1_000)
    return next(row for row in rows if row.command_id == command.command_id)


def new_instance(number: int, *, of: str = "i") -> InstanceRow:
    """Return the state of the instance *of* after its event *number*."""
    return InstanceRow(of, number, as_json({"after": number}))


async def instances(store: EventStore, process: str = "p") -> dict[str, tuple[int, object]]:
    """Return the versions and states of the instances i and j of *process*, as far as there are any."""
    rows = await store.load_instances(process, ["i", "j"])
    return {name: (row.version, value_of(row.state)) for name, row in rows.items()}


async def outcomes(work: Iterable[Awaitable[object]]) -> list[object]:
    """Do all *work* at the same time, and return the result or the error of each."""
    async with asyncio.timeout(PATIENCE_S * 3):
        return await asyncio.gather(*work, return_exceptions=True)


class _OnAStore:
    @pytest.fixture
    def store(self) -> EventStore:
        """Return an open store with nothing in it."""
        message = "a subclass provides the fixture `store`"
        raise NotImplementedError(message)


# Appending ------------------------------------------------------------------------------------------------


class AppendContract(_OnAStore):
    """`EventLog.append`: what is recorded, and what is refused."""

    async def test_an_append_says_where_its_events_went(self, store: EventStore) -> None:
        first = await write(store, "a", *new_events(2))
        second = await write(store, "b", *new_events(3))

        assert (first.stream, first.version, first.position) == ("a", 2, 2)
        assert (second.stream, second.version, second.position) == ("b", 3, 5)

    async def test_an_append_says_when_its_events_were_recorded(self, store: EventStore) -> None:
        appended = await write(store, "s", new_event())

        (event,) = await store.read_stream("s")
        assert appended.recorded_at == event.recorded_at

    async def test_versions_count_from_one_in_each_stream(self, store: EventStore) -> None:
        await write(store, "a", *new_events(2))
        await write(store, "b", *new_events(1))
        await write(store, "a", *new_events(2))

        assert [event.version for event in await store.read_stream("a")] == [1, 2, 3, 4]
        assert [event.version for event in await store.read_stream("b")] == [1]

    async def test_positions_count_from_one_over_all_streams(self, store: EventStore) -> None:
        await write(store, "a", *new_events(2))
        await write(store, "b", *new_events(1))
        await write(store, "a", *new_events(2))

        assert [event.position for event in await log_of(store)] == [1, 2, 3, 4, 5]
        assert [event.stream for event in await log_of(store)] == ["a", "a", "b", "a", "a"]

    async def test_a_refused_append_leaves_no_gap(self, store: EventStore) -> None:
        await write(store, "a", new_event())
        with pytest.raises(WrongExpectedVersion):
            await write(store, "a", *new_events(3), expected=Expected.NO_STREAM)

        appended = await write(store, "a", new_event())

        assert (appended.version, appended.position) == (2, 2)

    async def test_one_append_to_several_streams_lies_side_by_side_in_the_order_given(self, store: EventStore) -> None:
        await write(store, "b", new_event())
        to_b, to_a, to_c = new_events(2), new_events(1), new_events(2)

        appended = await store.append(
            [StreamWrite("b", 1, to_b), StreamWrite("a", 0, to_a), StreamWrite("c", Expected.ANY, to_c)]
        )

        assert [(each.stream, each.version, each.position) for each in appended] == [
            ("b", 3, 3),
            ("a", 1, 4),
            ("c", 2, 6),
        ]
        assert contents_of((await log_of(store))[1:]) == contents_of(to_b + to_a + to_c)

    async def test_one_append_to_several_streams_is_all_or_nothing(self, store: EventStore) -> None:
        await write(store, "c", new_event())
        receipt = new_receipt("a")

        with pytest.raises(WrongExpectedVersion) as caught:
            await store.append(
                [
                    StreamWrite("a", 0, new_events(2)),
                    StreamWrite("b", Expected.ANY, new_events(1)),
                    StreamWrite("c", 7, new_events(1)),
                ],
                [receipt],
            )

        assert (caught.value.stream, caught.value.actual) == ("c", 1)
        assert len(await log_of(store)) == 1
        assert not await store.read_stream("a")
        assert not await store.receipts([receipt.command_id])

    async def test_an_append_of_nothing_answers_nothing(self, store: EventStore) -> None:
        assert await store.append(()) == ()
        assert await store.head() == 0

    async def test_a_write_without_events_answers_with_the_version_the_stream_has(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))

        appended = await write(store, "s", expected=3)

        assert (appended.stream, appended.version, appended.recorded_at) == ("s", 3, None)
        assert await store.head() == 3

    async def test_a_write_without_events_makes_no_stream(self, store: EventStore) -> None:
        appended = await write(store, "s", expected=Expected.NO_STREAM)

        assert (appended.version, appended.recorded_at) == (0, None)
        with pytest.raises(WrongExpectedVersion):
            await write(store, "s", new_event(), expected=Expected.STREAM_EXISTS)

    async def test_a_write_without_events_is_refused_where_its_expectation_is_wrong(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))

        with pytest.raises(WrongExpectedVersion) as caught:
            await write(store, "s", expected=2)

        assert caught.value.actual == 3

    async def test_a_stream_that_stands_twice_in_an_append_is_refused(self, store: EventStore) -> None:
        with pytest.raises(ValueError, match="twice"):
            await store.append([StreamWrite("twice", 0, new_events(1)), StreamWrite("twice", 1, new_events(1))])

        assert await store.head() == 0

    @pytest.mark.parametrize("expected", [-3, -100])
    async def test_an_expectation_that_means_nothing_is_refused(self, store: EventStore, expected: int) -> None:
        with pytest.raises(ValueError, match=str(expected)):
            await write(store, "s", new_event(), expected=expected)

        assert await store.head() == 0

    @pytest.mark.parametrize("stream", ["account-Ω-☃-😀", 'it\'s, "50%" {a} \\ _', "x" * 500, " "])
    async def test_a_stream_may_have_any_printable_name(self, store: EventStore, stream: str) -> None:
        await write(store, stream, new_event(), expected=0)
        await write(store, stream, new_event(), expected=1)

        assert [event.stream for event in await store.read_stream(stream)] == [stream, stream]

    async def test_recorded_at_is_aware_and_never_goes_backwards(self, store: EventStore) -> None:
        for number in range(20):
            await write(store, f"s{number % 3}", *new_events(2))

        moments = [event.recorded_at for event in await log_of(store)]
        assert all(moment.utcoffset() == timedelta() for moment in moments)
        assert all(one <= next_ for one, next_ in pairwise(moments))


class ExpectationContract(_OnAStore):
    """What a writer may believe of a stream, and what it is told where it is wrong."""

    @pytest.mark.parametrize("expected", [Expected.NO_STREAM, Expected.ANY])
    async def test_an_empty_stream_takes_those_who_expect_no_events(self, store: EventStore, expected: int) -> None:
        appended = await write(store, "s", new_event(), expected=expected)

        assert appended.version == 1

    @pytest.mark.parametrize("expected", [3, Expected.ANY, Expected.STREAM_EXISTS])
    async def test_a_stream_takes_those_who_expect_what_it_is(self, store: EventStore, expected: int) -> None:
        await write(store, "s", *new_events(3))

        appended = await write(store, "s", *new_events(2), expected=expected)

        assert (appended.version, appended.position) == (5, 5)

    @pytest.mark.parametrize("expected", [1, 2, 1_000_000, Expected.STREAM_EXISTS])
    async def test_an_empty_stream_refuses_those_who_expect_events(self, store: EventStore, expected: int) -> None:
        await write(store, "another", *new_events(2))

        with pytest.raises(WrongExpectedVersion) as caught:
            await write(store, "s", new_event(), expected=expected)

        assert caught.value.stream == "s"
        assert caught.value.expected == Expected.describe(expected)
        assert caught.value.actual == 0
        assert not await store.read_stream("s")
        assert await store.head() == 2

    @pytest.mark.parametrize("expected", [Expected.NO_STREAM, 1, 2, 4, 5, 1_000_000])
    async def test_a_stream_refuses_those_who_expect_another_version(self, store: EventStore, expected: int) -> None:
        await write(store, "s", *new_events(3))

        with pytest.raises(WrongExpectedVersion) as caught:
            await write(store, "s", *new_events(2), expected=expected)

        assert caught.value.stream == "s"
        assert caught.value.expected == Expected.describe(expected)
        assert caught.value.actual == 3
        assert len(await store.read_stream("s")) == 3
        assert await store.head() == 3

    async def test_a_refused_event_may_be_appended_again(self, store: EventStore) -> None:
        event = new_event()
        with pytest.raises(WrongExpectedVersion):
            await write(store, "s", event, expected=4)

        await write(store, "s", event, expected=0)

        assert contents_of(await store.read_stream("s")) == contents_of([event])


class RepeatContract(_OnAStore):
    """Appends that came before, and ids that are taken."""

    @pytest.mark.parametrize("expected", [2, Expected.ANY, Expected.STREAM_EXISTS])
    async def test_a_repeated_append_answers_as_the_first_did(self, store: EventStore, expected: int) -> None:
        await write(store, "s", *new_events(2))
        events = new_events(3)
        first = await write(store, "s", *events, expected=expected)

        again = await write(store, "s", *events, expected=expected)

        assert again == first
        assert await store.head() == 5

    async def test_a_repeated_append_answers_as_the_first_did_though_the_stream_has_moved_on(
        self, store: EventStore
    ) -> None:
        events = new_events(3)
        first = await write(store, "s", *events, expected=Expected.NO_STREAM)
        await write(store, "another", *new_events(2))
        await write(store, "s", *new_events(2))

        again = await write(store, "s", *events, expected=Expected.NO_STREAM)

        assert again == first
        assert await store.head() == 7

    async def test_a_repeated_append_to_several_streams_answers_as_the_first_did(self, store: EventStore) -> None:
        writes = [StreamWrite("b", 0, new_events(2)), StreamWrite("a", 0, new_events(1))]
        receipts = [new_receipt("b", count=2), new_receipt("a")]
        first = await store.append(writes, receipts)
        await write(store, "b", new_event())

        again = await store.append(writes, receipts)

        assert again == first
        assert await store.head() == 4

    async def test_contents_are_the_same_where_they_are_the_same_json(self, store: EventStore) -> None:
        event = new_event()._replace(data=b'{"a": 1, "b": [true, null]}', metadata=b'{"x": "\\u00e4", "y": 2}')
        first = await write(store, "s", event, expected=0)

        again = await write(
            store,
            "s",
            event._replace(data=b'{"b":[true,null],"a":1}', metadata='{"y":2,"x":"ä"}'.encode()),
            expected=0,
        )

        assert again == first

    @pytest.mark.parametrize(
        "change",
        [
            {"data": b'{"amount": 2}'},
            {"data": b'{"amount": true}'},
            {"data": b'{"amount": "1"}'},
            {"data": b'{"amount": 1, "more": null}'},
            {"metadata": b'{"by": "another"}'},
            {"type": "happened-otherwise"},
            {"type_version": 2},
            {"correlation_id": UUID(int=1)},
            {"causation_id": UUID(int=1)},
        ],
        ids=lambda change: " ".join(str(value) for pair in change.items() for value in pair),
    )
    async def test_an_id_with_another_content_is_refused(self, store: EventStore, change: dict[str, Any]) -> None:
        before, after = new_events(2)
        event = new_event({"amount": 1}, metadata={"by": "me"})
        await write(store, "s", before, event, after)

        with pytest.raises(DuplicateEvent) as caught:
            await write(store, "s", before, event._replace(**change), after)

        assert caught.value.stream == "s"
        assert event.event_id in caught.value.event_ids
        assert contents_of(await log_of(store)) == contents_of([before, event, after])

    async def test_an_append_of_one_event_with_another_content_is_refused(self, store: EventStore) -> None:
        event = new_event({"amount": 1})
        await write(store, "s", event, expected=0)

        with pytest.raises(DuplicateEvent):
            await write(store, "s", event._replace(data=b'{"amount": 2}'), expected=1)

        assert contents_of(await log_of(store)) == contents_of([event])

    async def test_an_id_in_another_stream_is_refused(self, store: EventStore) -> None:
        event = new_event()
        await write(store, "a", event)

        with pytest.raises(DuplicateEvent) as caught:
            await write(store, "b", event)

        assert caught.value.stream == "b"
        assert caught.value.event_ids == (event.event_id,)
        assert not await store.read_stream("b")
        assert await store.head() == 1

    async def test_an_append_that_repeats_the_first_half_is_refused(self, store: EventStore) -> None:
        one, two, three = new_events(3)
        await write(store, "s", one, two)

        with pytest.raises(DuplicateEvent):
            await write(store, "s", one, two, three)

        assert contents_of(await log_of(store)) == contents_of([one, two])

    async def test_an_append_that_repeats_the_last_half_is_refused(self, store: EventStore) -> None:
        one, two, three = new_events(3)
        await write(store, "s", two, three)

        with pytest.raises(DuplicateEvent):
            await write(store, "s", one, two, three)

        assert contents_of(await log_of(store)) == contents_of([two, three])

    async def test_an_append_of_which_one_stream_is_a_repeat_is_refused(self, store: EventStore) -> None:
        event = new_event()
        await write(store, "a", event)

        with pytest.raises(DuplicateEvent):
            await store.append([StreamWrite("b", Expected.ANY, new_events(1)), StreamWrite("a", Expected.ANY, [event])])

        assert not await store.read_stream("b")
        assert await store.head() == 1

    async def test_the_same_events_in_another_order_are_refused(self, store: EventStore) -> None:
        one, two = new_events(2)
        await write(store, "s", one, two)

        with pytest.raises(DuplicateEvent):
            await write(store, "s", two, one)

        assert await store.head() == 2

    async def test_the_same_id_twice_in_one_append_is_refused(self, store: EventStore) -> None:
        event = new_event()

        with pytest.raises(DuplicateEvent):
            await write(store, "s", event, event)

        assert await store.head() == 0

    async def test_the_same_id_in_two_streams_of_one_append_is_refused(self, store: EventStore) -> None:
        event = new_event()

        with pytest.raises(DuplicateEvent):
            await store.append([StreamWrite("a", 0, [event]), StreamWrite("b", 0, [event])])

        assert await store.head() == 0


class ReceiptContract(_OnAStore):
    """The answers of commands, kept under their ids."""

    async def test_receipts_are_written_with_their_events(self, store: EventStore) -> None:
        one, two = new_receipt(count=2), new_receipt(count=0)

        await write_to(store, new_events(2), one, two)

        assert await store.receipts([one.command_id, two.command_id]) == {
            one.command_id: one,
            two.command_id: two,
        }

    async def test_only_the_receipts_asked_for_and_there_are_returned(self, store: EventStore) -> None:
        one, two = new_receipt(), new_receipt()
        await store.append((), [one, two])

        assert await store.receipts([one.command_id, new_id()]) == {one.command_id: one}
        assert await store.receipts([]) == {}

    async def test_receipts_may_be_written_alone(self, store: EventStore) -> None:
        receipt = new_receipt(count=0)

        assert await store.append((), [receipt]) == ()

        assert await store.receipts([receipt.command_id]) == {receipt.command_id: receipt}
        assert await store.head() == 0

    async def test_a_refusal_is_kept_with_its_receipt(self, store: EventStore) -> None:
        refusal = as_json({"name": "InsufficientFunds", "args": ["30 exceeds 20", {"é": [1, 2.5, None]}]})
        receipt = new_receipt(count=0, refusal=refusal)

        await store.append((), [receipt])

        kept = (await store.receipts([receipt.command_id]))[receipt.command_id]
        assert kept.refusal is not None
        assert value_of(kept.refusal) == value_of(refusal)
        assert kept._replace(refusal=refusal) == receipt

    async def test_a_receipt_written_alone_may_be_repeated(self, store: EventStore) -> None:
        receipt = new_receipt(count=0, refusal=b'{"name": "Closed", "args": []}')
        await store.append((), [receipt])

        assert await store.append((), [receipt]) == ()

    async def test_a_receipt_is_repeated_with_its_events(self, store: EventStore) -> None:
        events, receipt = new_events(2), new_receipt(count=2)
        first = await write_to(store, events, receipt)

        again = await write_to(store, events, receipt)

        assert again == first
        assert await store.head() == 2

    async def test_a_receipt_with_another_answer_is_refused(self, store: EventStore) -> None:
        receipt, new = new_receipt(count=0), new_receipt()
        await store.append((), [receipt])

        with pytest.raises(ReceiptTaken) as caught:
            await store.append((), [new, receipt._replace(digest=b"another")])

        assert caught.value.command_ids == (receipt.command_id,)
        assert await store.receipts([receipt.command_id, new.command_id]) == {receipt.command_id: receipt}

    @pytest.mark.parametrize("refusal", [None, b'{"name": "Late", "args": []}'])
    async def test_a_receipt_with_another_refusal_is_refused(self, store: EventStore, refusal: bytes | None) -> None:
        receipt = new_receipt(count=0, refusal=b'{"name": "Closed", "args": []}')
        await store.append((), [receipt])

        with pytest.raises(ReceiptTaken):
            await store.append((), [receipt._replace(refusal=refusal)])

    async def test_new_events_with_a_taken_receipt_are_refused(self, store: EventStore) -> None:
        receipt, new = new_receipt(), new_receipt()
        await write_to(store, new_events(1), receipt)

        with pytest.raises(ReceiptTaken) as caught:
            await write_to(store, new_events(2), new, receipt, expected=1)

        assert caught.value.command_ids == (receipt.command_id,)
        assert await store.head() == 1
        assert not await store.receipts([new.command_id])

    async def test_a_command_decided_again_learns_of_its_receipt_and_not_of_its_events(self, store: EventStore) -> None:
        # Its event has the id it had the first time and, decided on another state, another content.
        event, receipt = new_event({"balance": 10}), new_receipt()
        await write_to(store, [event], receipt)
        other = event._replace(data=b'{"balance": 20}')

        with pytest.raises(ReceiptTaken):
            await write_to(store, [other], receipt._replace(first_version=2), expected=1)

        assert contents_of(await log_of(store)) == contents_of([event])

    async def test_recorded_events_with_a_new_receipt_are_refused(self, store: EventStore) -> None:
        events, receipt = new_events(1), new_receipt()
        await write_to(store, events)

        with pytest.raises(DuplicateEvent):
            await write_to(store, events, receipt)

        assert not await store.receipts([receipt.command_id])

    async def test_an_append_refused_for_its_version_writes_no_receipt(self, store: EventStore) -> None:
        receipt = new_receipt()

        with pytest.raises(WrongExpectedVersion):
            await write_to(store, new_events(1), receipt, expected=3)

        assert not await store.receipts([receipt.command_id])


# Reading --------------------------------------------------------------------------------------------------


class ReadContract(_OnAStore):
    """`EventLog.read_stream`, `read_log` and `head`."""

    async def test_a_stream_nobody_wrote_to_has_no_events(self, store: EventStore) -> None:
        await write(store, "another", new_event())

        assert list(await store.read_stream("s")) == []

    async def test_events_are_read_as_they_were_written(self, store: EventStore) -> None:
        events = [
            new_event({"n": 1}, metadata={"by": "me"})._replace(type_version=7),
            new_event(type_="closed"),
        ]
        await write(store, "s", *events)

        assert contents_of(await store.read_stream("s")) == contents_of(events)
        assert list(await log_of(store)) == list(await store.read_stream("s"))

    @pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001])
    async def test_a_stream_is_read_in_order_at_most_a_thousand_events_at_once(
        self, store: EventStore, count: int
    ) -> None:
        await write(store, "s", *new_events(count))

        page = await store.read_stream("s")
        rest = await store.read_stream("s", after=1_000)

        assert [event.version for event in page] == list(range(1, min(count, 1_000) + 1))
        assert [event.version for event in rest] == list(range(1_001, count + 1))

    @pytest.mark.parametrize(
        ("after", "until", "limit", "versions"),
        [
            (0, None, 3, [1, 2, 3]),
            (3, None, 3, [4, 5, 6]),
            (9, None, 3, [10]),
            (10, None, 3, []),
            (99, None, 3, []),
            (0, 2, 3, [1, 2]),
            (2, 4, 3, [3, 4]),
            (2, 9, 3, [3, 4, 5]),
            (4, 4, 3, []),
            (5, 4, 3, []),
            (8, 99, 3, [9, 10]),
            (0, 0, 3, []),
        ],
    )
    async def test_a_stream_is_read_after_one_version_and_until_another(
        self, store: EventStore, after: int, until: int | None, limit: int, versions: list[int]
    ) -> None:
        await write(store, "another", *new_events(3))
        await write(store, "s", *new_events(10))

        events = await store.read_stream("s", after=after, until=until, limit=limit)

        assert [event.version for event in events] == versions

    async def test_an_empty_log_has_its_head_at_zero(self, store: EventStore) -> None:
        page = await store.read_log()

        assert list(page.events) == []
        assert (page.looked_to, page.head) == (0, 0)
        assert await store.head() == 0

    async def test_the_log_is_read_in_pages(self, store: EventStore) -> None:
        for number in range(7):
            await write(store, f"s{number % 2}", new_event())

        first = await store.read_log(limit=3)
        second = await store.read_log(after=first.looked_to, limit=3)
        third = await store.read_log(after=second.looked_to, limit=3)

        assert [event.position for event in first.events] == [1, 2, 3]
        assert [event.position for event in second.events] == [4, 5, 6]
        assert [event.position for event in third.events] == [7]
        assert [page.looked_to for page in (first, second, third)] == [3, 6, 7]
        assert [page.head for page in (first, second, third)] == [7, 7, 7]

    @pytest.mark.parametrize("count", [1, 999, 1_000, 1_001])
    async def test_the_log_is_read_at_most_a_thousand_events_at_once(self, store: EventStore, count: int) -> None:
        await write(store, "s", *new_events(count))

        page = await store.read_log()

        assert [event.position for event in page.events] == list(range(1, min(count, 1_000) + 1))
        assert (page.looked_to, page.head) == (min(count, 1_000), count)

    async def test_a_log_read_to_its_end_has_no_more(self, store: EventStore) -> None:
        await write(store, "s", *new_events(2))

        page = await store.read_log(after=2)

        assert list(page.events) == []
        assert (page.looked_to, page.head) == (2, 2)

    async def test_the_log_is_read_by_type(self, store: EventStore) -> None:
        await write(store, "s", *[new_event(type_=name) for name in ("a", "b", "c", "a", "b", "c")])

        page = await store.read_log(types={"a", "c"})

        assert [(event.position, event.type) for event in page.events] == [
            (1, "a"),
            (3, "c"),
            (4, "a"),
            (6, "c"),
        ]
        assert (page.looked_to, page.head) == (6, 6)

    async def test_a_full_page_by_type_says_it_looked_no_further_than_was_sure(self, store: EventStore) -> None:
        await write(store, "s", *[new_event(type_=name) for name in ("a", "b", "a", "b", "a", "b")])

        page = await store.read_log(types=["a"], limit=2)
        rest = await store.read_log(after=page.looked_to, types=["a"], limit=2)

        assert [event.position for event in page.events] == [1, 3]
        assert page.looked_to in {3, 4}
        assert [event.position for event in rest.events] == [5]
        assert (page.head, rest.looked_to, rest.head) == (6, 6, 6)

    @pytest.mark.parametrize("types", [["never"], []])
    async def test_a_page_of_nothing_wanted_says_it_looked_to_the_head(
        self, store: EventStore, types: list[str]
    ) -> None:
        await write(store, "s", *new_events(20))

        page = await store.read_log(after=5, types=types)

        assert list(page.events) == []
        assert (page.looked_to, page.head) == (20, 20)

    async def test_a_type_has_to_match_to_the_letter(self, store: EventStore) -> None:
        await write(store, "s", *[new_event(type_=name) for name in ("Ä,b", "a%", "ab", 'A "b"')])

        page = await store.read_log(types=["a%", "Ä,b"])

        assert [event.type for event in page.events] == ["Ä,b", "a%"]

    async def test_the_head_is_the_last_position(self, store: EventStore) -> None:
        await write(store, "a", *new_events(2))
        await write(store, "b", *new_events(3))

        assert await store.head() == 5

    @pytest.mark.parametrize("value", JSON_VALUES, ids=lambda value: next(iter(value)))
    async def test_data_and_metadata_come_back_as_the_same_json(self, store: EventStore, value: object) -> None:
        event = new_event(value, metadata=value)
        await write(store, "s", event)

        assert contents_of(await store.read_stream("s")) == contents_of([event])
        assert contents_of(await log_of(store)) == contents_of([event])

    @pytest.mark.parametrize("data", [b"[1, 2]", b'"text"', b"1.50", b"true", b"null"])
    async def test_data_may_be_any_json_document(self, store: EventStore, data: bytes) -> None:
        await write(store, "s", new_event()._replace(data=data))

        (event,) = await store.read_stream("s")
        assert value_of(event.data) == value_of(data)


class WaitContract(_OnAStore):
    """`EventLog.wait_beyond`."""

    async def test_waiting_for_what_is_there_returns_at_once(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))

        async with asyncio.timeout(PATIENCE_S):
            assert await store.wait_beyond(0) == 3
            assert await store.wait_beyond(2) == 3

    async def test_an_append_wakes_those_who_wait(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            waiters = [tasks.create_task(store.wait_beyond(3)) for _ in range(3)]
            await asyncio.sleep(0)

            await write(store, "s", *new_events(2))

        assert [waiter.result() for waiter in waiters] == [5, 5, 5]

    async def test_nobody_is_woken_for_less_than_they_wait_for(self, store: EventStore) -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            far = tasks.create_task(store.wait_beyond(2))
            await write(store, "s", new_event())
            assert await store.wait_beyond(0) == 1
            await write(store, "s", new_event())
            assert await store.wait_beyond(1) == 2
            was_woken_early = far.done()

            await write(store, "s", new_event())

        assert not was_woken_early
        assert far.result() == 3

    async def test_one_who_is_cancelled_leaves_the_others_waiting(self, store: EventStore) -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            cancelled, other = (tasks.create_task(store.wait_beyond(0)) for _ in range(2))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            was_still_waiting = not other.done()

            await write(store, "s", new_event())

        assert cancelled.cancelled()
        assert was_still_waiting
        assert other.result() == 1


# Many at once ---------------------------------------------------------------------------------------------


class ConcurrencyContract(_OnAStore):
    """What holds when many write at the same time."""

    async def test_of_many_who_expect_one_version_one_wins(self, store: EventStore) -> None:
        for version in range(5):
            answers = await outcomes(write(store, "s", new_event(), expected=version) for _ in range(8))

            won = [answer for answer in answers if isinstance(answer, Appended)]
            lost = [answer for answer in answers if isinstance(answer, WrongExpectedVersion)]
            assert [answer.version for answer in won] == [version + 1]
            assert [answer.actual for answer in lost] == [version + 1] * 7

        assert [event.version for event in await store.read_stream("s")] == [1, 2, 3, 4, 5]

    async def test_of_many_who_expect_anything_all_win(self, store: EventStore) -> None:
        answers = await outcomes(write(store, f"s{n % 3}", *new_events(2)) for n in range(60))

        assert all(isinstance(answer, Appended) for answer in answers)
        log = await log_of(store)
        assert [event.position for event in log] == list(range(1, 121))
        for stream in ("s0", "s1", "s2"):
            assert [event.version for event in log if event.stream == stream] == list(range(1, 41))

    async def test_everyone_is_told_where_their_own_events_went(self, store: EventStore) -> None:
        events = new_events(40)

        answers = await outcomes(write(store, f"s{n % 3}", event) for n, event in enumerate(events))

        places = {event.event_id: (event.version, event.position) for event in await log_of(store)}
        assert [(answer.version, answer.position) for answer in answers if isinstance(answer, Appended)] == [
            places[event.event_id] for event in events
        ]

    async def test_a_conflict_refuses_one_append_among_many(self, store: EventStore) -> None:
        await write(store, "hot", new_event())

        answers = await outcomes(write(store, "hot" if n == 7 else f"s{n}", new_event(), expected=0) for n in range(20))

        refused = [n for n, answer in enumerate(answers) if isinstance(answer, WrongExpectedVersion)]
        recorded = [n for n, answer in enumerate(answers) if isinstance(answer, Appended)]
        assert refused == [7]
        assert len(recorded) == 19
        assert [event.position for event in await log_of(store)] == list(range(1, 21))

    async def test_a_taken_id_refuses_one_append_among_many(self, store: EventStore) -> None:
        taken = new_event()
        await write(store, "another", taken)

        answers = await outcomes(write(store, f"s{n}", taken if n == 7 else new_event()) for n in range(20))

        refused = [n for n, answer in enumerate(answers) if isinstance(answer, DuplicateEvent)]
        assert refused == [7]
        assert [event.position for event in await log_of(store)] == list(range(1, 21))

    async def test_appends_to_the_same_streams_in_opposite_orders_all_end(self, store: EventStore) -> None:
        def opposite(number: int) -> list[StreamWrite]:
            writes = [StreamWrite(stream, Expected.ANY, new_events(1)) for stream in ("a", "b", "c")]
            return writes if number % 2 else writes[::-1]

        answers = await outcomes(store.append(opposite(number)) for number in range(20))

        assert all(isinstance(answer, tuple) for answer in answers)
        streams = [event.stream for event in await log_of(store)]
        assert {"".join(streams[start : start + 3]) for start in range(0, 60, 3)} == {"abc", "cba"}

    async def test_the_same_append_at_the_same_time_is_recorded_once(self, store: EventStore) -> None:
        events, receipt = new_events(2), new_receipt(count=2)

        answers = await outcomes(write_to(store, events, receipt) for _ in range(8))

        assert answers == [answers[0]] * 8
        assert isinstance(answers[0], Appended)
        assert await store.head() == 2

    async def test_of_many_who_answer_one_command_one_wins(self, store: EventStore) -> None:
        receipt = new_receipt()

        answers = await outcomes(write_to(store, new_events(1), receipt, stream=f"s{number}") for number in range(8))

        assert sum(isinstance(answer, Appended) for answer in answers) == 1
        assert sum(isinstance(answer, ReceiptTaken) for answer in answers) == 7
        assert await store.head() == 1

    async def test_a_cancelled_append_is_recorded_whole_or_not_at_all(self, store: EventStore) -> None:
        pairs = [new_events(2) for _ in range(30)]
        appends = [
            asyncio.ensure_future(
                store.append([StreamWrite("a", Expected.ANY, [one]), StreamWrite("b", Expected.ANY, [two])])
            )
            for one, two in pairs
        ]
        for append in appends[::2]:
            append.cancel()
            await asyncio.sleep(0)
        await outcomes(appends)

        await write(store, "a", new_event())

        log = await log_of(store)
        recorded = {event.event_id for event in log}
        kept = [pair for pair in pairs if pair[0].event_id in recorded]
        assert [event.position for event in log] == list(range(1, len(log) + 1))
        assert all(two.event_id in recorded for _, two in kept)
        assert len(log) == 2 * len(kept) + 1
        assert len(kept) >= 15

    async def test_a_cancelled_append_leaves_the_store_fit_for_more(self, store: EventStore) -> None:
        append = asyncio.ensure_future(write(store, "s", new_event()))
        append.cancel()
        await outcomes([append])

        async with asyncio.timeout(PATIENCE_S):
            appended = await write(store, "another", new_event())

        assert appended.version == 1

    async def test_one_who_tails_the_log_misses_nothing(self, store: EventStore) -> None:
        async def tail() -> list[int]:
            seen: list[int] = []
            while len(seen) < 50:
                await store.wait_beyond(len(seen))
                page = await store.read_log(after=len(seen), limit=7)
                seen += [event.position for event in page.events]
            return seen

        async with asyncio.timeout(PATIENCE_S * 3), asyncio.TaskGroup() as tasks:
            tail_task = tasks.create_task(tail())
            for number in range(50):
                tasks.create_task(write(store, f"s{number % 5}", new_event()))

        assert tail_task.result() == list(range(1, 51))


# Checkpoints and processes --------------------------------------------------------------------------------


class CheckpointContract(_OnAStore):
    """`Checkpoints`."""

    async def test_a_checkpoint_nobody_saved_is_at_zero(self, store: EventStore) -> None:
        assert await store.load_checkpoint("reader") == 0

    async def test_a_checkpoint_moves_from_where_it_stands(self, store: EventStore) -> None:
        await store.save_checkpoint("reader", 5, expected=0)
        await store.save_checkpoint("reader", 2**40, expected=5)

        assert await store.load_checkpoint("reader") == 2**40

    @pytest.mark.parametrize("expected", [0, 4, 6])
    async def test_a_checkpoint_that_stands_elsewhere_does_not_move(self, store: EventStore, expected: int) -> None:
        await store.save_checkpoint("reader", 5, expected=0)

        with pytest.raises(ProgressMoved) as caught:
            await store.save_checkpoint("reader", 9, expected=expected)

        assert (caught.value.name, caught.value.expected) == ("reader", expected)
        assert await store.load_checkpoint("reader") == 5

    async def test_a_checkpoint_nobody_saved_does_not_move_from_elsewhere(self, store: EventStore) -> None:
        with pytest.raises(ProgressMoved):
            await store.save_checkpoint("reader", 9, expected=3)

        assert await store.load_checkpoint("reader") == 0

    async def test_checkpoints_of_different_names_are_apart(self, store: EventStore) -> None:
        await store.save_checkpoint("reader", 5, expected=0)
        await store.save_checkpoint("Reader", 7, expected=0)

        assert await store.load_checkpoint("reader") == 5
        assert await store.load_checkpoint("Reader") == 7

    async def test_of_many_who_move_one_checkpoint_one_wins(self, store: EventStore) -> None:
        answers = await outcomes(store.save_checkpoint("reader", 5, expected=0) for _ in range(8))

        assert answers.count(None) == 1
        assert sum(isinstance(answer, ProgressMoved) for answer in answers) == 7


class ProcessContract(_OnAStore):
    """`ProcessStore`."""

    async def test_a_process_that_never_ran_has_nothing(self, store: EventStore) -> None:
        assert await store.load_instances("p", ["i"]) == {}
        assert list(await store.outbox("p", limit=10)) == []
        assert list(await store.parked("p")) == []
        assert await store.load_checkpoint("p") == 0

    async def test_instances_commands_and_progress_are_saved_together(self, store: EventStore) -> None:
        command = new_command()

        await store.advance_process("p", ProcessChange([new_instance(3)], (), [command]), position=7, expected=0)

        assert await instances(store) == {"i": (3, {"after": 3})}
        assert await waiting(store) == [command.command_id]
        assert await store.load_checkpoint("p") == 7

    async def test_a_command_comes_back_as_it_was_yielded(self, store: EventStore) -> None:
        command = new_command()
        await advance(store, command)

        (row,) = await store.outbox("p", limit=10)

        assert value_of(row.command) == value_of(command.command)
        assert row.piece == 0
        assert row.parked is None
        assert row._replace(number=0, command=command.command) == command

    async def test_a_process_that_stands_elsewhere_changes_nothing(self, store: EventStore) -> None:
        await store.advance_process("p", ProcessChange([new_instance(1)]), position=7, expected=0)
        change = ProcessChange([new_instance(1, of="j")], ["i"], [new_command()])

        with pytest.raises(ProgressMoved) as caught:
            await store.advance_process("p", change, position=9, expected=6)

        assert (caught.value.name, caught.value.expected) == ("p", 6)
        assert await instances(store) == {"i": (1, {"after": 1})}
        assert await waiting(store) == []
        assert await store.load_checkpoint("p") == 7

    async def test_an_instance_is_replaced_by_its_next_state(self, store: EventStore) -> None:
        await store.advance_process("p", ProcessChange([new_instance(1)]), position=1, expected=0)

        await store.advance_process("p", ProcessChange([new_instance(2)]), position=2, expected=1)

        assert await instances(store) == {"i": (2, {"after": 2})}

    async def test_a_removed_instance_is_gone_and_its_commands_are_not(self, store: EventStore) -> None:
        command = new_command()
        change = ProcessChange([new_instance(1), new_instance(1, of="j")], (), [command])
        await store.advance_process("p", change, position=1, expected=0)

        await store.advance_process("p", ProcessChange(removed=["i", "never"]), position=2, expected=1)

        assert await instances(store) == {"j": (1, {"after": 1})}
        assert await waiting(store) == [command.command_id]

    async def test_commands_are_sent_in_the_order_they_were_yielded(self, store: EventStore) -> None:
        commands = [new_command(instance=f"i{number % 3}") for number in range(9)]

        await advance(store, *commands[:5])
        await advance(store, *commands[5:])

        assert await waiting(store) == ids_of(commands)
        assert ids_of(await store.outbox("p", limit=4)) == ids_of(commands[:4])

    async def test_the_numbers_of_an_instance_rise(self, store: EventStore) -> None:
        await advance(store, *[new_command() for _ in range(3)])
        await advance(store, *[new_command() for _ in range(3)])

        numbers = [row.number for row in await store.outbox("p", limit=10)]
        assert all(one < next_ for one, next_ in pairwise(numbers))

    async def test_settled_commands_are_gone(self, store: EventStore) -> None:
        one, two, three = (new_command() for _ in range(3))
        await advance(store, one, two, three)

        await store.settle("p", [one.command_id, three.command_id])

        assert await waiting(store) == [two.command_id]

    async def test_settling_again_changes_nothing(self, store: EventStore) -> None:
        one, two = new_command(), new_command()
        await advance(store, one, two)
        await store.settle("p", [one.command_id])

        await store.settle("p", [one.command_id, new_id()])
        await store.settle("p", [])

        assert await waiting(store) == [two.command_id]

    async def test_what_a_refusal_leads_to_is_sent_before_what_waited(self, store: EventStore) -> None:
        refused, waits = new_command(), new_command()
        await advance(store, refused, waits)
        one, two = new_command(), new_command()

        assert await store.settle_refused(await row_of(store, refused), ProcessChange(commands=[one, two]))

        assert await waiting(store) == ids_of([one, two, waits])

    async def test_what_a_refusal_leads_to_keeps_its_own_causes(self, store: EventStore) -> None:
        refused, command = new_command(), new_command()
        await advance(store, refused)

        await store.settle_refused(await row_of(store, refused), ProcessChange(commands=[command]))

        row = await row_of(store, command)
        assert value_of(row.command) == value_of(command.command)
        assert row._replace(number=0, piece=0, command=command.command) == command
        assert row.piece > 0

    async def test_what_the_refusal_of_a_piece_leads_to_is_sent_in_its_place(self, store: EventStore) -> None:
        refused, waits = new_command(), new_command()
        await advance(store, refused, waits)
        one, two, three = (new_command() for _ in range(3))
        await store.settle_refused(await row_of(store, refused), ProcessChange(commands=[one, two, three]))
        await store.settle("p", [one.command_id])
        nested = [new_command() for _ in range(2)]

        assert await store.settle_refused(await row_of(store, two), ProcessChange(commands=nested))

        assert await waiting(store) == ids_of([*nested, three, waits])

    async def test_refusals_within_refusals_keep_the_order(self, store: EventStore) -> None:
        first, waits = new_command(), new_command()
        await advance(store, first, waits)
        last = [new_command() for _ in range(4)]
        refused = first
        for later in last:
            next_ = new_command()
            change = ProcessChange(commands=[next_, later])
            assert await store.settle_refused(await row_of(store, refused), change)
            refused = next_

        assert await waiting(store) == ids_of([refused, *reversed(last), waits])

    async def test_a_refusal_saves_and_removes_instances(self, store: EventStore) -> None:
        refused = new_command()
        before = [new_instance(1), new_instance(1, of="j")]
        await store.advance_process("p", ProcessChange(before, (), [refused]), position=4, expected=0)

        change = ProcessChange([new_instance(2)], ["j"])
        assert await store.settle_refused(await row_of(store, refused), change)

        assert await instances(store) == {"i": (2, {"after": 2})}
        assert await waiting(store) == []
        assert await store.load_checkpoint("p") == 4

    async def test_a_refusal_of_what_is_settled_already_changes_nothing(self, store: EventStore) -> None:
        refused, waits = new_command(), new_command()
        await advance(store, refused, waits)
        row = await row_of(store, refused)
        await store.settle("p", [refused.command_id])

        change = ProcessChange([new_instance(1)], (), [new_command()])
        assert not await store.settle_refused(row, change)

        assert await instances(store) == {}
        assert await waiting(store) == [waits.command_id]

    async def test_of_many_who_settle_one_refusal_one_wins(self, store: EventStore) -> None:
        refused = new_command()
        await advance(store, refused)
        row = await row_of(store, refused)
        commands = [new_command() for _ in range(6)]

        answers = await outcomes(store.settle_refused(row, ProcessChange(commands=[c])) for c in commands)

        assert sorted(map(str, answers)) == ["False"] * 5 + ["True"]
        assert await waiting(store) == [commands[answers.index(True)].command_id]

    async def test_a_parked_command_holds_back_the_later_ones_of_its_instance(self, store: EventStore) -> None:
        before, parked, behind = (new_command(instance="i") for _ in range(3))
        others = [new_command(instance="j") for _ in range(2)]
        await advance(store, before, others[0], parked, behind, others[1])

        await store.park(await row_of(store, parked), "it broke")

        assert await waiting(store) == ids_of([before, *others])

    async def test_what_comes_after_a_parked_command_waits_too(self, store: EventStore) -> None:
        parked = new_command(instance="i")
        await advance(store, parked)
        await store.park(await row_of(store, parked), "it broke")
        other = new_command(instance="j")

        await advance(store, new_command(instance="i"), other)

        assert await waiting(store) == [other.command_id]

    async def test_commands_held_back_take_no_room_from_others(self, store: EventStore) -> None:
        held_back = [new_command(instance="i") for _ in range(5)]
        others = [new_command(instance="j") for _ in range(3)]
        await advance(store, *held_back, *others)

        await store.park(await row_of(store, held_back[0]), "it broke")

        assert ids_of(await store.outbox("p", limit=2)) == ids_of(others[:2])

    async def test_parked_commands_are_listed_with_their_reasons_oldest_first(self, store: EventStore) -> None:
        one, two, three = (new_command(instance=instance) for instance in "ijk")
        await advance(store, one, two, three)
        await store.park(await row_of(store, three), "three broke")
        await store.park(await row_of(store, one), "one 'broke'")

        rows = await store.parked("p")

        assert [(row.command_id, row.parked) for row in rows] == [
            (one.command_id, "one 'broke'"),
            (three.command_id, "three broke"),
        ]

    async def test_settling_a_parked_command_lets_those_behind_it_go(self, store: EventStore) -> None:
        parked, behind = new_command(), new_command()
        await advance(store, parked, behind)
        await store.park(await row_of(store, parked), "it broke")

        await store.settle("p", [parked.command_id])

        assert await waiting(store) == [behind.command_id]
        assert list(await store.parked("p")) == []

    async def test_a_parked_piece_holds_back_the_pieces_after_it(self, store: EventStore) -> None:
        refused, waits = new_command(), new_command()
        await advance(store, refused, waits)
        one, two, three = (new_command() for _ in range(3))
        await store.settle_refused(await row_of(store, refused), ProcessChange(commands=[one, two, three]))

        await store.park(await row_of(store, two), "it broke")

        assert await waiting(store) == [one.command_id]

    async def test_parking_what_is_settled_already_changes_nothing(self, store: EventStore) -> None:
        settled, other = new_command(), new_command()
        await advance(store, settled, other)
        row = await row_of(store, settled)
        await store.settle("p", [settled.command_id])

        await store.park(row, "it broke")

        assert list(await store.parked("p")) == []
        assert await waiting(store) == [other.command_id]

    async def test_processes_of_different_names_are_apart(self, store: EventStore) -> None:
        ours, theirs = new_command("p"), new_command("q")
        await store.advance_process("p", ProcessChange([new_instance(1)], (), [ours]), position=3, expected=0)
        await store.advance_process("q", ProcessChange([new_instance(2)], (), [theirs]), position=5, expected=0)

        await store.settle("p", [theirs.command_id])
        await store.park(await row_of(store, ours), "it broke")
        await store.advance_process("p", ProcessChange(removed=["i"]), position=4, expected=3)

        assert await waiting(store, "p") == []
        assert await waiting(store, "q") == [theirs.command_id]
        assert list(await store.parked("q")) == []
        assert await instances(store, "q") == {"i": (2, {"after": 2})}
        assert await store.load_checkpoint("q") == 5


# The whole ------------------------------------------------------------------------------------------------


class StoreContract(
    AppendContract,
    ExpectationContract,
    RepeatContract,
    ReceiptContract,
    ReadContract,
    WaitContract,
    ConcurrencyContract,
    CheckpointContract,
    ProcessContract,
):
    """All that every event store must do."""

    async def test_every_refusal_is_a_store_error(self, store: EventStore) -> None:
        with pytest.raises(StoreError):
            await write(store, "s", new_event(), expected=1)

    async def test_a_log_has_an_id_and_a_name_for_its_read_models(self, store: EventStore) -> None:
        assert isinstance(store.log_id, UUID)
        assert store.log_id == store.log_id
        assert store.namespace
