"""pgbouncer in transaction mode, before a server."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from framework.testing import eventually
from tests.plugins.external import find_program

PORT: Final = 6432

SETTINGS: Final = """
[databases]
* = {server}

[pgbouncer]
unix_socket_dir = {folder}
listen_port = {port}
auth_type = any
pool_mode = transaction
max_client_conn = 200
default_pool_size = {servers}
"""


@asynccontextmanager
async def pgbouncer(dsn: str, *, servers: int) -> AsyncGenerator[str, None]:
    """Yield the DSN of a pooler that spreads its clients over at most *servers* connections to *dsn*."""
    program = find_program("pgbouncer")
    assert program is not None
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # it refuses to run as root
    parts = urlsplit(dsn)
    with TemporaryDirectory(prefix="pooler-") as folder:
        settings = Path(folder) / "pgbouncer.ini"
        settings.write_text(SETTINGS.format(server=_server(dsn), folder=folder, port=PORT, servers=servers))
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
            settings.chmod(0o644)
        log = (Path(folder) / "log").open("wb")
        process = await asyncio.create_subprocess_exec(
            str(program),
            str(settings),
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            stdout=log,
            stderr=log,
        )
        try:
            through = f"postgresql://{parts.username or 'postgres'}@/{parts.path.lstrip('/')}?host={folder}&port={PORT}"
            await eventually(lambda: _answers(through))
            yield through
        finally:
            process.kill()
            await process.wait()
            log.close()


async def _answers(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn, statement_cache_size=0)
    except (OSError, asyncpg.PostgresError):
        return False
    connection.terminate()
    return True


def _server(dsn: str) -> str:
    """Return where *dsn* leads, as pgbouncer wants it."""
    parts = urlsplit(dsn)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    where = {
        "host": query.get("host") or parts.hostname,
        "port": query.get("port") or parts.port,
        "user": parts.username and unquote(parts.username),
        "password": parts.password and unquote(parts.password),
    }
    return " ".join(f"{name}={value}" for name, value in where.items() if value)
