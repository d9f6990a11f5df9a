"""`python -m bench.node`: one of several processes at one log. Reads its work, says it is ready, waits for the word."""

from __future__ import annotations

import asyncio
import sys
from typing import TextIO, assert_never

import msgspec

from bench import loops
from bench.append import append_steadily
from bench.bank import bank
from bench.dispatch import HOT, deposit_steadily
from bench.nodes import Done, Work
from bench.notice import hearing
from framework import PostgresEventStore


async def main() -> None:
    """Do the work on stdin, and say on stdout how much it came to."""
    # Nobody else may speak there: what is logged goes to stderr.
    words, sys.stdout = sys.stdout, sys.stderr
    work = msgspec.json.decode(sys.stdin.readline(), type=Work)
    store = PostgresEventStore(work.dsn, schema=work.schema, migrate=False)
    match work.kind:
        case "append":
            async with store:
                _get_ready(words)
                sample = await append_steadily(work.dsn, store, work.callers, work.seconds)
        case "deposit":
            async with bank(store) as opened:
                _get_ready(words)
                sample = await deposit_steadily(opened, [HOT], work.callers, work.seconds)
        case "hear":
            async with hearing(store, lambda position: print(position, file=words, flush=True)):
                print("ready", file=words, flush=True)
                await asyncio.to_thread(sys.stdin.readline)  # the word to end, while it hears
            return
        case _:
            assert_never(work.kind)
    print(msgspec.json.encode(Done(len(sample.latencies), sample.value)).decode(), file=words, flush=True)


def _get_ready(words: TextIO) -> None:
    print("ready", file=words, flush=True)
    sys.stdin.readline()  # the word; nothing else has to run until it comes


if __name__ == "__main__":
    loops.run(main())
