"""`db`: the tables of an event store are created, migrated, looked at and dropped."""

from __future__ import annotations

from typing import Any

import click

from framework.cli.verbs import FOUND, Failure, Target, agreed, done, target
from framework.store.postgres import administration
from framework.store.postgres.administration import SchemaStatus


@click.group()
def db() -> None:
    """Create, migrate, look at and drop the tables of an event store."""


@db.command()
@target
def create(store: Target) -> None:
    """Make database, schema and tables that are not there."""
    created = done(administration.create(store.dsn, store.schema))
    lines = [f"created database {created.database}"] if created.database else []
    lines += [f"applied {name}" for name in created.applied]
    if not created.applied:
        lines.append(f"schema {store.schema} holds an event store already: nothing was done")
    store.say({"schema": store.schema, "database": created.database, "applied": created.applied}, *lines)


@db.command()
@target
def migrate(store: Target) -> None:
    """Bring a store to the version of this code."""
    applied = done(administration.migrate(store.dsn, store.schema))
    lines = [f"applied {name}" for name in applied] or ["nothing was pending"]
    store.say({"schema": store.schema, "applied": applied}, *lines)


@db.command()
@target
def status(store: Target) -> None:
    """Say what is applied; exit with 1 if something is not."""
    found = done(administration.status(store.dsn, store.schema))
    width = max(len(step.name) for step in found.steps)
    lines = [_what(store, found)]
    for step in found.steps:
        moment = step.applied_at.isoformat(" ", "seconds") if step.applied_at else ""
        lines.append(f"{step.name:<{width}}  {step.state.value:<8}  {moment}".rstrip())
    store.say(_document(store, found), *lines)
    if not found.is_current:
        raise click.exceptions.Exit(FOUND)


@db.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@target
def drop(store: Target, *, yes: bool) -> None:
    """Remove a store for good; what projectors made stays."""
    found = done(administration.status(store.dsn, store.schema))
    if found.log_id is not None and not yes:
        click.echo(_what(store, found), err=True)
        if not agreed("Remove it for good?"):
            raise Failure("nothing was dropped: it needs a yes, or --yes")
    done(administration.drop(store.dsn, store.schema))
    store.say({"schema": store.schema, "dropped": found.position}, f"dropped schema {store.schema}")


def _what(store: Target, found: SchemaStatus) -> str:
    if found.log_id is None:
        return f"schema {store.schema} holds no event store"
    return f"schema {store.schema} holds log {found.log_id} up to position {found.position}"


def _document(store: Target, found: SchemaStatus) -> dict[str, Any]:
    steps = [{"name": step.name, "state": step.state.value, "applied_at": step.applied_at} for step in found.steps]
    return {"schema": store.schema, "log_id": found.log_id, "position": found.position, "steps": steps}
