"""Something between a store and its database that may forget the connections it carries, and say so to nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

CHUNK: Final = 64 * 1024


class Forgetful:
    """A proxy on a port of its own: whoever it has forgotten may send what he wants, and hears nothing."""

    def __init__(self, dsn: str) -> None:
        self.dsn = ""
        self._parts = urlsplit(dsn)
        self._is_silent = False
        self._carried: list[asyncio.Event] = []
        """One for each connection, set when it is forgotten."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @classmethod
    @asynccontextmanager
    async def before(cls, dsn: str) -> AsyncGenerator[Self, None]:
        self = cls(dsn)
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.dsn = f"postgresql://{self._parts.username}@127.0.0.1:{port}{self._parts.path}"
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def forget(self) -> None:
        """Carry nothing more for those there are."""
        for forgotten in self._carried:
            forgotten.set()
        self._carried.clear()

    def fall_silent(self) -> None:
        """Forget those there are, and take others without a word, until `recover`."""
        self.forget()
        self._is_silent = True

    def recover(self) -> None:
        """Carry whatever comes from now on. Those forgotten stay so."""
        self.forget()
        self._is_silent = False

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        forgotten = asyncio.Event()
        if self._is_silent:
            forgotten.set()
        else:
            self._carried.append(forgotten)
        there, back = await self._server()
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pass(reader, back, forgotten))
                ways.create_task(_pass(there, writer, forgotten))
        finally:
            self._writers -= {writer, back}
            back.close()
            writer.close()

    async def _server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        query = {name: values[-1] for name, values in parse_qs(self._parts.query).items()}
        host, port = query.get("host") or self._parts.hostname or "", query.get("port") or self._parts.port or 5432
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, int(port))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forgotten: asyncio.Event) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            if not forgotten.is_set():
                writer.write(data)
                await writer.drain()
    if not forgotten.is_set():
        writer.close()
