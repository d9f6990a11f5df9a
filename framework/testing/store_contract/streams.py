"""Streams as things with a name: what is known of one, and all of them listed."""

from __future__ import annotations

from itertools import chain

import pytest

from framework.errors import InvalidRequest
from framework.store.protocol import EventStore
from framework.store.streams import StreamOrder
from framework.testing.store_contract.parts import OnAStore, log_of, new_event, new_events, write

IN_ORDER = {
    StreamOrder.NAME: ["B", "a%", "a_", "b", "ä"],
    StreamOrder.CREATED: ["b", "a_", "ä", "B", "a%"],
    StreamOrder.CHANGED: ["a_", "B", "a%", "b", "ä"],
    StreamOrder.EVENTS: ["B", "a%", "b", "a_", "ä"],
}
"""The streams that `write_streams` makes."""

IN_ORDER_DOWN = {
    **{order: streams[::-1] for order, streams in IN_ORDER.items()},
    # Streams of equal number stay in the order of their names.
    StreamOrder.EVENTS: ["a_", "ä", "B", "a%", "b"],
}

ORDERS = [(order, descending) for order in StreamOrder for descending in (False, True)]


async def write_streams(store: EventStore) -> None:
    """Make five streams of two or three events."""
    for stream in ("b", "a_", "ä", "B", "a%", "a_", "a_", "B", "a%", "b", "ä", "ä"):
        await write(store, stream, new_event())


class StreamContract(OnAStore):
    """`Streams`, but for deleting one."""

    async def test_a_stream_says_what_is_known_of_it(self, store: EventStore) -> None:
        await write(store, "another", *new_events(2))
        await write(store, "s", *new_events(2))
        await write(store, "another", new_event())
        await write(store, "s", new_event())

        info = await store.stream_info("s")

        log = await log_of(store)
        assert info is not None
        assert (info.stream, info.version, info.first_position, info.last_position) == ("s", 3, 3, 6)
        assert (info.created_at, info.changed_at) == (log[2].recorded_at, log[5].recorded_at)
        assert info.deleted_at is None

    async def test_nothing_is_known_of_a_stream_nobody_wrote_to(self, store: EventStore) -> None:
        await write(store, "another", new_event())
        await write(store, "empty", expected=0)

        assert await store.stream_info("s") is None
        assert await store.stream_info("empty") is None

    async def test_an_empty_log_has_no_streams(self, store: EventStore) -> None:
        for order, descending in ORDERS:
            page = await store.list_streams(order=order, descending=descending)
            assert (list(page.streams), page.next) == ([], None)

    @pytest.mark.parametrize(("order", "descending"), ORDERS)
    async def test_streams_are_listed_in_any_order(
        self, store: EventStore, order: StreamOrder, descending: bool
    ) -> None:
        await write_streams(store)

        page = await store.list_streams(order=order, descending=descending)

        assert [info.stream for info in page.streams] == (IN_ORDER_DOWN if descending else IN_ORDER)[order]
        assert page.next is None

    async def test_a_list_says_of_each_stream_what_is_known_of_it(self, store: EventStore) -> None:
        await write_streams(store)

        for order, descending in ORDERS:
            page = await store.list_streams(order=order, descending=descending)
            assert [await store.stream_info(info.stream) for info in page.streams] == list(page.streams)

    @pytest.mark.parametrize(("size", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (4, [4, 1]), (5, [5])])
    async def test_streams_are_listed_in_pages(self, store: EventStore, size: int, sizes: list[int]) -> None:
        await write_streams(store)

        for order, descending in ORDERS:
            pages: list[list[str]] = []
            cursor: str | None = None
            for _ in sizes:
                page = await store.list_streams(order=order, descending=descending, cursor=cursor, limit=size)
                pages.append([info.stream for info in page.streams])
                cursor = page.next

            assert cursor is None, "the last page says that it is"
            assert [len(page) for page in pages] == sizes
            assert [*chain.from_iterable(pages)] == (IN_ORDER_DOWN if descending else IN_ORDER)[order]

    @pytest.mark.parametrize(
        ("search", "streams"),
        [("", 5), ("a", 2), ("_", 1), ("%", 1), ("a%", 1), ("A", 0), ("ä", 1), ("\\", 0), ("'", 0), ("b", 1)],
    )
    async def test_streams_are_searched_by_a_part_of_their_names_to_the_letter(
        self, store: EventStore, search: str, streams: int
    ) -> None:
        await write_streams(store)

        for order, descending in ORDERS:
            page = await store.list_streams(order=order, descending=descending, search=search)

            expected = [name for name in (IN_ORDER_DOWN if descending else IN_ORDER)[order] if search in name]
            assert len(expected) == streams
            assert [info.stream for info in page.streams] == expected

    async def test_streams_are_searched_in_pages(self, store: EventStore) -> None:
        for number in range(12):
            await write(store, f"{'odd' if number % 2 else 'even'}-{number:02}", new_event())

        first = await store.list_streams(search="odd", limit=4)
        second = await store.list_streams(search="odd", limit=4, cursor=first.next)

        assert [info.stream for info in first.streams] == ["odd-01", "odd-03", "odd-05", "odd-07"]
        assert [info.stream for info in second.streams] == ["odd-09", "odd-11"]
        assert second.next is None

    async def test_a_stream_made_between_two_pages_is_met_if_it_lies_ahead(self, store: EventStore) -> None:
        for name in ("a", "c", "e"):
            await write(store, name, new_event())
        first = await store.list_streams(limit=2)
        for name in ("b", "d"):
            await write(store, name, new_event())

        second = await store.list_streams(limit=2, cursor=first.next)

        assert [info.stream for info in first.streams] == ["a", "c"]
        assert [info.stream for info in second.streams] == ["d", "e"]

    @pytest.mark.parametrize("cursor", ["", "a", "3", "\0", "ä", "W10=", "bm90aGluZw==", "' OR 1=1", "x" * 10_000])
    async def test_a_cursor_nobody_gave_is_refused(self, store: EventStore, cursor: str) -> None:
        await write_streams(store)

        with pytest.raises(InvalidRequest, match="cursor"):
            await store.list_streams(cursor=cursor)

    async def test_a_cursor_of_another_order_is_refused(self, store: EventStore) -> None:
        await write_streams(store)
        page = await store.list_streams(order=StreamOrder.CREATED, limit=2)

        with pytest.raises(InvalidRequest, match="cursor"):
            await store.list_streams(order=StreamOrder.CHANGED, cursor=page.next)
        with pytest.raises(InvalidRequest, match="cursor"):
            await store.list_streams(order=StreamOrder.CREATED, descending=True, cursor=page.next)
