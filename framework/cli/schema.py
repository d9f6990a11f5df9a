"""`schema`: whether what is stored can be read by the code, by a file kept beside it or by the log itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from framework.aggregate import Aggregate
from framework.cli.apps import application
from framework.cli.verbs import FOUND, Failure, done
from framework.contracts import handler_name, message_types
from framework.errors import FrameworkError, MissingUpcaster
from framework.evolution.comparison import Change, changes
from framework.evolution.shapes import Document, shapes
from framework.handler import EventHandler
from framework.projector import Projector
from framework.runtime.wiring import Wiring
from framework.store.postgres import administration
from framework.store.postgres.administration import StoredType

FILE = "schema.json"


@click.group()
def schema() -> None:
    """See that what is stored can be read."""


def _of_application(verb: Callable[..., None]) -> Callable[..., None]:
    app = click.option("--app", "name", required=True, help="The application, as module:name.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    return app(as_json(verb))


def _file(verb: Callable[..., None]) -> Callable[..., None]:
    kept = click.Path(dir_okay=False, path_type=Path)
    return click.option("--file", type=kept, default=FILE, help=f"What was written down; {FILE} unless given.")(verb)


@schema.command()
@click.option("--dsn", help="A database: see what its log holds, and not what was written down.")
@click.option("--schema", "store_schema", default="framework", help="Where in it the store is.")
@_file
@_of_application
def check(name: str, file: Path, dsn: str | None, store_schema: str, *, as_json: bool) -> None:
    """Compare the code with what was written down, or with a log; exit with 1 where something cannot be read."""
    wiring = _wiring(name)
    if dsn is not None:
        _check_log(wiring, done(administration.stored_types(dsn, store_schema)), as_json=as_json)
        return
    before, today = _read(file), _shapes(wiring)
    found = list(changes(before, today, wiring.journal.types))
    lines = [_line(change) for change in found] or ["nothing has changed"]
    is_current = before == today
    if not is_current and all(change.is_read for change in found):
        lines.append(
            f"all of it can be read; write it down: python -m framework schema write --app {name} --file {file}"
        )
    document = [{"what": each.what, "is_read": each.is_read, "remedy": each.remedy} for each in found]
    _say({"changes": document, "is_current": is_current}, lines, as_json=as_json)
    if not is_current:
        raise click.exceptions.Exit(FOUND)


@schema.command()
@_file
@_of_application
def write(name: str, file: Path, *, as_json: bool) -> None:
    """Write down what the code is like, to be kept beside it."""
    today = _shapes(_wiring(name))
    file.write_text(json.dumps(today, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    _say({"file": str(file), "events": len(today["events"])}, [f"wrote {file}"], as_json=as_json)


@schema.command()
@_of_application
def catalog(name: str, *, as_json: bool) -> None:
    """Say which events there are, who may yield each, and who handles it."""
    wiring = _wiring(name)
    today = _shapes(wiring)
    yielded = {
        cls.__name__: message_types(cls, Aggregate, 1)
        for cls in (registration.aggregate for registration in wiring.router.aggregates.values())
    }
    handled: dict[str, Sequence[type]] = {process.name: process.events for process in wiring.processes}
    handled |= {key: message_types(type(each), EventHandler, 0) for key, each in wiring.handlers.items()}
    handled |= {handler_name(each): message_types(type(each), Projector, 0) for each in wiring.projectors}
    document: list[dict[str, Any]] = []
    lines: list[str] = []
    for event, cls in sorted(wiring.journal.types.classes.items()):
        shape = today["events"][event]
        by = [key for key, types in yielded.items() if cls in types]
        to = [key for key, types in handled.items() if cls in types]
        name_of_class = f"{cls.__module__}.{cls.__qualname__}"
        document.append({"name": event, "class": name_of_class, **shape, "yielded_by": by, "handled_by": to})
        lines.append(f"{event} version {shape['version']}, of {_listed(by)}, handled by {_listed(to)}")
        for field, each in shape["fields"].items():
            lines.append(f"  {field}: {each['type']}{'' if each['required'] else ', or its default'}")
    _say({"events": document}, lines, as_json=as_json)


def _check_log(wiring: Wiring, stored: Sequence[StoredType], *, as_json: bool) -> None:
    types = wiring.journal.types
    found = [(each, types.reads(each.type, each.type_version)) for each in stored]
    lines = [
        f"{_verdict(is_read=is_read)}  {each.type} version {each.type_version}: {each.events} events,"
        f" positions {each.first} to {each.last}"
        for each, is_read in found
    ]
    document = [{**each._asdict(), "is_read": is_read} for each, is_read in found]
    _say({"types": document}, lines or ["the log is empty"], as_json=as_json)
    if not all(is_read for _, is_read in found):
        raise click.exceptions.Exit(FOUND)


def _wiring(name: str) -> Wiring:
    try:
        return application(name).wiring
    except MissingUpcaster as error:  # what a check is there to find
        click.echo(f"BREAKS  {error}")
        raise click.exceptions.Exit(FOUND) from error
    except FrameworkError as error:
        raise Failure(str(error)) from error


def _shapes(wiring: Wiring) -> Document:
    taken = {
        registration.state_type: (registration.aggregate, registration.snapshots.version)
        for registration in wiring.router.aggregates.values()
        if registration.snapshots is not None
    }
    return shapes(wiring.journal.types.classes.values(), taken)


def _read(file: Path) -> Document:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Document)
    except FileNotFoundError as error:
        raise Failure(f"there is no {file}: write it with 'python -m framework schema write'") from error
    except msgspec.DecodeError as error:
        raise Failure(f"{file} is not as 'schema write' leaves it, so take back what was edited: {error}") from error


def _line(change: Change) -> str:
    remedy = f": {change.remedy}" if change.remedy else ""
    return f"{_verdict(is_read=change.is_read)}  {change.what}{remedy}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nobody"


def _verdict(*, is_read: bool) -> str:
    return "reads" if is_read else "BREAKS"


def _say(document: dict[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    click.echo(json.dumps(document, default=str) if as_json else "\n".join(lines))
