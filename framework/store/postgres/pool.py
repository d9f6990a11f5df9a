"""Connections to borrow: so many, for which nobody waits for ever, and which are not lent when they cannot be trusted.

One that fell silent is seldom alone: what stands between here and the server has mostly forgotten the others as well,
and each would take its time to show it. So those that were there at that moment are not lent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from framework.connections import LOST, unavailable
from framework.errors import StorageUnavailable
from framework.policies import TURN_SECONDS

RETURN_SECONDS: Final = 1.0
"""How long a connection may take to come to rest when it is given back; after that it is cut."""


class Pool:
    """A bounded number of connections, lent to who came first."""

    def __init__(self, connections: asyncpg.Pool[Any], at_most: int, trusts: Callable[[Any], bool]) -> None:
        """Lend *at_most* of the *connections*, those that *trusts* says may be used."""
        self.waiting = 0
        """How many wait for one."""
        self._connections = connections
        self._at_most = at_most
        self._trusts = trusts
        self._turns = asyncio.Semaphore(at_most)

    @property
    def size(self) -> int:
        """How many connections there are at this moment."""
        return self._connections.get_size()

    @property
    def idle(self) -> int:
        """How many of them are not in use."""
        return self._connections.get_idle_size()

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[PoolConnectionProxy[Any], None]:
        """Lend a connection; raises `StorageUnavailable` where none comes free, or none can be made."""
        await self._turn()
        try:
            with unavailable():
                lent = await self._connections.acquire()
                while not self._trusts(lent):
                    lent.terminate()
                    lent = await self._connections.acquire()
            try:
                yield lent
            finally:
                # What was done is not undone by a connection that is lost after it.
                with suppress(*LOST, asyncpg.InterfaceError):
                    await self._connections.release(lent, timeout=RETURN_SECONDS)
        finally:
            self._turns.release()

    def close(self) -> None:
        """Cut all connections."""
        self._connections.terminate()

    async def _turn(self) -> None:
        self.waiting += 1
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            raise StorageUnavailable(
                f"all {self._at_most} connections are in use, and none came free within {TURN_SECONDS:g} s;"
                f" {self.waiting - 1} more wait for one"
            ) from error
        finally:
            self.waiting -= 1
