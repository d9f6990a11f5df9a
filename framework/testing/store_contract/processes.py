"""The state of process managers and the commands they have yet to send."""

from __future__ import annotations

from itertools import pairwise

import pytest

from framework.clock import new_id
from framework.errors import (
    LeaseLost,
)
from framework.store.protocol import EventStore, Part, ProcessChange
from framework.store.subscriptions import Lease, hash_of
from framework.testing.store_contract.parts import (
    OnAStore,
    advance,
    apply,
    finished,
    ids_of,
    instances,
    new_command,
    new_instance,
    outcomes,
    parked_event,
    position_of,
    row_of,
    take,
    value_of,
    waiting,
    without_time,
)


class ProcessContract(OnAStore):
    """`ProcessStore`."""

    async def test_a_process_that_never_ran_has_nothing(self, store: EventStore) -> None:
        assert await store.load_instances("p", ["i"]) == {}
        assert list(await store.outbox("p", limit=10)) == []
        assert list(await store.parked("p")) == []

    async def test_instances_commands_and_progress_are_saved_together(self, store: EventStore) -> None:
        command = new_command()

        await apply(store, ProcessChange([new_instance(3)], [command]), position=7)

        assert await instances(store) == {"i": (3, {"after": 3})}
        assert await waiting(store) == [command.command_id]
        assert await position_of(store, "p") == 7

    async def test_a_command_comes_back_as_it_was_yielded(self, store: EventStore) -> None:
        command = new_command()
        await advance(store, command)

        (row,) = await store.outbox("p", limit=10)

        assert value_of(row.command) == value_of(command.command)
        assert row.piece == 0
        assert row.parked is None
        assert row._replace(number=0, command=command.command) == command

    async def test_a_process_that_another_runs_changes_nothing(self, store: EventStore) -> None:
        await apply(store, ProcessChange([new_instance(1)]), position=7)
        before = await take(store, "p")
        await take(store, "p")
        changed = [new_instance(1, of="j"), finished("i", 1)]
        change = ProcessChange(changed, [new_command()], parked=[parked_event("p", 8)])

        with pytest.raises(LeaseLost) as caught:
            await store.advance_process(before, change, position=9)

        assert (caught.value.name, caught.value.slot, caught.value.fence) == before
        assert await instances(store) == {"i": (1, {"after": 1})}
        assert await waiting(store) == []
        assert await position_of(store, "p") == 7
        assert list(await store.subscriptions.parked()) == []

    async def test_an_instance_is_replaced_by_its_next_state(self, store: EventStore) -> None:
        await apply(store, ProcessChange([new_instance(1)]), position=1)

        await apply(store, ProcessChange([new_instance(2)]), position=2)

        assert await instances(store) == {"i": (2, {"after": 2})}

    async def test_of_a_finished_instance_its_end_is_left_and_the_commands_it_has_yielded(
        self, store: EventStore
    ) -> None:
        command = new_command()
        change = ProcessChange([new_instance(2), new_instance(1, of="j")], [command])
        await apply(store, change, position=1)

        await apply(store, ProcessChange([finished("i", 2), finished("k", 1)]), position=2)

        assert await instances(store) == {"i": (2, None), "j": (1, {"after": 1})}
        assert (await store.load_instances("p", ["k"]))["k"] == finished("k", 1)
        assert await waiting(store) == [command.command_id]

    async def test_a_finished_instance_begins_anew(self, store: EventStore) -> None:
        await apply(store, ProcessChange([finished("i", 2)]), position=1)

        await apply(store, ProcessChange([new_instance(1)]), position=2)

        assert await instances(store) == {"i": (1, {"after": 1})}

    async def test_events_are_parked_for_each_instance_with_the_progress_they_came_with(
        self, store: EventStore
    ) -> None:
        events = [parked_event("p", 8, key="i", error="it broke", attempts=3), parked_event("p", 8, key="j")]

        await apply(store, ProcessChange([new_instance(1, of="j")], parked=events), position=9)

        assert await position_of(store, "p") == 9
        assert [without_time(event) for event in await store.subscriptions.parked()] == [
            ("p", 8, "i", "it broke", 3, None),
            ("p", 8, "j", None, 0, None),
        ]

    async def test_an_event_is_released_for_one_instance_and_stays_parked_for_another(self, store: EventStore) -> None:
        i, j = (parked_event("p", 8, key=key, error="it broke") for key in "ij")
        await apply(store, ProcessChange(parked=[i, j]), position=8)

        await apply(store, ProcessChange([new_instance(1)], released=[i]), position=8)

        assert [(event.position, event.key) for event in await store.subscriptions.parked()] == [(8, "j")]
        assert await instances(store) == {"i": (1, {"after": 1})}

    async def test_commands_are_sent_in_the_order_they_were_yielded(self, store: EventStore) -> None:
        commands = [new_command(instance=f"i{number % 3}") for number in range(9)]

        await advance(store, *commands[:5])
        await advance(store, *commands[5:])

        assert await waiting(store) == ids_of(commands)
        assert ids_of(await store.outbox("p", limit=4)) == ids_of(commands[:4])

    async def test_the_numbers_of_an_instance_rise(self, store: EventStore) -> None:
        await advance(store, *[new_command() for _ in range(3)])
        await advance(store, *[new_command() for _ in range(3)])

        numbers = [row.number for row in await store.outbox("p", limit=10)]
        assert all(one < next_ for one, next_ in pairwise(numbers))

    async def test_settled_commands_are_gone(self, store: EventStore) -> None:
        one, two, three = (new_command() for _ in range(3))
        await advance(store, one, two, three)

        await store.settle("p", [one.command_id, three.command_id])

        assert await waiting(store) == [two.command_id]

    async def test_settling_again_changes_nothing(self, store: EventStore) -> None:
        one, two = new_command(), new_command()
        await advance(store, one, two)
        await store.settle("p", [one.command_id])

        await store.settle("p", [one.command_id, new_id()])
        await store.settle("p", [])

        assert await waiting(store) == [two.command_id]

    async def test_what_a_refusal_leads_to_is_sent_before_what_waited(self, store: EventStore) -> None:
        refused, waits = new_command(), new_command()
        await advance(store, refused, waits)
        one, two = new_command(), new_command()

        assert await store.settle_refused(await row_of(store, refused), ProcessChange(commands=[one, two]))

        assert await waiting(store) == ids_of([one, two, waits])

    async def test_what_a_refusal_leads_to_keeps_its_own_causes(self, store: EventStore) -> None:
        refused, command = new_command(), new_command()
        await advance(store, refused)

        await store.settle_refused(await row_of(store, refused), ProcessChange(commands=[command]))

        row = await row_of(store, command)
        assert value_of(row.command) == value_of(command.command)
        assert row._replace(number=0, piece=0, command=command.command) == command
        assert row.piece > 0

    async def test_what_the_refusal_of_a_piece_leads_to_is_sent_in_its_place(self, store: EventStore) -> None:
        refused, waits = new_command(), new_command()
        await advance(store, refused, waits)
        one, two, three = (new_command() for _ in range(3))
        await store.settle_refused(await row_of(store, refused), ProcessChange(commands=[one, two, three]))
        await store.settle("p", [one.command_id])
        nested = [new_command() for _ in range(2)]

        assert await store.settle_refused(await row_of(store, two), ProcessChange(commands=nested))

        assert await waiting(store) == ids_of([*nested, three, waits])

    async def test_refusals_within_refusals_keep_the_order(self, store: EventStore) -> None:
        first, waits = new_command(), new_command()
        await advance(store, first, waits)
        last = [new_command() for _ in range(4)]
        refused = first
        for later in last:
            next_ = new_command()
            change = ProcessChange(commands=[next_, later])
            assert await store.settle_refused(await row_of(store, refused), change)
            refused = next_

        assert await waiting(store) == ids_of([refused, *reversed(last), waits])

    async def test_a_refusal_saves_and_ends_instances(self, store: EventStore) -> None:
        refused = new_command()
        before = [new_instance(1), new_instance(1, of="j")]
        await apply(store, ProcessChange(before, [refused]), position=4)

        change = ProcessChange([new_instance(2), finished("j", 1)])
        assert await store.settle_refused(await row_of(store, refused), change)

        assert await instances(store) == {"i": (2, {"after": 2}), "j": (1, None)}
        assert await waiting(store) == []
        assert await position_of(store, "p") == 4

    async def test_a_refusal_of_what_is_settled_already_changes_nothing(self, store: EventStore) -> None:
        refused, waits = new_command(), new_command()
        await advance(store, refused, waits)
        row = await row_of(store, refused)
        await store.settle("p", [refused.command_id])

        change = ProcessChange([new_instance(1)], [new_command()])
        assert not await store.settle_refused(row, change)

        assert await instances(store) == {}
        assert await waiting(store) == [waits.command_id]

    async def test_of_many_who_settle_one_refusal_one_wins(self, store: EventStore) -> None:
        refused = new_command()
        await advance(store, refused)
        row = await row_of(store, refused)
        commands = [new_command() for _ in range(6)]

        answers = await outcomes(store.settle_refused(row, ProcessChange(commands=[c])) for c in commands)

        assert sorted(map(str, answers)) == ["False"] * 5 + ["True"]
        assert await waiting(store) == [commands[answers.index(True)].command_id]

    async def test_a_parked_command_holds_back_the_later_ones_of_its_instance(self, store: EventStore) -> None:
        before, parked, behind = (new_command(instance="i") for _ in range(3))
        others = [new_command(instance="j") for _ in range(2)]
        await advance(store, before, others[0], parked, behind, others[1])

        await store.park(await row_of(store, parked), "it broke")

        assert await waiting(store) == ids_of([before, *others])

    async def test_what_comes_after_a_parked_command_waits_too(self, store: EventStore) -> None:
        parked = new_command(instance="i")
        await advance(store, parked)
        await store.park(await row_of(store, parked), "it broke")
        other = new_command(instance="j")

        await advance(store, new_command(instance="i"), other)

        assert await waiting(store) == [other.command_id]

    async def test_commands_held_back_take_no_room_from_others(self, store: EventStore) -> None:
        held_back = [new_command(instance="i") for _ in range(5)]
        others = [new_command(instance="j") for _ in range(3)]
        await advance(store, *held_back, *others)

        await store.park(await row_of(store, held_back[0]), "it broke")

        assert ids_of(await store.outbox("p", limit=2)) == ids_of(others[:2])

    async def test_parked_commands_are_listed_with_their_reasons_oldest_first(self, store: EventStore) -> None:
        one, two, three = (new_command(instance=instance) for instance in "ijk")
        await advance(store, one, two, three)
        await store.park(await row_of(store, three), "three broke")
        await store.park(await row_of(store, one), "one 'broke'")

        rows = await store.parked("p")

        assert [(row.command_id, row.parked) for row in rows] == [
            (one.command_id, "one 'broke'"),
            (three.command_id, "three broke"),
        ]

    async def test_settling_a_parked_command_lets_those_behind_it_go(self, store: EventStore) -> None:
        parked, behind = new_command(), new_command()
        await advance(store, parked, behind)
        await store.park(await row_of(store, parked), "it broke")

        await store.settle("p", [parked.command_id])

        assert await waiting(store) == [behind.command_id]
        assert list(await store.parked("p")) == []

    async def test_a_parked_piece_holds_back_the_pieces_after_it(self, store: EventStore) -> None:
        refused, waits = new_command(), new_command()
        await advance(store, refused, waits)
        one, two, three = (new_command() for _ in range(3))
        await store.settle_refused(await row_of(store, refused), ProcessChange(commands=[one, two, three]))

        await store.park(await row_of(store, two), "it broke")

        assert await waiting(store) == [one.command_id]

    async def test_parking_what_is_settled_already_changes_nothing(self, store: EventStore) -> None:
        settled, other = new_command(), new_command()
        await advance(store, settled, other)
        row = await row_of(store, settled)
        await store.settle("p", [settled.command_id])

        await store.park(row, "it broke")

        assert list(await store.parked("p")) == []
        assert await waiting(store) == [other.command_id]

    async def test_processes_of_different_names_are_apart(self, store: EventStore) -> None:
        ours, theirs = new_command("p"), new_command("q")
        await apply(store, ProcessChange([new_instance(1)], [ours]), position=3)
        await apply(store, ProcessChange([new_instance(2)], [theirs]), process="q", position=5)

        await store.settle("p", [theirs.command_id])
        await store.park(await row_of(store, ours), "it broke")
        await apply(store, ProcessChange([finished("i", 1)]), position=4)

        assert await waiting(store, "p") == []
        assert await waiting(store, "q") == [theirs.command_id]
        assert list(await store.parked("q")) == []
        assert await instances(store, "q") == {"i": (2, {"after": 2})}
        assert await position_of(store, "q") == 5

    async def test_what_is_dropped_with_a_refused_command_is_what_was_yielded_together_and_waits_behind_it(
        self, store: EventStore
    ) -> None:
        cause, other_cause = new_id(), new_id()
        before, refused, rest = (new_command()._replace(causation_id=cause) for _ in range(3))
        later = new_command()._replace(causation_id=other_cause)
        of_another = new_command(instance="j")._replace(causation_id=cause)
        await advance(store, before, refused, rest, of_another)
        await advance(store, later)
        instead = new_command()

        change = ProcessChange(commands=[instead], drops_rest=True)
        assert await store.settle_refused(await row_of(store, refused), change)

        assert await waiting(store) == ids_of([before, instead, of_another, later])

    async def test_the_commands_of_a_part_are_those_of_its_instances(self, store: EventStore) -> None:
        commands = [new_command(instance=f"i{number}") for number in range(20)]
        await advance(store, *commands)

        parts = [
            await store.outbox("p", limit=99, part=Part(Lease("p", slot, 1), 3), but=["i0", "i1", "i2"])
            for slot in range(3)
        ]

        assert sorted(row.instance for part in parts for row in part) == sorted(c.instance for c in commands[3:])
        assert all(hash_of(row.instance) % 3 == slot for slot, part in enumerate(parts) for row in part)

    async def test_the_owner_of_a_part_does_for_it_what_can_be_done(self, store: EventStore) -> None:
        settled, refused, broken = (new_command(instance=instance) for instance in "ijk")
        await advance(store, settled, refused, broken)
        part = Part(await take(store, "p"), 1)
        instead = new_command(instance="j")

        await store.settle("p", [settled.command_id], part=part)
        await store.settle("p", [], part=part)
        change = ProcessChange(commands=[instead])
        assert await store.settle_refused(await row_of(store, refused), change, part=part)
        await store.park(await row_of(store, broken), "it broke", part=part)
        assert not await store.settle_refused(refused, change, part=part)

        assert await waiting(store) == [instead.command_id]
        assert ids_of(await store.parked("p")) == [broken.command_id]

    async def test_who_has_lost_a_part_does_nothing_for_it_any_more(self, store: EventStore) -> None:
        command = new_command()
        await advance(store, command)
        row = await row_of(store, command)
        lost = Part(await take(store, "p"), 1)
        await take(store, "p")
        change = ProcessChange([finished("i", 1)], [new_command()], drops_rest=True)

        for late in (
            store.settle("p", [command.command_id], part=lost),
            store.settle_refused(row, change, part=lost),
            store.park(row, "it broke", part=lost),
        ):
            with pytest.raises(LeaseLost) as caught:
                await late
            assert (caught.value.name, caught.value.slot, caught.value.fence) == lost.lease

        assert await waiting(store) == [command.command_id]
        assert list(await store.parked("p")) == []
        assert await instances(store) == {}
