"""Writes schema.sql, which is what the migrations and the functions come to, as PostgreSQL itself puts it.

python -m tests.store.postgres.schema_sql
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from framework import embedded
from framework.postgres_programs import find_programs
from framework.store.postgres import schema

FILE = Path(schema.__file__).parent / "sql" / "schema.sql"

HEADER = """\
-- The whole schema as it is now, to be read in one place: what the migrations and the functions come to.
-- Written by `make schema`, which asks pg_dump; a test compares it with their sum.
"""


async def main() -> None:
    with TemporaryDirectory(prefix="framework-schema-") as folder:
        async with embedded.server(Path(folder), durable=False) as dsn:
            connection = await asyncpg.connect(dsn)
            try:
                await schema.migrate(connection, "framework")
            finally:
                await connection.close()
            options = ("--schema-only", "--schema=framework", "--no-owner", "--no-privileges", "--no-comments")
            dumped = find_programs().run("pg_dump", *options, dsn, cwd=Path("/"))
    if dumped.returncode != 0:
        raise SystemExit(dumped.stderr)
    FILE.write_text(HEADER + "\n" + plain(dumped.stdout), encoding="utf-8")


def plain(dump: str) -> str:
    """Return *dump* without what a dump says of itself, of its settings, and of the schema's name."""
    wanted = [
        line
        for line in dump.splitlines()
        if not re.match(r"--|\\|SET |SELECT pg_catalog\.set_config|CREATE SCHEMA", line)
    ]
    text = re.sub(r"\n{2,}", "\n\n", "\n".join(wanted)).strip() + "\n"
    return text.replace("framework.", "").replace("search_path TO 'framework', 'pg_temp'", "search_path FROM CURRENT")


if __name__ == "__main__":
    asyncio.run(main())
