"""Which aggregate takes a command, and which stream that aggregate's events are in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import attrs

from framework.aggregate import Aggregate
from framework.contracts import initial_state, message_types
from framework.errors import (
    CommandAlreadyRegistered,
    ConfigurationError,
    InvalidIdentity,
    MissingIdentity,
    UnknownCommand,
)

LONGEST_STREAM = 500
"""Characters in a stream's name; PostgreSQL indexes no text much longer than that."""


@attrs.frozen
class Registration:
    """An aggregate class, the messages it declares, and how its streams are named."""

    aggregate: type[Aggregate[Any, Any]]
    prefix: str
    identity: Callable[[Any], object]
    commands: tuple[type, ...]
    events: frozenset[type]
    initial: Aggregate[Any, Any]
    """The state before the first event."""

    def stream(self, command: object) -> str:
        """Return the stream of the aggregate that *command* is for; raises `InvalidIdentity`."""
        return self._named(type(command), self.identity(command))

    def stream_of(self, identity: object) -> str:
        """Return the stream of the aggregate called *identity*; raises `InvalidIdentity`."""
        return self._named(self.aggregate, identity)

    def _named(self, asker: type, identity: object) -> str:
        match identity:
            case str():
                name = identity
            case bool():
                raise InvalidIdentity(
                    asker, identity, "is a truth value: an identity is text, a whole number or a UUID"
                )
            case int() | UUID():
                name = str(identity)
            case _:
                raise InvalidIdentity(asker, identity, "is not an identity: text, a whole number or a UUID is")
        if not name:
            raise InvalidIdentity(asker, identity, "is empty")
        if "\0" in name or not _is_unicode(name):
            raise InvalidIdentity(asker, identity, "has characters that no stream's name can hold")
        if len(self.prefix) + len(name) > LONGEST_STREAM:
            raise InvalidIdentity(asker, identity, f"makes a stream's name longer than {LONGEST_STREAM} characters")
        return self.prefix + name


class Router:
    """The registered aggregates, and the way from a command to its stream."""

    def __init__(self) -> None:
        self._by_command: dict[type, Registration] = {}
        self._by_aggregate: dict[type, Registration] = {}

    def register(
        self,
        aggregate: type[Aggregate[Any, Any]],
        *,
        identity: str | Callable[[Any], object],
        prefix: str | None = None,
    ) -> None:
        """Send every command that *aggregate* declares to it.

        *identity* is the field of each command that names the aggregate, or a function from command to name. Its
        stream is *prefix* and that name; the prefix is the class's name and a dash unless given, which keeps two
        kinds of aggregates with one name apart.

        Raises `InvalidContract`, `CommandAlreadyRegistered`, `MissingIdentity` or `ConfigurationError`; the router is
        then as it was.
        """
        commands = message_types(aggregate, Aggregate, 0)
        events = message_types(aggregate, Aggregate, 1)
        prefix = f"{aggregate.__name__}-" if prefix is None else prefix
        if "\0" in prefix or not _is_unicode(prefix):
            raise ConfigurationError(f"the prefix {prefix!r} has characters that no stream's name can hold")
        if aggregate in self._by_aggregate:
            message = f"{aggregate.__name__} is registered twice: register each aggregate once"
            raise ConfigurationError(message)
        for other in self._by_aggregate.values():
            # The stream 'account-log-7' would be that of an account 'log-7', and that of an account log 7.
            if prefix.startswith(other.prefix) or other.prefix.startswith(prefix):
                shared = min(prefix, other.prefix, key=len)
                message = (
                    f"{aggregate.__name__} and {other.aggregate.__name__} share the prefix {shared!r}:"
                    " their streams could mix; give one another prefix"
                )
                raise ConfigurationError(message)
        for command in commands:
            if command in self._by_command:
                raise CommandAlreadyRegistered(command, self._by_command[command].aggregate, aggregate)
            if isinstance(identity, str) and identity not in attrs.fields_dict(command):
                raise MissingIdentity(command, aggregate, identity)
        registration = Registration(
            aggregate=aggregate,
            prefix=prefix,
            identity=_field(identity) if isinstance(identity, str) else identity,
            commands=commands,
            events=frozenset(events),
            initial=initial_state(aggregate),
        )
        self._by_aggregate[aggregate] = registration
        self._by_command.update(dict.fromkeys(commands, registration))

    @property
    def aggregates(self) -> Mapping[type, Registration]:
        """What is registered, by aggregate."""
        return self._by_aggregate

    def takes(self, command: type) -> bool:
        """Say whether commands of this class go anywhere."""
        return command in self._by_command

    def route(self, command: object) -> Registration:
        """Return where *command* goes; raises `UnknownCommand`."""
        registration = self._by_command.get(type(command))
        if registration is None:
            raise UnknownCommand(type(command))
        return registration

    def registration(self, aggregate: type[Aggregate[Any, Any]]) -> Registration:
        """Return how *aggregate* is registered; raises `ConfigurationError` if it is not."""
        registration = self._by_aggregate.get(aggregate)
        if registration is None:
            message = f"{aggregate.__name__} is not registered: add router.register({aggregate.__name__}, …)"
            raise ConfigurationError(message)
        return registration


def _field(name: str) -> Callable[[Any], object]:
    def identity(command: object) -> object:
        return getattr(command, name)

    return identity


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
