"""How far each named subscription has come."""

from __future__ import annotations

import pytest

from framework.errors import (
    ProgressMoved,
)
from framework.store.protocol import (
    EventStore,
)
from framework.testing.store_contract.parts import (
    OnAStore,
    outcomes,
)


class CheckpointContract(OnAStore):
    """`Checkpoints`."""

    async def test_a_checkpoint_nobody_saved_is_at_zero(self, store: EventStore) -> None:
        assert await store.load_checkpoint("reader") == 0

    async def test_a_checkpoint_moves_from_where_it_stands(self, store: EventStore) -> None:
        await store.save_checkpoint("reader", 5, expected=0)
        await store.save_checkpoint("reader", 2**40, expected=5)

        assert await store.load_checkpoint("reader") == 2**40

    @pytest.mark.parametrize("expected", [0, 4, 6])
    async def test_a_checkpoint_that_stands_elsewhere_does_not_move(self, store: EventStore, expected: int) -> None:
        await store.save_checkpoint("reader", 5, expected=0)

        with pytest.raises(ProgressMoved) as caught:
            await store.save_checkpoint("reader", 9, expected=expected)

        assert (caught.value.name, caught.value.expected) == ("reader", expected)
        assert await store.load_checkpoint("reader") == 5

    async def test_a_checkpoint_nobody_saved_does_not_move_from_elsewhere(self, store: EventStore) -> None:
        with pytest.raises(ProgressMoved):
            await store.save_checkpoint("reader", 9, expected=3)

        assert await store.load_checkpoint("reader") == 0

    async def test_checkpoints_of_different_names_are_apart(self, store: EventStore) -> None:
        await store.save_checkpoint("reader", 5, expected=0)
        await store.save_checkpoint("Reader", 7, expected=0)

        assert await store.load_checkpoint("reader") == 5
        assert await store.load_checkpoint("Reader") == 7

    async def test_of_many_who_move_one_checkpoint_one_wins(self, store: EventStore) -> None:
        answers = await outcomes(store.save_checkpoint("reader", 5, expected=0) for _ in range(8))

        assert answers.count(None) == 1
        assert sum(isinstance(answer, ProgressMoved) for answer in answers) == 7
