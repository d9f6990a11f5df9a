"""What an application does with bad input, with parts that die, with handlers that lag, and when it starts again."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Self
from uuid import uuid4

import attrs
import pytest

from framework import (
    Aggregate,
    Application,
    Backoff,
    Connection,
    Consistency,
    EventHandler,
    Halt,
    MemoryEventStore,
    Projector,
    Recorded,
    Router,
)
from framework.errors import (
    CommandAlreadyRegistered,
    ConfigurationError,
    DuplicateName,
    FrameworkError,
    InvalidContract,
    InvalidIdentity,
    InvalidMetadata,
    MissingIdentity,
    NoReadDatabase,
    NotRunning,
    SelfWait,
    SubsystemFailed,
    UnencodableValue,
    UnknownCommand,
    UnknownEventType,
    UnknownHandler,
    UnsupportedType,
)
from framework.policies import Defaults
from framework.store.memory.subscriptions import MemorySubscriptions
from framework.store.protocol import NewEvent, StreamWrite
from framework.store.subscriptions import Lease, Terms
from tests.runtime.till import Moved, PutIn, TakeOut, Till, tills

IMPATIENT = Defaults(
    handler_retry=Backoff(attempts=2, first=timedelta(milliseconds=1)),
    consistency_timeout=timedelta(milliseconds=20),
)


# A domain that is wrong in several ways ------------------------------------------------------------


@attrs.frozen
class Note:
    till: str
    text: str


@attrs.frozen
class Noted:
    text: str


@attrs.frozen
class Notes(Aggregate[Note, Noted]):
    def execute(self, command: Note) -> Iterator[Noted]:
        yield Noted(command.text)

    def apply(self, event: Noted) -> Self:
        del event
        return self


@attrs.frozen
class OtherTill(Aggregate[PutIn, Moved]):
    def execute(self, command: PutIn) -> Iterator[Moved]:
        yield Moved(command.amount)

    def apply(self, event: Moved) -> Self:
        del event
        return self


@attrs.frozen
class Held:
    lock: asyncio.Lock


@attrs.frozen
class Holder(Aggregate[PutIn, Held]):
    def execute(self, command: PutIn) -> Iterator[Held]:
        del command
        yield Held(asyncio.Lock())

    def apply(self, event: Held) -> Self:
        del event
        return self


class Nothing(Aggregate):  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument]
    def execute(self, command: object) -> Iterator[object]:  # pyright: ignore[reportIncompatibleMethodOverride]
        yield command

    def apply(self, event: object) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        del event
        return self


class Contents(Projector[Moved]):
    async def project(self, event: Recorded[Moved], db: Connection) -> None:
        raise NotImplementedError


class Seen(EventHandler[Moved]):
    """Notes what it is given, and fails as often as it was told to."""

    def __init__(self, failures: int = 0) -> None:
        self.amounts: list[int] = []
        self.failures = failures
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, event: Recorded[Moved]) -> None:
        await self.gate.wait()
        self.amounts.append(event.data.amount)
        if self.failures:
            self.failures -= 1
            raise OSError("the printer is out of paper")


def notes() -> Router:
    router = Router()
    router.register(Notes, identity="till")
    return router


# Wiring --------------------------------------------------------------------------------------------


def test_a_command_goes_to_one_aggregate() -> None:
    router = tills()

    with pytest.raises(CommandAlreadyRegistered, match="PutIn is registered for Till, and again for OtherTill"):
        router.register(OtherTill, identity="till")

    assert issubclass(CommandAlreadyRegistered, FrameworkError)


def test_an_aggregate_is_registered_once() -> None:
    router = tills()

    with pytest.raises(ConfigurationError, match="Till is registered twice"):
        router.register(Till, identity="till", prefix="other-")


def test_two_aggregates_do_not_share_a_prefix() -> None:
    router = tills()

    with pytest.raises(ConfigurationError, match="share the prefix 'till-'"):
        router.register(Notes, identity="till", prefix="till-")


def test_a_command_without_the_identity_field_is_not_registered() -> None:
    with pytest.raises(MissingIdentity, match=r"PutIn has no field 'number' to find its Till by: add the field"):
        Router().register(Till, identity="number")


def test_an_aggregate_says_which_messages_it_takes() -> None:
    with pytest.raises(InvalidContract, match="Nothing"):
        Router().register(Nothing, identity="till")


def test_two_handlers_do_not_share_a_name() -> None:
    with pytest.raises(DuplicateName, match=r"'Contents'.*give one another name"):
        Application(
            store=MemoryEventStore(), router=tills(), projectors=[Contents(), Contents()], read_models="postgresql://"
        )


def test_a_projector_needs_a_database_for_its_rows() -> None:
    with pytest.raises(NoReadDatabase, match=r"projector 'Contents' has no database.*read_models=dsn"):
        Application(store=MemoryEventStore(), router=tills(), projectors=[Contents()])


def test_what_the_codec_cannot_hold_is_found_before_anything_runs() -> None:
    router = Router()
    router.register(Holder, identity="till")

    with pytest.raises(UnsupportedType, match=r"Held\.lock"):
        Application(store=MemoryEventStore(), router=router)


# Dispatching ---------------------------------------------------------------------------------------


async def test_a_command_nobody_takes_is_refused() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=tills()) as app:
        with pytest.raises(UnknownCommand, match=r"Note: register one that does with router\.register"):
            await app.dispatch(Note("a", "text"))

        assert await store.head() == 0


@pytest.mark.parametrize("identity", ["", None, 1.5, True, "\0", "x" * 600])
async def test_a_command_that_names_no_aggregate_is_refused(identity: object) -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=tills()) as app:
        with pytest.raises(InvalidIdentity, match="PutIn: identity"):
            await app.dispatch(PutIn(identity, 1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

        assert await store.head() == 0


@pytest.mark.parametrize("text", ["\0", "a lone \ud800 surrogate"])
async def test_an_event_that_cannot_be_stored_is_refused(text: str) -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=notes()) as app:
        with pytest.raises(UnencodableValue):
            await app.dispatch(Note("a", text))

        assert await store.head() == 0


async def test_metadata_of_ours_is_not_for_others() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=tills()) as app:
        with pytest.raises(InvalidMetadata, match=r"'\$caused_by'"):
            await app.dispatch(PutIn("a", 1), metadata={"$caused_by": "me"})

        assert await store.head() == 0


async def test_a_stored_type_nobody_knows_is_named() -> None:
    store = MemoryEventStore()
    strange = NewEvent(uuid4(), "Shaken", 1, b"{}", b"{}", uuid4(), uuid4())
    async with Application(store=store, router=tills()) as app:
        await store.append([StreamWrite("till-a", 0, [strange])])

        with pytest.raises(UnknownEventType, match=r"'Shaken' version 1 is stored \(till-a version 1\)"):
            await app.dispatch(PutIn("a", 1))
        with pytest.raises(UnknownEventType, match="register the class that declares it"):
            await app.state(Till, "a")

        assert await store.head() == 1


@pytest.mark.parametrize("name", ["os.system", "os:system", "mischief", "mischief.Shaken", "mischief:Shaken"])
async def test_a_stored_type_never_imports_or_calls_what_it_is_called_by(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mischief.py").write_text("class Shaken:\n    def __init__(self, **data): ...\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    called: list[str] = []
    monkeypatch.setattr(os, "system", called.append)
    store = MemoryEventStore()
    strange = NewEvent(uuid4(), name, 1, b'{"command": "true"}', b"{}", uuid4(), uuid4())
    async with Application(store=store, router=tills()) as app:
        await store.append([StreamWrite("till-a", 0, [strange])])

        with pytest.raises(UnknownEventType, match=re.escape(repr(name))):
            await app.state(Till, "a")
        with pytest.raises(UnknownEventType):
            async for _ in app.events():
                pass

    assert not called
    assert "mischief" not in sys.modules


async def test_nothing_is_dispatched_to_an_application_that_is_not_open() -> None:
    app = Application(store=MemoryEventStore(), router=tills())
    with pytest.raises(NotRunning, match="async with"):
        await app.dispatch(PutIn("a", 1))

    async with app:
        await app.dispatch(PutIn("a", 1))

    with pytest.raises(NotRunning):
        await app.dispatch(PutIn("a", 1))


async def test_an_application_is_opened_once_at_a_time() -> None:
    async with Application(store=MemoryEventStore(), router=tills()) as app:
        with pytest.raises(ConfigurationError, match="open already"):
            await app.__aenter__()

        await app.dispatch(PutIn("a", 1))


async def test_a_projector_that_is_not_run_is_not_read() -> None:
    async with Application(store=MemoryEventStore(), router=tills()) as app:
        with pytest.raises(ConfigurationError, match=r"projectors=\[Contents\(\)\]"):
            await app.query(Contents, "SELECT 1")


# Parts that die ------------------------------------------------------------------------------------


class Unspeakable(MemorySubscriptions):
    """Fails in a way that nobody foresaw, as a defect of the framework's own would."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def terms(self, lease: Lease) -> Terms:
        del lease
        self.asked.set()
        raise OSError("nobody foresaw this")


def broken_store() -> tuple[MemoryEventStore, Unspeakable]:
    store = MemoryEventStore()
    store.subscriptions = broken = Unspeakable()
    return store, broken


async def test_a_part_that_died_fails_the_next_dispatch_and_the_exit() -> None:
    store, broken = broken_store()
    app = Application(store=store, router=tills(), handlers=[Seen()])

    async def life() -> None:
        async with app:
            await broken.asked.wait()
            with pytest.raises(SubsystemFailed) as at_dispatch:
                await app.dispatch(PutIn("a", 2))
            assert isinstance(at_dispatch.value.__cause__, OSError)

    with pytest.raises(SubsystemFailed, match="Seen slot 0 has failed") as at_exit:
        await life()

    assert isinstance(at_exit.value.__cause__, OSError)
    assert await store.head() == 0


async def test_an_error_of_the_block_is_not_hidden_by_a_part_that_died() -> None:
    store, broken = broken_store()

    async def life() -> None:
        async with Application(store=store, router=tills(), handlers=[Seen()]):
            await broken.asked.wait()
            raise LookupError

    with pytest.raises(LookupError):
        await life()


# Consistency ---------------------------------------------------------------------------------------


async def test_strong_consistency_waits_for_the_handlers() -> None:
    seen = Seen()
    async with Application(store=MemoryEventStore(), router=tills(), handlers=[seen]) as app:
        seen.gate.clear()
        dispatch = asyncio.ensure_future(app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG))
        done, _ = await asyncio.wait([dispatch], timeout=0.05)
        assert not done

        seen.gate.set()
        result = await dispatch

        assert seen.amounts == [1]
        assert result.waited == {"Seen": "handled"}


async def test_a_handler_that_is_late_is_named_and_nothing_is_lost() -> None:
    seen = Seen()
    async with Application(store=MemoryEventStore(), router=tills(), handlers=[seen], defaults=IMPATIENT) as app:
        seen.gate.clear()

        result = await app.dispatch(PutIn("a", 1), consistency=[Seen])

        assert result.waited == {"Seen": "late"}
        assert await app.state(Till, "a") == Till(1)
        seen.gate.set()


async def test_only_those_who_handle_the_events_are_waited_for() -> None:
    class Readers(EventHandler[Noted]):
        async def handle(self, event: Recorded[Noted]) -> None:
            raise NotImplementedError

    async with Application(store=MemoryEventStore(), router=tills(), handlers=[Readers()]) as app:
        result = await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)

        assert result.waited == {}


async def test_waiting_for_a_handler_nobody_runs_is_refused_before_anything_is_written() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=tills(), handlers=[Seen()]) as app:
        with pytest.raises(UnknownHandler, match="'nobody'; these are run: Seen"):
            await app.dispatch(PutIn("a", 1), consistency=["nobody"])

        assert await store.head() == 0


async def test_a_handler_does_not_wait_for_itself() -> None:
    errors: list[Exception] = []

    class Echo(EventHandler[Moved]):
        async def handle(self, event: Recorded[Moved]) -> None:
            if event.stream == "till-a":
                try:
                    await app.dispatch(PutIn("b", 1), consistency=Consistency.STRONG)
                except SelfWait as error:
                    errors.append(error)
                await app.dispatch(PutIn("b", event.data.amount))

    app = Application(store=MemoryEventStore(), router=tills(), handlers=[Echo()])
    async with app:
        await app.dispatch(PutIn("a", 5), consistency=Consistency.STRONG)

        assert [str(error) for error in errors] == [
            "handler 'Echo' would wait for itself: dispatch with consistency=EVENTUAL inside it"
        ]
        assert await app.state(Till, "b") == Till(5)


# Handlers and restarts -----------------------------------------------------------------------------


async def test_a_handler_is_given_an_event_again_until_it_succeeds() -> None:
    seen = Seen(failures=1)
    async with Application(store=MemoryEventStore(), router=tills(), handlers=[seen], defaults=IMPATIENT) as app:
        await app.dispatch(PutIn("a", 1))
        await app.dispatch(PutIn("a", 2), consistency=Consistency.STRONG)

    assert seen.amounts == [1, 1, 2]


async def test_a_handler_goes_on_where_it_was() -> None:
    store = MemoryEventStore()
    before, after = Seen(), Seen()
    async with Application(store=store, router=tills(), handlers=[before]) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
    async with Application(store=store, router=tills()) as app:
        await app.dispatch(PutIn("a", 2))
    async with Application(store=store, router=tills(), handlers=[after]) as app:
        await app.dispatch(PutIn("a", 3), consistency=Consistency.STRONG)

    assert (before.amounts, after.amounts) == ([1], [2, 3])


async def test_a_handler_that_halted_is_given_what_it_halted_at_again_and_nothing_before() -> None:
    store = MemoryEventStore()
    broken, mended = Seen(), Seen()
    halting = attrs.evolve(IMPATIENT, after_retries=Halt())
    async with Application(store=store, router=tills(), handlers=[broken], defaults=halting) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        broken.failures = 1_000
        result = await app.dispatch(PutIn("a", 2), consistency=Consistency.STRONG)
        await app.dispatch(PutIn("b", 3))

    async with Application(store=store, router=tills(), handlers=[mended]) as app:
        await app.dispatch(PutIn("a", 4), consistency=Consistency.STRONG)

    assert broken.amounts == [1, 2, 2]
    assert result.waited == {"Seen": "late"}
    assert mended.amounts == [2, 3, 4]


async def test_an_aggregate_goes_on_where_it_was() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=tills()) as app:
        await app.dispatch(PutIn("a", 10))
    async with Application(store=store, router=tills()) as app:
        result = await app.dispatch(TakeOut("a", 4))

        assert (result.version, await app.state(Till, "a")) == (2, Till(6))


# State ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "content"), [(0, 0), (1, 10), (2, 6), (3, 7), (None, 7), (99, 7)])
async def test_the_state_at_a_version(version: int | None, content: int) -> None:
    defaults = Defaults(page=1)  # so that it takes several reads
    async with Application(store=MemoryEventStore(), router=tills(), defaults=defaults) as app:
        for command in (PutIn("a", 10), TakeOut("a", 4), PutIn("a", 1)):
            await app.dispatch(command)

        assert await app.state(Till, "a", version=version) == Till(content)


async def test_an_aggregate_nobody_has_heard_of_is_in_its_first_state() -> None:
    async with Application(store=MemoryEventStore(), router=tills()) as app:
        assert await app.state(Till, "nobody") == Till(0)


async def test_the_state_of_what_is_not_registered_is_refused() -> None:
    async with Application(store=MemoryEventStore(), router=tills()) as app:
        with pytest.raises(ConfigurationError, match=r"Notes is not registered: add router\.register"):
            await app.state(Notes, "a")
        with pytest.raises(InvalidIdentity):
            await app.state(Till, "")
