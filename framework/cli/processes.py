"""`processes` and `timers`: instances are looked at, got going again and stopped, and what is to come is listed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import click

from framework.cli.verbs import FOUND, Failure, Target, done, target
from framework.runtime.instances import InstanceDetails, Instances, InstanceState, OpenCommand
from framework.runtime.schedules import PROCESS
from framework.store.postgres import PostgresEventStore
from framework.store.protocol import TimerRow


@asynccontextmanager
async def _instances(store: Target) -> AsyncGenerator[Instances, None]:
    async with PostgresEventStore(store.dsn, schema=store.schema, migrate=False) as opened:
        yield Instances(opened, None, ())


@click.group()
def processes() -> None:
    """List instances of processes, look at one, have it go on, or stop it."""


@processes.command("list")
@click.argument("process")
@click.option("--after", default="", help="Only those named above this one.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many at most.")
@target
def list_(store: Target, *, process: str, after: str, limit: int) -> None:
    """Say which instances of a process run."""

    async def found() -> Sequence[InstanceState]:
        async with _instances(store) as instances:
            return await instances.list(process, after=after, limit=limit)

    states = done(found())
    lines = [f"{each.instance}  {each.version} events  {each.state}" for each in states]
    store.say({"instances": [attrs.asdict(each) for each in states]}, *(lines or ["there are none"]))


@processes.command()
@click.argument("process")
@click.argument("instance")
@target
def show(store: Target, *, process: str, instance: str) -> None:
    """Say how an instance is, and what is open of it; exit with 1 if something is parked."""

    async def found() -> InstanceDetails | None:
        async with _instances(store) as instances:
            return await instances.get(process, instance)

    details = done(found())
    if details is None:
        raise Failure(f"{process} has no instance {instance!r}, and nothing of it is open")
    lines = ["finished" if details.state is None else f"{details.version} events  {details.state}"]
    lines += [_line(command) for command in details.commands]
    lines += [
        f"position {event.position}  parked: {event.error or 'behind another'}" for event in details.parked_events
    ]
    store.say(_document(details), *lines)
    if details.parked_events or any(command.parked for command in details.commands):
        raise click.exceptions.Exit(FOUND)


@processes.command()
@click.argument("process")
@click.argument("instance")
@target
def retry(store: Target, *, process: str, instance: str) -> None:
    """Have sent again what is parked of an instance, and tried again what it failed at."""

    async def asked() -> int:
        async with _instances(store) as instances:
            return await instances.retry(process, instance)

    count = done(asked())
    store.say({"process": process, "instance": instance, "asked": count}, f"{count} of {instance} will be tried again")


@processes.command()
@click.argument("process")
@click.argument("instance")
@target
def skip(store: Target, *, process: str, instance: str) -> None:
    """Have an instance go on without what is parked and what it failed at."""

    async def asked() -> int:
        async with _instances(store) as instances:
            return await instances.skip(process, instance)

    count = done(asked())
    store.say({"process": process, "instance": instance, "asked": count}, f"{instance} will go on without {count}")


@processes.command()
@click.argument("process")
@click.argument("instance")
@target
def stop(store: Target, *, process: str, instance: str) -> None:
    """Have an instance end; exit with 1 if it does not run."""

    async def asked() -> bool:
        async with _instances(store) as instances:
            return await instances.stop(process, instance)

    is_running = done(asked())
    what = "will be stopped" if is_running else "does not run"
    store.say({"process": process, "instance": instance, "asked": is_running}, f"{instance} {what}")
    if not is_running:
        raise click.exceptions.Exit(FOUND)


@click.group()
def timers() -> None:
    """Say what is scheduled."""


@timers.command("list")
@click.argument("process", default=PROCESS)
@target
def list_timers(store: Target, *, process: str) -> None:
    """Say what a process has scheduled, or without one what was scheduled with the application; earliest first."""

    async def found() -> Sequence[TimerRow]:
        async with PostgresEventStore(store.dsn, schema=store.schema, migrate=False) as opened:
            return await opened.timers(process)

    rows = done(found())
    lines = [f"{row.due_at.isoformat()}  {row.command.instance}  {row.command.command_type}" for row in rows]
    documents = [
        {
            "due_at": row.due_at,
            "instance": row.command.instance,
            "key": row.command.timer,
            "command_type": row.command.command_type,
            "command_id": row.command.command_id,
        }
        for row in rows
    ]
    store.say({"process": process, "timers": documents}, *(lines or ["nothing is scheduled"]))


def _line(command: OpenCommand) -> str:
    when = "waits" if command.due_at is None else f"due at {command.due_at.isoformat()}"
    return f"{command.command_type} {command.command}  " + (f"parked: {command.parked}" if command.parked else when)


def _document(details: InstanceDetails) -> dict[str, Any]:
    document = attrs.asdict(details)
    return {**document, "parked_events": [event._asdict() for event in details.parked_events]}
