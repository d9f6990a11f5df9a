"""Which events an instance is given, in which order, and what becomes of it when one fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4, uuid5

import pytest
from structlog.testing import capture_logs

from framework import Application, Consistency, Continue, MemoryEventStore, PostgresEventStore, Start, Stop
from framework.clock import now
from framework.codec import Codec
from framework.errors import InvalidInterest, ProcessAlreadyStarted, ProcessNotStarted
from framework.messages import Recorded
from framework.runtime.processes import ProcessType
from framework.runtime.processes.step import Step
from framework.store.protocol import EventStore, InstanceRow, ProcessChange
from framework.store.subscriptions import Lease
from framework.subscription.delivery import slot_of_key
from framework.testing import ManualClock, eventually, given
from framework.testing.application import WatchedApplication
from tests.processes.jobs import HOUR, QUICK, Job, Note, Noted, Said, Say, named, office, running
from tests.sample_bank.databases import fresh_schema


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        async with fresh_schema(dsn) as schema:
            yield PostgresEventStore(dsn, schema=schema)


@pytest.fixture(autouse=True)
def nothing_fails() -> Iterator[None]:
    Job.attempts.clear()
    Job.faults.clear()
    yield
    Job.faults.clear()


def opened(store: EventStore, **options: Any) -> WatchedApplication:
    return WatchedApplication(store=store, router=office(), processes=[Job], defaults=QUICK, **options)


async def say(app: Application, what: str, *jobs: str, how: str = "start", where: str = "here") -> str:
    """Say something of *jobs*, and return what became of it."""
    result = await app.dispatch(Say(where, what, jobs, how), consistency=Consistency.STRONG)
    return result.waited["Job"]


async def notes(app: WatchedApplication) -> list[str]:
    await app.settled()
    return sorted(event.data.text for event in await app.recorded(types=[Noted]))


# Which events -----------------------------------------------------------------------------------------


async def test_a_stop_does_not_overtake_a_start_of_another_stream() -> None:
    class Held(MemoryEventStore):
        """Does not let the first slot go on."""

        gate = asyncio.Event()

        async def advance_process(self, lease: Lease, change: ProcessChange, *, position: int) -> None:
            if not lease.slot:
                await self.gate.wait()
            await super().advance_process(lease, change, position=position)

    store, job = Held(), named("job", 0)
    streams = [named("Voice-", slot).removeprefix("Voice-") for slot in range(2)]
    async with opened(store) as app:
        await app.dispatch(Say(streams[0], "begin", (job,)))
        await app.dispatch(Say(streams[1], "end", (job,), "stop"))

        async def other_slot_has_come_to_the_end() -> None:
            await store.subscriptions.nudge()
            assert (await store.subscriptions.slots(["Job"]))[1].position == 2

        await eventually(other_slot_has_come_to_the_end)
        store.gate.set()
        await app.settled()

        assert await running(store, job) == {job: None}


async def test_each_of_many_that_an_event_names_takes_it_once_in_whatever_slot_it_is(store: EventStore) -> None:
    jobs = [f"job {number}" for number in range(1_000)]
    async with opened(store) as app:
        assert await say(app, "hello", *jobs) == "handled"

        assert await running(store, *jobs) == {job: ["hello"] for job in jobs}
        assert await notes(app) == ["hello"] * 1_000


async def test_an_instance_that_has_ended_stays_so_until_an_event_starts_it(store: EventStore) -> None:
    async with opened(store) as app:
        await say(app, "too early", "a", how="stop")
        assert await running(store, "a") == {}
        await say(app, "begin", "a")
        await say(app, "end", "a", how="stop")
        await say(app, "late", "a", how="continue")
        assert await running(store, "a") == {"a": None}

        await say(app, "anew", "a")

        assert await running(store, "a") == {"a": ["anew"]}


async def test_what_ends_an_instance_ends_its_timers_too_though_it_was_in_no_memory() -> None:
    clock = ManualClock()
    store = MemoryEventStore(clock)
    async with opened(store, clock=clock) as app:
        await say(app, "for later", "a", "b")

    async with opened(store, clock=clock) as app:
        await say(app, "end", "a", how="stop")
        clock.advance(HOUR)

        assert await notes(app) == ["for later", "for later", "in time"]


@pytest.mark.parametrize("id_", [None, 7, "", "a\0b", "\ud800", "ä" * 501], ids=repr)
@pytest.mark.parametrize("kind", [Start, Continue, Stop])
def test_what_cannot_be_the_id_of_an_instance_is_refused(kind: Any, id_: object) -> None:
    with pytest.raises(InvalidInterest, match="an instance with the id"):
        kind(id_)


@pytest.mark.parametrize("interests", [[Start("a"), Stop("a")], ["a"]], ids=["twice", "no interest"])
def test_what_says_not_whom_an_event_concerns_is_refused(interests: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interested(event: Said) -> Any:
        del event
        return interests

    monkeypatch.setattr(Job, "interested", interested)

    with pytest.raises(InvalidInterest, match=r"Job\.interested"):
        ProcessType(Job, Codec()).interests(Said("here", "hello", ("a",)))


async def test_no_slot_passes_an_event_of_which_nobody_can_say_whom_it_concerns(store: EventStore) -> None:
    async with opened(store) as app:
        await say(app, "hello", "a", "b")
        await app.dispatch(Say("here", "what now", ("a",), "puzzle"))

        async def has_halted() -> None:
            halted = (await app.health()).halted
            assert {lease.slot for lease in halted} == {0, 1}
            assert all("nobody knows what to do with puzzle" in trouble for trouble in halted.values())

        await eventually(has_halted)
        assert max(slot.position for slot in await app.subscriptions.slots()) == 1


async def test_what_one_event_has_become_counts_its_commands_together() -> None:
    process, event_id = ProcessType(Job, Codec()), uuid4()
    step = Step(process, {}, now())

    for piece in ("one", "two"):
        event = Said("here", piece, ("a",))
        step.take(
            Recorded(event, event_id, "Said", 1, "Voice-here", 1, 1, now(), {}, event_id, event_id, replaying=False),
            Start("a"),
        )

    assert [row.command_id for row in step.change().commands] == [uuid5(event_id, f"Job/a/{n}") for n in range(2)]


# What fails -------------------------------------------------------------------------------------------


async def test_an_instance_that_fails_is_held_up_alone_and_goes_on_in_order(store: EventStore) -> None:
    Job.faults.add("two")
    async with opened(store) as app:
        await say(app, "curse", "a")
        outcomes = [
            await say(app, "two", "a"),
            await say(app, "two", "b"),
            await say(app, "three", "a"),
            await say(app, "three", "b"),
        ]

        parked = [(each.position, each.key, each.error, each.attempts) for each in await app.subscriptions.parked(Job)]
        assert outcomes == ["parked", "handled", "parked", "handled"]
        assert parked[0] == (2, "a", "OSError: out of paper", 3)
        assert parked[1][1:] == ("a", None, 0)
        assert await running(store, "a", "b") == {"a": ["curse"], "b": ["two", "three"]}
        assert await notes(app) == ["curse", "three", "two"]
        assert (await app.health()).halted == {}

        Job.faults.clear()
        assert await app.subscriptions.retry(Job, key="a") == 2

        async def has_gone_on() -> None:
            assert await running(store, "a") == {"a": ["curse", "two", "three"]}

        await eventually(has_gone_on)
        assert await app.subscriptions.parked() == []
        assert await say(app, "four", "a") == "handled"


async def test_an_event_is_tried_as_often_as_the_policy_says_and_not_once_more(store: EventStore) -> None:
    Job.faults.add("two")
    async with opened(store) as app:
        await say(app, "curse", "a")

        await say(app, "two", "a")

        assert Job.attempts.count("two") == QUICK.handler_retry.attempts


async def test_each_attempt_that_failed_is_told_and_so_is_what_became_of_the_event() -> None:
    Job.faults.add("two")
    async with opened(MemoryEventStore()) as app:
        await say(app, "curse", "a")
        with capture_logs() as lines:
            await say(app, "two", "a")

    told = [
        (line["event"], line.get("attempt", line.get("attempts"))) for line in lines if line.get("handler") == "Job"
    ]
    assert [each for each in told if each[1]] == [("handler_retry", 1), ("handler_retry", 2), ("event_parked", 3)]


async def test_what_fails_for_one_of_several_is_taken_by_the_others(store: EventStore) -> None:
    Job.faults.add("two")
    async with opened(store) as app:
        await say(app, "curse", "b")

        assert await say(app, "two", "a", "b", "c", "d") == "parked"

        assert [(each.key, each.error) for each in await app.subscriptions.parked()] == [("b", "OSError: out of paper")]
        assert await running(store, *"abcd") == {"a": ["two"], "b": ["curse"], "c": ["two"], "d": ["two"]}
        assert await notes(app) == ["curse", "two", "two", "two"]

        Job.faults.clear()
        await app.subscriptions.retry(Job)

        async def has_been_taken_by_the_last() -> None:
            assert await running(store, *"ab") == {"a": ["two"], "b": ["curse", "two"]}

        await eventually(has_been_taken_by_the_last)
        assert await notes(app) == ["curse", "two", "two", "two", "two"]


async def test_what_fails_again_stays_and_what_is_given_up_is_passed_over(store: EventStore) -> None:
    Job.faults.add("two")
    async with opened(store) as app:
        for what in ("curse", "two", "three"):
            await say(app, what, "a")
        await app.subscriptions.retry(Job, key="a")

        async def has_failed_again() -> None:
            first, behind = await app.subscriptions.parked(Job)
            assert (first.attempts, first.asked, behind.attempts) == (4, None, 0)

        await eventually(has_failed_again)
        assert await running(store, "a") == {"a": ["curse"]}
        first, _ = await app.subscriptions.parked(Job)
        await app.subscriptions.discard(Job, position=first.position)

        async def has_passed_it() -> None:
            assert await running(store, "a") == {"a": ["curse", "three"]}

        await eventually(has_passed_it)
        assert await app.subscriptions.parked() == []


async def test_who_takes_a_slot_over_holds_back_what_was_held_back(store: EventStore) -> None:
    Job.faults.add("two")
    async with opened(store) as app:
        await say(app, "curse", "a")
        await say(app, "two", "a")

    async with opened(store) as app:
        assert await say(app, "three", "a") == "parked"
        assert await running(store, "a") == {"a": ["curse"]}


async def test_an_event_that_begins_what_runs_or_goes_on_with_what_does_not_is_parked_at_once(
    store: EventStore,
) -> None:
    async with opened(store) as app:
        assert await say(app, "one", "a", how="begin") == "handled"
        assert await say(app, "two", "a", how="go on") == "handled"

        again = await say(app, "three", "a", how="begin")
        unheard_of = await say(app, "one", "b", how="go on")

        assert (again, unheard_of) == ("parked", "parked")
        parked = [(each.key, each.error, each.attempts) for each in await app.subscriptions.parked()]
        assert parked == [
            ("a", "ProcessAlreadyStarted: Job 'a' runs already, and the event would begin it", 1),
            ("b", "ProcessNotStarted: Job 'b' does not run, and the event would go on with it", 1),
        ]
        assert await running(store, *"ab") == {"a": ["one", "two"]}


async def test_what_is_finished_begins_anew_by_a_strict_start_and_does_not_go_on_by_a_strict_continue(
    store: EventStore,
) -> None:
    async with opened(store) as app:
        for job in "ab":
            await say(app, "one", job)
            await say(app, "end", job, how="stop")

        assert await say(app, "two", "a", how="begin") == "handled"
        assert await say(app, "two", "b", how="go on") == "parked"

        assert await running(store, *"ab") == {"a": ["two"], "b": None}


def test_a_scenario_is_as_strict() -> None:
    begun = given(Job, Said("here", "one", ("a",)))

    begun.when(Said("here", "two", ("a",), "go on")).then(Note("two"))
    with pytest.raises(ProcessAlreadyStarted):
        begun.when(Said("here", "three", ("a",), "begin"))
    with pytest.raises(ProcessNotStarted):
        begun.when(Said("here", "three", ("b",), "go on"))


async def test_a_step_that_takes_too_long_is_tried_once_more_and_parked(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Job.handle

    def slow(self: Job, event: Said) -> Any:
        if event.what == "slow":
            time.sleep(0.02)
        return handle(self, event)

    monkeypatch.setattr(Job, "handle", slow)
    monkeypatch.setattr(Job, "step_timeout", timedelta(seconds=0.01))
    async with opened(store) as app:
        assert await say(app, "slow", "a") == "parked"
        assert await say(app, "quick", "b") == "handled"

        (parked,) = await app.subscriptions.parked()
        assert (parked.key, parked.attempts) == ("a", 2)
        assert str(parked.error).startswith("StepTooSlow: Job 'a' took 0.0")
        assert await running(store, *"ab") == {"b": ["quick"]}


async def test_an_instance_whose_state_cannot_be_read_is_held_up_alone(store: EventStore) -> None:
    async with opened(store) as app:
        await say(app, "one", "a", "b")
        await spoil(store, "a")

        assert await say(app, "two", "a", "b") == "parked"

        assert [each.key for each in await app.subscriptions.parked()] == ["a"]
        assert await running(store, "b") == {"b": ["one", "two"]}


async def spoil(store: EventStore, job: str) -> None:
    """Have what is stored of *job* be of another shape."""
    slots = await store.subscriptions.slots(["Job"])
    slot = slots[slot_of_key(job, len(slots))]
    lease = Lease("Job", slot.slot, slot.fence)
    change = ProcessChange([InstanceRow(job, 1, b'{"heard": 7}')])
    await store.advance_process(lease, change, position=slot.position)
