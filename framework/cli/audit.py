"""`audit`: what was asked of an application, and what became of it, is read and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import click
import msgspec

from framework.cli.verbs import Failure, Target, agreed, done, target
from framework.store.postgres import PostgresEventStore
from framework.store.protocol import AuditEntry


@click.group()
def audit() -> None:
    """Read what was asked of an application and what became of it, or forget what is old."""


@audit.command("list")
@click.option("--about", type=click.UUID, help="Only what has this id, as command or as correlation.")
@click.option("--after", type=click.IntRange(0), default=0, help="Only entries with higher numbers.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="So many at most.")
@target
def list_(store: Target, *, about: UUID | None, after: int, limit: int) -> None:
    """Say what was asked, in order, and what became of it."""

    async def found() -> Sequence[AuditEntry]:
        async with PostgresEventStore(store.dsn, schema=store.schema, migrate=False) as opened:
            return await opened.audited(after=after, limit=limit, about=about)

    entries = done(found())
    lines = [_line(entry) for entry in entries] or ["nothing was asked"]
    if len(entries) == limit:
        lines.append(f"there may be more behind number {entries[-1].number}")
    store.say({"entries": [_document(entry) for entry in entries]}, *lines)


@audit.command()
@click.option("--before", required=True, help="A moment with its time zone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@target
def prune(store: Target, *, before: str, yes: bool) -> None:
    """Forget what was asked before a moment, for good."""
    try:
        moment = datetime.fromisoformat(before)
    except ValueError:
        raise Failure(f"{before!r} is no moment: write one as 2026-01-31T00:00+00:00") from None
    if not yes and not agreed(f"Forget what was asked before {moment.isoformat(' ')} for good?"):
        raise Failure("nothing was forgotten: it needs a yes, or --yes")

    async def forgotten() -> int:
        async with PostgresEventStore(store.dsn, schema=store.schema, migrate=False) as opened:
            return await opened.prune_audit(moment)

    count = done(forgotten())
    store.say({"schema": store.schema, "forgotten": count}, f"{count:,} entries were forgotten")


def _line(entry: AuditEntry) -> str:
    command, outcome = entry.command, entry.outcome
    said = [f"{entry.number}", entry.asked_at.isoformat(" ", "seconds"), command.type, f"{command.command_id}"]
    if outcome is None:
        return "  ".join([*said, "no outcome is known"])
    said.append(outcome.outcome)
    if outcome.stream is not None:
        said.append(f"{outcome.stream} version {outcome.version}")
    if outcome.error is not None:
        said.append(outcome.error if outcome.reason is None else f"{outcome.error}: {outcome.reason}")
    return "  ".join(said)


def _document(entry: AuditEntry) -> dict[str, Any]:
    command, outcome = entry.command, entry.outcome
    return {
        "number": entry.number,
        "asked_at": entry.asked_at,
        **command._asdict(),
        "data": msgspec.json.decode(command.data),
        "metadata": msgspec.json.decode(command.metadata),
        "answered_at": entry.answered_at,
        "outcome": None if outcome is None else outcome._asdict(),
    }
