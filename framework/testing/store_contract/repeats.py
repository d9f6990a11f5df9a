"""Appends that came before, and ids that are taken."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from framework.errors import (
    DuplicateEvent,
)
from framework.store.protocol import (
    EventStore,
    Expected,
    StreamWrite,
)
from framework.testing.store_contract.parts import (
    OnAStore,
    contents_of,
    log_of,
    new_event,
    new_events,
    new_receipt,
    write,
)


class RepeatContract(OnAStore):
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
