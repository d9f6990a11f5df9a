"""What can be seen of processes, and asked of their instances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from framework.store.protocol import EventStore, ProcessChange, TimerRow
from framework.testing.store_contract.parts import OnAStore, apply, ids_of, new_command, new_instance, row_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class InstanceContract(OnAStore):
    """`ProcessStore`, as far as people look at it."""

    async def test_instances_that_run_are_listed_in_the_order_of_their_names(self, store: EventStore) -> None:
        b, upper, a, done = (new_instance(1, of=name) for name in ("b", "B", "a", "done"))
        await apply(store, ProcessChange(saved=[b, upper, a, done]))
        await apply(store, ProcessChange(saved=[done._replace(state=None)]))
        await apply(store, ProcessChange(saved=[new_instance(1, of="c")]), process="q")

        first = await store.instances("p", limit=2)
        second = await store.instances("p", after="a")

        assert [(row.instance, row.version) for row in first] == [("B", 1), ("a", 1)]
        assert [row.instance for row in second] == ["b"]
        assert list(await store.instances("nobody")) == []

    async def test_what_is_open_of_one_instance_is_what_is_open_of_all_that_is_its_own(self, store: EventStore) -> None:
        parked, waits, other = new_command(), new_command(), new_command(instance="j")
        timers = [
            TimerRow(NOON + timedelta(hours=hours), new_command()._replace(timer=f"k{hours}")) for hours in (2, 1)
        ]
        await apply(store, ProcessChange(commands=[parked, other, waits], timers=timers))
        await store.park(await row_of(store, parked), "it broke")

        found = await store.pending_of("p", "i")

        assert found == [each for each in await store.pending("p") if each.command.instance == "i"]
        late, early = (timer.command for timer in timers)
        assert ids_of(each.command for each in found) == ids_of([parked, waits, early, late])
        assert list(await store.pending_of("p", "nobody")) == []

    async def test_who_is_asked_to_stop_is_asked_until_it_has(self, store: EventStore) -> None:
        await apply(store, ProcessChange(saved=[new_instance(1), new_instance(1, of="j")]))

        assert await store.ask_to_stop("p", "i")
        assert not await store.ask_to_stop("p", "nobody")
        assert await store.asked_to_stop("p") == ["i"]
        await apply(store, ProcessChange(saved=[new_instance(2)]))
        assert await store.asked_to_stop("p") == ["i"], "it has handled an event, and goes on"
        await apply(store, ProcessChange(saved=[new_instance(2)._replace(state=None)]))

        assert await store.asked_to_stop("p") == []
        assert not await store.ask_to_stop("p", "i")
        await apply(store, ProcessChange(saved=[new_instance(1)]))
        assert await store.asked_to_stop("p") == [], "it has begun anew, and nobody has asked"
