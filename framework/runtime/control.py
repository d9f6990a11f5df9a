"""What people see of subscriptions and ask of them, from any node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from framework.contracts import handler_name
from framework.errors import UnknownHandler
from framework.read_models import ReadModel
from framework.store.subscriptions import DISCARD, RETRY, ParkedEvent, SlotState, Subscriptions
from framework.subscription.delivery import Subscription


class Control:
    """The subscriptions of an application: where they stand, and what they have set aside."""

    def __init__(
        self, store: Subscriptions, subscriptions: Mapping[str, Subscription], models: Mapping[str, ReadModel]
    ) -> None:
        self._store = store
        self._subscriptions = subscriptions
        self._models = models
        """By the names of their projectors: what a projector sets aside lies with its rows."""

    async def slots(self) -> Sequence[SlotState]:
        """Return how far each slot has come, and who runs it."""
        return await self._store.slots([each.name for each in self._subscriptions.values()])

    async def parked(self, handler: type | str | None = None) -> Sequence[ParkedEvent]:
        """Return the events that *handler*, or anybody, has set aside, in the order of the log for each."""
        names = list(self._subscriptions) if handler is None else [self._known(handler)]
        found: list[ParkedEvent] = []
        for name in names:
            model = self._models.get(name)
            found += await (model.parked() if model else self._store.parked([self._subscriptions[name].name]))
        return found

    async def retry(self, handler: type | str, *, key: str | None = None, position: int | None = None) -> int:
        """Have what *handler* has set aside tried again: all, a key, or one event; return how many that is.

        The owners of the slots do it, each as soon as it has heard of it. Events of one key come in order: one that
        fails again stays, and so does what stands behind it.
        """
        return await self._ask(handler, RETRY, key, position)

    async def discard(self, handler: type | str, *, key: str | None = None, position: int | None = None) -> int:
        """Have *handler* go on without what it has set aside: all, a key, or one event; return how many that is."""
        return await self._ask(handler, DISCARD, key, position)

    async def _ask(self, handler: type | str, what: str, key: str | None, position: int | None) -> int:
        name = self._known(handler)
        if (model := self._models.get(name)) is not None:
            meant = await model.ask(what, key=key, position=position)
            await self._store.nudge()
            return meant
        return await self._store.ask(self._subscriptions[name].name, what, key=key, position=position)

    def _known(self, handler: type | str) -> str:
        name = handler_name(handler)
        if name not in self._subscriptions:
            raise UnknownHandler(name, self._subscriptions)
        return name
