"""What has changed since the shapes of events were written down, and whether what is stored can still be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from framework.evolution.shapes import Document, EventShape, FieldShape, ValueShape
from framework.evolution.types import EventTypes


@attrs.frozen
class Change:
    """One difference."""

    what: str
    is_read: bool = True
    """Whether events that were stored before are still read, and as what they were."""
    remedy: str = ""
    """What to write where they are not."""


def changes(before: Document, today: Document, types: EventTypes) -> Iterator[Change]:
    """Yield what is different in *today*, the shapes of *types*, from *before*."""
    known = {types.today(name) for name in before["events"]}
    for name, old in before["events"].items():
        yield from _of_event(name, old, today["events"].get(types.today(name)), types)
    for name in today["events"]:
        if name not in known:
            yield Change(f"{name} is new")
    for name, value in before["values"].items():
        if name in today["values"]:
            yield from _of_value(name, value, today["values"][name])
    for name, snapshot in before["snapshots"].items():
        if name in today["snapshots"] and today["snapshots"][name] != snapshot:
            yield Change(f"snapshots of {name} are of another shape: those of before are passed over, and taken anew")
    for name in before["snapshots"].keys() ^ today["snapshots"].keys():
        yield Change(f"snapshots of {name} are {'' if name in today['snapshots'] else 'no more '}taken")


def _of_event(name: str, old: EventShape, new: EventShape | None, types: EventTypes) -> Iterator[Change]:
    now, version = types.today(name), old["version"]
    if not types.reads(name, version):
        if new is None:
            yield Change(
                f"{name} is gone",
                is_read=False,
                remedy=f"keep its class; or name {name!r} in was=(…) of what it is called now; or write"
                f" class …(Upcaster, event={name!r}, version={version}, becomes=(…))",
            )
        else:
            yield Change(
                f"{name} has gone back from version {version} to {new['version']}",
                is_read=False,
                remedy=f"count on from {version}: @event_type({now!r}, version={version})",
            )
        return
    if new is None:
        yield Change(f"{name} is no type any more: its upcaster says what becomes of it")
        return
    if now != name:
        yield Change(f"{name} is called {now}")
    if new["version"] > version:
        yield Change(f"{now} has come from version {version} to {new['version']}: upcasters lead from one to the other")
    else:
        remedy = (
            f"count its version up, @event_type({now!r}, version={version + 1}), and write"
            f" class …(Upcaster, event={now!r}, version={version})"
        )
        yield from _of_fields(now, old["fields"], new["fields"], remedy)


def _of_value(name: str, old: ValueShape, new: ValueShape) -> Iterator[Change]:
    remedy = f"count up the version of every event that holds a {name}, and write their upcasters"
    if "values" in old and "values" in new:
        for value in old["values"]:
            if value not in new["values"]:
                yield Change(f"{name} has no {value!r} any more", is_read=False, remedy=f"keep it; or {remedy}")
        for value in new["values"]:
            if value not in old["values"]:
                yield Change(f"{name} may be {value!r}, which programs of before do not know")
    elif "fields" in old and "fields" in new:
        yield from _of_fields(name, old["fields"], new["fields"], remedy)
    else:
        yield Change(f"{name} is another kind of thing", is_read=False, remedy=remedy)


def _of_fields(
    name: str, old: Mapping[str, FieldShape], new: Mapping[str, FieldShape], remedy: str
) -> Iterator[Change]:
    for field, was in old.items():
        if field not in new:
            yield Change(f"{name}.{field} is gone: what is stored of it is passed over")
            continue
        now = new[field]
        if was["type"] != now["type"]:
            is_wider = _members(was["type"]) <= _members(now["type"])
            what = f"{name}.{field} is of type {now['type']}, and was of type {was['type']}"
            yield Change(what, is_read=is_wider, remedy="" if is_wider else remedy)
        if now["required"] and not was["required"]:
            what = f"{name}.{field} must be there, and may be absent from what is stored"
            yield Change(what, is_read=False, remedy=f"give it a default; or {remedy}")
    for field, now in new.items():
        if field not in old and now["required"]:
            what = f"{name}.{field} is new and must be there, and is absent from what is stored"
            yield Change(what, is_read=False, remedy=f"give it a default; or {remedy}")
        elif field not in old:
            yield Change(f"{name}.{field} is new: what is stored without it takes the default")


def _members(text: str) -> set[str]:
    """Return what a union in words is of; brackets hold together what is in them."""
    members, depth, begun = set[str](), 0, 0
    for place, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if letter == "|" and not depth:
            members.add(text[begun:place].strip())
            begun = place + 1
    return members | {text[begun:].strip()}
