"""What a class says of itself as an event, and what an application makes of what several say together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from framework import Upcast, Upcaster, event_type
from framework.errors import ConfigurationError, DuplicateName, InvalidContract, MissingUpcaster
from framework.evolution import EventTypes, stored_name
from framework.messages import Metadata


@event_type("money-sent", version=3, was=("MoneyTransferred",))
@attrs.frozen
class MoneySent:
    amount: int


@attrs.frozen
class Unnamed(MoneySent):
    """Inherits from an event that has a name."""


class Step(Upcaster):
    """A base of the user's own: takes what its subclasses name, and leaves it as it is."""

    def upcast(self, data: dict[str, Any], metadata: Metadata) -> Iterator[Upcast]:
        yield Upcast(data)


class SentV1(Step, event="money-sent", version=1):
    pass


class SentV2(Step, event="money-sent", version=2):
    pass


def test_an_event_is_stored_under_the_name_it_declares() -> None:
    assert stored_name(MoneySent) == ("money-sent", 3)


def test_a_class_that_declares_nothing_is_stored_under_its_own_name() -> None:
    assert stored_name(Unnamed) == ("Unnamed", 1)


def test_a_name_declared_below_attrs_is_the_same() -> None:
    @attrs.frozen
    @event_type("opened", version=2)
    class Opened:
        id: str

    assert stored_name(Opened) == ("opened", 2)


@pytest.mark.parametrize("name", ["", "a\0b", "$deleted"])
def test_a_name_that_can_be_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="names no event type"):
        event_type(name)


def test_a_version_below_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="versions begin with 1"):
        event_type("opened", version=0)


@pytest.mark.parametrize(("was", "reason"), [("Old", "one text"), (("opened",), "twice"), (("Old", "Old"), "twice")])
def test_earlier_names_that_are_none_are_refused(was: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        event_type("opened", was=was)


def test_a_name_of_before_may_not_be_the_name_of_another() -> None:
    @attrs.frozen
    class MoneyTransferred:
        amount: int

    for classes in ([MoneySent, MoneyTransferred], [MoneyTransferred, MoneySent]):
        with pytest.raises(DuplicateName, match="'MoneyTransferred' is claimed by"):
            EventTypes(classes, [SentV1(), SentV2()])


def test_a_version_that_nobody_leads_on_from_is_found_at_once() -> None:
    with pytest.raises(MissingUpcaster, match=r"nothing leads on from version 2: write class …\(Upcaster, event='mon"):
        EventTypes([MoneySent], [SentV1()])


def test_a_version_of_a_type_without_a_class_that_nobody_leads_on_from_is_found_at_once() -> None:
    class Late(Step, event="gone", version=3, becomes=("money-sent",)):
        pass

    with pytest.raises(MissingUpcaster, match="'gone' has come to version 3, and nothing leads on from version 1"):
        EventTypes([MoneySent], [SentV1(), SentV2(), Late()])


def test_two_steps_from_one_version_are_refused() -> None:
    class Again(Step, event="money-sent", version=1):
        pass

    with pytest.raises(DuplicateName, match="money-sent version 1"):
        EventTypes([MoneySent], [SentV1(), SentV2(), Again()])


def test_a_step_from_the_version_of_today_is_refused() -> None:
    class Beyond(Step, event="money-sent", version=3):
        pass

    with pytest.raises(ConfigurationError, match=r"count it up, @event_type\('money-sent', version=4\)"):
        EventTypes([MoneySent], [SentV1(), SentV2(), Beyond()])


def test_a_step_to_a_type_that_nobody_declares_is_refused() -> None:
    class Away(Step, event="gone", version=1, becomes=("nowhere",)):
        pass

    with pytest.raises(ConfigurationError, match="becomes 'nowhere', which nobody declares"):
        EventTypes([], [Away()])


def test_steps_that_lead_in_a_circle_are_refused() -> None:
    class There(Step, event="there", version=1, becomes=("back",)):
        pass

    class Back(Step, event="back", version=1, becomes=("there",)):
        pass

    with pytest.raises(ConfigurationError, match="leads from 'there' by 'back' to 'there' again"):
        EventTypes([], [There(), Back()])


def test_a_step_names_what_it_takes_as_it_is_called_today() -> None:
    class Old(Step, event="MoneyTransferred", version=1):
        pass

    with pytest.raises(ConfigurationError, match="takes 'MoneyTransferred', which is called 'money-sent' now"):
        EventTypes([MoneySent], [SentV1(), SentV2(), Old()])


@pytest.mark.parametrize(("event", "version"), [(None, 1), ("money-sent", None), ("money-sent", 0), ("", 1)])
def test_an_upcaster_that_does_not_say_what_it_takes_is_refused(event: str | None, version: int | None) -> None:
    with pytest.raises(InvalidContract, match="name both"):
        type("Wrong", (Step,), {}, event=event, version=version)


@pytest.mark.parametrize("becomes", ["other", ("money-sent",)])
def test_an_upcaster_that_becomes_its_own_type_or_letters_is_refused(becomes: Any) -> None:
    with pytest.raises(InvalidContract, match="name the other types in a tuple"):
        type("Wrong", (Step,), {}, event="money-sent", version=1, becomes=becomes)


@pytest.mark.parametrize(
    ("given", "remedy"), [(SentV1, "give an instance"), (object(), "subclass"), (Step(), "does not say what it takes")]
)
def test_what_cannot_be_asked_is_refused(given: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        EventTypes([MoneySent], [given])


def test_the_names_that_the_log_may_hold_an_event_under_are_all_that_lead_to_it() -> None:
    class Gone(Step, event="gone", version=1, becomes=("between",)):
        pass

    class Between(Step, event="between", version=1, becomes=("money-sent",)):
        pass

    types = EventTypes([MoneySent, Unnamed], [SentV1(), SentV2(), Gone(), Between()])

    assert types.stored_as(["money-sent"]) == {"money-sent", "MoneyTransferred", "between", "gone"}
    assert types.stored_as(["Unnamed"]) == {"Unnamed"}
    assert types.may_be("gone") == {"money-sent"}
    assert types.may_be("shaken") == {"shaken"}
