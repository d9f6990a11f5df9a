"""Which aggregate takes a command, who decides it, and which stream that aggregate's events are in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

import attrs

from framework.aggregate import Aggregate
from framework.contracts import awaits, check_message, handler_name, initial_state, message_types
from framework.errors import (
    CommandAlreadyRegistered,
    ConfigurationError,
    MissingIdentity,
    UnknownCommand,
)
from framework.identity import can_be_named, stream_name
from framework.messages import Consistency, Metadata
from framework.policies import Lifespan, Options, SnapshotEvery

A = TypeVar("A", bound=Aggregate[Any, Any])
C = TypeVar("C")

Identity: TypeAlias = str | Callable[[Any], object]
"""The field of a command that names its aggregate, or a function from the command to that name."""

Waiting: TypeAlias = Consistency | Collection[type | str]
"""What a dispatch waits for: a `Consistency`, or handlers, by class or by name."""


@attrs.frozen(eq=False)
class Registration:
    """An aggregate class, the messages it declares, and how its streams are named."""

    aggregate: type[Aggregate[Any, Any]]
    prefix: str | Callable[[], str]
    identity: Identity
    commands: tuple[type, ...]
    """Those it declares."""
    events: frozenset[type]
    initial: Aggregate[Any, Any]
    """The state before the first event."""
    options: Options
    snapshots: SnapshotEvery | None
    """When a state is saved; None where none is, and none is read."""

    @property
    def state_type(self) -> str:
        """The name that snapshots are kept under."""
        return self.aggregate.__name__

    def stream_of(self, identity: object) -> str:
        """Return the stream of the aggregate called *identity*; raises `InvalidIdentity`."""
        return self.named(self.aggregate, identity)

    def named(self, asker: type, identity: object) -> str:
        """Return the stream of the aggregate called *identity*; an `InvalidIdentity` names *asker*."""
        prefix = self.prefix
        return stream_name(asker, prefix if isinstance(prefix, str) else prefix(), identity)


@attrs.frozen(eq=False)
class Route:
    """The way of one command class: to which aggregate, by which name, and who decides."""

    command: type
    registration: Registration
    identity: Callable[[Any], object]
    decide: Callable[[Any, Any], Any]
    """From state and command to events: the aggregate's `execute`, or a command handler."""
    check: Callable[[Any, Any, Metadata], object] | None
    """Called with state, command and metadata before each decision; it raises to refuse."""
    options: Options

    def stream(self, command: object) -> str:
        """Return the stream of the aggregate that *command* is for; raises `InvalidIdentity`."""
        return self.registration.named(self.command, self.identity(command))


class Router:
    """The registered aggregates, and the way from a command to its stream."""

    def __init__(self) -> None:
        self._routes: dict[type, Route] = {}
        self._by_aggregate: dict[type, Registration] = {}
        self._single: set[type] = set()
        """The commands that were registered by themselves."""

    def register(
        self,
        aggregate: type[Aggregate[Any, Any]],
        *,
        identity: Identity,
        prefix: str | Callable[[], str] | None = None,
        timeout: timedelta | None = None,
        consistency: Waiting | None = None,
        retry: int | None = None,
        lifespan: Lifespan | None = None,
        snapshots: SnapshotEvery | None = None,
    ) -> None:
        """Send every command that *aggregate* declares to it.

        *identity* is the field of each command that names the aggregate, or a function from command to name: see
        `framework.identity.stream_name` for what can be one. Its stream is *prefix* and that name; the prefix is the
        class's name and a dash unless given, which keeps two kinds of aggregates with one name apart. One that is a
        function is called for every dispatch, and may ask the context.

        *timeout*, *consistency* and *retry* are what `Application.dispatch` takes, and *lifespan* is how long the
        aggregate stays in memory; they hold for this aggregate's commands where neither the command nor the call says
        otherwise. With *snapshots* its state is saved now and then, and loaded from there; the codec must hold its
        fields.

        Raises `InvalidContract`, `CommandAlreadyRegistered`, `MissingIdentity` or `ConfigurationError`; the router is
        then as it was.
        """
        name = aggregate.__name__
        prefix = f"{name}-" if prefix is None else prefix
        if isinstance(prefix, str) and not can_be_named(prefix):
            raise ConfigurationError(f"the prefix {prefix!r} has characters that no stream's name can hold")
        registration = Registration(
            aggregate=aggregate,
            prefix=prefix,
            identity=identity,
            commands=message_types(aggregate, Aggregate, 0),
            events=frozenset(message_types(aggregate, Aggregate, 1)),
            initial=initial_state(aggregate),
            options=_options(name, timeout, consistency, retry, lifespan),
            snapshots=snapshots,
        )
        routes = [
            Route(
                command=command,
                registration=registration,
                identity=_identity(command, aggregate, identity),
                decide=aggregate.execute,
                check=None,
                options=registration.options,
            )
            for command in registration.commands
        ]
        self._add([registration], routes)

    def register_command(
        self,
        command: type[C],
        aggregate: type[A],
        *,
        identity: str | Callable[[C], object] | None = None,
        handler: Callable[[A, C], Iterable[object]] | None = None,
        check: Callable[[A, C, Metadata], None] | None = None,
        timeout: timedelta | None = None,
        consistency: Waiting | None = None,
        retry: int | None = None,
        lifespan: Lifespan | None = None,
    ) -> None:
        """Give one *command* of a registered *aggregate* its own way.

        *handler* decides it instead of the aggregate's `execute`, under the same rules; with one, the command need not
        be among those that the aggregate declares. *check* is called with state, command and metadata before each
        decision, as often as that is repeated; it raises a `CommandRejected` to refuse. *identity* stands in the place
        of the aggregate's, *timeout*, *consistency*, *retry* and *lifespan* in that of what was registered with it.

        Raises `InvalidContract`, `CommandAlreadyRegistered`, `MissingIdentity` or `ConfigurationError`; the router is
        then as it was.
        """
        registration = self.registration(aggregate)
        check_message(command, aggregate)
        if (known := self._routes.get(command)) is not None and (
            known.registration is not registration or command in self._single
        ):
            raise CommandAlreadyRegistered(command, known.registration.aggregate, aggregate)
        if known is None and handler is None:
            message = (
                f"{command.__name__} is no command of {aggregate.__name__}:"
                " name it in the brackets behind Aggregate, or give a handler that decides it"
            )
            raise ConfigurationError(message)
        for role, function in (("handler", handler), ("check", check)):
            if function is not None and awaits(function):
                message = f"the {role} of {command.__name__} is async: it decides without waiting, so write 'def'"
                raise ConfigurationError(message)
        self._routes[command] = Route(
            command=command,
            registration=registration,
            identity=_identity(command, aggregate, registration.identity if identity is None else identity),
            decide=handler or aggregate.execute,
            check=check,
            options=_options(command.__name__, timeout, consistency, retry, lifespan).over(registration.options),
        )
        self._single.add(command)

    def include(self, other: Router) -> None:
        """Add what is registered with *other* as of now.

        Raises what `register` raises where the two do not go together; this router is then as it was.
        """
        self._add(list(other._by_aggregate.values()), list(other._routes.values()))
        self._single |= other._single

    @property
    def aggregates(self) -> Mapping[type, Registration]:
        """What is registered, by aggregate."""
        return self._by_aggregate

    @property
    def commands(self) -> Mapping[type, Route]:
        """Where each registered command goes."""
        return self._routes

    def takes(self, command: type) -> bool:
        """Say whether commands of this class go anywhere."""
        return command in self._routes

    def route(self, command: object) -> Route:
        """Return where *command* goes; raises `UnknownCommand`."""
        route = self._routes.get(type(command))
        if route is None:
            raise UnknownCommand(type(command))
        return route

    def command(self, name: str) -> type:
        """Return the registered command class called *name*.

        Raises `UnknownCommand`; and `ConfigurationError` if there are several, which only the class itself tells apart.
        """
        match [command for command in self._routes if command.__name__ == name]:
            case [command]:
                return command
            case []:
                raise UnknownCommand(name)
            case several:
                places = " and ".join(f"{each.__module__}.{each.__qualname__}" for each in several)
                raise ConfigurationError(f"{name!r} names {places}: say which by giving the class")

    def registration(self, aggregate: type[Aggregate[Any, Any]]) -> Registration:
        """Return how *aggregate* is registered; raises `ConfigurationError` if it is not."""
        registration = self._by_aggregate.get(aggregate)
        if registration is None:
            message = f"{aggregate.__name__} is not registered: add router.register({aggregate.__name__}, …)"
            raise ConfigurationError(message)
        return registration

    def _add(self, registrations: Collection[Registration], routes: Collection[Route]) -> None:
        """Add all of it, or raise and add nothing."""
        for new in registrations:
            if new.aggregate in self._by_aggregate:
                message = f"{new.aggregate.__name__} is registered twice: register each aggregate once"
                raise ConfigurationError(message)
            for other in self._by_aggregate.values():
                _check_apart(other, new)
        for route in routes:
            if (known := self._routes.get(route.command)) is not None:
                raise CommandAlreadyRegistered(
                    route.command, known.registration.aggregate, route.registration.aggregate
                )
        self._by_aggregate.update({new.aggregate: new for new in registrations})
        self._routes.update({route.command: route for route in routes})


def _check_apart(one: Registration, other: Registration) -> None:
    """Refuse prefixes under which an aggregate of either kind could have the stream of one of the other."""
    first, second = one.prefix, other.prefix
    if isinstance(first, str) and isinstance(second, str):
        # The stream 'account-log-7' would be that of an account 'log-7', and that of an account log 7.
        if not (first.startswith(second) or second.startswith(first)):
            return
        how = f"share the prefix {min(first, second, key=len)!r}"
    elif first is second:
        how = "share the function that gives the prefix"
    else:
        return  # what a function will say is not known here; the actors refuse a stream that is another's
    both = f"{other.aggregate.__name__} and {one.aggregate.__name__}"
    raise ConfigurationError(f"{both} {how}: their streams could mix; give one another prefix")


def _identity(command: type, aggregate: type, identity: Identity) -> Callable[[Any], object]:
    if not isinstance(identity, str):
        return identity
    if identity not in attrs.fields_dict(command):
        raise MissingIdentity(command, aggregate, identity)
    return attrgetter(identity)


def _options(
    owner: str,
    timeout: timedelta | None,
    consistency: Waiting | None,
    retry: int | None,
    lifespan: Lifespan | None,
) -> Options:
    options = Options(timeout, names(consistency), retry, lifespan)
    if options.fault:
        raise ConfigurationError(f"{owner}: {options.fault}")
    return options


def names(consistency: Waiting | None) -> Consistency | tuple[str, ...] | None:
    """Return *consistency* with its handlers by name."""
    if consistency is None or isinstance(consistency, Consistency):
        return consistency
    if isinstance(consistency, str):  # one name, which is a collection of letters to a type checker
        return (consistency,)
    return tuple(map(handler_name, consistency))
