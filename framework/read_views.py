"""Views under a projector's own name, which show the tables of its current version to readers from elsewhere."""

from __future__ import annotations

from typing import Any

import asyncpg

from framework.connections import quoted
from framework.errors import SchemaMismatch

TABLE = """
    CREATE TABLE IF NOT EXISTS framework_projections.views (
        schema_name text PRIMARY KEY,
        projector   text NOT NULL,
        shows       text NOT NULL
    )
"""

SHOWN = """
    SELECT shows FROM framework_projections.views
     WHERE schema_name = $1 AND projector = $2 AND to_regnamespace(quote_ident(schema_name)) IS NOT NULL
"""
ENTER = """
    INSERT INTO framework_projections.views VALUES ($1, $2, $3)
        ON CONFLICT (schema_name) DO UPDATE SET shows = excluded.shows
"""
RELATIONS = """
    SELECT relname FROM pg_class
     WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY relname
"""
GRANTS = """
    SELECT relname, privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
      FROM pg_class, aclexplode(relacl)
     WHERE relnamespace = to_regnamespace($1) AND grantee <> relowner
"""


async def show(connection: asyncpg.Connection[Any], views: str, projector: str, tables: str) -> None:
    """Make the schema *views* show the relations of the schema *tables*, with the grants that it had; in a transaction.

    Raises `SchemaMismatch` where that schema is somebody else's, or something that is not ours hangs on its views.
    """
    shown: str | None = await connection.fetchval(SHOWN, views, projector)
    if shown == tables:
        return
    try:
        if shown is None:
            await connection.execute(f"CREATE SCHEMA {quoted(views)}")
        grants = await connection.fetch(GRANTS, quoted(views))
        for row in await connection.fetch(RELATIONS, quoted(views)):
            await connection.execute(f"DROP VIEW {quoted(views)}.{quoted(row['relname'])}")
    except asyncpg.DuplicateSchemaError as error:
        message = f"schema {views} exists but is not of projector {projector!r}: drop it, or rename the projector"
        raise SchemaMismatch(message) from error
    except (asyncpg.DependentObjectsStillExistError, asyncpg.WrongObjectTypeError) as error:
        message = (
            f"projector {projector!r}: its views in schema {views} cannot be replaced: {error}:"
            " keep what is yours in a schema of your own, and off these views"
        )
        raise SchemaMismatch(message) from error
    names = [row["relname"] for row in await connection.fetch(RELATIONS, quoted(tables))]
    for name in names:
        await connection.execute(
            f"CREATE VIEW {quoted(views)}.{quoted(name)} AS SELECT * FROM {quoted(tables)}.{quoted(name)}"
        )
    for name, privilege, grantee in grants:
        if name in names:
            await connection.execute(f"GRANT {privilege} ON {quoted(views)}.{quoted(name)} TO {grantee}")
    await connection.execute(ENTER, views, projector, tables)
