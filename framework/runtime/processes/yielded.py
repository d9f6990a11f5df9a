"""What a process yields, sorted: commands to send now, commands to send later, and what is not to be sent any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import attrs

from framework.codec import Codec
from framework.errors import ConfigurationError
from framework.process_manager import Cancel, Schedule
from framework.store.protocol import OutboxRow, TimerRow, Withdrawal


@attrs.frozen
class Source:
    """What an instance yields for: an event, or a command that was refused."""

    id: UUID
    correlation_id: UUID
    heard_at: datetime
    """From when times are counted."""


@attrs.define
class Yielded:
    """What the instances of a process have yielded, and not stored yet."""

    process: str
    command_types: dict[str, type]
    codec: Codec
    _counts: Counter[tuple[str, UUID]] = attrs.field(factory=Counter[tuple[str, UUID]])
    """How much an instance has yielded for a source."""
    commands: list[OutboxRow] = attrs.field(factory=list[OutboxRow])
    _timers: dict[tuple[str, str], TimerRow] = attrs.field(factory=dict[tuple[str, str], TimerRow])
    _withdrawn: dict[Withdrawal, None] = attrs.field(factory=dict[Withdrawal, None])

    @property
    def timers(self) -> Sequence[TimerRow]:
        """What is to be sent later."""
        return tuple(self._timers.values())

    @property
    def withdrawn(self) -> Sequence[Withdrawal]:
        """What was scheduled before, and is not to be sent."""
        return tuple(self._withdrawn)

    def take(self, instance: str, yielded: Iterable[object], source: Source) -> None:
        """Sort what *instance* has *yielded* for *source*.

        Raises `ConfigurationError` for what it may not, and as the codec does; then nothing of it was taken.
        """
        # Every command has an id that follows from what it was yielded for and its place among all that was: an event
        # may have become several, which have one id.
        first = self._counts[instance, source.id]
        rows = [self._row(instance, each, number, source) for number, each in enumerate(yielded, start=first)]
        self._counts[instance, source.id] += len(rows)
        for row in rows:
            match row:
                case OutboxRow():
                    self.commands.append(row)
                case TimerRow(command=command):
                    self._timers[instance, command.timer or ""] = row
                case Withdrawal(timer=key):
                    self._timers.pop((instance, key or ""), None)
                    self._withdrawn[row] = None

    def end(self, instance: str) -> None:
        """Note that *instance* is done: what it has scheduled is not to be sent."""
        for key in [key for key in self._timers if key[0] == instance]:
            del self._timers[key]
        self._withdrawn[Withdrawal(instance, None)] = None

    def _row(self, instance: str, each: object, number: int, source: Source) -> OutboxRow | TimerRow | Withdrawal:
        match each:
            case Schedule(after=after, key=key):
                command: object = each.command  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
                row = self._command(instance, command, number, source)
                return TimerRow(source.heard_at + after, row._replace(timer=key))
            case Cancel(key):
                return Withdrawal(instance, key)
            case command:
                return self._command(instance, command, number, source)

    def _command(self, instance: str, command: Any, number: int, source: Source) -> OutboxRow:
        name = type(command).__name__
        if self.command_types.get(name) is not type(command):
            message = f"{self.process} yielded {command!r}, which is no command of its contract"
            raise ConfigurationError(message)
        return OutboxRow(
            process=self.process,
            instance=instance,
            number=0,
            piece=0,
            command_id=uuid5(source.id, f"{self.process}/{instance}/{number}"),
            command_type=name,
            command=self.codec.encode(command),
            correlation_id=source.correlation_id,
            causation_id=source.id,
        )
