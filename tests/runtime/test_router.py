"""What a router takes, what it refuses when it is told, and what can name an aggregate."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NewType, Self
from uuid import UUID

import attrs
import pytest

from framework import Aggregate, Application, Consistency, MemoryEventStore, Metadata, Router
from framework.errors import (
    CommandAlreadyRegistered,
    ConfigurationError,
    InvalidContract,
    InvalidIdentity,
    MissingIdentity,
    UnknownCommand,
)
from framework.identity import stream_name
from framework.policies import Options
from tests.runtime.till import Moved, NotEnough, PutIn, Shake, TakeOut, Till, tills


@attrs.frozen
class Audit:
    """No command that a till declares."""

    till: str
    number: int = 1


@attrs.frozen
class Write:
    page: str


@attrs.frozen
class Written:
    page: str


@attrs.frozen
class Notebook(Aggregate[Write, Written]):
    def execute(self, command: Write) -> Iterator[Written]:
        yield Written(command.page)

    def apply(self, event: Written) -> Self:
        del event
        return self


def audit(till: Till, command: Audit) -> Iterator[Moved]:
    if till.content > 10:
        yield Moved(10 - till.content)
    yield Moved(command.number)


def nobody_by_night(till: Till, command: TakeOut, metadata: Metadata) -> None:
    if metadata.get("hour", 12) > 20 and command.amount > till.content / 2:
        raise NotEnough("come back by day")


def nothing(till: Till, command: object) -> list[Moved]:
    del till, command
    return []


def nobody(command: object) -> None:
    del command


async def waits(till: Till, command: Audit) -> list[Moved]:
    del till, command
    await asyncio.sleep(0)
    return []


def notebooks() -> Router:
    router = Router()
    router.register(Notebook, identity="page")
    return router


def stream(router: Router, command: object) -> str:
    return router.route(command).stream(command)


# Single commands -----------------------------------------------------------------------------------


async def test_a_handler_decides_a_command_that_its_aggregate_does_not_declare() -> None:
    router = tills()
    router.register_command(Audit, Till, handler=audit)

    async with Application(store=MemoryEventStore(), router=router) as app:
        await app.dispatch(PutIn("a", 15))
        result = await app.dispatch(Audit("a"))

        assert result.stream == "till-a"
        assert result.events == (Moved(-5), Moved(1))
        assert await app.state(Till, "a") == Till(11)


async def test_a_handler_stands_in_the_place_of_execute() -> None:
    def generously(till: Till, command: TakeOut) -> Iterator[Moved]:
        yield Moved(-min(till.content, command.amount))

    router = tills()
    router.register_command(TakeOut, Till, handler=generously)

    async with Application(store=MemoryEventStore(), router=router) as app:
        await app.dispatch(PutIn("a", 3))

        assert (await app.dispatch(TakeOut("a", 100))).events == (Moved(-3),)


async def test_a_check_sees_state_command_and_metadata_before_execute_does() -> None:
    router = tills()
    router.register_command(TakeOut, Till, check=nobody_by_night)

    async with Application(store=MemoryEventStore(), router=router) as app:
        await app.dispatch(PutIn("a", 10))

        with pytest.raises(NotEnough, match="come back by day"):
            await app.dispatch(TakeOut("a", 6), metadata={"hour": 22})
        assert (await app.dispatch(TakeOut("a", 5), metadata={"hour": 22})).version == 2
        assert (await app.dispatch(TakeOut("a", 4))).version == 3


async def test_a_check_is_made_again_when_the_command_is_decided_again() -> None:
    seen: list[int] = []

    def note(till: Till, command: TakeOut, metadata: Metadata) -> None:
        del command, metadata
        seen.append(till.content)

    router = tills()
    router.register_command(TakeOut, Till, check=note)
    store = MemoryEventStore()

    async with Application(store=store, router=router) as one, Application(store=store, router=tills()) as other:
        await one.dispatch(PutIn("a", 10))
        await other.dispatch(PutIn("a", 5))
        await one.dispatch(TakeOut("a", 12))

    assert seen == [10, 15]


def test_a_command_has_its_own_identity_in_the_place_of_its_aggregates() -> None:
    router = tills()
    router.register_command(Audit, Till, handler=audit, identity=lambda command: command.till.lower())

    assert stream(router, Audit("A")) == "till-a"


def test_options_of_a_command_are_completed_by_those_of_its_aggregate() -> None:
    router = Router()
    router.register(Till, identity="till", timeout=timedelta(seconds=1), consistency=Consistency.STRONG, retry=3)
    router.register_command(TakeOut, Till, retry=0, consistency=["alerts", Till])

    assert router.route(PutIn("a", 1)).options == Options(timedelta(seconds=1), Consistency.STRONG, 3)
    assert router.route(TakeOut("a", 1)).options == Options(timedelta(seconds=1), ("alerts", "Till"), 0)


# Mistakes ------------------------------------------------------------------------------------------


def test_a_command_that_nobody_would_decide_is_not_registered() -> None:
    with pytest.raises(ConfigurationError, match="Audit is no command of Till: name it in the brackets"):
        tills().register_command(Audit, Till)


def test_a_command_of_an_aggregate_that_is_not_registered_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Till is not registered: add router\.register\(Till"):
        Router().register_command(TakeOut, Till)


def test_a_command_is_registered_by_itself_once() -> None:
    router = tills()
    router.register_command(TakeOut, Till, retry=1)

    with pytest.raises(CommandAlreadyRegistered, match="TakeOut"):
        router.register_command(TakeOut, Till, retry=2)

    assert router.route(TakeOut("a", 1)).options.retry == 1


def test_a_command_of_another_aggregate_is_refused() -> None:
    router = tills()
    router.include(notebooks())

    with pytest.raises(CommandAlreadyRegistered, match="Write is registered for Notebook, and again for Till"):
        router.register_command(Write, Till, handler=nothing)


def test_a_message_that_can_change_is_no_command() -> None:
    @attrs.define
    class Loose:
        till: str

    with pytest.raises(InvalidContract, match=r"Loose, a message of Till, can change: make it @attrs\.frozen"):
        tills().register_command(Loose, Till, handler=nothing)


def test_a_command_without_the_field_is_not_registered() -> None:
    with pytest.raises(MissingIdentity, match="Audit has no field 'shop'"):
        tills().register_command(Audit, Till, handler=audit, identity="shop")


def test_nothing_that_decides_is_async() -> None:
    with pytest.raises(ConfigurationError, match="the handler of Audit is async"):
        tills().register_command(Audit, Till, handler=waits)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1)])
def test_a_timeout_that_leaves_no_time_is_not_registered(timeout: timedelta) -> None:
    with pytest.raises(ConfigurationError, match=r"Till: a timeout of .* s leaves no time"):
        Router().register(Till, identity="till", timeout=timeout)


def test_fewer_retries_than_none_are_not_registered() -> None:
    with pytest.raises(ConfigurationError, match="TakeOut: retry=-1"):
        tills().register_command(TakeOut, Till, retry=-1)


def test_waiting_for_a_handler_that_is_not_there_is_found_when_the_application_is_built() -> None:
    router = Router()
    router.register(Till, identity="till", consistency=["alerts"])

    with pytest.raises(ConfigurationError, match="PutIn is registered to wait for 'alerts'"):
        Application(store=MemoryEventStore(), router=router)


# Prefixes ------------------------------------------------------------------------------------------


async def test_a_prefix_may_be_asked_for_with_every_dispatch() -> None:
    branch = "north"
    router = Router()
    router.register(Till, identity="till", prefix=lambda: f"{branch}-till-")

    async with Application(store=MemoryEventStore(), router=router) as app:
        assert (await app.dispatch(PutIn("a", 1))).stream == "north-till-a"
        branch = "south"
        assert (await app.dispatch(PutIn("a", 2))).stream == "south-till-a"
        assert await app.state(Till, "a") == Till(2)


async def test_a_stream_that_belongs_to_another_kind_of_aggregate_is_refused() -> None:
    router = Router()
    router.register(Till, identity="till", prefix=lambda: "one-")
    router.register(Notebook, identity="page", prefix=lambda: "one-")

    async with Application(store=MemoryEventStore(), router=router) as app:
        await app.dispatch(PutIn("a", 1))

        with pytest.raises(InvalidIdentity, match="is the stream of a Till"):
            await app.dispatch(Write("a"))


def test_two_aggregates_of_one_name_are_kept_apart_by_default() -> None:
    router = Router()
    router.register(Till, identity="till")
    router.include(notebooks())

    assert stream(router, PutIn("1", 1)) == "Till-1"
    assert stream(router, Write("1")) == "Notebook-1"


# Including -----------------------------------------------------------------------------------------


def test_what_another_router_takes_is_taken_with_its_options() -> None:
    other = notebooks()
    other.register_command(Write, Notebook, retry=1)
    middle = Router()
    middle.include(other)
    router = tills()

    router.include(middle)

    assert set(router.commands) == {PutIn, TakeOut, Shake, Write}
    assert set(router.aggregates) == {Till, Notebook}
    assert router.route(Write("1")).options.retry == 1


def test_a_conflict_is_found_when_a_router_is_included_and_nothing_is_included() -> None:
    other = notebooks()
    other.register(Till, identity="till", prefix="other-")
    router = tills()

    with pytest.raises(ConfigurationError, match="Till is registered twice"):
        router.include(other)

    assert set(router.aggregates) == {Till}


def test_a_command_registered_by_itself_in_an_included_router_is_not_registered_again() -> None:
    other = notebooks()
    other.register_command(Write, Notebook, retry=1)
    router = Router()
    router.include(other)

    with pytest.raises(CommandAlreadyRegistered):
        router.register_command(Write, Notebook, retry=2)


def test_a_command_is_found_by_its_name() -> None:
    router = tills()

    assert router.command("PutIn") is PutIn
    with pytest.raises(UnknownCommand, match="no aggregate takes 'PutOut'"):
        router.command("PutOut")


def test_a_name_that_several_commands_have_is_refused() -> None:
    def another() -> type:
        @attrs.frozen
        class PutIn:
            till: str

        return PutIn

    router = tills()
    router.register_command(another(), Till, handler=nothing)

    with pytest.raises(ConfigurationError, match=r"'PutIn' names tests\.runtime\.till\.PutIn and .*: say which"):
        router.command("PutIn")


# Identities ----------------------------------------------------------------------------------------


class Colour(str, enum.Enum):  # noqa: UP042 - such are still about, and what Python prints for them has changed
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Unspoken(enum.Enum):
    RED = "red"


@attrs.frozen
class Iban:
    country: str
    number: int

    def __str__(self) -> str:
        return f"{self.country}{self.number}"


@attrs.frozen
class Wordless:
    number: int


AccountId = NewType("AccountId", int)


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("a", "x-a"),
        ("zürich", "x-zürich"),
        (7, "x-7"),
        (AccountId(7), "x-7"),
        (UUID(int=1), "x-00000000-0000-0000-0000-000000000001"),
        (date(2024, 2, 29), "x-2024-02-29"),
        (Iban("CH", 93), "x-CH93"),
        (Colour.RED, "x-red"),
        (Number.ONE, "x-1"),
    ],
)
def test_what_has_a_text_of_its_own_names_an_aggregate(identity: object, name: str) -> None:
    assert stream_name(PutIn, "x-", identity) == name


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (None, "PutIn: identity None names no aggregate"),
        ("", "is empty"),
        ("a\0b", "characters that no stream's name can hold"),
        ("\ud800", "characters that no stream's name can hold"),
        ("a" * 500, "longer than 500"),
        (True, "is a bool, of which equal values have different texts"),
        (1.0, "is a float"),
        (Decimal("1.0"), "is a Decimal"),
        (datetime(2024, 2, 29, tzinfo=UTC), "is a datetime"),
        (b"a", "is a bytes, which has no text of its own"),
        (["a"], "is a list, which has no text of its own"),
        (Unspoken.RED, "is a Unspoken, which has no text of its own"),
        (Wordless(1), "is a Wordless, which has no text of its own: give text"),
        (PutIn, "is a type"),
    ],
)
def test_what_has_none_names_no_aggregate(identity: object, reason: str) -> None:
    with pytest.raises(InvalidIdentity, match=reason):
        stream_name(PutIn, "x-", identity)


async def test_an_identity_of_none_is_refused_before_anything_is_recorded() -> None:
    router = Router()
    router.register(Till, identity=nobody)
    store = MemoryEventStore()

    async with Application(store=store, router=router) as app:
        with pytest.raises(InvalidIdentity):
            await app.dispatch(PutIn("a", 1))

    assert await store.head() == 0
