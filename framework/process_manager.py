"""A process manager: events of many streams in, commands out, a little state between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Generic, Self, TypeAlias, TypeVar

import attrs

from framework.errors import CommandRejected

E = TypeVar("E")
C = TypeVar("C")


@attrs.frozen
class Start:
    """The event begins the instance *id*, or goes on with it if there is one."""

    id: str


@attrs.frozen
class Continue:
    """The event concerns the instance *id*; it is passed over if there is none."""

    id: str


@attrs.frozen
class Stop:
    """The instance *id* is done: its state goes. Commands it has yielded are still sent."""

    id: str


Interest: TypeAlias = Start | Continue | Stop
"""What an event means to one instance of a process."""


class ProcessManager(ABC, Generic[E, C]):
    """Carries a business process through several aggregates.

    Subclass it as a frozen attrs class whose fields all have defaults, and name the events it listens to and the
    commands it sends in its base: `class Transfer(ProcessManager[MoneySent | MoneyDeposited, DepositMoney])`. The
    runtime makes one instance for every id that `interested` names. An instance's state, its commands and the place
    in the log are saved together; every command is sent under an id derived from what it was yielded for, so it has
    one outcome however often it is sent.
    """

    __slots__ = ()

    @classmethod
    @abstractmethod
    def interested(cls, event: E) -> Interest | Sequence[Interest] | None:
        """Return which instances *event* concerns, and how; None if none."""

    @abstractmethod
    def handle(self, event: E) -> Iterable[C]:
        """Yield the commands that *event* leads to, in the order they are to be sent.

        Each is sent after the one before was accepted. The state is that before the event.
        """

    def apply(self, event: E) -> Self:
        """Return the state after *event*."""
        del event
        return self

    def rejected(self, command: C, error: CommandRejected) -> Iterable[C | Stop]:
        """Yield what the refusal of *command* leads to: commands in its place, or `Stop` for this instance.

        Yielding nothing goes on with the next command. Raising sets the command aside with the error, and the
        instance's later commands behind it; that is what happens here, since a refusal nobody foresaw must be seen.
        """
        del command
        raise error
