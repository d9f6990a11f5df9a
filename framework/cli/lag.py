"""`subscriptions lag`: how far every slot of every subscription is behind, and why."""

from __future__ import annotations

from collections.abc import Sequence

import click

from framework.cli.verbs import FOUND, Target, done, target
from framework.store.postgres import PostgresEventStore
from framework.store.subscriptions import SlotLag

HEADINGS = "subscription", "slot", "position", "events behind", "seconds", "per second", "state", "parked keys", "owner"


@click.command()
@target
def lag(store: Target) -> None:
    """Say how far each slot is behind; exit with 1 if one stands still, or nobody runs it."""
    slots = done(_lag(store))
    rows = [HEADINGS, *map(_row, slots)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"{slot.name} slot {slot.slot}: {slot.error}" for slot in slots if slot.error is not None]
    store.say({"schema": store.schema, "slots": [slot._asdict() for slot in slots]}, *lines)
    if any(slot.state in {"halted", "unowned"} for slot in slots):
        raise click.exceptions.Exit(FOUND)


async def _lag(target: Target) -> Sequence[SlotLag]:
    async with PostgresEventStore(target.dsn, schema=target.schema, migrate=False) as store:
        return await store.subscriptions.lag()


def _row(slot: SlotLag) -> tuple[str, ...]:
    return (
        slot.name,
        f"{slot.slot}",
        f"{slot.position:,}",
        f"{slot.events_behind:,}",
        f"{slot.seconds_behind:,.1f}",
        f"{slot.rate:,.1f}",
        slot.state,
        f"{slot.parked_keys:,}",
        slot.owner or "",
    )
