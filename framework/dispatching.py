"""What goes into an application: commands, one at a time, many, or several as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload
from uuid import UUID, uuid5

import attrs

from framework.aggregate import Aggregate
from framework.cron import Cron
from framework.errors import InvalidOption, UnknownCommand
from framework.messages import DispatchResult, Metadata, ResultWithState
from framework.middleware import CommandContext
from framework.parsing import parse_command
from framework.policies import Options
from framework.router import Waiting, names
from framework.running import Running
from framework.runtime.bulk import Bulk
from framework.runtime.requests import NO_OPTIONS
from framework.runtime.schedules import Scheduled

A = TypeVar("A", bound=Aggregate[Any, Any])
C = TypeVar("C")


class DispatchOptions(TypedDict, total=False):
    """What a caller may say of one dispatch; what it means, `Dispatching.dispatch` says."""

    command_id: UUID | None
    correlation_id: UUID | None
    causation_id: UUID | None
    metadata: Metadata | None
    expected_version: int | None
    consistency: Waiting | None
    timeout: timedelta | None
    retry: int | None


class Dispatching(Running):
    """An application as those have it who want something done."""

    @overload
    async def dispatch(
        self, command: object, *, returning: type[A], **options: Unpack[DispatchOptions]
    ) -> ResultWithState[A]: ...

    @overload
    async def dispatch(self, command: object, **options: Unpack[DispatchOptions]) -> DispatchResult: ...

    async def dispatch(
        self,
        command: object,
        *,
        returning: type[Any] | None = None,
        command_id: UUID | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        metadata: Metadata | None = None,
        expected_version: int | None = None,
        consistency: Waiting | None = None,
        timeout: timedelta | None = None,
        retry: int | None = None,
    ) -> DispatchResult:
        """Have *command* decided by its aggregate, and return once what it led to is durable.

        A given *command_id* makes the dispatch idempotent: a repeat is answered, or refused, as the first was. What is
        dispatched while an event is handled is caused by it, unless *correlation_id* and *causation_id* say otherwise.
        *metadata* is recorded with every event. With *expected_version*, a version or one of `Expected`, the command is
        decided only at that version of its aggregate. With *returning*, the aggregate's class, its state comes along.

        With `Consistency.STRONG`, or a collection of handlers, the answer waits until those have handled the events;
        `DispatchResult.waited` says who was late, and nothing is lost by it. *timeout* is for all before that wait,
        the middleware apart. *retry* is how often the command is decided again because another writer was first. What
        is left out of these three is as registered, or else as `Defaults` have it.

        Raises the `CommandRejected` that the aggregate raised, or its error if it failed; `WrongExpectedVersion` if the
        aggregate is not at *expected_version*; `UnknownCommand`, `InvalidIdentity`, `InvalidMetadata`, `InvalidOption`,
        `UnknownHandler`, `SelfWait`, `UnencodableValue`, `InvalidDecision`, `CommandIdReused`, `TooManyAttempts`,
        `StreamDeleted`, `StorageUnavailable`, `DispatchTimeout`, or `UnsupportedType` if the command has an id and the
        codec does not hold it: nothing was recorded. `OutcomeUnknown` after *timeout*, when the append was on its way
        already. `NoAnswer` for a middleware at fault. `SubsystemFailed` when
        a part of the application has died, `NotRunning` when it is not open. Cancellation withdraws a command that
        waits; one in hand runs to its end without you.
        """
        dispatcher = self._alive().dispatcher
        order = dispatcher.preparation.order(
            command,
            command_id=command_id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            metadata=metadata,
            options=_options(timeout, consistency, retry),
            expected_version=expected_version,
            returning=returning,
        )
        return await dispatcher.dispatch(order)

    async def dispatch_context(self, context: CommandContext) -> DispatchResult:
        """Dispatch the command of *context* with all that is said of it there, ids and options included.

        This is how a middleware hands a command to another application. One of several that are decided as one is
        refused with `InvalidOption`: it would be recorded without the others. Raises else as `dispatch` does.
        """
        if context.is_together:
            command = type(context.command).__name__
            raise InvalidOption(
                f"{command} is to be decided as one with others: dispatch them together to that application itself"
            )
        return await self._alive().dispatcher.dispatch(context)

    async def dispatch_many(
        self,
        commands: Iterable[object],
        *,
        load_id: UUID | None = None,
        metadata: Metadata | None = None,
        consistency: Waiting | None = None,
        timeout: timedelta | None = None,
        retry: int | None = None,
        at_once: int = 256,
    ) -> Sequence[DispatchResult]:
        """Dispatch *commands* one by one, at most *at_once* at a time, and return their results in the same order.

        Those for one aggregate are decided in the order given. *commands* are taken as they are needed, so they may
        come out of a file. Under a *load_id* a load that broke off is repeated from its beginning: a command at the
        same place takes effect once.

        All are dispatched, whatever becomes of the others, and then `SomeFailed` is raised if not each has a result; it
        holds the results and the errors. Only an error that is no fault of its command (`DispatchTimeout`,
        `OutcomeUnknown`, `StorageUnavailable`, `NotRunning`, `SubsystemFailed`) and one raised by *commands* itself
        keep the rest from being begun.
        """
        dispatcher = self._alive().dispatcher
        options = _options(timeout, consistency, retry)

        def order(place: int, command: object) -> CommandContext:
            command_id = None if load_id is None else uuid5(load_id, str(place))
            return self._alive().dispatcher.preparation.order(
                command, command_id=command_id, metadata=metadata, options=options
            )

        return await Bulk(dispatcher, commands, order).run(at_once)

    async def dispatch_together(
        self,
        commands: Sequence[object],
        *,
        command_id: UUID | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        metadata: Metadata | None = None,
        consistency: Waiting | None = None,
        timeout: timedelta | None = None,
        retry: int | None = None,
    ) -> Sequence[DispatchResult]:
        """Have *commands*, for any number of aggregates, decided and recorded as one: all of them or none.

        Several for one aggregate are decided one on the other. The events lie side by side in the log, and each command
        has its own result. The first that is refused or fails refuses all, with its error. *command_id* stands for the
        whole: a repeat is answered, or refused, as the first was, and is the same only with the same commands in the
        same order. *timeout* and *retry* are for the whole, too: the longest and the most that is registered for one of
        them, unless given. There is no *expected_version*: what counts is what the log holds when all are decided.

        Raises what `dispatch` raises, and means the same by it.
        """
        dispatcher = self._alive().dispatcher
        options = _options(timeout, consistency, retry)
        first = None
        orders: list[CommandContext] = []
        for place, command in enumerate(commands):
            order = dispatcher.preparation.order(
                command,
                command_id=command_id
                if first is None or command_id is None
                else uuid5(command_id, f"together/{place}"),
                correlation_id=correlation_id if first is None else first.correlation_id,
                causation_id=causation_id,
                metadata=metadata,
                options=options,
            )
            first = first or order
            orders.append(attrs.evolve(order, is_together=True))
        return await dispatcher.dispatch_together(orders)

    @overload
    async def schedule(self, command: object, *, key: str, at: datetime) -> Scheduled: ...

    @overload
    async def schedule(self, command: object, *, key: str, after: timedelta) -> Scheduled: ...

    @overload
    async def schedule(self, command: object, *, key: str, every: Cron) -> Scheduled: ...

    async def schedule(
        self,
        command: object,
        *,
        key: str,
        at: datetime | None = None,
        after: timedelta | None = None,
        every: Cron | None = None,
    ) -> Scheduled:
        """Have *command* dispatched later, and return once that is durable: by this process or another, once.

        It is sent *at* a moment, which has a time zone, *after* a time from now, or *every* so often; at once where the
        moment is over. What was scheduled under the *key* before and is not sent yet is not sent any more. A command
        sent by key and moment has one outcome, however often it is scheduled. A refusal is parked under the *key*; see
        `schedules`. Of what recurs, those moments that were missed are made up for by one.

        Raises `InvalidOption` for a moment without a time zone, a time below nothing, and what is a hundred years away;
        `InvalidRequest` for a key that is no name; `UnknownCommand`, `InvalidIdentity`, `UnencodableValue`,
        `UnsupportedType`, or `ConfigurationError` where another command has the name of this one's class;
        `StorageUnavailable`: nothing was scheduled.
        """
        return await self._alive().schedules.schedule(command, key, at=at, after=after, every=every)

    @overload
    def command_from_json(self, command: type[C], document: bytes | str) -> C: ...

    @overload
    def command_from_json(self, command: str, document: bytes | str) -> Any: ...

    def command_from_json(self, command: type[Any] | str, document: bytes | str) -> Any:
        """Return the command that the JSON *document* holds; *command* is a registered class, or the name of one.

        Raises `InvalidCommand` with everything that is wrong with the document, and where, and `UnknownCommand`.
        """
        router = self._wiring.router
        cls: type[Any] = router.command(command) if isinstance(command, str) else command
        if not router.takes(cls):
            raise UnknownCommand(cls)
        return parse_command(self._wiring.journal.codec, cls, document)


def _options(timeout: timedelta | None, consistency: Waiting | None, retry: int | None) -> Options:
    if timeout is None and consistency is None and retry is None:
        return NO_OPTIONS
    return Options(timeout, names(consistency), retry)
