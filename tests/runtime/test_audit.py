"""The audit of commands: written down before, completed after, and never in the way of the truth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4

import attrs
import pytest
import structlog

from framework import Aggregate, Application, CommandRejected, MemoryEventStore, PostgresEventStore, Router
from framework.audit import AuditLog
from framework.errors import AuditFailed, ConfigurationError, InvalidRequest, OutcomeUnknown, StorageUnavailable
from framework.store.protocol import AuditedCommand, AuditedOutcome, AuditEntry
from tests.runtime.till import GatedStore, NotEnough, PutIn, Shake, TakeOut, Till, tills


@attrs.frozen
class Card:
    number: str
    holder: str = ""


@attrs.frozen
class Cash:
    amount: int


@attrs.frozen
class Join:
    name: str
    password: str
    cards: tuple[Card, ...] = ()
    means: Card | Cash | None = None


@attrs.frozen
class Joined:
    name: str


class BadPassword(CommandRejected):
    """It is too short."""


@attrs.frozen
class Member(Aggregate[Join, Joined]):
    def execute(self, command: Join) -> Iterator[Joined]:
        if len(command.password) < 4:
            raise BadPassword(f"{command.password} is too short")
        yield Joined(command.name)

    def apply(self, event: Joined) -> Self:
        del event
        return self


def members() -> Router:
    router = Router()
    router.register(Member, identity="name")
    router.include(tills())
    return router


AnyStore = MemoryEventStore | PostgresEventStore


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[AnyStore]:
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        yield PostgresEventStore(dsn, schema=f"audit_{uuid4().hex[:12]}")


async def test_every_dispatch_is_written_down_with_what_became_of_it(store: AnyStore) -> None:
    correlation_id, causation_id, command_id = uuid4(), uuid4(), uuid4()
    async with Application(store=store, router=tills(), middleware=[AuditLog(store)]) as app:
        await app.dispatch(
            PutIn("a", 5),
            metadata={"by": "me"},
            command_id=command_id,
            correlation_id=correlation_id,
            causation_id=causation_id,
        )
        for command in (TakeOut("a", 9), Shake("a")):
            with pytest.raises((NotEnough, RuntimeError)):
                await app.dispatch(command)

        put, took, shook = await store.audited()

    assert put.command[:4] == (command_id, correlation_id, causation_id, "PutIn")
    assert json.loads(put.command.data) == {"till": "a", "amount": 5}
    assert json.loads(put.command.metadata) == {"by": "me"}
    assert put.outcome == AuditedOutcome("accepted", "till-a", 1)
    assert took.command.causation_id is None
    assert took.outcome == AuditedOutcome("refused", error="NotEnough", reason="9 exceeds 5")
    assert shook.outcome == AuditedOutcome("failed", error="RuntimeError", reason="something broke")
    for entry in (put, took, shook):
        assert entry.answered_at is not None
        assert entry.asked_at <= entry.answered_at


async def test_entries_are_read_in_pages(store: AnyStore) -> None:
    async with store:
        for _ in range(3):
            await store.open_audit(AuditedCommand(uuid4(), uuid4(), None, "PutIn", b"{}", b"{}"))

        first = await store.audited(limit=2)
        rest = await store.audited(after=first[-1].number)

    assert [entry.number for entry in (*first, *rest)] == [1, 2, 3]
    assert all(entry.outcome is None and entry.answered_at is None for entry in first)


async def test_entries_are_found_by_what_they_are_about(store: AnyStore) -> None:
    first, second, common = uuid4(), uuid4(), uuid4()
    async with store:
        for command_id, correlation_id in ((first, first), (second, common), (uuid4(), common)):
            await store.open_audit(AuditedCommand(command_id, correlation_id, None, "PutIn", b"{}", b"{}"))

        found = [await store.audited(about=each) for each in (first, second, common, uuid4())]
        last = await store.audited(about=common, after=2)

    assert [[entry.number for entry in entries] for entries in (*found, last)] == [[1], [2], [2, 3], [], [3]]


async def test_entries_are_forgotten_by_when_they_were_asked_for(store: AnyStore) -> None:
    async with store:
        for _ in range(2):
            await store.open_audit(AuditedCommand(uuid4(), uuid4(), None, "PutIn", b"{}", b"{}"))
        first, second = await store.audited()

        assert await store.prune_audit(first.asked_at) == 0
        assert await store.prune_audit(second.asked_at) == 1
        assert await store.audited() == [second]
        assert await store.prune_audit(second.asked_at + timedelta(microseconds=1)) == 1
        await store.close_audit(second.number, AuditedOutcome("accepted"))
        assert await store.audited() == []
        assert await store.open_audit(first.command) == 3
        with pytest.raises(InvalidRequest, match="no moment: give it a time zone"):
            await store.prune_audit(second.asked_at.replace(tzinfo=None))


def test_an_audit_that_would_keep_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"keep_for=datetime.timedelta\(0\) would keep nothing"):
        AuditLog(MemoryEventStore(), keep_for=timedelta(0))


async def test_a_command_is_written_down_before_it_is_decided() -> None:
    store = GatedStore()
    store.gate.clear()
    async with Application(store=store, router=tills(), middleware=[AuditLog(store)]) as app:
        dispatch = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()

        (entry,) = await store.audited()
        assert (entry.command.type, entry.outcome) == ("PutIn", None)

        store.gate.set()
        await dispatch


async def test_what_cannot_be_written_down_is_not_decided() -> None:
    class Full(MemoryEventStore):
        async def open_audit(self, command: AuditedCommand) -> int:
            raise StorageUnavailable(f"no room for {command.type}")

    store = Full()
    async with Application(store=store, router=tills(), middleware=[AuditLog(store)]) as app:
        with pytest.raises(AuditFailed, match=r"PutIn was not decided .* no room for PutIn"):
            await app.dispatch(PutIn("a", 1))
        with pytest.raises(AuditFailed):
            await app.dispatch_together([PutIn("a", 1), PutIn("b", 1)])

    assert await store.head() == 0


async def test_an_outcome_that_cannot_be_added_changes_no_answer_and_is_logged() -> None:
    class Forgetful(MemoryEventStore):
        async def close_audit(self, number: int, outcome: AuditedOutcome) -> None:
            raise StorageUnavailable(f"{number}: {outcome.outcome}")

    lines: list[Any] = []

    def collect(logger: object, name: str, line: Any) -> Any:
        del logger, name
        lines.append(line)
        raise structlog.DropEvent

    structlog.configure(processors=[collect])
    store = Forgetful()
    async with Application(store=store, router=tills(), middleware=[AuditLog(store)]) as app:
        assert (await app.dispatch(PutIn("a", 1))).version == 1
        with pytest.raises(NotEnough):
            await app.dispatch(TakeOut("a", 5))

    assert [line["outcome"] for line in lines if line["event"] == "audit_outcome_lost"] == ["accepted", "refused"]


async def test_what_is_hidden_is_not_in_the_audit_nor_in_its_reasons(store: AnyStore) -> None:
    audit = AuditLog(store, hide={Join: {"password", "cards.number", "means.number"}}, hide_metadata={"token"})
    command = Join("a", "geheim", (Card("4711", "me"), Card("4712")), Card("4713"))
    async with Application(store=store, router=members(), middleware=[audit]) as app:
        result = await app.dispatch(command, metadata={"token": "t", "by": "me"})
        await app.dispatch(Join("b", "secret", means=Cash(7)))
        with pytest.raises(BadPassword):
            await app.dispatch(Join("c", "123"))

        first, second, third = await store.audited()

    assert result.events == (Joined("a"),)
    assert json.loads(first.command.data) == {
        "name": "a",
        "password": "[hidden]",
        "cards": [{"number": "[hidden]", "holder": "me"}, {"number": "[hidden]", "holder": ""}],
        "means": {"$type": "Card", "number": "[hidden]", "holder": ""},
    }
    assert json.loads(first.command.metadata) == {"token": "[hidden]", "by": "me"}
    assert json.loads(second.command.data)["means"] == {"$type": "Cash", "amount": 7}
    assert third.outcome == AuditedOutcome("refused", error="BadPassword")


@pytest.mark.parametrize("name", ["pasword", "cards.nmber", "password.x", "means.colour", "name."])
def test_a_field_to_hide_that_is_not_there_is_found_when_the_audit_is_built(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"the audit is to hide '{name}' of Join, which has no field"):
        AuditLog(MemoryEventStore(), hide={Join: {name}})


async def test_a_message_that_the_database_would_not_take_is_written_down_without_what_it_would_not(
    store: AnyStore,
) -> None:
    def odd(till: Till, command: TakeOut) -> list[Any]:
        raise NotEnough(f"{till}\0{command}\ud800")

    router = tills()
    router.register_command(TakeOut, Till, handler=odd)
    async with Application(store=store, router=router, middleware=[AuditLog(store)]) as app:
        with pytest.raises(NotEnough):
            await app.dispatch(TakeOut("a", 1))

        (entry,) = await store.audited()
    assert entry.outcome is not None
    assert entry.outcome.outcome == "refused"


async def test_an_unknown_outcome_is_called_so_and_a_cancelled_caller_leaves_it_open() -> None:
    class Vague(MemoryEventStore):
        async def append(self, writes: Any, receipts: Any = ()) -> Any:
            raise OutcomeUnknown(f"{writes}{receipts}", None)

    async def entries(store: MemoryEventStore) -> list[AuditEntry]:
        return list(await store.audited())

    vague, gated = Vague(), GatedStore()
    async with Application(store=vague, router=tills(), middleware=[AuditLog(vague)]) as app:
        with pytest.raises(OutcomeUnknown):
            await app.dispatch(PutIn("a", 1))
    async with Application(store=gated, router=tills(), middleware=[AuditLog(gated)]) as app:
        gated.gate.clear()
        dispatch = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await gated.arrived.acquire()
        dispatch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dispatch
        gated.gate.set()

    assert [entry.outcome and entry.outcome.outcome for entry in await entries(vague)] == ["unknown"]
    assert [entry.outcome for entry in await entries(gated)] == [None]
