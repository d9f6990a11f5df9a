"""A process manager: events of many streams in, commands out, a little state between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import ClassVar, Final, Generic, Self, TypeAlias, TypeVar

import attrs

from framework.errors import (
    CommandRejected,
    ConfigurationError,
    InvalidInterest,
    ProcessAlreadyStarted,
    ProcessNotStarted,
)
from framework.policies import Options

E = TypeVar("E")
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)

LONGEST: Final = timedelta(days=36_525)
"""A hundred years: what is to be sent after that is a slip, and no plan."""

LONGEST_ID: Final = 1_000
"""Bytes of UTF-8 in the id of an instance, as in the name of a stream."""

LONGEST_SHOWN: Final = 80
"""Characters of what is no id that are told to whoever gave it."""


def _an_id(_: object, field: attrs.Attribute[str], value: object) -> None:
    match value:
        case "":
            fault = "it needs something in it"
        case str() if "\0" in value or value.encode(errors="replace").decode() != value:
            fault = "it has characters that no database can hold"
        case str() if len(value.encode()) > LONGEST_ID:
            fault = f"it is longer than {LONGEST_ID} bytes"
        case str():
            return
        case _:
            fault = "it is no text"
    raise InvalidInterest(f"an instance with the {field.name} {_shortened(value)}: {fault}")


def _shortened(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"


@attrs.frozen
class Start:
    """The event begins the instance *id*, or goes on with it if there is one.

    A *strict* one only begins: where the instance runs already, the event is parked with `ProcessAlreadyStarted`. One
    that is finished begins anew either way.
    """

    id: str = attrs.field(validator=_an_id)
    strict: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Continue:
    """The event concerns the instance *id*; it is passed over if that has not begun, or is finished.

    Where a *strict* one is not running, the event is parked with `ProcessNotStarted`.
    """

    id: str = attrs.field(validator=_an_id)
    strict: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Stop:
    """The instance *id* is done: its state goes, and what it has scheduled. Commands it has yielded are still sent.

    Nothing happens where it does not run. One that is done is known to be: only a `Start` begins it anew.
    """

    id: str = attrs.field(validator=_an_id)


Interest: TypeAlias = Start | Continue | Stop
"""What an event means to one instance of a process."""


def handles(process: str, interest: Start | Continue, *, is_running: bool) -> bool:
    """Say whether an instance of *process* handles an event that means *interest* to it.

    Raises `ProcessAlreadyStarted` or `ProcessNotStarted` where that is strict and the instance is not as it says.
    """
    match interest:
        case Start(id, strict=True) if is_running:
            raise ProcessAlreadyStarted(process, id)
        case Continue(id, strict=True) if not is_running:
            raise ProcessNotStarted(process, id)
        case Start():
            return True
        case Continue():
            return is_running


def _within_reason(_: object, field: attrs.Attribute[timedelta], value: timedelta) -> None:
    if not timedelta(0) <= value <= LONGEST:
        raise ConfigurationError(f"a command scheduled {field.name} {value}: give from nothing to a hundred years")


def _a_name(_: object, field: attrs.Attribute[str], value: str) -> None:
    if not value or "\0" in value:
        raise ConfigurationError(f"a timer with the {field.name} {value!r}: give it a name to cancel it by")


@attrs.frozen
class Schedule(Generic[C_co]):
    """The *command* is to be sent when the time *after* has gone by, counted from when the event is handled.

    It waits durably, under a *key* of its instance: another that is scheduled under the same key takes its place, and
    `Cancel` or the end of the instance withdraw it, also when it is due and has not been sent yet.
    """

    command: C_co
    after: timedelta = attrs.field(kw_only=True, validator=_within_reason)
    key: str = attrs.field(kw_only=True, validator=_a_name)


@attrs.frozen
class Cancel:
    """What the instance has scheduled under *key* is not to be sent; nothing happens where there is nothing."""

    key: str = attrs.field(validator=_a_name)


@attrs.frozen
class DropRest:
    """What was yielded together with a refused command, and has not been sent yet, is not to be sent.

    What is scheduled stays, and so does what was yielded for other events.
    """


class ProcessManager(ABC, Generic[E, C]):
    """Carries a business process through several aggregates.

    Subclass it as a frozen attrs class whose fields all have defaults, and name the events it listens to and the
    commands it sends in its base: `class Transfer(ProcessManager[MoneySent | MoneyDeposited, DepositMoney])`. The
    runtime makes one instance for every id that `interested` names. An instance's state, its commands and the place
    in the log are saved together; every command is sent under an id derived from what it was yielded for, so it has
    one outcome however often it is sent.

    An instance is given the events that name it in the order of the log, whatever streams they are in. One that it
    fails at is tried again and then parked under the instance's id, and later ones behind it; other instances go on.
    """

    __slots__ = ()

    options: ClassVar[Options] = Options()
    """How its commands are dispatched. What is left open is as registered, but that no handlers are waited for."""

    revision: ClassVar[int] = 1
    """Raise it when the events change that it listens to: it goes on where it was, and an earlier one stands still."""

    partitions: ClassVar[int] = 1
    """How many slots it has: instances of different slots are run at the same time, on several nodes if there are."""

    step_timeout: ClassVar[timedelta] = timedelta(seconds=5)
    """How long `handle` and `apply` may take for one event.

    They cannot be interrupted, and while they run nothing else of their program does. A step that took longer is not
    used: it is tried once more, since the machine may have stood still, and then the event is parked.
    """

    @classmethod
    @abstractmethod
    def interested(cls, event: E) -> Interest | Sequence[Interest] | None:
        """Return which instances *event* concerns, and how, each named once; None if none.

        It is asked more than once about an event, and has to give one answer. If it raises, or names what cannot be an
        instance, nobody can say whom the event concerns: all slots of the process halt before it.
        """

    @abstractmethod
    def handle(self, event: E) -> Iterable[C | Schedule[C] | Cancel]:
        """Yield the commands that *event* leads to, in the order they are to be sent.

        Each is sent after the one before was accepted; those inside a `Schedule` when their time has come. The state
        is that before the event.
        """

    def apply(self, event: E) -> Self:
        """Return the state after *event*."""
        del event
        return self

    def rejected(self, command: C, error: CommandRejected) -> Iterable[C | Schedule[C] | Cancel | DropRest | Stop]:
        """Yield what the refusal of *command* leads to.

        Commands are sent in its place, those inside a `Schedule` when their time has come; `DropRest` gives up what was
        to follow it, and `Stop` ends the instance, whose id it has to name. Yielding nothing goes on with the next
        command. Raising sets the command aside with the error, and the instance's later commands behind it; that is
        what happens here, since a refusal nobody foresaw must be seen.

        It is called in turn with the events of the instance, and what it yields is stored before the next of them is
        handled and the next command is sent.
        """
        del command
        raise error
