"""What a read looks at is bounded, and what it finds does not depend on the bound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.store import pages
from framework.store.postgres import database, reading, statements, streams
from framework.store.streams import StreamOrder
from tests.store.postgres.hands import event, write


@pytest.mark.parametrize(("types", "prefix"), [(["rare"], ""), (None, "rare-"), (["rare"], "rare-")])
async def test_a_page_of_rare_events_looks_at_a_window_of_the_log(
    store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch, types: list[str] | None, prefix: str
) -> None:
    monkeypatch.setattr(reading, "WINDOW", 10)
    await store.append([write("rare-1", 0, event(type_="rare"))])
    await store.append([write("often", 0, *(event() for _ in range(28)))])
    await store.append([write("rare-2", 0, event(type_="rare"))])

    first = await store.read_log(limit=2, types=types, prefix=prefix)
    second = await store.read_log(after=first.looked_to, limit=2, types=types, prefix=prefix)
    last = await store.read_log_backward(limit=2, types=types, prefix=prefix)
    last_but_one = await store.read_log_backward(before=last.looked_to, limit=2, types=types, prefix=prefix)

    assert ([stored.position for stored in first.events], first.looked_to, first.head) == ([1], 10, 30)
    assert (list(second.events), second.looked_to) == ([], 20)
    assert ([stored.position for stored in last.events], last.looked_to) == ([30], 21)
    assert (list(last_but_one.events), last_but_one.looked_to) == ([], 11)


async def test_rare_events_are_found_across_windows(store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WINDOW", 3)
    for number in range(40):
        await store.append([write(f"{'rare' if number in {0, 17, 39} else 'often'}-{number}", 0)])

    up = [stored.position async for stored in pages.log_forward(store, prefix="rare-", page=2)]
    down = [stored.position async for stored in pages.log_backward(store, prefix="rare-", page=2)]

    assert up == [1, 18, 40]
    assert down == [40, 18, 1]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", list(StreamOrder))
async def test_streams_are_listed_alike_however_little_a_statement_looks_at(
    store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch, order: StreamOrder, descending: bool
) -> None:
    for number in range(60):
        await store.append([write(f"s-{number * 7 % 20:02}", -1)])
    await store.append([write(f"s-{number:02}", -1, event(), event()) for number in (3, 11, 17)])
    wide = [info async for info in pages.streams(store, order=order, descending=descending, search="1", page=100)]
    monkeypatch.setattr(streams, "NAMES", 3)
    monkeypatch.setattr(streams, "POSITIONS", 4)

    narrow = [info async for info in pages.streams(store, order=order, descending=descending, search="1", page=2)]

    assert len(narrow) == 11
    assert narrow == wide


@pytest.mark.parametrize("has_statistics", [False, True])
@pytest.mark.parametrize("type_", ["often", "rare"])
async def test_a_page_goes_through_little_of_the_log_whatever_the_statistics_say(
    store: PostgresEventStore, dsn: str, type_: str, has_statistics: bool
) -> None:
    for number in range(6):
        await store.append([write(f"s-{number}", 0, *(event(type_="often") for _ in range(1_000)))])
    await store.append([write("rare", 0, *(event(type_="rare") for _ in range(6)))])
    connection = await asyncpg.connect(dsn, server_settings={"search_path": store.namespace, **database.PLANNING})
    try:
        if has_statistics:
            await connection.execute("ANALYZE events")
        page = f"0, 5, {reading.WINDOW}, ARRAY[{type_!r}], '', {5 * reading.NEAR}"
        await connection.execute(
            "PREPARE page (bigint, bigint, bigint, text[], text, bigint) AS " + statements.READ_LOG_OF_TYPES
        )

        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE page ({page})"))
    finally:
        await connection.close()

    assert max(_rows(plan[0]["Plan"])) <= 5 * reading.NEAR


def _rows(node: dict[str, Any]) -> Iterator[float]:
    yield (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    for inner in node.get("Plans", ()):
        yield from _rows(inner)
