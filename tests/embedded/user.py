"""A user of an embedded server, in a process of its own: says the DSN when it is in, and leaves when its input ends.

    python -m tests.embedded.user FOLDER [--ordinary]

With --ordinary it begins as root and is an ordinary user before it has anything to do with the server.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from pathlib import Path

from framework import embedded


async def main(folder: Path, *, ordinary: bool) -> None:
    await asyncio.to_thread(int)  # whatever the loop imports late is imported while it still can be read
    if ordinary:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
    async with embedded.server(folder, durable=False) as dsn:
        print(dsn, flush=True)  # noqa: T201  that is what it is for
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), ordinary="--ordinary" in sys.argv))
