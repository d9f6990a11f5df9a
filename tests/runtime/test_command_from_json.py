"""A command from a document, or all that is wrong with it and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

import attrs
import pytest

from framework import Aggregate, Application, MemoryEventStore, Router
from framework.codec import Codec
from framework.errors import InvalidCommand, UnknownCommand
from framework.parsing import parse_command
from tests.runtime.till import PutIn, tills

T = TypeVar("T")


def positive(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    del instance
    if value <= 0:
        raise ValueError(f"{attribute.name} must be positive, not {value}")


def known(code: str) -> str:
    if code not in ("CHF", "EUR"):
        raise ValueError(f"no currency {code!r}")
    return code


def at_least_the_least(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < instance.least:
        raise ValueError(f"{attribute.name} is less than {instance.least}")


@attrs.frozen
class Card:
    number: str = attrs.field(validator=attrs.validators.min_len(4))


@attrs.frozen
class Cash:
    notes: int


@attrs.frozen
class Line:
    what: str
    price: Decimal = attrs.field(validator=positive)
    pieces: int = attrs.field(default=1, validator=attrs.validators.ge(1))


@attrs.frozen
class Buy:
    order: UUID
    lines: tuple[Line, ...]
    currency: str = attrs.field(converter=known)
    means: Card | Cash
    by: Card | None = None
    notes: Mapping[str, int] = attrs.field(factory=dict[str, int])
    least: int = 0
    most: int = attrs.field(default=10, validator=at_least_the_least)


@attrs.frozen
class Box(Generic[T]):
    content: T
    more: tuple[T, ...] = ()


@attrs.frozen
class Pack:
    box: Box[Decimal]


@attrs.frozen
class Named(Generic[T]):
    content: T


@attrs.frozen
class Label(Named[int]):
    name: str


@attrs.frozen
class Bought:
    order: UUID


@attrs.frozen
class Order(Aggregate[Buy, Bought]):
    def execute(self, command: Buy) -> Iterator[Bought]:
        yield Bought(command.order)

    def apply(self, event: Bought) -> Self:
        del event
        return self


@pytest.fixture
def app() -> Application:
    router = Router()
    router.register(Order, identity="order")
    router.include(tills())
    return Application(store=MemoryEventStore(), router=router)


GOOD = (
    '{"order":"00000000-0000-0000-0000-000000000001","currency":"CHF","means":{"$type":"Cash","notes":3},'
    '"lines":[{"what":"tea","price":"2.50"}]}'
)


def test_a_command_is_read_by_its_class_or_its_name(app: Application) -> None:
    wanted = Buy(UUID(int=1), (Line("tea", Decimal("2.50")),), "CHF", Cash(3))

    assert app.command_from_json(Buy, GOOD) == wanted
    assert app.command_from_json("Buy", GOOD.encode()) == wanted


def test_everything_that_is_wrong_is_told_with_its_place(app: Application) -> None:
    document = """
        {"order": "1", "currency": "DM", "colour": "red",
         "lines": [{"what": "tea", "price": "2"}, {"what": 5, "price": "-2", "pieces": 0}, {}],
         "means": {"$type": "Card", "number": "123"}, "by": {"number": 1},
         "notes": {"x": "y"}, "least": true}
    """

    with pytest.raises(InvalidCommand) as raised:
        app.command_from_json(Buy, document)

    assert raised.value.command is Buy
    assert dict(raised.value.faults) == {
        "$.colour": "Buy has no such field",
        "$.order": "Invalid UUID",
        "$.currency": "no currency 'DM'",
        "$.lines[1].what": "5 is not str",
        "$.lines[1].price": "price must be positive, not -2",
        "$.lines[1].pieces": "'pieces' must be >= 1: 0",
        "$.lines[2].what": "is missing",
        "$.lines[2].price": "is missing",
        "$.means.number": "Length of 'number' must be >= 4: 3",
        "$.by.number": "1 is not str",
        "$.notes['x']": "'y' is not int",
        "$.least": "True is not int",
    }
    assert "$.lines[1].what: 5 is not str" in str(raised.value)


def test_what_several_fields_must_agree_on_is_told_too(app: Application) -> None:
    with pytest.raises(InvalidCommand, match="most is less than 7"):
        app.command_from_json(Buy, GOOD[:-1] + ',"least":7,"most":5}')


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("", r"\$: is not JSON"),
        ("{", r"\$: is not JSON"),
        (b"\xff", r"\$: is not JSON"),
        ("[]", r"\$: "),
        ("null", r"\$: "),
        ('{"till": "a"}', r"PutIn: \$\.amount: is missing"),
        ('{"till": "a", "amount": 1.5}', r"\$\.amount: 1\.5 is not"),
        ('{"till": "a", "amount": 1, "amonut": 2}', r"\$\.amonut: PutIn has no such field"),
        ('{"till": null, "amount": 1}', r"\$\.till: None is not str"),
    ],
)
def test_a_document_that_is_no_command_is_refused(app: Application, document: str | bytes, complaint: str) -> None:
    with pytest.raises(InvalidCommand, match=complaint):
        app.command_from_json(PutIn, document)


@pytest.mark.parametrize(
    ("command", "good", "bad", "faults"),
    [
        (
            Pack,
            '{"box":{"content":"1.5","more":["2"]}}',
            '{"box":{"content":"1.5","more":["2","x"]}}',
            ["$.box.more[1]"],
        ),
        (Label, '{"content":7,"name":"a"}', '{"content":"x"}', ["$.content", "$.name"]),
    ],
)
def test_what_a_class_leaves_open_is_read_as_it_is_meant_there(
    command: type[Any], good: str, bad: str, faults: list[str]
) -> None:
    codec = Codec()

    assert codec.encode(parse_command(codec, command, good)) == good.encode()
    with pytest.raises(InvalidCommand) as raised:
        parse_command(codec, command, bad)
    assert [fault.path for fault in raised.value.faults] == faults


def test_a_member_of_a_union_that_is_not_there_is_refused(app: Application) -> None:
    with pytest.raises(InvalidCommand, match=r"\$\.means: .*'Gold' is not one of Card, Cash"):
        app.command_from_json(Buy, GOOD.replace('"Cash"', '"Gold"'))


def test_only_registered_commands_are_read(app: Application) -> None:
    with pytest.raises(UnknownCommand, match="Line"):
        app.command_from_json(Line, "{}")
    with pytest.raises(UnknownCommand, match="'Line'"):
        app.command_from_json("Line", "{}")
