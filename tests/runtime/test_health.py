"""How an application says that it is."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import attrs
import pytest

from framework import Application, Backoff, EventHandler, Halt, MemoryEventStore, Recorded
from framework.errors import StorageUnavailable, SubsystemFailed
from framework.policies import Defaults
from framework.runtime.health import CLOSED, Health, Mailboxes
from framework.store.health import StoreHealth
from framework.store.memory.subscriptions import MemorySubscriptions
from framework.store.subscriptions import Lease, Terms
from framework.testing import eventually
from tests.runtime.till import GatedStore, Moved, PutIn, application, tills


class Heard(EventHandler[Moved]):
    partitions = 3

    async def handle(self, event: Recorded[Moved]) -> None:
        pass


class Broken(EventHandler[Moved]):
    async def handle(self, event: Recorded[Moved]) -> None:
        raise OSError("the printer is on fire")


async def test_an_open_application_is_healthy_and_says_what_it_does() -> None:
    async with Application(store=MemoryEventStore(), router=tills(), handlers=[Heard()]) as app:
        await app.dispatch(PutIn("a", 1))
        await app.dispatch(PutIn("b", 1))

        async def runs_all_slots() -> bool:
            return len((await app.health()).slots) == Heard.partitions

        await eventually(runs_all_slots)
        health = await app.health()

    assert health == Health(
        "open", store=StoreHealth(2), slots=health.slots, live_actors=2, mailboxes=Mailboxes(0, None, 0, 1_000)
    )
    assert {(lease.name, lease.slot) for lease in health.slots} == {("Heard", 0), ("Heard", 1), ("Heard", 2)}
    assert (health.is_healthy, health.reasons) == (True, ())


async def test_one_that_is_not_open_says_so() -> None:
    app = application(MemoryEventStore())

    before = await app.health()
    async with app:
        pass
    after = await app.health()

    assert before == after == CLOSED
    assert before.reasons == ("the application is closed",)


async def test_one_that_finishes_what_it_has_accepted_is_stopping() -> None:
    store = GatedStore()
    app = await application(store).__aenter__()
    store.gate.clear()
    accepted = asyncio.create_task(app.dispatch(PutIn("a", 1)))
    await store.arrived.acquire()
    closing = asyncio.create_task(app.__aexit__(None, None, None))

    async def is_stopping() -> bool:
        return (await app.health()).state == "stopping"

    await eventually(is_stopping)
    health = await app.health()
    store.gate.set()
    await asyncio.gather(accepted, closing)

    assert health.reasons == ("the application is stopping",)


async def test_a_slot_that_stands_still_is_a_reason() -> None:
    halting = Defaults(handler_retry=Backoff(attempts=1), after_retries=Halt())
    async with Application(store=MemoryEventStore(), router=tills(), handlers=[Broken()], defaults=halting) as app:
        await app.dispatch(PutIn("a", 1))

        async def is_told() -> bool:
            return bool((await app.health()).halted)

        await eventually(is_told)
        health = await app.health()

    assert (health.state, health.is_healthy) == ("open", False)
    assert health.reasons == ("slot 0 of Broken: it stands still before position 1: OSError('the printer is on fire')",)


async def test_a_slot_that_has_come_further_than_the_log_stands_still_and_says_so() -> None:
    class Ahead(MemorySubscriptions):
        """Of a log that was restored from an older backup since."""

        async def terms(self, lease: Lease) -> Terms:
            return attrs.evolve(await super().terms(lease), position=7)

    heard = Heard()
    store = MemoryEventStore()
    store.subscriptions = Ahead()
    async with Application(store=store, router=tills(), handlers=[heard]) as app:
        await app.dispatch(PutIn("a", 1))

        async def is_told() -> bool:
            return bool((await app.health()).halted)

        await eventually(is_told)
        health = await app.health()

    assert any("Heard has come to position 7, and the log ends at " in reason for reason in health.reasons)


async def test_every_part_that_has_died_is_named_with_its_cause() -> None:
    class Other(Broken):
        pass

    class Unspeakable(MemorySubscriptions):
        async def terms(self, lease: Lease) -> Terms:
            raise OSError("the printer is on fire")

    store = MemoryEventStore()
    store.subscriptions = Unspeakable()
    app = Application(store=store, router=tills(), handlers=[Broken(), Other()])

    async def both_failed() -> bool:
        return len((await app.health()).failures) == 2

    said: list[Health] = []

    async def life() -> None:
        async with app:
            await app.dispatch(PutIn("a", 1))
            await eventually(both_failed)
            said.append(await app.health())

    with pytest.raises(SubsystemFailed):
        await life()

    (health,) = said
    assert (health.state, health.is_healthy) == ("failed", False)
    assert {failure.name for failure in health.failures} == {"Broken slot 0", "Other slot 0"}
    assert all(isinstance(failure.__cause__, OSError) for failure in health.failures)
    assert "Broken slot 0 has failed and does not run: OSError: the printer is on fire" in health.reasons


async def test_a_store_that_is_away_is_a_reason_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryEventStore()

    async def away() -> StoreHealth:
        raise StorageUnavailable("the database does not answer")

    async with application(store) as app:
        monkeypatch.setattr(store, "health", away)
        health = await app.health()

    assert (health.state, health.store) == ("open", None)
    assert health.reasons == ("the store does not answer: the database does not answer",)


async def test_a_store_that_says_nothing_is_not_waited_for_longer_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryEventStore()

    async def silent() -> StoreHealth:
        await asyncio.Event().wait()
        raise AssertionError

    async with application(store) as app:
        monkeypatch.setattr(store, "health", silent)
        health = await app.health(within=timedelta(milliseconds=10))

    assert health.reasons == ("the store does not answer: nothing was heard within 0.01 s",)


async def test_appends_that_do_not_arrive_are_a_reason_once_for_each_cause() -> None:
    health = Health("open", store=StoreHealth(1, troubles=("the log is held by process 7",) * 2))

    assert health.reasons == ("appends do not arrive: the log is held by process 7",)


async def test_a_full_mailbox_is_named_and_one_with_room_is_not() -> None:
    store = GatedStore()
    async with application(store, attrs.evolve(Defaults(), mailbox_limit=2)) as app, asyncio.TaskGroup() as callers:
        store.gate.clear()
        for till in ("a", "b"):
            callers.create_task(app.dispatch(PutIn(till, 1)))
            await store.arrived.acquire()
        for till in ("a", "b"):
            callers.create_task(app.dispatch(PutIn(till, 1)))
        await asyncio.sleep(0)
        with_room = await app.health()
        callers.create_task(app.dispatch(PutIn("b", 1)))
        await asyncio.sleep(0)
        health = await app.health()
        store.gate.set()

    assert with_room.is_healthy
    assert health.mailboxes == Mailboxes(waiting=3, fullest="till-b", fullest_waiting=2, limit=2)
    assert health.reasons == ("till-b: the mailbox is full with 2 commands",)
