"""`python -m bench.node`: one of several processes at one log. Reads its work, says it is ready, waits for the word."""

from __future__ import annotations

import sys
from typing import assert_never

import msgspec

from bench import loops
from bench.append import append_steadily
from bench.bank import bank
from bench.dispatch import HOT, deposit_steadily
from bench.nodes import Done, Work
from framework import PostgresEventStore


async def main() -> None:
    """Do the work on stdin, and say on stdout how much it came to."""
    work = msgspec.json.decode(sys.stdin.readline(), type=Work)
    store = PostgresEventStore(work.dsn, schema=work.schema, migrate=False)
    match work.kind:
        case "append":
            async with store:
                _get_ready()
                sample = await append_steadily(work.dsn, store, work.callers, work.seconds)
        case "deposit":
            async with bank(store) as opened:
                _get_ready()
                sample = await deposit_steadily(opened, [HOT], work.callers, work.seconds)
        case _:
            assert_never(work.kind)
    _say(Done(len(sample.latencies), sample.value))


def _get_ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()  # the word; nothing else has to run until it comes


def _say(done: Done) -> None:
    print(msgspec.json.encode(done).decode(), flush=True)


if __name__ == "__main__":
    loops.run(main())
