"""Connections to PostgreSQL: how they are made, how a lost one is told from a refusal, how a name is quoted.

A peer can be gone without a word: a cable is pulled, a firewall forgets, a server is stopped. Then whoever waits for it
would wait for ever. Where the network itself does not answer, the system notices, as it was told to when the connection
was made; where something answers but the server, only time tells, and `answering` limits it.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pool import PoolConnectionProxy

from framework.errors import ConfigurationError, StorageUnavailable

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any] | PoolConnectionProxy[Any]
    AnyConnection = asyncpg.Connection[Any]
else:
    AnyConnection = asyncpg.Connection  # generic to checkers only

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

CONNECT_SECONDS: Final = 5.0
"""How long one host may take to answer, be it one of several."""

SILENT_SECONDS: Final = 3
"""How long the network says nothing before it is asked for a sign of life, once a second and as often again."""


class AttentiveConnection(AnyConnection):
    """A connection that is lost when the machine at its other end is gone, and not when somebody writes to it."""

    __slots__ = ()

    def __init__(self, protocol: Any, transport: asyncio.Transport, *parts: Any) -> None:
        super().__init__(protocol, transport, *parts)
        be_attentive(transport.get_extra_info("socket"))


def be_attentive(peer: socket.socket) -> None:
    """Have the system ask for a sign of life where *peer* is silent, and end it where none comes."""
    if peer.family not in {socket.AF_INET, socket.AF_INET6}:
        return  # the other end of a Unix socket is on this machine
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # What a system does not know by these names it keeps its own settings for.
    for name, value in (
        ("TCP_KEEPIDLE", SILENT_SECONDS),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", SILENT_SECONDS),
        ("TCP_USER_TIMEOUT", 2_000 * SILENT_SECONDS),  # the same for what was sent and not acknowledged
    ):
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


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
    options.setdefault("connection_class", AttentiveConnection)
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


@contextmanager
def answering(
    connection: Connection,
    within_s: float,
    fell_silent: Callable[[Any], None] | None = None,
) -> Generator[None, None, None]:
    """Cut *connection* where the block takes longer than *within_s*, and raise `StorageUnavailable`.

    *fell_silent* is told of it. It is cut and nothing is cancelled: a statement is cancelled by asking the same server,
    and by waiting for that as well.
    """
    is_silent = False

    def cut() -> None:
        nonlocal is_silent
        if not is_lost(connection):
            is_silent = True
            if fell_silent is not None:
                fell_silent(connection)
            connection.terminate()

    watch = asyncio.get_running_loop().call_later(within_s, cut)
    try:
        yield
    except (*LOST, asyncpg.InterfaceError, StorageUnavailable):
        if not is_silent:
            raise
        raise StorageUnavailable(f"the database gave no answer within {within_s:g} s") from None
    finally:
        watch.cancel()


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
