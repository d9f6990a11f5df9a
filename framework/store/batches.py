"""What a store says of the batches in which it sends appends to its database."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable


class SentBatch(NamedTuple):
    """Appends that went to the database together."""

    appends: int
    waited_s: float
    """How long the first of them had waited to be sent."""
    took_s: float
    """From there until all of them had their answers."""


TellBatch: TypeAlias = Callable[[SentBatch], None]
"""Is told of every batch. What it raises would end the sending, so it must not."""


@runtime_checkable
class GroupCommit(Protocol):
    """A store that sends its appends in batches, and says so."""

    def tell_batches(self, told: TellBatch) -> None:
        """Have *told* hear of every batch until the store is closed, or somebody else is to hear of them."""
        ...
