"""Connections as the store wants them, and how a lost one is told from a refusal."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import asyncpg

from framework.errors import StorageUnavailable

LOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,
)
"""How asyncpg says that the database is away, or going."""

CONNECT_SECONDS: Final = 10.0


async def connect(dsn: str, schema: str) -> asyncpg.Connection[Any]:
    """Return a connection for the store's statements; raises `StorageUnavailable`."""
    with unavailable():
        connection: asyncpg.Connection[Any] = await asyncpg.connect(
            dsn, server_settings=settings(schema), timeout=CONNECT_SECONDS
        )
    await prepare(connection)
    return connection


async def create_pool(dsn: str, schema: str, max_size: int) -> asyncpg.Pool[Any]:
    """Return a pool of such connections, which are made when they are needed."""
    return await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=max_size,
        init=prepare,
        reset=leave_as_it_is,
        server_settings=settings(schema),
        timeout=CONNECT_SECONDS,
    )


def settings(schema: str) -> dict[str, str]:
    """Return what every connection of the store is set to."""
    return {
        "search_path": quoted(schema),
        # Every statement of the store has an index to go by. A plan made while a table was small, and kept, would go on
        # reading all of it when it is large.
        "enable_seqscan": "off",
        "jit": "off",
    }


async def prepare(connection: asyncpg.Connection[Any]) -> None:
    """Keep jsonb as the bytes it travels as: the codec reads them, and a text in between is work for nothing."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_jsonb, decoder=_document, format="binary")


async def leave_as_it_is(connection: asyncpg.Connection[Any]) -> None:
    """Spare the round trip of a reset: no statement of the store leaves anything on its connection."""
    del connection


@contextmanager
def unavailable() -> Generator[None, None, None]:
    """Raise `StorageUnavailable` for whatever says that the database is away."""
    try:
        yield
    except LOST as error:
        raise StorageUnavailable(f"the database does not answer: {describe(error)}") from error
    except asyncpg.InterfaceError as error:
        # The connection was closed under the statement, or the pool is closing.
        raise StorageUnavailable(f"the connection is gone: {error}") from error


def describe(error: BaseException) -> str:
    """Return *error* with its kind, since that of a refused connection may have no text."""
    return f"{type(error).__name__}: {error}"


def quoted(identifier: str) -> str:
    """Return *identifier* as SQL wants it."""
    return '"' + identifier.replace('"', '""') + '"'


# The binary form of jsonb is a version, which is 1, and the text.
def _jsonb(document: bytes) -> bytes:
    return b"\x01" + document


def _document(jsonb: bytes) -> bytes:
    return jsonb[1:]
