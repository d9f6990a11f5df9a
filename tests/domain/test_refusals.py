"""A refusal that is stored comes back as the one that was raised."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pytest

from framework.errors import CommandRejected
from framework.refusals import decode_refusal, encode_refusal


class Plain(CommandRejected):
    """With a message."""


class InsufficientFunds(CommandRejected):
    """With fields, and a message made of them."""

    def __init__(self, balance: Decimal, needed: Decimal) -> None:
        self.balance = balance
        self.needed = needed
        super().__init__(f"{needed} exceeds {balance}")


@attrs.frozen
class LimitReached(CommandRejected):
    """A frozen one, whose fields are slots."""

    limit: int
    since: date


class Strange(CommandRejected):
    """With what no JSON holds."""

    def __init__(self, thing: object) -> None:
        self.thing = thing
        self.kept = 7
        super().__init__(thing)

    def __str__(self) -> str:
        return "strange \0\ud800"


class Reason(enum.StrEnum):
    CLOSED = "closed"


def there_and_back(error: CommandRejected) -> CommandRejected:
    return decode_refusal(encode_refusal(error))


@pytest.mark.parametrize("error", [Plain("no"), Plain(), CommandRejected("no"), Plain("no", 7, None, Decimal("1.50"))])
def test_class_message_and_arguments_come_back(error: CommandRejected) -> None:
    back = there_and_back(error)

    assert (type(back), back.args, str(back)) == (type(error), error.args, str(error))


def test_fields_come_back_without_the_constructor_being_called() -> None:
    back = there_and_back(InsufficientFunds(Decimal("1.50"), Decimal(2)))

    assert isinstance(back, InsufficientFunds)
    assert (back.balance, back.needed) == (Decimal("1.50"), Decimal(2))
    assert str(back) == "2 exceeds 1.50"


def test_the_slots_of_a_frozen_refusal_come_back() -> None:
    back = there_and_back(LimitReached(10, date(2024, 1, 31)))

    assert isinstance(back, LimitReached)
    assert (back.limit, back.since) == (10, date(2024, 1, 31))


@pytest.mark.parametrize(
    "value", [True, 1.5, 1e23, "text", UUID(int=7), datetime(2024, 1, 1, tzinfo=UTC), b"raw", Reason.CLOSED, None]
)
def test_a_field_of_any_simple_type_comes_back(value: object) -> None:
    error = Plain("no")
    error.value = value  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

    assert vars(there_and_back(error))["value"] == value


def test_what_cannot_be_held_is_left_out_and_the_rest_is_not() -> None:
    back = there_and_back(Strange(object()))

    assert isinstance(back, Strange)
    assert vars(back) == {"kept": 7}
    assert back.args == ("strange \N{REPLACEMENT CHARACTER}?",)


@pytest.mark.parametrize("value", [2**63, float("nan"), "\0", "\ud800", datetime(2024, 1, 1), [1]])  # noqa: DTZ001
def test_no_value_that_postgresql_refuses_is_written(value: object) -> None:
    assert vars(there_and_back(Strange(value))) == {"kept": 7}


def test_a_refusal_whose_class_is_gone_keeps_its_message() -> None:
    document: dict[str, Any] = msgspec.json.decode(encode_refusal(Plain("no")))
    document["type"] = "os.system"

    back = decode_refusal(msgspec.json.encode(document))

    assert type(back) is CommandRejected
    assert str(back) == "no"
