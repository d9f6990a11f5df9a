"""Connections to PostgreSQL: how they are made, how a lost one is told from a refusal, how a name is quoted."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pool import PoolConnectionProxy

from framework.errors import ConfigurationError, StorageUnavailable

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any] | PoolConnectionProxy[Any]

LOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,
)
"""How asyncpg says that the database is away, or going."""

TROUBLE: Final = (
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
)
"""What the database says when it is in trouble itself, or someone interferes: no statement is at fault."""

CONNECT_SECONDS: Final = 10.0
"""How long one host may take to answer, be it one of several."""


async def connect(dsn: str, **options: Any) -> asyncpg.Connection[Any]:
    """Return a connection to the first host of *dsn* that has what is asked for.

    Of several hosts that is the primary, unless *dsn* names `target_session_attrs`. Each is given its own
    `CONNECT_SECONDS`, so that one that is silent does not keep anybody from the next. *options* are those of
    `asyncpg.connect`. Raises one of `LOST` where none answers, and `ConfigurationError` where *dsn* is none, or names a
    database or a user that is not there.
    """
    try:
        return await _connect(dsn, options)
    except ValueError as error:
        # Not the DSN itself, in which there may be a password.
        raise ConfigurationError(
            f"the DSN is not of the form postgresql://user:password@host:port/database: {error}"
        ) from error
    except (asyncpg.InvalidCatalogNameError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise ConfigurationError(f"the DSN names what the server does not let in: {error}") from error


async def _connect(dsn: str, options: dict[str, Any]) -> asyncpg.Connection[Any]:
    hosts = each_host(dsn)
    if len(hosts) > 1 and "target_session_attrs" not in dsn:
        options["target_session_attrs"] = SessionAttribute.primary
    options.setdefault("timeout", CONNECT_SECONDS)
    connection: asyncpg.Connection[Any]
    for host in hosts[:-1]:
        with suppress(*LOST):
            connection = await asyncpg.connect(host, **options)
            return connection
    connection = await asyncpg.connect(hosts[-1], **options)
    return connection


async def create_pool(dsn: str, max_size: int, **options: Any) -> asyncpg.Pool[Any]:
    """Return a pool of at most *max_size* connections, each made by `connect` when it is needed; *options* as there."""
    # Its stubs ask for a function with every parameter of asyncpg's own.
    return await asyncpg.create_pool(dsn, min_size=0, max_size=max_size, connect=cast("Any", connect), **options)


def each_host(dsn: str) -> list[str]:
    """Return *dsn* once for each of its hosts, in their order."""
    scheme, slashes, rest = dsn.partition("//")
    # By hand: of several hosts with an IPv6 address among them, a new urlsplit says that they are no URL.
    netloc = re.split("[/?#]", rest, maxsplit=1)[0]
    credentials, at, hosts = netloc.rpartition("@")
    if "," in hosts:
        end = rest.removeprefix(netloc)
        return [f"{scheme}{slashes}{credentials}{at}{host}{end}" for host in hosts.split(",")]
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    named = query.get("host", "").split(",")
    if len(named) == 1:
        return [dsn]
    ports = query.get("port", "5432").split(",")
    ports *= len(named) if len(ports) == 1 else 1
    return [
        parts._replace(query=urlencode({**query, "host": host, "port": port}, quote_via=quote)).geturl()
        for host, port in zip(named, ports, strict=True)
    ]


@contextmanager
def unavailable(
    what: str = "the database", connection: Connection | None = None, *, reads_only: bool = False
) -> Generator[None, None, None]:
    """Raise `StorageUnavailable`, which names *what*, for all that says that the database is away.

    With the *connection* that is used inside, what it could not have said while it is open is an error of the work
    itself and raised as it is. A server that takes no writes has become a standby, and the primary is elsewhere: the
    connection is ended, so that the next one looks for it; unless *reads_only*, when to write is the error.
    """
    try:
        yield
    except (OSError, asyncpg.InterfaceError) as error:
        if connection is not None and not is_lost(connection):
            raise
        raise StorageUnavailable(f"{what} does not answer: {describe(error)}") from error
    except LOST as error:
        raise StorageUnavailable(f"{what} does not answer: {describe(error)}") from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        if connection is None or reads_only:
            raise
        connection.terminate()
        raise StorageUnavailable(f"{what} takes no writes: {describe(error)}") from error


@contextmanager
def troubled(what: str = "the database") -> Generator[None, None, None]:
    """Raise `StorageUnavailable`, which names *what*, for all that says that it is in trouble: nothing was changed."""
    try:
        yield
    except TROUBLE as error:
        raise StorageUnavailable(f"{what} is in trouble: {describe(error)}") from error


def is_lost(connection: Connection) -> bool:
    """Return whether nothing can be sent over *connection* any more."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True  # its pool has taken it back, as pools do with those that are lost


def describe(error: BaseException) -> str:
    """Return *error* with its kind, since that of a refused connection may have no text."""
    return f"{type(error).__name__}: {error}"


def quoted(identifier: str) -> str:
    """Return *identifier* as SQL wants it."""
    return '"' + identifier.replace('"', '""') + '"'
