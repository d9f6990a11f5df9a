"""What an event holds comes back equal from both stores, whatever PostgreSQL makes of a document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework import MemoryEventStore, PostgresEventStore
from framework.codec import Codec
from framework.evolution import EventTypes
from framework.journal import Journal
from framework.store.protocol import EventStore
from tests.domain.values import Everything, codec, everything, holder

METADATA = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
    st.none() | st.booleans() | st.integers() | st.floats(-(2.0**53), 2.0**53),
    max_size=3,
)


@pytest.fixture(scope="module", params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[EventStore]:
    """One store for all examples: each has a stream of its own."""
    if request.param == "memory":
        yield MemoryEventStore()
        return
    schema = f"values_{uuid4().hex[:12]}"
    try:
        async with PostgresEventStore(dsn, schema=schema) as store:
            yield store
    finally:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        finally:
            await connection.close()


async def there_and_back(
    store: EventStore, event: object, known: Codec, metadata: bytes = b"{}"
) -> tuple[object, bytes]:
    journal = Journal(store, known, EventTypes([type(event)]))
    stream = str(uuid4())
    cause = uuid4()
    new = journal.encode(event, event_id=uuid4(), metadata=metadata, correlation_id=cause, causation_id=cause)
    await journal.append(stream, 0, [new])
    (stored,) = await journal.read_stream(stream)
    (event,) = journal.events([stored])
    return event, stored.metadata


@given(event=everything, metadata=METADATA)
@settings(deadline=None, max_examples=50)
async def test_an_event_comes_back_equal(store: EventStore, event: Everything, metadata: dict[str, object]) -> None:
    known = codec()

    back, about = await there_and_back(store, event, known, known.encode_metadata(metadata))

    assert back == event
    assert known.decode_metadata(about) == metadata


@pytest.mark.parametrize("number", [1e15, 1e16, 1e22, 1e23, 1e-7, 0.1, -0.0, 5e-324, 1.7976931348623157e308, 2.0**53])
async def test_a_float_comes_back_as_the_same_float(store: EventStore, number: float) -> None:
    cls = holder(float)

    back, _ = await there_and_back(store, cls(number), Codec())

    assert back == cls(number)
    assert type(getattr(back, "it")) is float  # noqa: B009 - the class was made in the test


@pytest.mark.parametrize("bits", [53, 63, 64, 4_096])
async def test_an_int_comes_back_however_long(store: EventStore, bits: int) -> None:
    cls, number = holder(int), 1 - 2**bits

    back, _ = await there_and_back(store, cls(number), Codec())

    assert back == cls(number)
