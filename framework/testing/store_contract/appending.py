"""What is recorded by an append, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from framework.errors import (
    WrongExpectedVersion,
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


class AppendContract(OnAStore):
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
