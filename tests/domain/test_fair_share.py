"""Who takes which slot, whoever looks first."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from framework.store.subscriptions import fair_share

NODES = [UUID(int=number) for number in range(1, 6)]
GONE = UUID(int=99)

owners = st.lists(st.sampled_from([*NODES, GONE, None]), max_size=12).map(lambda each: dict(enumerate(each)))
nodes = st.sets(st.sampled_from(NODES), min_size=1)


@given(owners=owners, nodes=nodes, data=st.data())
def test_all_come_to_hold_a_fair_part_and_then_nothing_moves(
    owners: dict[int, UUID | None], nodes: set[UUID], data: st.DataObject
) -> None:
    before = dict(owners)
    least, more = divmod(len(owners), len(nodes))
    for _ in range(4):
        for node in data.draw(st.permutations(sorted(nodes))):
            take, give = fair_share(node, owners, nodes)
            assert all(owners[slot] not in nodes for slot in take)
            assert all(owners[slot] == node for slot in give)
            owners |= dict.fromkeys(take, node) | dict.fromkeys(give, None)

    held = Counter(owners.values())
    assert all(held[node] in {least, least + bool(more)} for node in nodes)
    assert all(fair_share(node, owners, nodes) == ([], []) for node in nodes)
    # Only what had to move has moved: what nobody ran, and what somebody had too much of.
    kept = Counter(owner for slot, owner in before.items() if owner in nodes and owners[slot] == owner)
    had = Counter(owner for owner in before.values() if owner in nodes)
    assert all(kept[node] >= min(had[node], least) for node in nodes)


@given(owners=owners, nodes=nodes)
def test_who_looks_at_the_same_moment_takes_no_more_than_is_fair(
    owners: dict[int, UUID | None], nodes: set[UUID]
) -> None:
    most = -(-len(owners) // len(nodes))

    for node in nodes:
        take, give = fair_share(node, owners, nodes)
        assert len(take) <= most
        assert not (take and give)


def test_a_node_that_joins_gets_its_part_from_those_who_have_most() -> None:
    a, b, c = NODES[:3]
    owners: dict[int, UUID | None] = {0: a, 1: a, 2: a, 3: b, 4: b}

    shares = {node: fair_share(node, owners, {a, b, c}) for node in (a, b, c)}

    assert shares == {a: ([], [2]), b: ([], []), c: ([], [])}


def test_slots_of_the_dead_are_taken() -> None:
    a, b = NODES[:2]
    owners: dict[int, UUID | None] = {0: a, 1: GONE, 2: None}

    assert fair_share(a, owners, {a}) == ([1, 2], [])
    take, _ = fair_share(b, owners, {a, b})
    assert len(take) == 2
