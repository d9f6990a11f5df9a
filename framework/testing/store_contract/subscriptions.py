"""How far each slot of each subscription has come, and who runs it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from framework.errors import LeaseLost, SubscriptionChanged, SubscriptionInUse, UnknownSubscription
from framework.store.protocol import EventStore
from framework.store.subscriptions import DISCARD, RETRY, Definition, Lease, Report
from framework.testing.store_contract.parts import (
    PATIENCE_S,
    OnAStore,
    Worker,
    define,
    new_events,
    outcomes,
    parked_event,
    position_of,
    take,
    without_time,
    working,
    write,
)


class SubscriptionContract(OnAStore):
    """`Subscriptions`."""

    async def test_slots_start_where_they_are_told_to(self, store: EventStore) -> None:
        await define(store, "reader", partitions=2, start=7)

        assert [(state.slot, state.position, state.owner) for state in await store.subscriptions.slots()] == [
            (0, 7, None),
            (1, 7, None),
        ]

    async def test_a_subscription_that_is_there_goes_on_where_it_was(self, store: EventStore) -> None:
        await define(store, "reader")
        await store.subscriptions.advance(await take(store, "reader"), 5)

        await define(store, "reader", start=99)

        (state,) = await store.subscriptions.slots(["reader"])
        assert state.position == 5

    async def test_another_definition_is_refused(self, store: EventStore) -> None:
        await define(store, "reader", types=("A", "B"))

        with pytest.raises(SubscriptionChanged, match=r"reader .* types was \['A', 'B'\] and is \['A'\]"):
            await store.subscriptions.define(Definition("reader", ("A",), 1, "stream"), start=0)
        with pytest.raises(SubscriptionChanged, match="partitions was 1 and is 4: raise its revision"):
            await store.subscriptions.define(Definition("reader", ("A", "B"), 4, "stream"), start=0, on_change="keep")

        assert len(await store.subscriptions.slots()) == 1

    async def test_a_later_definition_is_recorded_and_the_slots_go_on_under_other_fences(
        self, store: EventStore
    ) -> None:
        await define(store, "reader", types=("A",), partitions=2)
        before = await take(store, "reader")
        await store.subscriptions.park(before, [parked_event("reader", 3)], 5)
        later = Definition("reader", ("A", "B"), 2, "stream", revision=2)

        await store.subscriptions.define(later, start=9, on_change="keep")

        (state,) = await store.subscriptions.states()
        assert state.definition == later
        assert sorted(slot.position for slot in state.slots) == [0, 5]
        assert len(await store.subscriptions.parked()) == 1
        with pytest.raises(LeaseLost):
            await store.subscriptions.advance(before, 6)

    async def test_a_later_definition_is_recorded_and_the_subscription_begins_anew(self, store: EventStore) -> None:
        await define(store, "reader")
        before = await take(store, "reader")
        await store.subscriptions.park(before, [parked_event("reader", 3)], 5)

        for _ in range(2):
            later = Definition("reader", ("A",), 1, "stream", revision=2)
            await store.subscriptions.define(later, start=1, on_change="reset")

        assert await position_of(store, "reader") == 1
        assert await store.subscriptions.parked() == []
        with pytest.raises(LeaseLost):
            await store.subscriptions.advance(before, 6)

    async def test_an_earlier_definition_does_not_undo_a_later_one(self, store: EventStore) -> None:
        later = Definition("reader", ("A",), 1, "stream", revision=2)
        await store.subscriptions.define(later, start=0)

        for revision in (1, 2):
            earlier = Definition("reader", ("B",), 1, "stream", revision=revision)
            with pytest.raises(SubscriptionChanged, match="raise its revision above 2"):
                await store.subscriptions.define(earlier, start=0, on_change="reset")

        assert (await store.subscriptions.states())[0].definition == later

    async def test_keys_do_not_move_with_a_definition_that_keeps_places(self, store: EventStore) -> None:
        await define(store, "reader", partitions=2)

        with pytest.raises(SubscriptionChanged, match="keys would move"):
            await store.subscriptions.define(
                Definition("reader", None, 2, "key", revision=2), start=0, on_change="keep"
            )

        assert [slot.slot for slot in await store.subscriptions.slots()] == [0, 1]

    async def test_many_may_define_one_at_once(self, store: EventStore) -> None:
        answers = await outcomes(define(store, "reader", partitions=3) for _ in range(8))

        assert answers == [None] * 8
        assert len(await store.subscriptions.slots()) == 3

    async def test_a_slot_moves_under_its_fence_alone(self, store: EventStore) -> None:
        await define(store, "reader")
        before = await take(store, "reader")
        await store.subscriptions.advance(before, 2**40)
        lease = await take(store, "reader")

        with pytest.raises(LeaseLost) as caught:
            await store.subscriptions.advance(before, 2**41)
        with pytest.raises(LeaseLost):
            await store.subscriptions.terms(before)

        assert (caught.value.name, caught.value.slot, caught.value.fence) == before
        assert lease.fence > before.fence
        assert (await store.subscriptions.terms(lease)).position == 2**40

    async def test_a_slot_nobody_has_taken_is_nobodys(self, store: EventStore) -> None:
        await define(store, "reader")

        with pytest.raises(LeaseLost):
            await store.subscriptions.advance(Lease("reader", 0, 1), 1)
        with pytest.raises(LeaseLost):
            await store.subscriptions.terms(Lease("nobody", 0, 1))

    async def test_names_differ_by_the_letter(self, store: EventStore) -> None:
        for name, position in (("reader", 5), ("Reader", 7)):
            await define(store, name)
            await store.subscriptions.advance(await take(store, name), position)

        states = await store.subscriptions.slots(["reader", "Reader", "nobody"])
        assert {state.name: state.position for state in states} == {"reader": 5, "Reader": 7}

    async def test_one_who_is_alone_runs_all(self, store: EventStore) -> None:
        await define(store, "one", partitions=3)
        await define(store, "two")

        async with working(store, "one", "two") as worker:
            states = await store.subscriptions.slots()

        assert [lease[:2] for lease in worker.held] == [("one", 0), ("one", 1), ("one", 2), ("two", 0)]
        assert worker.surplus == []
        assert len({state.owner for state in states}) == 1
        assert all(state.is_owned for state in states)

    async def test_who_joins_gets_a_fair_part_and_nobody_gives_more_than_that(self, store: EventStore) -> None:
        await define(store, "one", partitions=5)

        async with working(store, "one") as first, working(store, "one") as second:
            joined = second.held
            before = first.held
            await first.is_told(lambda: len(first.surplus) == 2)
            surplus = first.surplus
            await first.give_back()
            await second.is_told(lambda: len(second.held) == 2)
            await first.is_told(lambda: len(first.held) == 3)

            assert joined == []
            assert {lease.slot for lease in second.held} == {lease.slot for lease in surplus}
            assert set(first.held) < set(before)
            assert first.surplus == []

    async def test_only_those_who_can_run_a_subscription_have_a_part_in_it(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        await define(store, "two", partitions=2)

        async with working(store, "two"), working(store, "one", "two") as both:
            held = both.held

        assert [lease[:2] for lease in held] == [("one", 0), ("one", 1)]

    async def test_those_are_run_that_a_process_can_run_which_lives(self, store: EventStore) -> None:
        for name in ("one", "two", "three"):
            await define(store, name, partitions=2, types=("opened", "closed"))

        async with working(store, "two", "one"):
            async with working(store, "one", "three"):
                assert [each.name for each in await store.subscriptions.running()] == ["one", "three", "two"]

            assert await store.subscriptions.running() == [
                Definition(name, ("opened", "closed"), 2, "stream") for name in ("one", "two")
            ]

    async def test_what_its_owner_says_of_a_slot_is_read_with_how_far_it_is_behind(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        async with working(store, "one") as worker:
            lease = worker.held[0]
            await write(store, "s", *new_events(3))
            await store.subscriptions.advance(lease, 1)

            await store.subscriptions.report([Report(lease, "retrying", "paper jam", 2, 1.5, "poll")])
            first, second = await store.subscriptions.lag(["one"])

        assert first[:5] == ("one", 0, 1, 3, 2)
        assert 0 <= first.seconds_behind < 60
        assert (first.rate, *first[8:12]) == (1.5, "retrying", "paper jam", 2, "poll")
        assert first.owner is not None
        assert first.reported_at is not None
        assert (second.events_behind, second.state, second.reported_at) == (3, "running", None)

    async def test_a_slot_that_nobody_runs_is_so_called_and_one_at_the_head_is_not_behind(
        self, store: EventStore
    ) -> None:
        await define(store, "one")
        lease = await take(store, "one")
        await write(store, "s", *new_events(2))
        await store.subscriptions.advance(lease, 2)

        (slot,) = await store.subscriptions.lag()

        assert (slot.events_behind, slot.seconds_behind, slot.state, slot.owner) == (0, 0.0, "unowned", None)

    async def test_who_has_lost_a_slot_says_nothing_of_it(self, store: EventStore) -> None:
        await define(store, "one")
        before = await take(store, "one")
        async with working(store, "one"):
            await store.subscriptions.report([Report(before, "halted", "late", 1, 1.0, None)])

            (slot,) = await store.subscriptions.lag()

        assert (slot.state, slot.error) == ("running", None)

    async def test_who_runs_slots_is_nudged(self, store: EventStore) -> None:
        await define(store, "one")

        async with working(store, "one") as worker:
            worker.told.clear()
            await store.subscriptions.nudge()
            async with asyncio.timeout(PATIENCE_S):
                await worker.told.wait()

    async def test_what_one_who_leaves_held_is_taken_by_the_others_without_being_asked(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        first = await Worker(store).join("one")

        async with working(store, "one") as second:
            await first.leave()
            await second.is_told(lambda: len(second.held) == 2)

    async def test_who_has_left_owns_nothing_and_is_told_nothing(self, store: EventStore) -> None:
        await define(store, "one")
        first = await Worker(store).join("one")
        await first.leave()
        first.told.clear()

        async with working(store, "one") as second:
            (state,) = await store.subscriptions.slots()

        assert state.is_owned
        assert second.held[0].fence == state.fence == first.held[0].fence + 1
        assert not first.told.is_set()
        (state,) = await store.subscriptions.slots()
        assert (state.owner, state.is_owned) == (None, False)

    async def test_who_runs_slots_hears_that_something_is_asked(self, store: EventStore) -> None:
        await define(store, "one")

        async with working(store, "one") as worker:
            worker.told.clear()
            await store.subscriptions.ask("one", RETRY)
            async with asyncio.timeout(PATIENCE_S):
                await worker.told.wait()

    async def test_a_slot_that_is_lost_cannot_be_given_back(self, store: EventStore) -> None:
        await define(store, "one")
        before = await take(store, "one")

        async with working(store, "one") as worker:
            await store.subscriptions.release([before])

            (state,) = await store.subscriptions.slots()
            assert state.owner is not None
            assert (await store.subscriptions.terms(worker.held[0])).position == 0

    async def test_of_many_who_reach_for_one_slot_one_gets_it(self, store: EventStore) -> None:
        await define(store, "one")

        async with AsyncExitStack() as stack:
            workers = await asyncio.gather(*(stack.enter_async_context(working(store, "one")) for _ in range(8)))

            assert sum(len(worker.held) for worker in workers) == 1

    async def test_what_is_parked_is_there_with_the_progress_it_came_with(self, store: EventStore) -> None:
        await define(store, "one")
        lease = await take(store, "one")
        events = [parked_event("one", 3, error="it broke", attempts=2), parked_event("one", 5)]

        await store.subscriptions.park(lease, events, 7)

        assert (await store.subscriptions.terms(lease)).position == 7
        assert [without_time(event) for event in await store.subscriptions.parked()] == [
            ("one", 3, "key", "it broke", 2, None),
            ("one", 5, "key", None, 0, None),
        ]

    async def test_who_has_lost_a_slot_parks_and_releases_nothing(self, store: EventStore) -> None:
        await define(store, "one")
        before = await take(store, "one")
        await store.subscriptions.park(before, [parked_event("one", 1)], 1)
        await take(store, "one")

        with pytest.raises(LeaseLost):
            await store.subscriptions.park(before, [parked_event("one", 2)], 9)
        with pytest.raises(LeaseLost):
            await store.subscriptions.unpark(before, 1)

        assert [event.position for event in await store.subscriptions.parked(["one"])] == [1]
        assert (await store.subscriptions.slots())[0].position == 1

    async def test_what_fails_again_is_counted_and_asked_for_no_more(self, store: EventStore) -> None:
        await define(store, "one")
        lease = await take(store, "one")
        await store.subscriptions.park(lease, [parked_event("one", 1, error="first", attempts=8)], 1)
        await store.subscriptions.ask("one", RETRY)

        await store.subscriptions.park(lease, [parked_event("one", 1, error="second", attempts=1)], 1)

        assert [without_time(event) for event in await store.subscriptions.parked()] == [
            ("one", 1, "key", "second", 9, None)
        ]

    async def test_what_is_asked_for_is_all_or_a_key_or_one(self, store: EventStore) -> None:
        await define(store, "one")
        await define(store, "two")
        events = [parked_event("one", 1, key="a"), parked_event("one", 2, key="b"), parked_event("one", 3, key="a")]
        await store.subscriptions.park(await take(store, "one"), events, 3)
        await store.subscriptions.park(await take(store, "two"), [parked_event("two", 1, key="a")], 1)

        asked = [
            await store.subscriptions.ask("one", RETRY, key="a"),
            await store.subscriptions.ask("one", DISCARD, position=2),
            await store.subscriptions.ask("one", DISCARD, position=9),
        ]

        assert asked == [2, 1, 0]
        assert {(event.name, event.position): event.asked for event in await store.subscriptions.parked()} == {
            ("one", 1): RETRY,
            ("one", 2): DISCARD,
            ("one", 3): RETRY,
            ("two", 1): None,
        }

    async def test_what_is_released_is_gone(self, store: EventStore) -> None:
        await define(store, "one")
        lease = await take(store, "one")
        await store.subscriptions.park(lease, [parked_event("one", 1), parked_event("one", 2)], 2)

        await store.subscriptions.unpark(lease, 1)
        await store.subscriptions.unpark(lease, 1)

        assert [event.position for event in await store.subscriptions.parked()] == [2]

    # What is asked of a subscription -----------------------------------------------------------------

    async def test_who_runs_a_paused_subscription_is_to_let_go_and_nobody_takes_it(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        async with working(store, "one") as worker:
            held = worker.held

            await store.subscriptions.pause("one")
            await worker.is_told(lambda: worker.surplus == held)
            await store.subscriptions.release(held)
            await worker.is_told(lambda: worker.held == [])

            async with working(store, "one") as other:
                assert other.held == []
            (state,) = await store.subscriptions.states()
            assert state.is_paused

    async def test_who_runs_it_may_write_what_is_in_hand_when_it_is_paused(self, store: EventStore) -> None:
        await define(store, "one")
        lease = await take(store, "one")
        await store.subscriptions.pause("one")

        await store.subscriptions.advance(lease, 3)

        assert await position_of(store, "one") == 3

    async def test_what_is_resumed_is_taken_and_goes_on_where_it_was(self, store: EventStore) -> None:
        await define(store, "one", start=5)
        await store.subscriptions.pause("one")
        async with working(store, "one") as worker:
            await store.subscriptions.resume("one")
            await worker.is_told(lambda: len(worker.held) == 1)

            assert (await store.subscriptions.terms(worker.held[0])).position == 5
        assert not (await store.subscriptions.states())[0].is_paused

    async def test_a_pause_leaves_others_alone(self, store: EventStore) -> None:
        await define(store, "one")
        await define(store, "two")

        await store.subscriptions.pause("one")

        async with working(store, "one", "two") as worker:
            assert [lease.name for lease in worker.held] == ["two"]

    async def test_what_is_reset_is_taken_from_its_owner_and_has_nothing_parked(self, store: EventStore) -> None:
        for name in ("one", "two"):
            await define(store, name)
            await store.subscriptions.park(await take(store, name), [parked_event(name, 3)], 9)
        async with working(store, "one") as worker:
            (before,) = worker.held

            await store.subscriptions.reset("one", 2)

            with pytest.raises(LeaseLost):
                await store.subscriptions.advance(before, 10)
            await worker.is_told(lambda: [lease.fence for lease in worker.held] == [before.fence + 2])
            assert (await store.subscriptions.terms(worker.held[0])).position == 2
        assert [event.name for event in await store.subscriptions.parked()] == ["two"]
        assert await position_of(store, "two") == 9

    async def test_what_is_run_is_not_deleted(self, store: EventStore) -> None:
        await define(store, "one")
        async with working(store, "one"):
            with pytest.raises(SubscriptionInUse):
                await store.subscriptions.delete("one")

        assert len(await store.subscriptions.states()) == 1

    async def test_what_is_deleted_begins_anew_under_greater_fences(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        before = await take(store, "one")
        await store.subscriptions.park(before, [parked_event("one", 3)], 9)

        await store.subscriptions.delete("one")

        assert await store.subscriptions.states() == []
        assert await store.subscriptions.slots() == []
        assert await store.subscriptions.parked() == []
        await define(store, "one", start=4)
        for _ in range(before.fence + 1):
            assert (await take(store, "one")).fence > before.fence
            with pytest.raises(LeaseLost):
                await store.subscriptions.advance(before, 10)
        assert await position_of(store, "one") == 4

    async def test_what_is_not_there_is_asked_for_in_vain(self, store: EventStore) -> None:
        await define(store, "one")

        for work in (
            store.subscriptions.pause("none"),
            store.subscriptions.resume("none"),
            store.subscriptions.reset("none", 0),
            store.subscriptions.delete("none"),
        ):
            with pytest.raises(UnknownSubscription, match="there is no subscription 'none'; there are: one"):
                await work

    # Another number of slots -------------------------------------------------------------------------

    async def test_slots_that_are_to_be_others_are_let_go_and_run_up_to_the_furthest(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        async with working(store, "one") as worker:
            behind, ahead = worker.held
            await store.subscriptions.advance(behind, 3)
            await store.subscriptions.advance(ahead, 7)

            await want_slots(store, 3)
            await worker.is_told(lambda: worker.surplus == [behind, ahead])
            assert await store.subscriptions.level("one", {}) is None
            assert (await store.subscriptions.terms(behind)).until == 0
            await store.subscriptions.release([behind, ahead])
            await worker.is_told(lambda: worker.to_cut == ["one"])

            assert await store.subscriptions.level("one", {}) is None
            await worker.is_told(lambda: [lease.slot for lease in worker.held] == [0])
            terms = await store.subscriptions.terms(worker.held[0])
            assert (terms.position, terms.until, terms.partitions) == (3, 7, 2)
            await store.subscriptions.advance(worker.held[0], 7)
            await worker.give_back_all()

            await cut(store, "one")
            await worker.is_told(lambda: len(worker.held) == 3)
            assert {(await store.subscriptions.terms(lease)).position for lease in worker.held} == {7}
            assert (await store.subscriptions.terms(worker.held[0])).until is None
            for lease in (behind, ahead):
                with pytest.raises(LeaseLost):
                    await store.subscriptions.advance(lease, 8)
        assert [state.is_held for state in await store.subscriptions.states()] == [False]

    async def test_fewer_slots_stand_where_all_stood_and_have_what_was_parked(self, store: EventStore) -> None:
        await define(store, "one", partitions=3)
        lease = await take(store, "one")
        await store.subscriptions.park(lease, [parked_event("one", 3)], 0)

        await want_slots(store, 1)
        await cut(store, "one")

        assert [(state.slot, state.position) for state in await store.subscriptions.slots()] == [(0, 0)]
        assert [event.position for event in await store.subscriptions.parked()] == [3]

    async def test_a_place_that_is_known_better_counts(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        await want_slots(store, 3)

        assert await store.subscriptions.level("one", {0: 5, 1: 4, 7: 9}) is None
        found = await store.subscriptions.level("one", {0: 5, 1: 5})

        assert found is not None
        assert (found.partitions, found.position) == (3, 5)

    async def test_slots_are_not_cut_where_one_has_moved_since(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        late = await take(store, "one")
        await want_slots(store, 3)
        found = await store.subscriptions.level("one", {})
        assert found is not None

        await store.subscriptions.advance(late, 4)

        assert not await store.subscriptions.cut(found)
        assert await store.subscriptions.level("one", {}) is None
        assert [slot.position for slot in await store.subscriptions.slots()] == [4, 0]

    async def test_slots_are_not_cut_as_an_earlier_definition_wanted(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        await want_slots(store, 3)
        found = await store.subscriptions.level("one", {})
        assert found is not None

        await want_slots(store, 2, revision=3)

        assert not await store.subscriptions.cut(found)
        again = await store.subscriptions.level("one", {})
        assert again is not None
        assert again.fence > found.fence
        assert await store.subscriptions.cut(again)
        assert not await store.subscriptions.cut(again)
        assert all(slot.fence > again.fence for slot in await store.subscriptions.slots())

    async def test_who_has_an_earlier_definition_runs_as_many_slots_as_there_are(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        await want_slots(store, 3)
        await cut(store, "one")

        await define(store, "one", partitions=2)

        (state,) = await store.subscriptions.states()
        assert (len(state.slots), state.is_held, state.definition.partitions) == (3, False, 3)

    async def test_a_pause_outlives_a_cut(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        await store.subscriptions.pause("one")
        await want_slots(store, 3)
        await cut(store, "one")

        async with working(store, "one") as worker:
            assert worker.held == []
            await store.subscriptions.resume("one")
            await worker.is_told(lambda: len(worker.held) == 3)

    async def test_what_begins_anew_is_not_cut_before_it_is_where_it_was(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)
        await store.subscriptions.advance(await take(store, "one"), 5)

        await store.subscriptions.define(Definition("one", None, 3, "stream", revision=2), start=0, on_change="reset")

        assert await store.subscriptions.level("one", {}) is None
        assert await store.subscriptions.level("one", {0: 5, 1: 5}) is not None

    async def test_slots_that_are_not_held_are_not_cut(self, store: EventStore) -> None:
        await define(store, "one", partitions=2)

        assert await store.subscriptions.level("one", {}) is None
        assert await store.subscriptions.level("none", {}) is None

    async def test_all_there_are_are_listed_as_they_are_defined(self, store: EventStore) -> None:
        definition = Definition("b", ("A",), 2, "key", "s", "s", "now", "process")
        await store.subscriptions.define(definition, start=3)
        await define(store, "a")

        first, second = await store.subscriptions.states()

        assert (first.name, second.definition, second.position) == ("a", definition, 3)
        assert [slot.slot for slot in second.slots] == [0, 1]


async def want_slots(store: EventStore, partitions: int, *, revision: int = 2) -> None:
    """Define the subscription one so that it is to have another number of slots."""
    definition = Definition("one", None, partitions, "stream", revision=revision)
    await store.subscriptions.define(definition, start=0, on_change="keep")


async def cut(store: EventStore, name: str) -> None:
    """Cut the slots of *name*, which have come to one position."""
    found = await store.subscriptions.level(name, {})
    assert found is not None
    assert await store.subscriptions.cut(found)
