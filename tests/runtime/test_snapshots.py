"""Snapshots: a shortcut to a state, taken of what is committed, off everybody's way, and never needed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from framework import Aggregate, Application, MemoryEventStore, Router, SnapshotEvery
from framework.codec import Codec
from framework.errors import (
    ConfigurationError,
    InvalidOption,
    InvalidRequest,
    StorageUnavailable,
    StreamDeleted,
    UnsupportedType,
)
from framework.policies import Defaults
from framework.runtime.snapshots import WAITING_AT_MOST
from framework.store.protocol import Appended, Expected, NewEvent, Receipt, Snapshot, StoredEvent, StreamWrite
from framework.testing import eventually
from tests.runtime.till import GatedStore, Moved, PutIn, TakeOut, Till

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVERY_THREE = SnapshotEvery(3)


class WatchedStore(GatedStore):
    """A gated store that says what was read of it, and may hold back or fail what is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int] = []
        """How many events each time."""
        self.saving = asyncio.Event()
        self.saving.set()
        self.saves: list[Snapshot] = []
        """What came to be saved, or not."""
        self.fault: Exception | None = None

    @property
    def saved(self) -> list[int]:
        """The versions of that."""
        return [snapshot.version for snapshot in self.saves]

    async def read_stream(
        self, stream: str, *, after: int = 0, until: int | None = None, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        stored = await super().read_stream(stream, after=after, until=until, limit=limit)
        self.read.append(len(stored))
        return stored

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        self.saves.append(snapshot)
        await self.saving.wait()
        if self.fault is not None:
            raise self.fault
        await super().save_snapshot(snapshot)


def bank(
    store: MemoryEventStore, snapshots: SnapshotEvery | None = EVERY_THREE, defaults: Defaults | None = None
) -> Application:
    router = Router()
    router.register(Till, identity="till", prefix="till-", snapshots=snapshots)
    return Application(store=store, router=router, defaults=defaults or Defaults())


async def kept(store: MemoryEventStore, stream: str = "till-a", shape: int = 1) -> int | None:
    """Return the version of the latest snapshot."""
    snapshot = await store.load_snapshot(stream, "Till", shape)
    return None if snapshot is None else snapshot.version


async def is_kept(store: MemoryEventStore, version: int, stream: str = "till-a") -> bool:
    return await kept(store, stream) == version


async def filled(store: MemoryEventStore, events: int) -> None:
    """Put one into the till a, so many times, without a snapshot."""
    async with bank(store, None) as app:
        for _ in range(events):
            await app.dispatch(PutIn("a", 1))


async def test_a_state_is_saved_when_so_many_events_have_come_since_the_last_time() -> None:
    store = WatchedStore()
    async with bank(store) as app:
        for _ in range(2):
            await app.dispatch(PutIn("a", 1))
        assert not store.saves
        await app.dispatch(PutIn("a", 1))
        await eventually(lambda: store.saved == [3])
        for _ in range(3):
            await app.dispatch(PutIn("a", 1))

        await eventually(lambda: store.saved == [3, 6])


async def test_events_that_overshoot_are_counted_from_the_snapshot_they_led_to() -> None:
    store = WatchedStore()
    async with bank(store) as app:
        await app.dispatch(PutIn("a", 1))
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        await store.arrived.acquire()
        others = [asyncio.ensure_future(app.dispatch(PutIn("a", 1))) for _ in range(3)]
        await asyncio.sleep(0)
        store.gate.set()
        await asyncio.gather(first, *others)  # from the first event and the second to the fifth at once
        for _ in range(3):
            await app.dispatch(PutIn("a", 1))
        await eventually(lambda: store.saved == [5, 8])


async def test_an_aggregate_comes_back_from_its_snapshot_and_what_came_after() -> None:
    store = WatchedStore()
    await filled(store, 10)
    async with bank(store) as app:
        assert await app.snapshot(Till, "a") == 10
    await filled(store, 2)

    store.read.clear()
    async with bank(store) as app:
        assert (await app.dispatch(TakeOut("a", 12))).version == 13
        assert store.read == [3], "the event of the snapshot, and two more"
        assert await app.state(Till, "a") == Till(0)
        assert await app.state(Till, "a", version=11) == Till(11)
        assert await app.state(Till, "a", version=9) == Till(9)


async def test_after_a_restart_it_is_counted_from_the_snapshot_that_was_found() -> None:
    store = WatchedStore()
    await filled(store, 4)
    async with bank(store) as app:
        await app.snapshot(Till, "a")
        store.saves.clear()

    async with bank(store) as app:
        for _ in range(3):
            assert not store.saves
            await app.dispatch(PutIn("a", 1))
        await eventually(lambda: store.saved == [7])


class Overtaken(WatchedStore):
    """A store in which somebody else is first once, right before the append of 100."""

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        if await self.head() == 2 and b"100" in writes[0].events[0].data:
            foreign = NewEvent(uuid4(), "Moved", 1, b'{"amount": 1}', b"{}", uuid4(), uuid4())
            await super().append([StreamWrite("till-a", 2, [foreign])])
        return await super().append(writes, receipts)


async def test_what_is_not_committed_is_not_saved() -> None:
    store = Overtaken()
    async with bank(store) as app:
        for amount in (1, 1, 100):
            await app.dispatch(PutIn("a", amount))
        await eventually(lambda: store.saved[-1:] == [4])

        for snapshot in store.saves:
            assert Codec().decode(Till, snapshot.state) == await state_from_the_log(store, snapshot.version)


async def state_from_the_log(store: MemoryEventStore, version: int) -> Till:
    stored = await store.read_stream("till-a", until=version)
    return Till().fold([Codec().decode(Moved, each.data) for each in stored])


async def test_nobody_waits_for_a_snapshot_and_the_latest_state_is_saved_when_it_can_be() -> None:
    store = WatchedStore()
    store.saving.clear()
    async with bank(store) as app:
        for _ in range(12):
            await app.dispatch(PutIn("a", 1))
        assert store.saved == [3], "the first is still on its way"

        store.saving.set()
        await eventually(lambda: store.saved == [3, 12])


async def test_only_so_many_states_wait_to_be_saved_and_one_too_many_is_offered_again() -> None:
    store = WatchedStore()
    store.saving.clear()
    async with bank(store, SnapshotEvery(1)) as app:
        await app.dispatch(PutIn("in hand", 1))
        await eventually(lambda: len(store.saves) == 1)
        for number in range(WAITING_AT_MOST):
            await app.dispatch(PutIn(str(number), 1))
        await app.dispatch(PutIn("one too many", 1))

        store.saving.set()
        await eventually(lambda: len(store.saves) == WAITING_AT_MOST + 1)
        assert await kept(store, "till-one too many") is None
        await app.dispatch(PutIn("one too many", 0))
        await app.dispatch(PutIn("one too many", 1))
        await eventually(lambda: is_kept(store, 2, "till-one too many"))


@pytest.mark.parametrize("fault", [StorageUnavailable("away"), LookupError("a bug")])
async def test_a_snapshot_that_cannot_be_saved_is_logged_and_the_next_one_is(fault: Exception) -> None:
    store = WatchedStore()
    store.fault = fault
    async with bank(store) as app:
        with capture_logs() as logs:
            for _ in range(3):
                await app.dispatch(PutIn("a", 1))
            await eventually(lambda: "snapshot_failed" in [line["event"] for line in logs])
        store.fault = None
        for _ in range(3):
            await app.dispatch(PutIn("a", 1))

        await eventually(lambda: is_kept(store, 6))


async def passed_over(store: MemoryEventStore, snapshots: SnapshotEvery | None = EVERY_THREE) -> list[str]:
    """Load the till a, which holds what its four events say, and return why snapshots were of no use."""
    with capture_logs() as logs:
        async with bank(store, snapshots) as app:
            assert await app.state(Till, "a") == Till(4)
            assert (await app.dispatch(TakeOut("a", 4), returning=Till)).state == Till(0)
    return [line["reason"] for line in logs if line["event"] == "snapshot_passed_over"]


async def lied(store: MemoryEventStore, state: bytes = b'{"content": 1000}', shape: int = 1) -> None:
    await filled(store, 4)
    await store.save_snapshot(Snapshot("till-a", 3, "Till", shape, state, NOON))


async def test_a_snapshot_of_another_version_is_not_used() -> None:
    store = MemoryEventStore()
    await lied(store, shape=1)

    assert await passed_over(store, SnapshotEvery(3, version=2)) == []


async def test_without_snapshots_there_is_none_for_it() -> None:
    store = MemoryEventStore()
    await lied(store)

    assert await passed_over(store, None) == []


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (b'{"content": "many"}', "content"),
        (b'{"content": 1000, "owner": "x"}', "other fields"),
        (b"{}", "other fields"),
        (b"[]", ""),
        (b"null", ""),
    ],
)
async def test_a_snapshot_that_is_not_what_the_class_would_write_is_passed_over(state: bytes, reason: str) -> None:
    store = MemoryEventStore()
    await lied(store, state)

    reasons = await passed_over(store)

    assert len(reasons) == 2
    assert reason in reasons[0]


class Restored(MemoryEventStore):
    """Has a snapshot of what it has no events of."""

    async def load_snapshot(
        self, stream: str, state_type: str, state_version: int, *, until: int | None = None
    ) -> Snapshot | None:
        return Snapshot(stream, 7, state_type, state_version, b'{"content": 1000}', NOON)


@pytest.mark.parametrize("events", [4, 5])
async def test_a_snapshot_beyond_its_stream_is_passed_over(events: int) -> None:
    store = Restored()
    await filled(store, events)

    async with bank(store) as app:
        assert await app.state(Till, "a") == Till(events)
        assert (await app.dispatch(TakeOut("a", events))).version == events + 1


async def test_on_demand_the_present_state_is_saved() -> None:
    store = WatchedStore()
    async with bank(store) as app:
        assert await app.snapshot(Till, "a") == 0
        assert not store.saves
        await app.dispatch(PutIn("a", 1))

        assert await app.snapshot(Till, "a") == 1
        assert await kept(store) == 1
        assert await app.snapshot(Till, "a") == 1

        await store.delete_stream("till-a", Expected.STREAM_EXISTS)
        with pytest.raises(StreamDeleted):
            await app.snapshot(Till, "a")


async def test_nothing_is_saved_that_nobody_would_read() -> None:
    async with bank(MemoryEventStore(), None) as app:
        with pytest.raises(ConfigurationError, match=r"register it with snapshots=SnapshotEvery"):
            await app.snapshot(Till, "a")


class Opaque:
    """Nothing the codec holds."""


@attrs.frozen
class Unkept(Aggregate[PutIn, Moved]):
    opaque: Opaque | None = None

    def execute(self, command: PutIn) -> Iterator[Moved]:
        yield Moved(command.amount)

    def apply(self, event: Moved) -> Self:
        return self


def test_a_state_that_cannot_be_saved_is_found_before_anything_runs() -> None:
    router = Router()
    router.register(Unkept, identity="till", snapshots=EVERY_THREE)

    with pytest.raises(UnsupportedType, match=r"Unkept\.opaque"):
        Application(store=MemoryEventStore(), router=router)


@pytest.mark.parametrize(("events", "version"), [(0, 1), (-1, 1), (1, 0)])
def test_a_snapshot_of_no_events_or_no_version_is_refused(events: int, version: int) -> None:
    with pytest.raises(ConfigurationError, match="give 1 or more"):
        SnapshotEvery(events, version)


@settings(max_examples=25, deadline=None)
@given(amounts=st.lists(st.integers(-9, 9).filter(bool), max_size=12), every=st.integers(1, 4), page=st.integers(1, 4))
def test_at_every_version_the_live_state_is_the_replayed_one_and_the_one_from_a_snapshot(
    amounts: list[int], every: int, page: int
) -> None:
    async def check() -> None:
        store = MemoryEventStore()
        paging = Defaults(page=page)
        live: list[Till] = [Till()]
        async with bank(store, SnapshotEvery(every), paging) as app:
            for amount in amounts:
                live.append((await app.dispatch(PutIn("a", amount), returning=Till)).state)
                await asyncio.sleep(0)

        async with bank(store, None, paging) as replaying, bank(store, SnapshotEvery(every), paging) as shortening:
            for version, state in enumerate(live):
                assert await replaying.state(Till, "a", version=version) == state
                assert await shortening.state(Till, "a", version=version) == state
            assert (await shortening.dispatch(PutIn("a", 0), returning=Till)).state == live[-1]

    with asyncio.Runner() as runner:
        runner.run(check())


async def test_others_are_served_between_the_pages_of_a_long_stream() -> None:
    store = MemoryEventStore()
    events = [NewEvent(uuid4(), "Moved", 1, b'{"amount": 1}', b"{}", uuid4(), uuid4()) for _ in range(10_000)]
    await store.append([StreamWrite("till-long", 0, events)])
    async with bank(store, defaults=Defaults(page=100)) as app:
        long = asyncio.ensure_future(app.dispatch(PutIn("long", 1)))
        turns_of_others = 0
        while not long.done():
            await asyncio.sleep(0)
            turns_of_others += 1

    assert (await long).version == 10_001
    assert turns_of_others >= 10_000 / 100


async def test_a_state_is_had_as_of_a_moment() -> None:
    store = MemoryEventStore()
    await filled(store, 3)
    second = (await store.read_stream("till-a"))[1].recorded_at
    async with bank(store) as app:
        at_second = sum(each.recorded_at <= second for each in await store.read_stream("till-a"))
        assert await app.state(Till, "a", at=second) == Till(at_second)
        assert await app.state(Till, "a", at=NOON.replace(year=1990)) == Till()
        assert await app.state(Till, "a", at=NOON.replace(year=9999)) == Till(3)
        assert await app.state(Till, "never", at=NOON) == await app.state(Till, "never") == Till()
        with pytest.raises(InvalidRequest, match="time zone"):
            await app.state(Till, "a", at=NOON.replace(tzinfo=None))
        with pytest.raises(InvalidOption, match="give one of them"):
            await app.state(Till, "a", version=1, at=NOON)

        actors: Any = vars(app)["_engine"]._actors
        assert len(actors) == 0, "nobody is kept alive for being looked at"
