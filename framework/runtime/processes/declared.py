"""A process manager as its class declares it: its events, its commands, and how its instances are stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from framework.codec import Codec
from framework.contracts import initial_state, message_types
from framework.errors import CommandRejected, ConfigurationError, DuplicateName
from framework.process_manager import Continue, Interest, ProcessManager, Start, Stop
from framework.runtime.processes.yielded import Source, Yielded
from framework.store.protocol import InstanceRow, OutboxRow, ProcessChange
from framework.subscription.checks import check_revision


class ProcessType:
    """A process manager class, the messages it declares, and how its instances are stored."""

    def __init__(self, manager: type[ProcessManager[Any, Any]], codec: Codec) -> None:
        """Raises `InvalidContract`, `UnsupportedType`, `DuplicateName` or `ConfigurationError`."""
        self.manager = manager
        self.name = manager.__name__
        self.partitions = 1
        self.revision = manager.revision
        check_revision(self.name, self.revision)
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

    def load(self, row: InstanceRow) -> ProcessManager[Any, Any]:
        """Return the state that *row* holds."""
        state: ProcessManager[Any, Any] = self.codec.decode(self.manager, row.state)
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
        if instance is None:
            raise refusal
        answers = list(self.load(instance).rejected(command, refusal))
        is_stopped = any(isinstance(answer, Stop) for answer in answers)
        yielded = self.yielded()
        source = Source(row.command_id, row.correlation_id, at)
        yielded.take(row.instance, [answer for answer in answers if not isinstance(answer, Stop)], source)
        if is_stopped:
            yielded.end(row.instance)
        return ProcessChange(
            removed=[row.instance] if is_stopped else [],
            commands=yielded.commands,
            withdrawn=yielded.withdrawn,
            timers=yielded.timers,
        )

    def interests(self, event: object) -> Sequence[Interest]:
        """Return what *event* means to which instances, each named once."""
        match self.manager.interested(event):
            case None:
                return ()
            case Start() | Continue() | Stop() as one:
                interests: Sequence[Interest] = (one,)
            case several:
                interests = several
        ids = [interest.id for interest in interests]
        if len(set(ids)) < len(ids) or not all(ids):
            message = f"{self.name}.interested returned {interests!r}: each instance is named once, by a text"
            raise ConfigurationError(message)
        return interests
