"""The form in which the columns of a batch travel: what is sent is what arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from framework.store.postgres.arrays import teach


@pytest.fixture
async def taught(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(dsn)
    teach(connection)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("int[]", []),
        ("int[]", [1]),
        ("int[]", [0, 1, -1, 2**31 - 1, -(2**31)]),
        ("text[]", []),
        ("text[]", ["", "a", "{a,b}", '"', "NULL", "ä", "\U0001f600", "a" * 100_000]),
        ("uuid[]", []),
        ("uuid[]", [UUID(int=0), UUID(int=2**128 - 1), uuid4()]),
    ],
)
async def test_a_column_arrives_as_it_was_sent(
    taught: asyncpg.Connection[Any], type_: str, values: Sequence[object]
) -> None:
    rows = await taught.fetch(
        f"SELECT value FROM unnest($1::{type_}) WITH ORDINALITY AS u (value, n) ORDER BY n", values
    )

    assert [row["value"] for row in rows] == values
    assert await taught.fetchval(f"SELECT array_lower($1::{type_}, 1)", values) == (1 if values else None)


async def test_documents_arrive_as_they_were_sent_and_some_as_null(taught: asyncpg.Connection[Any]) -> None:
    values = [b"{}", None, b'{"a": [1, null]}', '"ä"'.encode()]

    rows = await taught.fetch(
        "SELECT value::text FROM unnest($1::jsonb[]) WITH ORDINALITY AS u (value, n) ORDER BY n", values
    )

    assert [row["value"] for row in rows] == [None if value is None else value.decode() for value in values]
    assert await taught.fetchval("SELECT cardinality($1::jsonb[])", []) == 0


@pytest.mark.parametrize(
    ("type_", "values"),
    [("int[]", [2**31]), ("int[]", ["1"]), ("text[]", ["\ud800"]), ("uuid[]", ["1"]), ("jsonb[]", ["{}"])],
)
async def test_what_is_no_value_of_the_column_is_refused_before_it_is_sent(
    taught: asyncpg.Connection[Any], type_: str, values: Sequence[object]
) -> None:
    with pytest.raises(asyncpg.DataError):
        await taught.fetch(f"SELECT $1::{type_}", values)

    assert await taught.fetchval("SELECT 1") == 1
