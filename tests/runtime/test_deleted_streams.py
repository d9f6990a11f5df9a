"""Commands for an aggregate whose stream is closed for good."""

from __future__ import annotations

import pytest

from framework import MemoryEventStore
from framework.errors import StreamDeleted
from framework.store.protocol import Expected
from tests.runtime.till import PutIn, TakeOut, application


async def test_a_dispatch_to_a_deleted_stream_says_that_it_is_deleted() -> None:
    store = MemoryEventStore()
    async with application(store) as app:
        await app.dispatch(PutIn("live", 10))
        await app.dispatch(PutIn("cold", 10))
        await store.delete_stream("till-live", Expected.STREAM_EXISTS)

        with pytest.raises(StreamDeleted):
            await app.dispatch(PutIn("live", 1))
        with pytest.raises(StreamDeleted):
            await app.dispatch(TakeOut("live", 1_000))

    await store.delete_stream("till-cold", Expected.STREAM_EXISTS)
    async with application(store) as app:
        with pytest.raises(StreamDeleted):
            await app.dispatch(PutIn("cold", 1))
        with pytest.raises(StreamDeleted):
            await app.dispatch(PutIn("cold", 0))
        assert (await app.dispatch(PutIn("another", 1))).version == 1

    assert await store.head() == 3


async def test_a_refusal_rests_on_no_stream_that_was_deleted_meanwhile() -> None:
    store = MemoryEventStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        await store.delete_stream("till-a", 1)

        with pytest.raises(StreamDeleted):
            await app.dispatch(TakeOut("a", 11))
