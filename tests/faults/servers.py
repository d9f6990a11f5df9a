"""A PostgreSQL of a test's own, which it may ill-treat."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from framework import embedded
from framework.postgres_programs import find_programs
from framework.testing import eventually


class Server:
    """A server that can be stopped, killed and started, and of which everything else can be asked."""

    def __init__(self, folder: Path, uses: AsyncExitStack) -> None:
        self.folder = folder
        self.dsn = ""
        self._uses = uses
        self._programs = find_programs()

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path) -> AsyncGenerator[Server, None]:
        """Run a server on *folder*, and stop it at the end, whatever state it is in by then."""
        async with AsyncExitStack() as uses:
            server = cls(folder, uses)
            await server.start()
            yield server

    async def start(self) -> None:
        """Start it, in whatever state it was left, and return when it takes connections."""
        self.dsn = await self._uses.enter_async_context(embedded.server(self.folder))

    async def stop(self, mode: str) -> None:
        """Stop it in pg_ctl's *mode*, `fast` or `immediate`."""
        await self.control("stop", "-m", mode)

    async def restart(self) -> None:
        """Stop and start it, fast."""
        await self.control("restart", "-m", "fast", "-l", "server.log")

    async def kill(self) -> None:
        """Kill it, and return when its children have seen that and are gone too."""
        os.kill(self._pid(), signal.SIGKILL)
        await eventually(self.is_silent)

    @asynccontextmanager
    async def frozen(self) -> AsyncGenerator[None, None]:
        """Have all of its processes stand still while inside: it is there, and says nothing."""
        async with self.sql() as sql:
            children = [row["pid"] for row in await sql.fetch("SELECT pid FROM pg_stat_activity")]
        pids = [self._pid(), *children]  # which first makes no more of the others
        try:
            for pid in pids:
                with suppress(ProcessLookupError):  # the one that was asked
                    os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in reversed(pids):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    async def set(self, name: str, value: str) -> None:
        """Change a setting; one that cannot be changed while the server runs is after a restart."""
        async with self.sql() as sql:
            await sql.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            await sql.execute("SELECT pg_reload_conf()")

    async def copy_to(self, folder: Path) -> None:
        """Make *folder* that of a standby of this server, which begins to follow it when it is started."""
        folder.mkdir(mode=0o700)
        (folder / "turn.lock").touch(mode=0o600)  # so that it is taken for one of ours
        if self._programs.account:
            for path in (folder, folder / "turn.lock"):
                os.chown(path, self._programs.account.pw_uid, self._programs.account.pw_gid)
        copy = str(folder / "postgres")
        done = await self.run("pg_basebackup", "-d", self.dsn, "-D", copy, "-c", "fast", "--write-recovery-conf")
        assert done.returncode == 0, done.stderr

    async def control(self, *arguments: str) -> None:
        """Have pg_ctl do something."""
        done = await self.run("pg_ctl", *arguments, "-D", "postgres", "-w")
        assert done.returncode == 0, done.stderr

    async def run(self, program: str, *arguments: str) -> Any:
        """Run one of the programs of PostgreSQL in the server's folder."""
        return await asyncio.to_thread(self._programs.run, program, *arguments, cwd=self.folder.resolve())

    @asynccontextmanager
    async def sql(self, **settings: str) -> AsyncGenerator[asyncpg.Connection[Any], None]:
        """Give a connection that belongs to nobody else."""
        connection = await asyncpg.connect(self.dsn, server_settings={"statement_timeout": "0", **settings})
        try:
            yield connection
        finally:
            connection.terminate()

    async def is_silent(self) -> bool:
        """Return whether nobody answers."""
        try:
            async with self.sql():
                return False
        except (OSError, asyncpg.ConnectionDoesNotExistError):
            return True

    def _pid(self) -> int:
        return int((self.folder / "postgres/postmaster.pid").read_text().splitlines()[0])
