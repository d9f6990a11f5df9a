"""Folders for servers, other processes that use them, and an end to every server a failed test would leave."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import attrs
import pytest

from framework.postgres_programs import find_programs

ROOT = Path(__file__).parent.parent.parent
ENTERS_WITHIN_S = 60.0


@pytest.fixture
def place() -> Generator[Path, None, None]:
    """A folder that everybody may enter, which pytest's own are not."""
    with TemporaryDirectory(prefix="embedded-") as place:
        Path(place).chmod(0o755)
        yield Path(place)
        for pid_file in Path(place).rglob("postmaster.pid"):  # there is none after a test that passed
            find_programs().run("pg_ctl", "stop", "-D", ".", "-m", "immediate", cwd=pid_file.parent)


@pytest.fixture
def folder(place: Path) -> Path:
    return place / "bank"


@attrs.frozen
class OtherUser:
    """Another process that uses the server."""

    process: Process
    dsn: str

    async def leave(self) -> int:
        """Let the process leave the server and end; return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.process.wait()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


class Others:
    """Starts other users."""

    def __init__(self, processes: AsyncExitStack) -> None:
        self._processes = processes

    async def enter(self, folder: Path, *options: str) -> OtherUser:
        """Start another process, and return when it uses the server of *folder*."""
        process = await self._processes.enter_async_context(_process(folder, *options))
        assert process.stdout is not None
        async with asyncio.timeout(ENTERS_WITHIN_S):
            said = await process.stdout.readline()
        assert said, "it could not enter"
        return OtherUser(process, said.decode().strip())


@asynccontextmanager
async def _process(folder: Path, *options: str) -> AsyncGenerator[Process, None]:
    command = (sys.executable, "-m", "tests.embedded.user", str(folder), *options)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture
async def others() -> AsyncGenerator[Others, None]:
    async with AsyncExitStack() as processes:
        yield Others(processes)


async def ask(dsn: str, query: str) -> object:
    """Return what *query* says, over a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        answer: object = await connection.fetchval(query)
        return answer
    finally:
        await connection.close()


async def runs(dsn: str) -> bool:
    """Return whether a server answers at *dsn*."""
    try:
        await ask(dsn, "SELECT 1")
    except (OSError, asyncpg.CannotConnectNowError):
        return False
    return True


def postmaster(folder: Path) -> int:
    """Return the process id of the server of *folder*."""
    return int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])


only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be someone else")
