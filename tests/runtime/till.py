"""A till: the smallest aggregate with something to refuse, and a store whose appends a test can hold back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Self, assert_never

import attrs

from framework import Aggregate, Application, CommandRejected, MemoryEventStore, Router
from framework.application import DEFAULTS
from framework.clock import SYSTEM_CLOCK, Clock
from framework.policies import Defaults
from framework.store.protocol import Appended, EventStore, Receipt, StreamWrite


@attrs.frozen
class PutIn:
    till: str
    amount: int


@attrs.frozen
class TakeOut:
    till: str
    amount: int


@attrs.frozen
class Shake:
    """Breaks inside `execute`, after having yielded something."""

    till: str


@attrs.frozen
class Moved:
    amount: int


class NotEnough(CommandRejected):
    """There is less in the till."""


@attrs.frozen
class Till(Aggregate[PutIn | TakeOut | Shake, Moved]):
    content: int = 0

    def execute(self, command: PutIn | TakeOut | Shake) -> Iterator[Moved]:
        match command:
            case PutIn(amount=0):
                pass
            case PutIn(amount=amount):
                yield Moved(amount)
            case TakeOut(amount=amount):
                if amount > self.content:
                    raise NotEnough(f"{amount} exceeds {self.content}")
                yield Moved(-amount)
            case Shake():
                yield Moved(1_000)
                message = "something broke"
                raise RuntimeError(message)
            case _:
                assert_never(command)

    def apply(self, event: Moved) -> Self:
        return attrs.evolve(self, content=self.content + event.amount)


def tills() -> Router:
    router = Router()
    router.register(Till, identity="till", prefix="till-")
    return router


class GatedStore(MemoryEventStore):
    """A memory store that counts its appends, and holds them back while the gate is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Semaphore(0)
        """Released once for every append that reaches the gate."""
        self.appends = 0

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        self.arrived.release()
        await self.gate.wait()
        self.appends += 1
        return await super().append(writes, receipts)


def application(store: EventStore, defaults: Defaults = DEFAULTS, *, clock: Clock = SYSTEM_CLOCK) -> Application:
    return Application(store=store, router=tills(), clock=clock, defaults=defaults)
