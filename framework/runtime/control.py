"""What people see of subscriptions and ask of them, from any node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from framework.contracts import handler_name
from framework.errors import InvalidRequest, UnknownHandler, UnknownSubscription
from framework.handler import StartFrom
from framework.read_models import ReadModel
from framework.store.protocol import EventStore
from framework.store.subscriptions import DISCARD, RETRY, ParkedEvent, SlotLag, SlotState, SubscriptionState
from framework.subscription.checks import check_start
from framework.subscription.start import start_position


class Control:
    """The subscriptions of a store: where they stand, what is asked of them, and what they have set aside.

    Whoever runs them does what is asked: at once where it hears of it, within two seconds anyhow. A handler is named by
    its class or its name; a subscription that this application does not have, by the name it is recorded under.
    """

    def __init__(self, store: EventStore, names: Mapping[str, str], models: Mapping[str, ReadModel]) -> None:
        self._log = store
        self._store = store.subscriptions
        self._names = names
        """What the subscriptions of the application are recorded under, by the names of their handlers."""
        self._models = models
        """By the names of their projectors: what a projector sets aside lies with its rows."""

    async def list(self) -> Sequence[SubscriptionState]:
        """Return all subscriptions of the store, by name, whoever runs them or has run them."""
        return await self._store.states()

    async def pause(self, handler: type | str) -> None:
        """Have *handler* stand still, with the event in hand done, on whatever node it runs, until `resume`.

        Raises `UnknownSubscription`.
        """
        await self._store.pause(self._recorded(handler))

    async def resume(self, handler: type | str) -> None:
        """Have *handler* go on where it was; raises `UnknownSubscription`."""
        await self._store.resume(self._recorded(handler))

    async def reset(self, handler: type | str, start_from: StartFrom = "origin") -> int:
        """Have an event handler begin anew behind *start_from*, with nothing parked; return the position that is.

        What its owner has in hand is done, and comes again. Raises `UnknownSubscription`, `ConfigurationError` for what
        is no start, and `InvalidRequest` for a projector, whose rows would be written twice, and for a process, whose
        instances know what they have done.
        """
        name = self._recorded(handler)
        check_start(name, start_from)
        kind = (await self._state(name)).definition.kind
        if kind != "handler":
            remedy = (
                "raise its version, and the new one is filled from the first event"
                if kind == "projector"
                else "its instances hold what has happened: give it another name to begin without them"
            )
            raise InvalidRequest(f"{name} is a {kind}, which does not begin anew: {remedy}")
        position = await start_position(name, start_from, self._log)
        await self._store.reset(name, position)
        return position

    async def delete(self, handler: type | str) -> None:
        """Forget *handler*, how far it has come and what it has parked; one that has it still begins anew at its start.

        The tables of a projector stay, and how far they have come. Raises `UnknownSubscription`, and
        `SubscriptionInUse` while somebody runs it.
        """
        await self._store.delete(self._recorded(handler))

    async def slots(self) -> Sequence[SlotState]:
        """Return how far each slot of the application's handlers has come, and who runs it."""
        return await self._store.slots(list(self._names.values()))

    async def lag(self) -> Sequence[SlotLag]:
        """Return how far each slot is behind the log and why, by name and number, whoever runs it or has run it."""
        return await self._store.lag()

    async def parked(self, handler: type | str | None = None) -> Sequence[ParkedEvent]:
        """Return the events that *handler*, or anybody, has set aside, in the order of the log for each."""
        names = list(self._names) if handler is None else [self._known(handler)]
        found: list[ParkedEvent] = []
        for name in names:
            model = self._models.get(name)
            found += await (model.parked() if model else self._store.parked([self._names[name]]))
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
        return await self._store.ask(self._names[name], what, key=key, position=position)

    async def _state(self, name: str) -> SubscriptionState:
        states = {state.name: state for state in await self._store.states()}
        if name not in states:
            raise UnknownSubscription(name, states)
        return states[name]

    def _recorded(self, handler: type | str) -> str:
        name = handler_name(handler)
        return self._names.get(name, name)

    def _known(self, handler: type | str) -> str:
        name = handler_name(handler)
        if name not in self._names:
            raise UnknownHandler(name, self._names)
        return name
