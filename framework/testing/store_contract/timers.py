"""What processes have scheduled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from framework.errors import LeaseLost
from framework.store.protocol import EventStore, Part, ProcessChange, TimerRow, Withdrawal
from framework.testing.store_contract.parts import (
    OnAStore,
    apply,
    define,
    finished,
    ids_of,
    new_command,
    outcomes,
    row_of,
    take,
    value_of,
    waiting,
    working,
)

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)


def new_timer(due_at: datetime, key: str = "k", *, of: str = "i") -> TimerRow:
    """Return a command that the instance *of* has scheduled under *key*."""
    return TimerRow(due_at, new_command(instance=of)._replace(timer=key))


class TimerContract(OnAStore):
    """`ProcessStore`, as far as it is about time."""

    async def test_what_is_scheduled_is_not_sent_before_it_is_due(self, store: EventStore) -> None:
        timer = new_timer(NOON)
        await apply(store, ProcessChange(timers=[timer]))

        due_at = await store.fire("p", until=NOON - SECOND, limit=10)

        assert due_at == NOON
        assert await waiting(store) == []
        assert [row.command.command_id for row in await store.timers("p")] == [timer.command.command_id]

    async def test_what_is_due_is_sent_as_it_was_scheduled(self, store: EventStore) -> None:
        timer = new_timer(NOON)
        await apply(store, ProcessChange(timers=[timer]))

        due_at = await store.fire("p", until=NOON, limit=10)

        (row,) = await store.outbox("p", limit=10)
        assert due_at is None
        assert value_of(row.command) == value_of(timer.command.command)
        assert row._replace(number=0, command=timer.command.command) == timer.command
        assert list(await store.timers("p")) == []

    async def test_what_is_due_is_sent_in_order_of_time_behind_what_waits(self, store: EventStore) -> None:
        late, early, never = (
            new_timer(NOON, "late"),
            new_timer(NOON - SECOND, "early"),
            new_timer(NOON + SECOND, "never"),
        )
        command = new_command()
        await apply(store, ProcessChange(commands=[command], timers=[late, early, never]))

        due_at = await store.fire("p", until=NOON, limit=10)

        assert due_at == NOON + SECOND
        assert await waiting(store) == ids_of([command, early.command, late.command])

    async def test_timers_fire_a_bounded_number_at_a_time_and_say_that_more_are_due(self, store: EventStore) -> None:
        timers = [new_timer(NOON + number * SECOND, f"k{number}") for number in range(5)]
        await apply(store, ProcessChange(timers=timers))

        due_at = await store.fire("p", until=NOON + 9 * SECOND, limit=2)

        assert due_at == NOON + 2 * SECOND
        assert await waiting(store) == ids_of(timer.command for timer in timers[:2])

    async def test_a_timer_fires_once_whoever_looks(self, store: EventStore) -> None:
        timers = [new_timer(NOON, f"k{number}") for number in range(20)]
        await apply(store, ProcessChange(timers=timers))

        await outcomes(store.fire("p", until=NOON, limit=20) for _ in range(6))

        assert sorted(await waiting(store)) == sorted(ids_of(timer.command for timer in timers))

    async def test_what_is_scheduled_under_a_key_again_takes_the_place_of_what_was(self, store: EventStore) -> None:
        await apply(store, ProcessChange(timers=[new_timer(NOON), other := new_timer(NOON, "other")]))
        again = new_timer(NOON + SECOND)

        await apply(store, ProcessChange(timers=[again]))
        await store.fire("p", until=NOON + SECOND, limit=10)

        assert await waiting(store) == ids_of([other.command, again.command])

    async def test_what_is_due_and_not_sent_is_withdrawn_by_its_key_as_well(self, store: EventStore) -> None:
        timer, other = new_timer(NOON), new_timer(NOON, "other")
        await apply(store, ProcessChange(timers=[timer, other]))
        await store.fire("p", until=NOON, limit=10)
        assert await store.is_waiting("p", timer.command.command_id)

        await apply(store, ProcessChange(withdrawn=[Withdrawal("i", "k"), Withdrawal("i", "never")]))

        assert not await store.is_waiting("p", timer.command.command_id)
        assert await waiting(store) == [other.command.command_id]

    async def test_one_who_is_done_leaves_no_timers_and_all_its_commands(self, store: EventStore) -> None:
        command, due, later = new_command(), new_timer(NOON), new_timer(NOON + SECOND, "later")
        others = new_timer(NOON + SECOND, of="j")
        await apply(store, ProcessChange(commands=[command], timers=[due, later, others]))
        await store.fire("p", until=NOON, limit=10)

        await apply(store, ProcessChange([finished("i", 1)], withdrawn=[Withdrawal("i", None)]))

        assert await waiting(store) == [command.command_id]
        assert [row.command.instance for row in await store.timers("p")] == ["j"]
        assert list(await store.timers("p", ["i"])) == []

    async def test_a_parked_command_is_not_withdrawn(self, store: EventStore) -> None:
        timer = new_timer(NOON)
        await apply(store, ProcessChange(timers=[timer]))
        await store.fire("p", until=NOON, limit=10)
        await store.park(await row_of(store, timer.command), "it broke")

        await apply(store, ProcessChange(withdrawn=[Withdrawal("i", "k")]))

        assert ids_of(await store.parked("p")) == [timer.command.command_id]

    async def test_a_refusal_sets_and_withdraws_timers(self, store: EventStore) -> None:
        before, after = new_timer(NOON, "before"), new_timer(NOON, "after")
        refused = new_command()
        await apply(store, ProcessChange(commands=[refused], timers=[before]))

        change = ProcessChange(withdrawn=[Withdrawal("i", "before")], timers=[after])
        assert await store.settle_refused(await row_of(store, refused), change)

        assert [row.command.timer for row in await store.timers("p")] == ["after"]
        assert await waiting(store) == []

    async def test_a_refused_command_that_was_scheduled_may_schedule_itself_again(self, store: EventStore) -> None:
        timer, again = new_timer(NOON), new_timer(NOON + SECOND)
        await apply(store, ProcessChange(timers=[timer]))
        await store.fire("p", until=NOON, limit=10)

        assert await store.settle_refused(await row_of(store, timer.command), ProcessChange(timers=[again]))

        assert [row.command.command_id for row in await store.timers("p")] == [again.command.command_id]
        assert await waiting(store) == []

    async def test_timers_of_a_slot_that_another_runs_are_not_set(self, store: EventStore) -> None:
        await apply(store, ProcessChange())
        before = await take(store, "p")
        await take(store, "p")

        with pytest.raises(LeaseLost):
            await store.advance_process(before, ProcessChange(timers=[new_timer(NOON)]), position=9)

        assert list(await store.timers("p")) == []

    async def test_a_process_without_slots_is_changed_and_says_what_that_withdrew(self, store: EventStore) -> None:
        first, due, later = new_timer(NOON + SECOND), new_timer(NOON, of="j"), new_timer(NOON + 2 * SECOND)
        command = new_command(instance="j")
        assert await store.change_process("p", ProcessChange(commands=[command], timers=[first, due])) == 0
        await store.fire("p", until=NOON, limit=10)

        assert await store.change_process("p", ProcessChange(withdrawn=[Withdrawal("j", None)])) == 1
        assert await store.change_process("p", ProcessChange(timers=[later])) == 1

        assert await waiting(store) == [command.command_id]
        assert [row.command.command_id for row in await store.timers("p")] == [later.command.command_id]
        assert await store.change_process("p", ProcessChange(withdrawn=[Withdrawal("j", None)])) == 0

    async def test_what_has_no_answer_yet_is_listed_by_instance_and_an_instance_comes_whole(
        self, store: EventStore
    ) -> None:
        parked, waits = new_command(instance="b"), new_command(instance="b")
        late, early = new_timer(NOON + SECOND, "late", of="b"), new_timer(NOON, "soon", of="b")
        others = new_timer(NOON, of="B"), new_timer(NOON, of="c")
        await store.change_process("p", ProcessChange(commands=[parked, waits], timers=[late, early, *others]))
        await store.change_process("q", ProcessChange(commands=[new_command("q")]))
        await store.park(await row_of(store, parked), "it broke")

        first = await store.pending("p", limit=1)
        second = await store.pending("p", after="B", limit=2)
        third = await store.pending("p", after="b")

        assert [(each.due_at, each.command.instance) for each in first] == [(NOON, "B")]
        assert ids_of(each.command for each in second) == ids_of([parked, waits, early.command, late.command])
        assert [(each.due_at, each.command.parked, each.command.timer) for each in second] == [
            (None, "it broke", None),
            (None, None, None),
            (NOON, None, "soon"),
            (NOON + SECOND, None, "late"),
        ]
        assert ids_of(each.command for each in third) == [others[1].command.command_id]
        assert list(await store.pending("nobody")) == []

    async def test_timers_are_fired_for_the_instances_of_a_part_by_its_owner(self, store: EventStore) -> None:
        timers = [new_timer(NOON + SECOND * number, of=f"i{number}") for number in range(9)]
        await define(store, "p", partitions=2)
        async with working(store, "p") as worker:
            await store.advance_process(worker.held[0], ProcessChange(timers=timers), position=1)
        async with working(store, "p") as worker:
            ours, other = (Part(lease, 2) for lease in worker.held)
            due = [timer for timer in timers if ours.has(timer.command.instance)]

            next_due = await store.fire("p", until=due[-2].due_at, limit=99, part=ours)

            assert next_due == due[-1].due_at
            assert await waiting(store) == ids_of(timer.command for timer in due[:-1])
            left = [timer.due_at for timer in timers if other.has(timer.command.instance)]
            assert await store.fire("p", until=NOON - SECOND, limit=99, part=other) == left[0]

    async def test_who_has_lost_a_part_fires_nothing(self, store: EventStore) -> None:
        await apply(store, ProcessChange(timers=[new_timer(NOON)]))
        lost = Part(await take(store, "p"), 1)
        await take(store, "p")

        with pytest.raises(LeaseLost):
            await store.fire("p", until=NOON, limit=10, part=lost)

        assert await waiting(store) == []
        assert len(await store.timers("p")) == 1
