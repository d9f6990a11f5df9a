"""A process manager as its class declares it: its events, its commands, and how its instances are stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from framework.codec import Codec
from framework.contracts import initial_state, message_types
from framework.errors import CommandRejected, ConfigurationError, DuplicateName, InvalidInterest
from framework.journal import Item, pieces
from framework.process_manager import Continue, DropRest, Interest, ProcessManager, Start, Stop
from framework.runtime.processes.yielded import Source, Yielded
from framework.store.protocol import InstanceRow, OutboxRow, ProcessChange
from framework.subscription.checks import check_partitions, check_revision


class ProcessType:
    """A process manager class, the messages it declares, and how its instances are stored."""

    def __init__(self, manager: type[ProcessManager[Any, Any]], codec: Codec) -> None:
        """Raises `InvalidContract`, `UnsupportedType`, `DuplicateName` or `ConfigurationError`."""
        self.manager = manager
        self.name = manager.__name__
        self.revision = manager.revision
        check_revision(self.name, self.revision)
        self.partitions = manager.partitions
        check_partitions(self.name, self.partitions)
        if manager.step_timeout <= timedelta(0):
            seconds = manager.step_timeout.total_seconds()
            raise ConfigurationError(f"{self.name} has a step_timeout of {seconds:g} s: no step is that quick")
        self.step_timeout_s = manager.step_timeout.total_seconds()
        if manager.options.fault:
            raise ConfigurationError(f"{self.name}.options: {manager.options.fault}")
        self.options = manager.options
        self.events = message_types(manager, ProcessManager, 0)
        self.codec = codec
        self.commands: dict[str, type] = {}
        for command in message_types(manager, ProcessManager, 1):
            first = self.commands.setdefault(command.__name__, command)
            if first is not command:
                raise DuplicateName(f"command of process {self.name}", command.__name__, first, command)
            codec.check(command)
        self.initial = initial_state(manager)
        codec.check(manager)

    def load(self, document: bytes) -> ProcessManager[Any, Any]:
        """Return the state that *document* holds; raises `UndecodablePayload`."""
        state: ProcessManager[Any, Any] = self.codec.decode(self.manager, document)
        return state

    def yielded(self) -> Yielded:
        """Return what its instances have yielded so far: nothing."""
        return Yielded(self.name, self.commands, self.codec)

    def command(self, row: OutboxRow) -> Any:
        """Return the command that *row* holds."""
        cls: type[Any] = self.commands[row.command_type]
        return self.codec.decode(cls, row.command)

    def refused(
        self, row: OutboxRow, instance: InstanceRow | None, command: Any, refusal: CommandRejected, at: datetime
    ) -> ProcessChange:
        """Return what the *refusal* of the command in *row* leads to; raises it where nobody is left to hear of it."""
        if instance is None or instance.state is None:
            raise refusal
        answers = list(self.load(instance.state).rejected(command, refusal))
        yielded = self.yielded()
        source = Source(row.command_id, row.correlation_id, at)
        yielded.take(row.instance, [each for each in answers if not isinstance(each, Stop | DropRest)], source)
        stops = [answer for answer in answers if isinstance(answer, Stop)]
        for stop in stops:
            if stop.id != row.instance:
                message = (
                    f"{self.name} {row.instance!r} answered a refusal with {stop!r}: an instance stops itself only"
                )
                raise InvalidInterest(message)
            yielded.end(row.instance)
        return ProcessChange(
            saved=[instance._replace(state=None)] if stops else [],
            commands=yielded.commands,
            withdrawn=yielded.withdrawn,
            timers=yielded.timers,
            drops_rest=any(isinstance(answer, DropRest) for answer in answers),
        )

    def instances_of(self, event: Item) -> Collection[str]:
        """Return the instances that *event* concerns; raises why that cannot be told."""
        return {each.id for piece in pieces([event]) for each in self.interests(piece.data)}

    def interests(self, event: object) -> Sequence[Interest]:
        """Return what *event* means to which instances, each named once; raises `InvalidInterest`."""
        match self.manager.interested(event):
            case None:
                return ()
            case Start() | Continue() | Stop() as one:
                return (one,)
            case several:
                interests = several
        seen: set[str] = set()
        for interest in interests:
            if not isinstance(interest, Start | Continue | Stop):  # pyright: ignore[reportUnnecessaryIsInstance]
                message = f"returned {interest!r}: return Start, Continue, Stop, several of them, or None"
                raise InvalidInterest(f"{self.name}.interested {message}")
            if interest.id in seen:
                raise InvalidInterest(f"{self.name}.interested names {interest.id!r} twice: name each instance once")
            seen.add(interest.id)
        return interests
