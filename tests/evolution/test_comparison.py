"""What the code has become is compared with what was written down of it, and every change is judged."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import attrs
import pytest

from framework import Upcast, Upcaster, event_type
from framework.evolution import EventTypes
from framework.evolution.comparison import Change, changes
from framework.evolution.shapes import Document, shapes
from framework.messages import Metadata


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Line:
    text: str
    price: Decimal
    below: tuple[Line, ...] = ()


@attrs.frozen
class Ordered:
    number: int
    lines: Sequence[Line]
    colour: Colour | None = None
    size: Literal["s", "m"] = "m"
    notes: Mapping[str, str | None] = attrs.field(factory=dict[str, str | None])
    pair: tuple[int, str] = (0, "")
    tags: frozenset[str] = frozenset()


@attrs.frozen
class Default:
    type: Any
    value: object


class Skipping(Upcaster):
    def upcast(self, data: dict[str, Any], metadata: Metadata) -> Iterator[Upcast]:
        del metadata
        yield Upcast(data)


def of(*events: type, **snapshots: tuple[type, int]) -> Document:
    return shapes(events, snapshots)


def event(name: str = "Ordered", version: int = 1, was: Sequence[str] = (), **fields: Any) -> type:
    """Return an event class with *fields*: an annotation, or one that has a `Default`."""
    with_default = {field: given for field, given in fields.items() if isinstance(given, Default)}
    made = {field: attrs.field(type=given) for field, given in fields.items() if field not in with_default}
    made |= {field: attrs.field(type=given.type, default=given.value) for field, given in with_default.items()}
    made_class: type[Any] = attrs.make_class("Ordered", made, frozen=True)
    return event_type(name, version=version, was=was)(made_class)


def compared(before: type, after: type, *upcasters: Upcaster) -> list[Change]:
    return list(changes(of(before), of(after), EventTypes([after], upcasters)))


def test_a_shape_is_told_in_words_that_mean_the_same_in_json() -> None:
    line = {
        "text": {"type": "str", "required": True},
        "price": {"type": "Decimal", "required": True},
        "below": {"type": "list[Line]", "required": False},
    }
    assert of(Ordered, order=(Line, 3)) == {
        "events": {
            "Ordered": {
                "version": 1,
                "was": [],
                "fields": {
                    "number": {"type": "int", "required": True},
                    "lines": {"type": "list[Line]", "required": True},
                    "colour": {"type": "Colour | null", "required": False},
                    "size": {"type": "one of ['m', 's']", "required": False},
                    "notes": {"type": "map[str, null | str]", "required": False},
                    "pair": {"type": "tuple[int, str]", "required": False},
                    "tags": {"type": "set[str]", "required": False},
                },
            }
        },
        "snapshots": {"order": {"version": 3, "fields": line}},
        "values": {"Colour": {"values": ["red", "blue"]}, "Line": {"fields": line}},
    }


def test_nothing_has_changed_where_nothing_has() -> None:
    assert compared(Ordered, Ordered) == []


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ({"a": int, "b": str}, {"a": int}, "Ordered.b is gone: what is stored of it is passed over"),
        (
            {"a": int},
            {"a": int, "b": Default(str, "")},
            "Ordered.b is new: what is stored without it takes the default",
        ),
        ({"a": int}, {"a": int | None}, "Ordered.a is of type int | null, and was of type int"),
        (
            {"a": Mapping[str, int]},
            {"a": Mapping[str, int] | int},
            "Ordered.a is of type int | map[str, int], and was of type map[str, int]",
        ),
    ],
)
def test_what_can_still_be_read_is_said_and_is_no_fault(
    before: dict[str, Any], after: dict[str, Any], what: str
) -> None:
    assert compared(event(**before), event(**after)) == [Change(what)]


COUNT_UP = (
    "count its version up, @event_type('Ordered', version=2), and write class …(Upcaster, event='Ordered', version=1)"
)


@pytest.mark.parametrize(
    ("before", "after", "what", "remedy"),
    [
        ({"a": int}, {"a": str}, "Ordered.a is of type str, and was of type int", COUNT_UP),
        ({"a": int | None}, {"a": int}, "Ordered.a is of type int, and was of type int | null", COUNT_UP),
        (
            {"a": int},
            {"a": int, "b": str},
            "Ordered.b is new and must be there, and is absent from what is stored",
            f"give it a default; or {COUNT_UP}",
        ),
        (
            {"a": Default(int, 1)},
            {"a": int},
            "Ordered.a must be there, and may be absent from what is stored",
            f"give it a default; or {COUNT_UP}",
        ),
    ],
)
def test_what_cannot_be_read_is_said_with_what_to_write(
    before: dict[str, Any], after: dict[str, Any], what: str, remedy: str
) -> None:
    assert compared(event(**before), event(**after)) == [Change(what, is_read=False, remedy=remedy)]


def test_a_type_that_is_gone_is_said_with_what_to_write() -> None:
    (gone, new) = changes(of(event("Old", a=int)), of(event("New", a=int)), EventTypes([event("New", a=int)]))

    assert (gone.what, gone.is_read) == ("Old is gone", False)
    assert "name 'Old' in was=(…) of what it is called now" in gone.remedy
    assert new == Change("New is new")


def test_a_type_that_is_called_something_else_is_compared_with_what_it_was() -> None:
    found = compared(event("Old", a=int), event("New", was=["Old"], a=int, b=Default(str, "")))

    assert found == [
        Change("Old is called New"),
        Change("New.b is new: what is stored without it takes the default"),
    ]


def test_a_type_that_upcasters_lead_away_from_is_no_fault() -> None:
    class Away(Skipping, event="Old", version=1, becomes=("New",)):
        pass

    (gone, new) = compared(event("Old", a=int), event("New", a=int), Away())

    assert gone == Change("Old is no type any more: its upcaster says what becomes of it")
    assert new == Change("New is new")


def test_a_version_that_upcasters_lead_to_may_be_of_any_shape() -> None:
    class First(Skipping, event="Ordered", version=1):
        pass

    (found,) = compared(event(a=int), event(version=2, b=str), First())

    assert found == Change("Ordered has come from version 1 to 2: upcasters lead from one to the other")


def test_a_version_that_has_gone_back_cannot_be_read() -> None:
    (found,) = changes(of(event(version=2, a=int)), of(event(a=int)), EventTypes([event(a=int)]))

    assert (found.what, found.is_read) == ("Ordered has gone back from version 2 to 1", False)


def test_what_is_in_events_is_judged_as_they_are() -> None:
    before, after = of(Ordered), of(Ordered)
    after["values"]["Colour"] = {"values": ["red", "green"]}
    after["values"]["Line"].get("fields", {})["price"]["type"] = "int"
    hold = "count up the version of every event that holds a {}, and write their upcasters"

    assert list(changes(before, after, EventTypes([Ordered]))) == [
        Change("Line.price is of type int, and was of type Decimal", is_read=False, remedy=hold.format("Line")),
        Change("Colour has no 'blue' any more", is_read=False, remedy=f"keep it; or {hold.format('Colour')}"),
        Change("Colour may be 'green', which programs of before do not know"),
    ]


def test_snapshots_of_another_shape_are_taken_anew() -> None:
    before, after = of(order=(event(a=int), 1)), of(order=(event(b=int), 1), line=(Line, 1))

    assert list(changes(before, after, EventTypes([]))) == [
        Change("snapshots of order are of another shape: those of before are passed over, and taken anew"),
        Change("snapshots of line are taken"),
    ]
