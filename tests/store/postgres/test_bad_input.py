"""What the database, or the driver before it, takes exception to fails alone and is called by its name."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.errors import AppendRefused, ConfigurationError, InvalidRequest
from framework.store.postgres import unit
from framework.store.protocol import Receipt
from tests.store.postgres.hands import Hands, event, write


def blind(_writes: object, _receipts: object) -> tuple[int, int]:
    return 1, 2


NAMES = ['"; DROP SCHEMA public CASCADE; --', "a'b\"c", "Ä ö", "select", "$$", "%s {x}", "a,b", "x" * 63]


@pytest.mark.parametrize("schema", NAMES)
async def test_a_schema_may_have_a_name_that_is_sql(dsn: str, schema: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        async with PostgresEventStore(dsn, schema=schema) as store:
            await store.append([write("a", 0)])
            assert await store.head() == 1

        assert await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema) == 1
        assert await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'public'") == 1
    finally:
        await connection.execute('DROP SCHEMA IF EXISTS "' + schema.replace('"', '""') + '" CASCADE')
        await connection.close()


@pytest.mark.parametrize("schema", ["", "a\0b", "x" * 64, "ä" * 32, "\ud800"])
def test_a_name_no_schema_can_have_is_refused_when_the_store_is_made(schema: str) -> None:
    with pytest.raises(ConfigurationError, match="schema"):
        PostgresEventStore("postgresql://127.0.0.1:1/nowhere", schema=schema)


@pytest.mark.parametrize(
    "broken",
    [{"digest": "no bytes"}, {"command_id": "no id"}, {"event_count": "three"}],
    ids=lambda broken: next(iter(broken)),
)
async def test_what_the_driver_cannot_even_send_fails_alone_and_costs_no_connection(
    store: PostgresEventStore, hands: Hands, monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any]
) -> None:
    """The checks are blind here, as they would be to a mistake that nobody thought of."""
    monkeypatch.setattr(unit, "check_append", blind)
    receipt = Receipt(event().event_id, b"digest", "s", 1, 1)
    async with hands.holding_the_head():
        ahead = await hands.occupy(store)
        pids = await hands.waiting_appends(len(ahead))
        strangers = [asyncio.ensure_future(store.append([write(f"s-{n}", 0)])) for n in range(8)]
        bad = asyncio.ensure_future(store.append([write("s", 0)], [receipt._replace(**broken)]))

    await asyncio.gather(*ahead, *strangers)

    with pytest.raises(AppendRefused):
        await bad
    alive = await hands.sql.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1::int[])", pids)
    assert alive == len(pids)


async def test_text_no_database_can_hold_is_named_wherever_it_comes(store: PostgresEventStore) -> None:
    for text in ("a\0b", "a\ud800b"):
        with pytest.raises(InvalidRequest):
            await store.subscriptions.slots([text])
        with pytest.raises(InvalidRequest):
            await store.load_instances(text, ["i"])
