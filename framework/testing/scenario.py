"""given, when, then: what a class decides, without a loop and without a database; and what follows from events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar, overload

from framework.aggregate import Aggregate
from framework.errors import CommandRejected
from framework.handler import EventHandler
from framework.process_manager import Cancel, Continue, DropRest, ProcessManager, Schedule, Start, Stop, handles
from framework.projector import Projector
from framework.testing.effects import HandlerGiven, ProjectorGiven

C = TypeVar("C")
E = TypeVar("E")


@overload
def given(subject: type[Aggregate[C, E]], *history: E) -> AggregateGiven[C, E]: ...


@overload
def given(subject: type[ProcessManager[E, C]], *history: E) -> ProcessGiven[E, C]: ...


@overload
def given(subject: Projector[E], *history: E) -> ProjectorGiven[E]: ...


@overload
def given(subject: EventHandler[E], *history: E) -> HandlerGiven[E]: ...


def given(
    subject: type[Aggregate[Any, Any] | ProcessManager[Any, Any]] | Projector[Any] | EventHandler[Any], *history: Any
) -> AggregateGiven[Any, Any] | ProcessGiven[Any, Any] | ProjectorGiven[Any] | HandlerGiven[Any]:
    """Begin a scenario: *subject*, after the events of *history*.

    The types come from the class, so a command where an event belongs is an error of types.
    """
    if isinstance(subject, Projector):
        return ProjectorGiven(subject, history)
    if isinstance(subject, EventHandler):
        return HandlerGiven(subject, history)
    if issubclass(subject, Aggregate):
        return AggregateGiven(subject().fold(history))
    return ProcessGiven(subject, history)


class AggregateGiven(Generic[C, E]):
    """An aggregate with a past."""

    def __init__(self, state: Aggregate[C, E]) -> None:
        self._state = state

    def having(self, *commands: C) -> AggregateGiven[C, E]:
        """Have *commands* decided first, one after the other; a refusal is raised, since that is no past."""
        state = self._state
        for command in commands:
            state = state.fold(tuple(state.execute(command)))  # all of it, or a refusal would leave half
        return AggregateGiven(state)

    def when(self, command: C) -> AggregateThen[E]:
        """Have *command* decided."""
        events: list[E] = []
        try:
            events.extend(self._state.execute(command))
        except Exception as error:  # noqa: BLE001 - `then_raises` looks at it, and the others raise it again
            return AggregateThen(self._state, [], error)
        return AggregateThen(self._state.fold(events), events, None)


class AggregateThen(Generic[E]):
    """What an aggregate decided."""

    def __init__(self, state: Aggregate[Any, E], events: Sequence[E], error: Exception | None) -> None:
        self._state = state
        self._events = events
        self._error = error

    def then(self, *events: E) -> None:
        """Assert that exactly these *events* happened, in this order; with none, that nothing happened."""
        self._reraise()
        assert list(self._events) == list(events), f"expected {_list(events)}, but {_list(self._events)} happened"

    def then_raises(self, error: type[Exception], message: str | None = None) -> None:
        """Assert that the command was answered by exactly this *error*, with this *message* if one is given."""
        assert self._error is not None, f"expected {error.__name__}, but {_list(self._events)} happened"
        if type(self._error) is not error:
            self._reraise()
        if message is not None:
            assert str(self._error) == message, f"expected the message {message!r}, not {str(self._error)!r}"

    def then_state(self, state: Aggregate[Any, E]) -> None:
        """Assert that the aggregate is now equal to *state*."""
        self._reraise()
        assert self._state == state, f"expected {state!r}, but it is {self._state!r}"

    def _reraise(self) -> None:
        if self._error is not None:
            raise self._error


class ProcessGiven(Generic[E, C]):
    """A process manager whose instances have seen some events, all at one moment."""

    def __init__(self, process: type[ProcessManager[E, C]], history: Sequence[E]) -> None:
        self._process = process
        self._instances: dict[str, ProcessManager[E, C]] = {}
        self._timers: dict[tuple[str, str], tuple[timedelta, C]] = {}
        """By instance and key, with the time that is left."""
        for event in history:
            self._take(event)

    def when(self, event: E) -> ProcessThen[C]:
        """Have the instances that *event* concerns handle it."""
        return ProcessThen(self._take(event))

    def when_rejected(self, command: C, error: CommandRejected, *, instance: str) -> ProcessThen[C]:
        """Have *instance* hear that *command* was refused with *error*."""
        assert instance in self._instances, f"there is no instance {instance!r}: {sorted(self._instances)}"
        answers = list(self._instances[instance].rejected(command, error))
        yielded = self._sort(instance, (answer for answer in answers if not isinstance(answer, Stop | DropRest)))
        if any(isinstance(answer, Stop) for answer in answers):
            self._end(instance)
        return ProcessThen(yielded, drops_rest=any(isinstance(answer, DropRest) for answer in answers))

    def when_time_passes(self, by: timedelta) -> ProcessThen[C]:
        """Have what was scheduled and comes due within *by* sent, in order of time."""
        left = {key: (after - by, command) for key, (after, command) in self._timers.items()}
        due = sorted((key for key, (after, _) in left.items() if after <= timedelta(0)), key=lambda key: left[key][0])
        self._timers = {key: timer for key, timer in left.items() if key not in due}
        return ProcessThen([left[key][1] for key in due])

    def _take(self, event: E) -> list[C | Schedule[C] | Cancel]:
        interests = self._process.interested(event)
        yielded: list[C | Schedule[C] | Cancel] = []
        for interest in (
            [] if interests is None else [interests] if isinstance(interests, Start | Continue | Stop) else interests
        ):
            if isinstance(interest, Stop):
                self._end(interest.id)
                continue
            if not handles(self._process.__name__, interest, is_running=interest.id in self._instances):
                continue
            state = self._instances.get(interest.id)
            if state is None:
                state = self._process()
            yielded += self._sort(interest.id, state.handle(event))
            self._instances[interest.id] = state.apply(event)
        return yielded

    def _sort(self, instance: str, yielded: Iterable[C | Schedule[C] | Cancel]) -> list[C | Schedule[C] | Cancel]:
        each = list(yielded)
        for timer in _timers(each):
            if isinstance(timer, Cancel):
                self._timers.pop((instance, timer.key), None)
            else:
                self._timers[instance, timer.key] = timer.after, timer.command
        return each

    def _end(self, instance: str) -> None:
        self._instances.pop(instance, None)
        self._timers = {key: timer for key, timer in self._timers.items() if key[0] != instance}


class ProcessThen(Generic[C]):
    """What a process manager yields."""

    def __init__(self, yielded: Sequence[C | Schedule[C] | Cancel], *, drops_rest: bool = False) -> None:
        self._yielded = yielded
        self._drops_rest = drops_rest

    def then(self, *commands: C) -> None:
        """Assert that exactly these *commands* are sent, in this order; with none, that nothing is.

        What is scheduled is not sent yet.
        """
        sent = [each for each in self._yielded if not isinstance(each, Schedule | Cancel)]
        assert sent == list(commands), f"expected {_list(commands)}, but {_list(sent)} would be sent"

    def then_rest_is_dropped(self) -> None:
        """Assert that what was to be sent after the refused command is not sent."""
        assert self._drops_rest, "expected that what follows the refused command is dropped, but it is sent"

    def then_scheduled(self, *timers: Schedule[C] | Cancel) -> None:
        """Assert that exactly these *timers* are set or cancelled, in this order; with none, that nothing is."""
        found = _timers(self._yielded)
        assert found == list(timers), f"expected {_list(timers)}, but {_list(found)} would be scheduled"


def _timers(yielded: Iterable[C | Schedule[C] | Cancel]) -> list[Schedule[C] | Cancel]:
    """Return what of *yielded* is not sent at once."""
    return [each for each in yielded if isinstance(each, Schedule | Cancel)]  # pyright: ignore[reportUnknownVariableType]


def _list(messages: Sequence[object]) -> str:
    return ", ".join(map(repr, messages)) or "nothing"
