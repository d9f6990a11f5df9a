"""A stored name is looked up among the classes an application knows, and nowhere else."""

from __future__ import annotations

import attrs
import pytest

from framework.errors import DuplicateName, UnknownEventType
from framework.evolution import EventTypes


@attrs.frozen
class Opened:
    id: str


@attrs.frozen
class Closed:
    id: str


def another_opened() -> type:
    return attrs.make_class("Opened", [], frozen=True)


def test_a_class_is_found_by_the_name_it_is_stored_under() -> None:
    types = EventTypes([Opened, Closed])

    for cls in (Opened, Closed):
        name, version = types.name_of(cls)
        assert types.current(name, version) is cls
    assert types.classes == {"Opened": Opened, "Closed": Closed}


def test_a_class_may_be_named_by_several_who_handle_it() -> None:
    assert EventTypes([Opened, Opened]).classes == {"Opened": Opened}


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(DuplicateName, match=r"event type 'Opened' is claimed by .*: give one another name"):
        EventTypes([Opened, another_opened()])


@pytest.mark.parametrize(("name", "version"), [("Shaken", 1), ("Opened", 2), ("os.system", 1), ("", 1)])
def test_an_unknown_name_or_version_is_told_with_its_place_and_calls_nothing(name: str, version: int) -> None:
    with pytest.raises(
        UnknownEventType, match=rf"'{name}' version {version} is stored \(account-1 version 3\)"
    ) as raised:
        EventTypes([Opened]).upcast(name, version, {}, {}, "account-1 version 3")

    assert (raised.value.type_name, raised.value.version) == (name, version)
