"""The log filtered by stream and by type, in both directions."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from framework.store.protocol import EventStore
from framework.testing.store_contract.parts import OnAStore, new_event, write

PREFIXES = [
    ("account-", {"account-1", "account-2", "account-_"}),
    ("account-1", {"account-1"}),
    ("account-_", {"account-_"}),
    ("a%", {"a%"}),
    ("A", {"Account-1"}),
    ("ä", {"äccount"}),
    ("", {"account-1", "account-2", "account-_", "a%", "Account-1", "äccount", "transfer"}),
    ("nothing", set[str]()),
]


async def write_all(store: EventStore) -> None:
    """Append two events to each of some streams, of the types opened and closed."""
    for type_ in ("opened", "closed"):
        for stream in ("account-1", "account-2", "account-_", "a%", "Account-1", "äccount", "transfer"):
            await write(store, stream, new_event(type_=type_))


class FilterContract(OnAStore):
    """`read_log` and `read_log_backward` with *types* and *prefix*."""

    @pytest.mark.parametrize(("prefix", "streams"), PREFIXES)
    async def test_the_log_is_read_by_the_beginning_of_a_stream_s_name(
        self, store: EventStore, prefix: str, streams: Collection[str]
    ) -> None:
        await write_all(store)

        page = await store.read_log(prefix=prefix)

        assert [e.position for e in page.events] == sorted(e.position for e in page.events)
        assert sorted(event.stream for event in page.events) == sorted([*streams, *streams])
        assert (page.looked_to, page.head) == (14, 14)

    @pytest.mark.parametrize(("prefix", "streams"), PREFIXES)
    async def test_the_log_is_read_backward_by_the_beginning_of_a_stream_s_name(
        self, store: EventStore, prefix: str, streams: Collection[str]
    ) -> None:
        await write_all(store)

        page = await store.read_log_backward(prefix=prefix)

        assert [e.position for e in page.events] == sorted((e.position for e in page.events), reverse=True)
        assert sorted(event.stream for event in page.events) == sorted([*streams, *streams])
        assert page.looked_to == 1

    async def test_the_log_is_read_by_type_and_stream_together(self, store: EventStore) -> None:
        await write_all(store)

        page = await store.read_log(types=["closed", "never"], prefix="account-")

        assert [(event.stream, event.type) for event in page.events] == [
            ("account-1", "closed"),
            ("account-2", "closed"),
            ("account-_", "closed"),
        ]
        assert page.looked_to == 14

    async def test_the_log_is_read_backward_by_type_and_stream_together(self, store: EventStore) -> None:
        await write_all(store)

        page = await store.read_log_backward(types=["opened"], prefix="account-")

        assert [(event.stream, event.type) for event in page.events] == [
            ("account-_", "opened"),
            ("account-2", "opened"),
            ("account-1", "opened"),
        ]
        assert page.looked_to == 1

    async def test_no_types_want_nothing_in_either_direction(self, store: EventStore) -> None:
        await write_all(store)

        forward, backward = await store.read_log(types=[]), await store.read_log_backward(types=[])

        assert (list(forward.events), forward.looked_to) == ([], 14)
        assert (list(backward.events), backward.looked_to) == ([], 1)

    @pytest.mark.parametrize(("types", "prefix"), [(None, "account-"), (["opened", "closed"], "account-")])
    async def test_a_full_page_of_wanted_events_says_it_looked_no_further_than_was_sure(
        self, store: EventStore, types: list[str] | None, prefix: str
    ) -> None:
        await write_all(store)

        page = await store.read_log(limit=2, types=types, prefix=prefix)
        rest = await store.read_log(after=page.looked_to, types=types, prefix=prefix)
        down = await store.read_log_backward(limit=2, types=types, prefix=prefix)
        rest_down = await store.read_log_backward(before=down.looked_to, types=types, prefix=prefix)

        assert [event.position for event in (*page.events, *rest.events)] == [1, 2, 3, 8, 9, 10]
        assert [event.position for event in (*down.events, *rest_down.events)] == [10, 9, 8, 3, 2, 1]
