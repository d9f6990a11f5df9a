"""`subscriptions`: what reads the log is listed, paused, resumed, begun anew and deleted, whoever runs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, cast

import attrs
import click

from framework.cli.verbs import Target, done, target
from framework.handler import StartFrom
from framework.runtime.control import Control
from framework.store.postgres import PostgresEventStore
from framework.store.subscriptions import SubscriptionState


@asynccontextmanager
async def controlled(store: Target) -> AsyncGenerator[tuple[Control, Sequence[SubscriptionState]], None]:
    """Give what is asked of the subscriptions of *store*, and which there are; nothing is run."""
    async with PostgresEventStore(store.dsn, schema=store.schema, migrate=False) as opened:
        states = await opened.subscriptions.states()
        yield Control(opened, {state.name: state.name for state in states}, {}), states


@click.group()
def subscriptions() -> None:
    """List, look at, pause, resume, begin anew and delete what reads the log."""


@subscriptions.command("list")
@target
def list_(store: Target) -> None:
    """Say which there are, and where they stand."""

    async def found() -> Sequence[SubscriptionState]:
        async with controlled(store) as (_, states):
            return states

    states = done(found())
    width = max((len(state.name) for state in states), default=0)
    lines = [_line(state, width) for state in states] or ["there are none"]
    store.say({"subscriptions": [_document(state) for state in states]}, *lines)


@subscriptions.command()
@click.argument("name")
@target
def pause(store: Target, *, name: str) -> None:
    """Have one stand still, with the event in hand done."""

    async def asked() -> None:
        async with controlled(store) as (control, _):
            await control.pause(name)

    done(asked())
    store.say({"subscription": name, "is_paused": True}, f"paused {name}")


@subscriptions.command()
@click.argument("name")
@target
def resume(store: Target, *, name: str) -> None:
    """Have one go on where it was."""

    async def asked() -> None:
        async with controlled(store) as (control, _):
            await control.resume(name)

    done(asked())
    store.say({"subscription": name, "is_paused": False}, f"resumed {name}")


@subscriptions.command()
@click.argument("name")
@click.option("--to", required=True, help="Behind what: origin, now, a position, or a moment with its time zone.")
@target
def reset(store: Target, *, name: str, to: str) -> None:
    """Have an event handler begin anew, with nothing parked."""

    async def asked() -> int:
        async with controlled(store) as (control, _):
            return await control.reset(name, _start(to))

    position = done(asked())
    store.say({"subscription": name, "position": position}, f"{name} begins anew behind position {position}")


@subscriptions.command()
@click.argument("name")
@target
def delete(store: Target, *, name: str) -> None:
    """Forget one that nobody runs."""

    async def asked() -> None:
        async with controlled(store) as (control, _):
            await control.delete(name)

    done(asked())
    store.say({"deleted": name}, f"deleted {name}")


def _line(state: SubscriptionState, width: int) -> str:
    owned = sum(slot.is_owned for slot in state.slots)
    paused = "  paused" if state.is_paused else ""
    held = f"  held, to be cut into {state.definition.partitions}" if state.is_held else ""
    return (
        f"{state.name:<{width}}  {state.definition.kind:<9}  position {state.position}"
        f"  {owned} of {len(state.slots)} slots run{paused}{held}"
    )


def _document(state: SubscriptionState) -> dict[str, Any]:
    slots = [slot._asdict() for slot in state.slots]
    flags = {"is_paused": state.is_paused, "is_held": state.is_held}
    return {**attrs.asdict(state.definition), **flags, "position": state.position, "slots": slots}


def _start(text: str) -> StartFrom:
    if text.isdecimal():
        return int(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return cast("StartFrom", text)  # what is none of these is refused, by the same sentence as in a program
