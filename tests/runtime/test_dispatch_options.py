"""What a caller may say of a dispatch, and what goes before what."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import attrs
import pytest

from framework import Application, Consistency, EventHandler, MemoryEventStore, Recorded, Router
from framework.errors import (
    DispatchTimeout,
    InvalidMetadata,
    InvalidOption,
    SelfWait,
    TooManyAttempts,
    WrongExpectedVersion,
)
from framework.policies import Defaults
from framework.store import Expected
from framework.store.protocol import Appended, Receipt, StreamWrite
from tests.runtime.till import GatedStore, Moved, NotEnough, PutIn, TakeOut, Till, application, tills


class Losing(GatedStore):
    """Another writer is first at every append, as often as is said."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        if self.times:
            self.times -= 1
            self.appends += 1
            raise WrongExpectedVersion(writes[0].stream, "version 0", 7)
        return await super().append(writes, receipts)


@attrs.frozen
class Sweep:
    till: str


def swept(till: Till, command: Sweep) -> list[Moved]:
    del command
    return [Moved(1 - till.content)]


class Seen(EventHandler[Moved]):
    async def handle(self, event: Recorded[Moved]) -> None:
        del event


# The version that is expected ----------------------------------------------------------------------


async def test_a_command_is_decided_at_the_version_that_its_caller_expects() -> None:
    async with application(MemoryEventStore()) as app:
        first = await app.dispatch(PutIn("a", 1), expected_version=0)
        second = await app.dispatch(PutIn("a", 1), expected_version=first.version)

        assert second.version == 2


@pytest.mark.parametrize("expected", [0, 2, 7])
async def test_a_command_at_another_version_is_refused_and_nothing_is_recorded(expected: int) -> None:
    store = MemoryEventStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 1))

        with pytest.raises(WrongExpectedVersion, match=r"till-a: expected .*, found version 1"):
            await app.dispatch(PutIn("a", 1), expected_version=expected)

    assert await store.head() == 1


async def test_any_version_and_some_version_can_be_expected() -> None:
    async with application(MemoryEventStore()) as app:
        with pytest.raises(WrongExpectedVersion, match="expected an existing stream, found version 0"):
            await app.dispatch(PutIn("a", 1), expected_version=Expected.STREAM_EXISTS)
        await app.dispatch(PutIn("a", 1), expected_version=Expected.ANY)

        assert (await app.dispatch(PutIn("a", 1), expected_version=Expected.STREAM_EXISTS)).version == 2


async def test_of_many_who_expect_one_version_one_is_accepted() -> None:
    async with application(MemoryEventStore()) as app:
        outcomes = await asyncio.gather(
            *(app.dispatch(PutIn("a", 1), expected_version=0) for _ in range(50)), return_exceptions=True
        )

        assert sum(isinstance(outcome, WrongExpectedVersion) for outcome in outcomes) == 49
        assert await app.state(Till, "a") == Till(1)


async def test_the_expected_version_is_that_of_the_log_and_not_of_a_stale_state() -> None:
    store = MemoryEventStore()
    async with application(store) as one, application(store) as other:
        await one.dispatch(PutIn("a", 1))
        await other.dispatch(PutIn("a", 1))

        with pytest.raises(WrongExpectedVersion, match="expected version 1, found version 2"):
            await one.dispatch(PutIn("a", 1), expected_version=1)
        await other.dispatch(PutIn("a", 1))
        assert (await one.dispatch(PutIn("a", 1), expected_version=3)).version == 4


async def test_a_repeat_is_answered_before_the_expected_version_is_looked_at() -> None:
    command_id = uuid4()
    async with application(MemoryEventStore()) as app:
        first = await app.dispatch(PutIn("a", 1), command_id=command_id, expected_version=0)
        await app.dispatch(PutIn("a", 5))

        again = await app.dispatch(PutIn("a", 1), command_id=command_id, expected_version=0)

        assert (again.version, again.events) == (first.version, first.events)
        assert await app.state(Till, "a") == Till(6)


async def test_a_repeat_of_a_refusal_is_refused_before_the_expected_version_is_looked_at() -> None:
    command_id = uuid4()
    async with application(MemoryEventStore()) as app:
        with pytest.raises(NotEnough):
            await app.dispatch(TakeOut("a", 1), command_id=command_id, expected_version=0)
        await app.dispatch(PutIn("a", 5))

        with pytest.raises(NotEnough):
            await app.dispatch(TakeOut("a", 1), command_id=command_id, expected_version=0)


async def test_repeats_that_arrive_together_are_answered_alike_though_the_version_has_moved() -> None:
    command_id = uuid4()
    store = GatedStore()
    async with application(store) as app:
        first = await app.dispatch(PutIn("a", 1), command_id=command_id, expected_version=0)
        store.gate.clear()
        other = asyncio.ensure_future(app.dispatch(PutIn("a", 5)))
        await store.arrived.acquire()
        await store.arrived.acquire()
        again = [
            asyncio.ensure_future(app.dispatch(PutIn("a", 1), command_id=command_id, expected_version=0))
            for _ in range(3)
        ]
        await asyncio.sleep(0)

        store.gate.set()
        await other
        answers = await asyncio.gather(*again)

        assert [answer.version for answer in answers] == [first.version] * 3


async def test_a_version_that_is_none_is_refused() -> None:
    async with application(MemoryEventStore()) as app:
        with pytest.raises(InvalidOption, match="expected_version=-3"):
            await app.dispatch(PutIn("a", 1), expected_version=-3)


# The state that comes along ------------------------------------------------------------------------


async def test_the_state_after_the_command_comes_with_the_answer() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 1))
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 10), returning=Till))
        second = asyncio.ensure_future(app.dispatch(PutIn("a", 100), returning=Till))
        nothing = asyncio.ensure_future(app.dispatch(PutIn("a", 0), returning=Till))
        await asyncio.sleep(0)
        store.gate.set()

        assert (await first).state == Till(11)
        assert (await second).state == Till(111)
        assert (await nothing).state == Till(111)


async def test_a_repeat_brings_the_state_that_the_first_answer_had() -> None:
    command_id = uuid4()
    async with Application(store=MemoryEventStore(), router=tills(), defaults=Defaults(page=2)) as app:
        for _ in range(4):
            await app.dispatch(PutIn("a", 1))
        await app.dispatch(PutIn("a", 10), command_id=command_id)
        await app.dispatch(PutIn("a", 100))

        assert (await app.dispatch(PutIn("a", 10), command_id=command_id, returning=Till)).state == Till(14)


async def test_the_state_of_another_aggregate_does_not_come_along() -> None:
    async with application(MemoryEventStore()) as app:
        with pytest.raises(InvalidOption, match=r"returning=<class 'int'>: PutIn goes to Till"):
            await app.dispatch(PutIn("a", 1), returning=int)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]


# Retries -------------------------------------------------------------------------------------------


async def test_a_command_is_decided_again_as_often_as_its_caller_says() -> None:
    store = Losing(times=3)
    async with application(store) as app:
        with pytest.raises(TooManyAttempts):
            await app.dispatch(PutIn("a", 1), retry=2)
        assert store.appends == 3

        assert (await app.dispatch(PutIn("a", 1), retry=0)).version == 1


async def test_who_gives_up_does_not_take_along_who_goes_on() -> None:
    store = Losing(times=2)
    async with application(store) as app:
        at_once, later = await asyncio.gather(
            app.dispatch(PutIn("a", 1), retry=0), app.dispatch(PutIn("a", 10), retry=2), return_exceptions=True
        )

        assert isinstance(at_once, TooManyAttempts)
        assert not isinstance(later, BaseException)
        assert later.events == (Moved(10),)
        assert await app.state(Till, "a") == Till(10)


async def test_the_retries_of_a_registration_go_before_the_default_and_behind_the_call() -> None:
    router = Router()
    router.register(Till, identity="till", retry=1)
    router.register_command(Sweep, Till, handler=swept, retry=0)
    store = Losing(times=100)
    async with Application(store=store, router=router) as app:
        for command, retry, appends in ((PutIn("a", 1), None, 2), (PutIn("a", 1), 2, 3), (Sweep("a"), None, 1)):
            store.appends = 0
            with pytest.raises(TooManyAttempts):
                await app.dispatch(command, retry=retry)
            assert store.appends == appends


# Time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1)])
async def test_a_timeout_that_leaves_no_time_is_refused(timeout: timedelta) -> None:
    store = MemoryEventStore()
    async with application(store) as app:
        with pytest.raises(InvalidOption, match="leaves no time"):
            await app.dispatch(PutIn("a", 1), timeout=timeout)

    assert await store.head() == 0


async def test_no_limit_is_a_timeout_too() -> None:
    async with application(MemoryEventStore()) as app:
        assert (await app.dispatch(PutIn("a", 1), timeout=timedelta.max)).version == 1


async def test_the_timeout_of_a_registration_goes_before_the_default_and_behind_the_call() -> None:
    router = Router()
    router.register(Till, identity="till", timeout=timedelta(milliseconds=1))
    store = GatedStore()
    async with Application(store=store, router=router) as app:
        store.gate.clear()
        patient = asyncio.ensure_future(app.dispatch(PutIn("a", 1), timeout=timedelta(seconds=60)))
        await store.arrived.acquire()

        with pytest.raises(DispatchTimeout, match=r"within 0\.001 s"):
            await app.dispatch(PutIn("a", 1))

        store.gate.set()
        assert (await patient).version == 1


async def test_an_error_of_the_domain_that_looks_like_a_timeout_is_none() -> None:
    def slow(till: Till, command: TakeOut) -> list[Moved]:
        raise TimeoutError(f"the domain's own: {till}, {command}")

    router = tills()
    router.register_command(TakeOut, Till, handler=slow)
    async with Application(store=MemoryEventStore(), router=router) as app:
        with pytest.raises(TimeoutError, match="the domain's own"):
            await app.dispatch(TakeOut("a", 1))


# What is waited for --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default", "registered", "asked", "waited"),
    [
        (Consistency.EVENTUAL, None, None, {}),
        (Consistency.STRONG, None, None, {"Seen": "handled"}),
        (Consistency.EVENTUAL, Consistency.STRONG, None, {"Seen": "handled"}),
        (Consistency.EVENTUAL, [Seen], None, {"Seen": "handled"}),
        (Consistency.EVENTUAL, "Seen", None, {"Seen": "handled"}),
        (Consistency.STRONG, Consistency.EVENTUAL, None, {}),
        (Consistency.STRONG, Consistency.STRONG, Consistency.EVENTUAL, {}),
        (Consistency.STRONG, Consistency.EVENTUAL, [Seen], {"Seen": "handled"}),
    ],
)
async def test_what_is_waited_for_is_what_the_nearest_says(
    default: Consistency, registered: Any, asked: Any, waited: Mapping[str, str]
) -> None:
    router = Router()
    router.register(Till, identity="till", consistency=registered)
    defaults = Defaults(consistency=default)
    async with Application(store=MemoryEventStore(), router=router, handlers=[Seen()], defaults=defaults) as app:
        assert (await app.dispatch(PutIn("a", 1), consistency=asked)).waited == waited


async def test_a_handler_does_not_wait_for_itself_by_registration_either() -> None:
    refused: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    class Doubling(EventHandler[Moved]):
        async def handle(self, event: Recorded[Moved]) -> None:
            try:
                await app.dispatch(PutIn("b", event.data.amount))
            except SelfWait as error:
                refused.set_result(error)

    router = Router()
    router.register(Till, identity="till", consistency=Consistency.STRONG)
    async with Application(store=MemoryEventStore(), router=router, handlers=[Doubling()]) as app:
        await app.dispatch(PutIn("a", 1))

        assert isinstance(await refused, SelfWait)


# Metadata ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"by": object()}, r"metadata\['by'\]: <object object at .*> is no JSON value"),
        ({"by": "a\0b"}, r"metadata\.by: PostgreSQL holds no text with NUL"),
        ({"by": float("nan")}, "is no JSON value"),
        ({"of": {1: "x"}}, r"metadata\['of'\]: keys are text"),
        ({1: "x"}, "metadata: keys are text"),
        ({"$by": "me"}, r"'\$by': keys that begin with"),
        (["by", "me"], "metadata is a mapping from text to JSON values, not"),
    ],
)
async def test_metadata_that_cannot_be_recorded_is_refused_and_nothing_is(metadata: Any, complaint: str) -> None:
    store = MemoryEventStore()
    async with application(store) as app:
        with pytest.raises(InvalidMetadata, match=complaint):
            await app.dispatch(PutIn("a", 1), metadata=metadata)

    assert await store.head() == 0
