"""A process that puts money into one till until it sees that another one does, too.

python -m tests.runtime.depositor DSN SCHEMA CALLERS EACH

It says that it is ready, waits for a line, and then says the versions its commands came to.
"""

from __future__ import annotations

import asyncio
import json
import sys

from framework import Application, PostgresEventStore
from tests.runtime.till import PutIn, tills


async def main(dsn: str, schema: str, callers: int, each: int) -> None:
    async with Application(store=PostgresEventStore(dsn, schema=schema), router=tills()) as app:
        asked = 0

        async def deposit() -> list[int]:
            nonlocal asked
            versions: list[int] = []
            # However fast it is, it goes on until the other has got through as well.
            while len(versions) < each or versions[-1] <= asked:
                asked += 1
                versions.append((await app.dispatch(PutIn("hot", 1))).version)
            return versions

        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        versions = await asyncio.gather(*[deposit() for _ in range(callers)])
    sys.stdout.write(json.dumps([version for some in versions for version in some]) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
