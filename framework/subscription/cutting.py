"""Cuts a subscription into another number of slots, without an event that is left out or comes twice.

A key that moves to another slot finds that at the place of its new slot, not of its own. So no slot may be ahead of
another when they are cut. First all who run them let go, each with what it has in hand done. Then those that are behind
are run up to the furthest, and no step further: whoever takes one reads where it ends with the lease. When all stand
there and nobody runs them, they are rewritten at once.

Any node does what is next, and it may die at any moment, or be stopped and go on when others have done it: each step
changes nothing unless what it rests on is still so. Where the rows of a projector have their place beside them, in a
database of their own, that is rewritten first, under a fence that is greater than that of every owner before: what one
of them has open there is waited for, and moves the place it is to be rewritten at, or is refused. Until the slots
themselves are rewritten nobody takes one, so nobody meets the one without the other.
"""

from __future__ import annotations

from collections.abc import Mapping

from framework.read_models import ReadModel
from framework.store.subscriptions import Subscriptions


async def cut_anew(name: str, subscriptions: Subscriptions, model: ReadModel | None) -> bool:
    """Do what is next to cut the slots of *name*, with the rows of *model* if it has some; say whether they are cut.

    Raises `StorageUnavailable`; then, and after cancellation, it is done again, by whoever comes to it.
    """
    # A place that was copied may trail the rows, after somebody died between the two.
    places: Mapping[int, int] = {} if model is None else await model.places()
    cut = await subscriptions.level(name, places)
    if cut is None or (model is not None and not await model.cut(cut)):
        return False
    return await subscriptions.cut(cut)
