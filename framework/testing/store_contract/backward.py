"""Reading streams and the log from their ends down."""

from __future__ import annotations

import pytest

from framework.store.protocol import EventStore
from framework.testing.store_contract.parts import OnAStore, new_event, new_events, write


class BackwardContract(OnAStore):
    """`EventLog.read_stream_backward` and `read_log_backward`."""

    async def test_backward_a_stream_nobody_wrote_to_has_no_events(self, store: EventStore) -> None:
        await write(store, "another", new_event())

        assert list(await store.read_stream_backward("s")) == []

    @pytest.mark.parametrize(
        ("before", "limit", "versions"),
        [
            (None, 3, [10, 9, 8]),
            (None, 99, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
            (8, 3, [7, 6, 5]),
            (3, 3, [2, 1]),
            (2, 3, [1]),
            (1, 3, []),
            (0, 3, []),
            (-5, 3, []),
            (11, 3, [10, 9, 8]),
            (99, 3, [10, 9, 8]),
            (2**80, 3, [10, 9, 8]),
        ],
    )
    async def test_a_stream_is_read_backward_from_below_a_version(
        self, store: EventStore, before: int | None, limit: int, versions: list[int]
    ) -> None:
        await write(store, "s", *new_events(10))
        await write(store, "another", *new_events(3))

        events = await store.read_stream_backward("s", before=before, limit=limit)

        assert [event.version for event in events] == versions

    async def test_backward_the_same_events_are_read(self, store: EventStore) -> None:
        await write(store, "a", *new_events(3))
        await write(store, "b", *new_events(2))

        forward, backward = await store.read_stream("a"), await store.read_stream_backward("a")
        log, log_backward = await store.read_log(), await store.read_log_backward()

        assert list(backward) == list(reversed(forward))
        assert list(log_backward.events) == list(reversed(log.events))

    async def test_the_log_is_read_backward_in_pages(self, store: EventStore) -> None:
        for number in range(7):
            await write(store, f"s{number % 2}", new_event())

        first = await store.read_log_backward(limit=3)
        second = await store.read_log_backward(before=first.looked_to, limit=3)
        third = await store.read_log_backward(before=second.looked_to, limit=3)

        assert [event.position for event in first.events] == [7, 6, 5]
        assert [event.position for event in second.events] == [4, 3, 2]
        assert [event.position for event in third.events] == [1]
        assert [page.looked_to for page in (first, second, third)] == [5, 2, 1]
        assert [page.head for page in (first, second, third)] == [7, 7, 7]

    @pytest.mark.parametrize("before", [1, 0, -7])
    async def test_below_the_first_position_there_is_nothing(self, store: EventStore, before: int) -> None:
        await write(store, "s", *new_events(3))

        page = await store.read_log_backward(before=before)

        assert list(page.events) == []
        assert (page.looked_to, page.head) == (1, 3)

    async def test_backward_an_empty_log_is_read_to_its_beginning(self, store: EventStore) -> None:
        page = await store.read_log_backward()

        assert list(page.events) == []
        assert (page.looked_to, page.head) == (1, 0)

    @pytest.mark.parametrize("before", [4, 99, 2**80])
    async def test_backward_from_beyond_the_head_is_from_the_head(self, store: EventStore, before: int) -> None:
        await write(store, "s", *new_events(3))

        page = await store.read_log_backward(before=before, limit=2)

        assert [event.position for event in page.events] == [3, 2]
