"""What a writer may believe of a stream, and what it is told where it is wrong."""

from __future__ import annotations

import pytest

from framework.errors import (
    WrongExpectedVersion,
)
from framework.store.protocol import (
    EventStore,
    Expected,
)
from framework.testing.store_contract.parts import (
    OnAStore,
    contents_of,
    new_event,
    new_events,
    write,
)


class ExpectationContract(OnAStore):
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
