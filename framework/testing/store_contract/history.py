"""Events by their ids, by what they led from, and as of a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from framework.clock import new_id
from framework.errors import InvalidRequest
from framework.store.protocol import EventStore
from framework.testing.store_contract.parts import OnAStore, log_of, new_event, new_events, write

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime(9999, 1, 1, tzinfo=UTC)


class HistoryContract(OnAStore):
    """`History`."""

    async def test_events_are_found_by_their_ids_in_the_order_of_the_log(self, store: EventStore) -> None:
        one, two, three = new_events(3)
        await write(store, "a", one, two)
        await write(store, "b", three)

        found = await store.read_events([three.event_id, new_id(), one.event_id, three.event_id])

        assert list(found) == [event for event in await log_of(store) if event.position in {1, 3}]

    async def test_ids_of_nothing_find_nothing(self, store: EventStore) -> None:
        await write(store, "a", new_event())

        assert list(await store.read_events([])) == []
        assert list(await store.read_events([new_id()])) == []

    async def test_what_one_command_led_to_is_found_over_all_streams(self, store: EventStore) -> None:
        correlation = new_id()
        ours = [event._replace(correlation_id=correlation) for event in new_events(3)]
        await write(store, "a", ours[0], new_event())
        await write(store, "b", new_event(), ours[1])
        await write(store, "a", ours[2])

        found = await store.read_correlated(correlation)

        assert [event.event_id for event in found] == [event.event_id for event in ours]
        assert [event.position for event in found] == [1, 4, 5]

    async def test_what_one_command_led_to_is_read_in_pages(self, store: EventStore) -> None:
        correlation = new_id()
        await write(store, "a", *[event._replace(correlation_id=correlation) for event in new_events(5)])

        first = await store.read_correlated(correlation, limit=3)
        second = await store.read_correlated(correlation, after=first[-1].position, limit=3)

        assert [event.position for event in (*first, *second)] == [1, 2, 3, 4, 5]
        assert list(await store.read_correlated(correlation, after=5)) == []

    async def test_a_correlation_nobody_had_led_to_nothing(self, store: EventStore) -> None:
        await write(store, "a", new_event())

        assert list(await store.read_correlated(new_id())) == []

    async def test_the_position_at_a_moment_is_the_last_recorded_by_then(self, store: EventStore) -> None:
        for number in range(9):
            await write(store, f"s{number % 2}", *new_events(1 + number % 3))
        log = await log_of(store)

        for event in log:
            at = max(other.position for other in log if other.recorded_at <= event.recorded_at)
            before = max((other.position for other in log if other.recorded_at < event.recorded_at), default=0)
            assert await store.position_at(event.recorded_at) == at
            assert await store.position_at(event.recorded_at - timedelta(microseconds=1)) == before

    async def test_before_the_first_event_the_log_was_empty(self, store: EventStore) -> None:
        assert await store.position_at(FAR_AHEAD) == 0
        await write(store, "s", *new_events(3))

        assert await store.position_at(LONG_AGO) == 0
        assert await store.position_at(FAR_AHEAD) == 3

    async def test_the_version_at_a_moment_is_the_last_recorded_by_then(self, store: EventStore) -> None:
        for number in range(9):
            await write(store, f"s{number % 2}", *new_events(1 + number % 3))
        stream = await store.read_stream("s1")

        for event in stream:
            at = max(other.version for other in stream if other.recorded_at <= event.recorded_at)
            before = max((other.version for other in stream if other.recorded_at < event.recorded_at), default=0)
            assert await store.version_at("s1", event.recorded_at) == at
            assert await store.version_at("s1", event.recorded_at - timedelta(microseconds=1)) == before

    async def test_before_its_first_event_a_stream_was_empty(self, store: EventStore) -> None:
        await write(store, "another", *new_events(2))
        await write(store, "s", *new_events(3))

        assert await store.version_at("s", LONG_AGO) == 0
        assert await store.version_at("s", FAR_AHEAD) == 3
        assert await store.version_at("never", FAR_AHEAD) == 0

    async def test_a_moment_without_a_time_zone_is_refused(self, store: EventStore) -> None:
        naive = LONG_AGO.replace(tzinfo=None)

        with pytest.raises(InvalidRequest, match="time zone"):
            await store.position_at(naive)
        with pytest.raises(InvalidRequest, match="time zone"):
            await store.version_at("s", naive)
        with pytest.raises(InvalidRequest, match="time zone"):
            await store.prune_receipts(naive)
