"""`parked`: what handlers have set aside is listed, tried again, or passed over, by whoever runs them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from framework.cli.subscriptions import controlled
from framework.cli.verbs import FOUND, Failure, Target, done, target
from framework.errors import UnknownSubscription
from framework.store.subscriptions import ParkedEvent


@click.group()
def parked() -> None:
    """List what handlers have set aside, have it tried again, or go on without it."""


@parked.command("list")
@target
def list_(store: Target) -> None:
    """Say what is set aside; exit with 1 if something is."""

    async def found() -> Sequence[ParkedEvent]:
        async with controlled(store) as (control, _):
            return await control.parked()

    events = done(found())
    lines = [
        f"{event.name}  position {event.position}  key {event.key}  {event.error or 'behind another'}"
        + (f"  ({event.attempts} attempts)" if event.error else "")
        + (f"  {event.asked} is asked for" if event.asked else "")
        for event in events
    ]
    store.say({"parked": [event._asdict() for event in events]}, *(lines or ["nothing is parked"]))
    if events:
        raise click.exceptions.Exit(FOUND)


@parked.command()
@click.argument("name")
@click.option("--key", help="Only what has this key.")
@click.option("--position", type=int, help="Only the event there.")
@target
def retry(store: Target, *, name: str, key: str | None, position: int | None) -> None:
    """Have what a handler has set aside tried again."""
    count = done(_ask(store, "retry", name, key, position))
    store.say({"subscription": name, "asked": count}, f"{count} of {name} will be tried again")


@parked.command()
@click.argument("name")
@click.option("--key", help="Only what has this key.")
@click.option("--position", type=int, help="Only the event there.")
@target
def discard(store: Target, *, name: str, key: str | None, position: int | None) -> None:
    """Have a handler go on without what it has set aside."""
    count = done(_ask(store, "discard", name, key, position))
    store.say({"subscription": name, "asked": count}, f"{name} will go on without {count}")


async def _ask(store: Target, what: str, name: str, key: str | None, position: int | None) -> int:
    async with controlled(store) as (control, states):
        kinds = {state.name: state.definition.kind for state in states}
        if name not in kinds:
            raise UnknownSubscription(name, kinds)
        if kinds[name] == "projector":
            raise Failure(f"what {name} has parked lies with its rows: ask it by application.subscriptions.{what}")
        asked = control.retry if what == "retry" else control.discard
        return await asked(name, key=key, position=position)
