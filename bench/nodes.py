"""Processes that work beside each other: each gets ready, waits for the word, works, and says what it did."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Literal

import attrs
import msgspec

from bench.harness import check

ROOT: Final = Path(__file__).parent.parent


@attrs.frozen
class Work:
    """What one process is to do."""

    kind: Literal["append", "deposit", "hear"]
    dsn: str
    schema: str
    callers: int
    seconds: float


@attrs.frozen
class Done:
    """What was done in all, and how much a second."""

    count: int
    value: float


async def together(works: Sequence[Work]) -> Done:
    """Do each of *works* in a process of its own, all at once."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(started(work)) for work in works]
        for node in nodes:
            check("word of a node", await node.read(), b"ready\n")
        for node in nodes:
            node.write(b"go\n")
        done = [msgspec.json.decode(await node.read(), type=Done) for node in nodes]
    # All work the same time, give or take the milliseconds between their words.
    return Done(sum(each.count for each in done), sum(each.value for each in done))


class Node:
    """One of them, as it is spoken to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a node is spoken to through pipes")
        self.write = process.stdin.write
        self._words = process.stdout

    async def read(self) -> bytes:
        """Return the next line that the node says; raises `WrongCountError` if it has died."""
        line = await self._words.readline()
        check("a word of a node, whose last ones are on stderr,", bool(line), wanted=True)
        return line


@asynccontextmanager
async def started(work: Work) -> AsyncGenerator[Node, None]:
    """Give a process that does *work*; it must have come to its end when the block does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.node"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        node = Node(process)
        node.write(msgspec.json.encode(work) + b"\n")
        yield node
        check("exit of a node", await process.wait(), 0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
