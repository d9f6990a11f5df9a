"""Reading streams and the log forward, and the head."""

from __future__ import annotations

import pytest

from framework.store.protocol import (
    EventStore,
)
from framework.testing.store_contract.parts import (
    JSON_VALUES,
    OnAStore,
    contents_of,
    log_of,
    new_event,
    new_events,
    value_of,
    write,
)


class ReadContract(OnAStore):
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
