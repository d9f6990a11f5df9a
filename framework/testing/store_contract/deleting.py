"""Streams closed for good."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from framework.errors import DuplicateEvent, StreamDeleted, WrongExpectedVersion
from framework.store.protocol import Appended, EventStore, Expected, StreamWrite
from framework.store.streams import StreamInfo
from framework.testing.store_contract.parts import (
    OnAStore,
    content_of,
    log_of,
    new_event,
    new_events,
    new_receipt,
    outcomes,
    write,
    write_to,
)


class DeleteContract(OnAStore):
    """`Streams.delete_stream`, and what it means for all else."""

    async def test_a_deleted_stream_cannot_be_read(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))

        await store.delete_stream("s", 3)

        with pytest.raises(StreamDeleted) as caught:
            await store.read_stream("s")
        assert caught.value.stream == "s"
        with pytest.raises(StreamDeleted):
            await store.read_stream("s", after=3)
        with pytest.raises(StreamDeleted):
            await store.read_stream_backward("s")
        with pytest.raises(StreamDeleted):
            await store.version_at("s", datetime.now(UTC))

    @pytest.mark.parametrize("expected", [3, 0, 7, Expected.ANY, Expected.STREAM_EXISTS])
    async def test_a_deleted_stream_cannot_be_written_whatever_is_expected(
        self, store: EventStore, expected: int
    ) -> None:
        await write(store, "s", *new_events(3))
        await store.delete_stream("s", 3)

        with pytest.raises(StreamDeleted) as caught:
            await write(store, "s", new_event(), expected=expected)
        with pytest.raises(StreamDeleted):
            await write(store, "s", expected=expected)

        assert caught.value.stream == "s"
        assert await store.head() == 3

    async def test_an_append_to_several_streams_of_which_one_is_deleted_is_refused(self, store: EventStore) -> None:
        await write(store, "s", new_event())
        await store.delete_stream("s", 1)
        receipt = new_receipt("a")

        with pytest.raises(StreamDeleted):
            await store.append([StreamWrite("a", 0, new_events(1)), StreamWrite("s", 1, new_events(1))], [receipt])

        assert await store.head() == 1
        assert not await store.receipts([receipt.command_id])

    async def test_the_events_of_a_deleted_stream_stay_in_the_log(self, store: EventStore) -> None:
        events = new_events(3)
        await write(store, "s", *events)
        await write(store, "another", new_event())
        await store.delete_stream("s", Expected.STREAM_EXISTS)

        page, down = await store.read_log(), await store.read_log_backward(prefix="s")

        assert [event.position for event in page.events] == [1, 2, 3, 4]
        assert [content_of(event) for event in reversed(down.events)] == [content_of(event) for event in events]
        assert len(await store.read_events([event.event_id for event in events])) == 3

    async def test_other_streams_go_on(self, store: EventStore) -> None:
        await write(store, "s", new_event())
        await write(store, "s2", new_event())
        await store.delete_stream("s", 1)

        appended = await write(store, "s2", new_event(), expected=1)

        assert (appended.version, appended.position) == (2, 3)
        assert len(await store.read_stream("s2")) == 2

    async def test_a_deleted_stream_says_when_it_was_deleted(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))
        before = await store.stream_info("s")

        answer = await store.delete_stream("s", 3)

        assert before is not None
        assert answer.deleted_at is not None
        assert answer.deleted_at >= answer.changed_at
        assert answer == before._replace(deleted_at=answer.deleted_at)
        assert await store.stream_info("s") == answer
        assert list((await store.list_streams()).streams) == [answer]

    @pytest.mark.parametrize("expected", [3, Expected.ANY, Expected.STREAM_EXISTS])
    async def test_deleting_again_changes_nothing_and_answers_alike(self, store: EventStore, expected: int) -> None:
        await write(store, "s", *new_events(3))
        first = await store.delete_stream("s", expected)

        assert await store.delete_stream("s", expected) == first

    @pytest.mark.parametrize("expected", [Expected.NO_STREAM, 1, 2, 4, 1_000_000])
    async def test_a_stream_that_is_not_as_expected_is_not_deleted(self, store: EventStore, expected: int) -> None:
        await write(store, "s", *new_events(3))

        with pytest.raises(WrongExpectedVersion) as caught:
            await store.delete_stream("s", expected)

        assert (caught.value.stream, caught.value.actual) == ("s", 3)
        assert caught.value.expected == Expected.describe(expected)
        assert len(await store.read_stream("s")) == 3

    @pytest.mark.parametrize("expected", [Expected.NO_STREAM, 1, Expected.ANY, Expected.STREAM_EXISTS])
    async def test_a_stream_without_events_cannot_be_deleted(self, store: EventStore, expected: int) -> None:
        await write(store, "another", new_event())

        with pytest.raises(WrongExpectedVersion) as caught:
            await store.delete_stream("s", expected)

        assert caught.value.actual == 0
        assert (await write(store, "s", new_event(), expected=0)).version == 1

    async def test_an_append_that_was_recorded_before_is_answered_as_it_was(self, store: EventStore) -> None:
        events, receipt = new_events(2), new_receipt(count=2)
        first = await write_to(store, events, receipt)
        await store.delete_stream("s", 2)

        assert await write_to(store, events, receipt) == first
        with pytest.raises(DuplicateEvent):
            await write(store, "s", events[0]._replace(data=b'"other"'))

    async def test_an_append_at_the_same_time_is_recorded_before_or_refused(self, store: EventStore) -> None:
        for number in range(10):
            stream = f"s{number}"
            await write(store, stream, new_event())
            deleting = asyncio.ensure_future(store.delete_stream(stream, Expected.ANY))
            writing = [asyncio.ensure_future(write(store, stream, new_event())) for _ in range(3)]
            answers = await outcomes([*writing[:1], deleting, *writing[1:]])

            (deleted,) = [answer for answer in answers if isinstance(answer, StreamInfo)]
            recorded = [answer for answer in answers if isinstance(answer, Appended)]
            refused = [answer for answer in answers if isinstance(answer, StreamDeleted)]
            assert len(recorded) + len(refused) == 3
            assert deleted.version == 1 + len(recorded)
            assert await store.stream_info(stream) == deleted
        assert len(await log_of(store)) == await store.head()

    async def test_of_many_who_delete_at_the_same_time_all_are_answered_alike(self, store: EventStore) -> None:
        await write(store, "s", new_event())

        answers = await outcomes(store.delete_stream("s", 1) for _ in range(6))

        assert isinstance(answers[0], StreamInfo)
        assert answers == [answers[0]] * 6
