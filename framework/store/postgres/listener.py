"""Knows how far the log has grown: by this process's own appends, by what other nodes say, and by looking.

What is said is a hint. A notification that is lost, or a connection that is cut, delays those who wait until the next
look, and never more.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from framework.clock import jitter
from framework.connections import connect, unavailable
from framework.errors import StorageUnavailable
from framework.observe import LISTENER_LOST, log
from framework.policies import POLL_SECONDS, RECONNECT
from framework.store.postgres.database import Database
from framework.store.postgres.statements import NOTIFY

PAUSE_SECONDS: Final = 0.005
"""Between two notifications: committing one is work for the database, and a busy log has news all the time."""


SLOTS_FREED: Final = "slots freed"
"""What is said when slots of subscriptions were given back; else the news is a position, the head."""


def channel(schema: str) -> str:
    """Return the channel that news of the log in *schema* go over.

    It is an identifier, which has a longest length, and no two schemas may share one: so it is a digest.
    """
    return f"aggregate_{hashlib.sha256(schema.encode()).hexdigest()[:16]}"


class Listener:
    """The head of the log as far as this process knows, and those who wait for it to move."""

    def __init__(self, database: Database, schema: str, read_head: Callable[[], Awaitable[int]]) -> None:
        self._database = database
        self._schema = schema
        self._read_head = read_head
        self._channel = channel(schema)
        self._head = 0
        self._told = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._slot_waiters: set[asyncio.Future[None]] = set()
        self._is_waited_for = asyncio.Event()
        self._has_news = asyncio.Event()
        self._is_closed = False

    def heard(self, head: int) -> None:
        """Note that the log reaches at least to *head*, and wake who waits."""
        if head > self._head:
            self._head = head
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def appended(self, head: int) -> None:
        """Note an append of this process, and tell the other nodes."""
        self.heard(head)
        self._has_news.set()

    async def wait_beyond(self, position: int) -> int:
        """Return the head once it lies above *position*."""
        while self._head <= position:
            if self._is_closed:
                raise StorageUnavailable("the store is closed")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            self._is_waited_for.set()
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return self._head

    async def slots_freed(self) -> None:
        """Return when a node says that it has given back slots of subscriptions."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._slot_waiters.add(waiter)
        try:
            await waiter
        finally:
            self._slot_waiters.discard(waiter)

    def close(self) -> None:
        """Let nobody wait any more."""
        self._is_closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def run(self) -> None:
        """Listen, look and tell, until cancelled."""
        async with asyncio.TaskGroup() as parts:
            if self._database.listen_dsn is not None:
                parts.create_task(self._listen(self._database.listen_dsn), name="listen")
            parts.create_task(self._poll(), name="poll")
            parts.create_task(self._tell(), name="notify")

    async def _listen(self, dsn: str) -> None:
        failures = 0
        while True:
            try:
                await self._listen_once(dsn)
                failures = 1  # it did listen, for a while
            except StorageUnavailable as error:
                failures += 1
                log.warning(LISTENER_LOST, error=str(error))
            await asyncio.sleep(RECONNECT.delay_s(failures))

    async def _listen_once(self, dsn: str) -> None:
        """Listen until the connection is lost."""
        lost = asyncio.Event()
        with unavailable():
            connection = await connect(dsn)
        try:
            connection.add_termination_listener(lambda _: lost.set())
            with unavailable():
                # First listen, then look: what is appended in between is seen by one or the other.
                await connection.add_listener(self._channel, self._notified)
                self.heard(await self._read_head())
            await lost.wait()
        finally:
            connection.terminate()

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        if payload != SLOTS_FREED:
            self.heard(int(str(payload)))
            return
        for waiter in self._slot_waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _poll(self) -> None:
        while True:
            self._is_waited_for.clear()
            if not self._waiters:
                await self._is_waited_for.wait()
            before = self._head
            await asyncio.sleep(jitter(POLL_SECONDS))
            if self._head == before:
                try:
                    self.heard(await self._read_head())
                except StorageUnavailable as error:
                    log.warning(LISTENER_LOST, error=str(error))

    async def _tell(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            try:
                async with self._database.session(self._schema) as connection:
                    await connection.execute(NOTIFY, self._channel, str(self._head))
            except StorageUnavailable as error:
                log.warning(LISTENER_LOST, error=str(error))  # the others look for themselves
            await asyncio.sleep(PAUSE_SECONDS)
