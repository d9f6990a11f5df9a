"""What people see of the instances of processes, and ask of them, from any node."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid5

import attrs

from framework.contracts import handler_name
from framework.errors import CommandRejected, UnknownHandler, UnknownSubscription
from framework.journal import Journal, pieces
from framework.messages import Recorded
from framework.process_manager import Stop, handles
from framework.refusals import decode_refusal
from framework.runtime.processes import ProcessType, Source
from framework.selection import Selection
from framework.store.protocol import EventStore, InstanceRow, OutboxRow, Pending, ProcessChange
from framework.store.subscriptions import DISCARD, RETRY, ParkedEvent
from framework.store.validation import check_limit

PAGE = 1_000
"""Events read at once for a history."""


@attrs.frozen
class InstanceState:
    """An instance as it is stored."""

    process: str
    instance: str
    version: int
    """How many events it has handled."""
    state: Any
    """As in JSON; None where it is finished."""


@attrs.frozen
class OpenCommand:
    """A command of an instance that has no answer yet."""

    command_id: UUID
    command_type: str
    command: Any
    """Its content, as in JSON."""
    due_at: datetime | None
    """When it is to be sent; None once it waits for its turn."""
    timer: str | None
    """The key it was scheduled under."""
    parked: str | None
    """Why it is not sent any more."""


@attrs.frozen
class InstanceDetails(InstanceState):
    """An instance, and what is open of it."""

    commands: Sequence[OpenCommand]
    """Those that wait, in the order of sending, and then those that are scheduled, by time."""
    parked_events: Sequence[ParkedEvent]
    """What it has failed at, and what has been held back since."""


@attrs.frozen
class SentCommand:
    """What an instance yielded, and what has become of it."""

    command_id: UUID
    command: Any
    outcome: Literal["accepted", "refused", "open"]
    """`open` where there is no answer: not yet, or not kept any longer, or it was withdrawn."""
    refusal: str | None = None
    """The name and the message of the refusal."""


@attrs.frozen
class HistoryStep:
    """An event that concerned an instance, and what the instance made of it."""

    event: Recorded[Any]
    state: Any
    """Its state behind the event; None where it does not run then."""
    commands: Sequence[SentCommand]
    """Those that it led to, and behind them what their refusals led to."""
    error: str | None = None
    """What the instance fails with at it today; its state is then as before."""


class Instances:
    """The instances of processes: seen, and got going again.

    A process is named by its class or its name. What is asked for with an instance is done by the owner of its slot, as
    soon as that hears of it.
    """

    def __init__(self, store: EventStore, journal: Journal | None, processes: Iterable[ProcessType]) -> None:
        """Know those *processes* that are there; without a *journal* there is no history."""
        self._store = store
        self._journal = journal
        self._types: Mapping[str, ProcessType] = {process.name: process for process in processes}

    async def list(self, process: type | str, *, after: str = "", limit: int = 1_000) -> Sequence[InstanceState]:
        """Return at most *limit* instances of *process* that run, by name, those named above *after*.

        Raises `UnknownSubscription` for a process that never ran.
        """
        check_limit(limit)
        name = await self._recorded(process)
        return [_state(name, row) for row in await self._store.instances(name, after=after, limit=limit)]

    async def get(self, process: type | str, instance: str) -> InstanceDetails | None:
        """Return *instance* with what is open of it; None if there is nothing. Raises `UnknownSubscription`."""
        name = await self._recorded(process)
        rows = await self._store.load_instances(name, [instance])
        commands = [_open(each) for each in await self._store.pending_of(name, instance)]
        events = await self._parked_events(name, instance)
        if instance not in rows and not commands and not events:
            return None
        state = _state(name, rows.get(instance, InstanceRow(instance, 0, None)))
        return InstanceDetails(**attrs.asdict(state, recurse=False), commands=commands, parked_events=events)

    async def history(self, process: type | str, instance: str) -> AsyncGenerator[HistoryStep, None]:
        """Yield the events that concerned *instance*, in order, with what it made of each.

        It is worked out: the log is read from its beginning, and the process of today asked what it does; what has
        become of the commands, their receipts say. Raises `UnknownHandler` for a process that the application does not
        have.
        """
        name = handler_name(process)
        known = self._types.get(name)
        if known is None or self._journal is None:
            raise UnknownHandler(name, self._types)
        types = frozenset(self._journal.types.name_of(event)[0] for event in known.events)
        past = _Past(known, instance)
        after, head = 0, 1
        while after < head:
            page = await self._journal.read_log(after=after, limit=PAGE, selection=Selection(types))
            for event in pieces(page.events):
                if (step := past.take(event)) is not None:
                    yield await self._answered(known, step)
            after, head = page.looked_to, page.head

    async def retry(self, process: type | str, instance: str) -> int:
        """Have sent again, as a new command, what is parked of *instance*, and the event tried again that it failed at.

        Returns how many that is. Raises `UnknownSubscription`.
        """
        name = await self._recorded(process)
        count = 0
        for row in await self._parked_commands(name, instance):
            # Under its own id it would be refused as it was.
            again = row._replace(command_id=uuid5(row.command_id, "again"), parked=None)
            count += await self._store.settle_refused(row, ProcessChange(commands=[again]))
        return count + await self._ask(name, instance, RETRY)

    async def skip(self, process: type | str, instance: str) -> int:
        """Have *instance* go on without the command that is parked, and without the event that it failed at.

        What stands behind these is taken up. Returns how many that is. Raises `UnknownSubscription`.
        """
        name = await self._recorded(process)
        rows = await self._parked_commands(name, instance)
        await self._store.settle(name, [row.command_id for row in rows])
        return len(rows) + await self._ask(name, instance, DISCARD)

    async def stop(self, process: type | str, instance: str) -> bool:
        """Have *instance* end as by `Stop`: its state goes, and what it has scheduled; and say whether it runs.

        The owner of its slot does it, behind the event in hand. What is parked stays, and commands that it has yielded
        are sent. Raises `UnknownSubscription`.
        """
        name = await self._recorded(process)
        is_running = await self._store.ask_to_stop(name, instance)
        await self._store.subscriptions.nudge()
        return is_running

    async def _ask(self, name: str, instance: str, what: str) -> int:
        """Ask the owner for *what* with the first parked event of *instance*, and have it look."""
        count = 0
        if events := await self._parked_events(name, instance):
            count = await self._store.subscriptions.ask(name, what, key=instance, position=events[0].position)
        await self._store.subscriptions.nudge()
        return count

    async def _parked_events(self, name: str, instance: str) -> Sequence[ParkedEvent]:
        return [event for event in await self._store.subscriptions.parked([name]) if event.key == instance]

    async def _parked_commands(self, name: str, instance: str) -> Sequence[OutboxRow]:
        pending = await self._store.pending_of(name, instance)
        return [each.command for each in pending if each.command.parked is not None]

    async def _recorded(self, process: type | str) -> str:
        name = handler_name(process)
        if name not in self._types:
            known = [state.name for state in await self._store.subscriptions.states()]
            if name not in known:
                raise UnknownSubscription(name, known)
        return name

    async def _answered(self, process: ProcessType, step: _Step) -> HistoryStep:
        """Return *step* with what has become of its commands, and with those that followed from refusals."""
        sent: list[SentCommand] = []
        rows = step.commands
        while rows:
            receipts = await self._store.receipts([row.command_id for row in rows])
            following: list[OutboxRow] = []
            for row in rows:
                command = process.command(row)
                receipt = receipts.get(row.command_id)
                if receipt is None:
                    sent.append(SentCommand(row.command_id, command, "open"))
                elif receipt.refusal is None:
                    sent.append(SentCommand(row.command_id, command, "accepted"))
                else:
                    refusal = decode_refusal(receipt.refusal)
                    reason = f"{type(refusal).__name__}: {refusal}"
                    sent.append(SentCommand(row.command_id, command, "refused", reason))
                    following += _following(process, row, step, command, refusal)
            rows = following
        state = None if step.document is None else json.loads(step.document)
        return HistoryStep(step.event, state, sent, step.error)


@attrs.frozen
class _Step:
    event: Recorded[Any]
    document: bytes | None
    """The state behind it."""
    commands: Sequence[OutboxRow]
    error: str | None


class _Past:
    """An instance, taken through its events once more; nothing is stored."""

    def __init__(self, process: ProcessType, instance: str) -> None:
        self._process = process
        self._instance = instance
        self._state: Any = None

    def take(self, event: Recorded[Any]) -> _Step | None:
        """Return what *event* does to the instance; None if it does not concern it."""
        process, id_ = self._process, self._instance
        interest = next((each for each in process.interests(event.data) if each.id == id_), None)
        if interest is None:
            return None
        yielded = process.yielded()
        error = None
        try:
            if isinstance(interest, Stop):
                self._state = None
            elif handles(process.name, interest, is_running=self._state is not None):
                state = process.initial if self._state is None else self._state
                source = Source(event.event_id, event.correlation_id, event.recorded_at)
                yielded.take(id_, list(state.handle(event.data)), source)
                self._state = state.apply(event.data)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is what the instance fails with
            error = f"{type(failure).__name__}: {failure}"
        document = None if self._state is None else process.codec.encode(self._state)
        commands = [*yielded.commands, *(timer.command for timer in yielded.timers)]
        return _Step(event, document, commands, error)


def _following(
    process: ProcessType, row: OutboxRow, step: _Step, command: Any, refusal: CommandRejected
) -> Sequence[OutboxRow]:
    """Return what followed from a *refusal*, as far as can be told: the instance may have handled more by then."""
    instance = InstanceRow(row.instance, 0, step.document)
    try:
        change = process.refused(row, instance, command, refusal, step.event.recorded_at)
    except Exception:  # noqa: BLE001 - it was parked, and what became of it then is in the outbox
        return ()
    return [*change.commands, *(timer.command for timer in change.timers)]


def _state(process: str, row: InstanceRow) -> InstanceState:
    return InstanceState(process, row.instance, row.version, None if row.state is None else json.loads(row.state))


def _open(pending: Pending) -> OpenCommand:
    row = pending.command
    return OpenCommand(row.command_id, row.command_type, json.loads(row.command), pending.due_at, row.timer, row.parked)
