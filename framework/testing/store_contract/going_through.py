"""Going through streams and the log page by page: `framework.store.pages` over the store."""

from __future__ import annotations

import pytest

from framework.clock import new_id
from framework.errors import StreamDeleted
from framework.store import pages
from framework.store.protocol import EventStore
from framework.store.streams import StreamOrder
from framework.testing.store_contract.parts import OnAStore, new_event, new_events, write


class PagesContract(OnAStore):
    """Lazy reading, whatever the size of a page."""

    @pytest.mark.parametrize("page", [1, 3, 4, 12, 100])
    async def test_a_stream_is_gone_through_in_both_directions(self, store: EventStore, page: int) -> None:
        await write(store, "s", *new_events(12))

        up = [event.version async for event in pages.stream_forward(store, "s", page=page)]
        part = [event.version async for event in pages.stream_forward(store, "s", after=3, until=9, page=page)]
        down = [event.version async for event in pages.stream_backward(store, "s", page=page)]
        part_down = [event.version async for event in pages.stream_backward(store, "s", before=5, page=page)]

        assert up == list(range(1, 13))
        assert part == list(range(4, 10))
        assert down == list(range(12, 0, -1))
        assert part_down == [4, 3, 2, 1]

    @pytest.mark.parametrize("page", [1, 3, 4, 12, 100])
    async def test_the_log_is_gone_through_in_both_directions(self, store: EventStore, page: int) -> None:
        for number in range(12):
            await write(store, f"{'odd' if number % 2 else 'even'}-{number}", new_event(type_=f"t{number % 3}"))

        up = [event.position async for event in pages.log_forward(store, page=page)]
        down = [event.position async for event in pages.log_backward(store, before=9, page=page)]
        odd = [event.position async for event in pages.log_forward(store, prefix="odd-", page=page)]
        typed = [event.position async for event in pages.log_backward(store, types=["t0"], prefix="odd-", page=page)]

        assert up == list(range(1, 13))
        assert down == list(range(8, 0, -1))
        assert odd == [2, 4, 6, 8, 10, 12]
        assert typed == [10, 4]

    async def test_what_one_command_led_to_is_gone_through(self, store: EventStore) -> None:
        correlation = new_id()
        for number in range(7):
            await write(store, f"s{number}", new_event()._replace(correlation_id=correlation), new_event())

        found = [event.position async for event in pages.correlated(store, correlation, page=3)]

        assert found == [1, 3, 5, 7, 9, 11, 13]

    async def test_the_streams_are_gone_through(self, store: EventStore) -> None:
        for number in range(7):
            await write(store, f"s{number}", new_event())

        found = [
            info.stream
            async for info in pages.streams(store, order=StreamOrder.CREATED, descending=True, search="s", page=3)
        ]

        assert found == ["s6", "s5", "s4", "s3", "s2", "s1", "s0"]

    async def test_an_empty_store_is_gone_through_at_once(self, store: EventStore) -> None:
        assert [event async for event in pages.stream_forward(store, "s")] == []
        assert [event async for event in pages.stream_backward(store, "s")] == []
        assert [event async for event in pages.log_forward(store)] == []
        assert [event async for event in pages.log_backward(store)] == []
        assert [event async for event in pages.streams(store)] == []

    async def test_what_is_appended_on_the_way_is_met(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))

        seen: list[int] = []
        async for event in pages.log_forward(store, page=2):
            seen.append(event.position)
            if event.position == 2:
                await write(store, "s", *new_events(2))

        assert seen == [1, 2, 3, 4, 5]

    async def test_one_may_stop_anywhere(self, store: EventStore) -> None:
        await write(store, "s", *new_events(9))

        through = pages.log_forward(store, page=2)
        first = await anext(through)
        await through.aclose()

        assert first.position == 1
        assert await store.head() == 9

    async def test_a_deleted_stream_is_not_gone_through(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))
        await store.delete_stream("s", 3)

        with pytest.raises(StreamDeleted):
            await anext(pages.stream_forward(store, "s"))
        with pytest.raises(StreamDeleted):
            await anext(pages.stream_backward(store, "s"))
