"""Every error the framework raises, in one tree.

::

    FrameworkError
    ├── CommandRejected                  a refusal: subclass it, raise it from `execute`
    ├── ConfigurationError               wrong wiring, found when the object is built
    │   ├── InvalidContract              a class declares no message types, or unusable ones, or breaks its form
    │   ├── CommandAlreadyRegistered     two aggregates claim one command
    │   ├── MissingIdentity              a command has no field that names its aggregate
    │   ├── DuplicateName                two handlers, or two event types, of one name
    │   ├── MissingUpcaster              a version of an event type that nobody leads further
    │   ├── NoReadDatabase               a projector has nowhere to keep its rows
    │   ├── SubscriptionChanged          a handler is not defined as it was when it first ran
    │   ├── UnsupportedType              a field the codec cannot hold
    │   └── InvalidSetting               a variable of the environment says what cannot be meant
    ├── DispatchError                    a command that did not come to an answer of its own
    │   ├── UnknownCommand               nobody registered it
    │   ├── InvalidCommand               it does not fit its class
    │   ├── InvalidIdentity              it names no aggregate
    │   ├── InvalidMetadata              its metadata cannot be recorded
    │   ├── InvalidOption                it is to be dispatched in a way there is not
    │   ├── InvalidDecision              `execute` or `apply` broke its contract
    │   ├── NoAnswer                     a middleware kept the answer, or never asked
    │   ├── AuditFailed                  it could not be written down before it was decided
    │   ├── CommandIdReused              another command was answered under its id
    │   ├── TooManyAttempts              other writers won every time
    │   ├── DispatchTimeout              it was withdrawn before anything was recorded
    │   ├── OutcomeUnknown               it may or may not have been recorded
    │   ├── SelfWait                     it would wait for the handler that sent it
    │   ├── UnknownHandler               it would wait for a handler nobody runs
    │   ├── NotRunning                   the application is not open
    │   ├── SubsystemFailed              a part of the application died
    │   └── SomeFailed                   of many commands some did not come to a result
    ├── ProcessError                     an event that an instance of a process cannot take
    │   ├── InvalidInterest              it names what cannot be an instance
    │   ├── ProcessAlreadyStarted        it would begin one that runs
    │   ├── ProcessNotStarted            it would go on with one that does not run
    │   └── StepTooSlow                  what the instance makes of it takes too long
    ├── CodecError                       a value and its JSON do not fit
    │   ├── UnencodableValue             nothing was written
    │   ├── UndecodablePayload           a stored payload does not fit its class
    │   ├── UpcastFailed                 a stored payload could not be brought to the form of today
    │   └── UnknownEventType             a stored type nobody knows
    ├── StoreError                       the store refused, or could not be asked
    │   ├── InvalidRequest               no store can do what was asked; nothing was done
    │   ├── WrongExpectedVersion         another writer was there first
    │   ├── DuplicateEvent               an event id is taken by another content
    │   ├── ReceiptTaken                 a command id is answered already
    │   ├── StreamDeleted                the stream is closed for good
    │   ├── StorageUnavailable           the database did not answer; nothing was recorded
    │   ├── UnfitTransaction             a caller's transaction cannot carry an append
    │   ├── HeadHeldTooLong              a caller's transaction kept everyone waiting, and was undone
    │   ├── TransactionEnded             a projector ended the transaction it was lent
    │   ├── AppendRefused                the database took exception to the content; nothing was recorded
    │   ├── LogTooShort                  a slot of a subscription has come further than the log reaches
    │   ├── SchemaMismatch               the database holds another schema version
    │   ├── LeaseLost                    another process runs this slot of a subscription now
    │   ├── UnknownSubscription          there is none of that name
    │   └── SubscriptionInUse            it is run, and so cannot be deleted
    └── EmbeddedServerError              the embedded PostgreSQL cannot be run
        ├── NoPostgresBinaries           this platform has none
        └── DataFolderUnusable           the data folder cannot be used
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID


class FrameworkError(Exception):
    """The root of all errors of this framework."""


# Refusals ------------------------------------------------------------------------------------------


class CommandRejected(FrameworkError):
    """The domain refuses a command; nothing was recorded.

    Subclass it with the reason as the name and raise it from `Aggregate.execute`. The refusal was true of a
    committed state no older than the dispatch.
    """


# Wiring --------------------------------------------------------------------------------------------


class ConfigurationError(FrameworkError):
    """Something is wired wrongly; raised when the object is built, before anything runs."""


class InvalidContract(ConfigurationError):
    """A class does not say which messages it takes, names something that cannot be a message, or breaks its form."""


class InvalidSetting(ConfigurationError):
    """A variable of a program's environment holds what cannot be meant."""

    def __init__(self, variable: str, fault: str) -> None:
        self.variable = variable
        self.fault = fault
        super().__init__(f"{variable}: {fault}")


class CommandAlreadyRegistered(ConfigurationError):
    """A command would have two destinations."""

    def __init__(self, command: type, first: type, second: type) -> None:
        self.command = command
        self.first = first
        self.second = second
        super().__init__(
            f"{command.__name__} is registered for {first.__name__}, and again for {second.__name__}:"
            " a command goes to one aggregate"
        )


class MissingIdentity(ConfigurationError):
    """A command has no field that names its aggregate."""

    def __init__(self, command: type, aggregate: type, identity: str) -> None:
        self.command = command
        self.aggregate = aggregate
        self.identity = identity
        super().__init__(
            f"{command.__name__} has no field {identity!r} to find its {aggregate.__name__} by:"
            " add the field, or register a function as identity"
        )


class DuplicateName(ConfigurationError):
    """Two things share a name that must tell them apart in the database."""

    def __init__(self, kind: str, name: str, first: type, second: type) -> None:
        self.kind = kind
        self.name = name
        super().__init__(
            f"{kind} {name!r} is claimed by {_qualified(first)} and by {_qualified(second)}: give one another name"
        )


class MissingUpcaster(ConfigurationError):
    """Events of an older version of a type could not be read."""

    def __init__(self, name: str, version: int, present: int) -> None:
        self.name = name
        self.version = version
        self.present = present
        super().__init__(
            f"event type {name!r} has come to version {present}, and nothing leads on from version {version}:"
            f" write class …(Upcaster, event={name!r}, version={version}), and give one to the application"
        )


class NoReadDatabase(ConfigurationError):
    """A projector has no database to keep its rows in."""

    def __init__(self, projector: str) -> None:
        self.projector = projector
        super().__init__(
            f"projector {projector!r} has no database for its rows:"
            " give the application read_models=dsn, or a PostgresEventStore"
        )


class SubscriptionChanged(ConfigurationError):
    """A handler, process or projector is defined otherwise than it is recorded; nothing was changed."""

    def __init__(self, name: str, recorded: Mapping[str, object], wanted: Mapping[str, object], remedy: str) -> None:
        self.name = name
        self.recorded = dict(recorded)
        self.wanted = dict(wanted)
        changes = "; ".join(
            f"{field} was {value!r} and is {wanted.get(field)!r}"
            for field, value in recorded.items()
            if wanted.get(field) != value
        )
        super().__init__(f"{name} is recorded with another definition: {changes}: {remedy}")


class UnsupportedType(ConfigurationError):
    """A message has a field that the codec cannot write and read back."""

    def __init__(self, message: type, path: str, reason: str) -> None:
        self.message = message
        self.path = path
        super().__init__(f"{message.__name__}.{path}: {reason}" if path else f"{message.__name__} {reason}")


# Dispatch ------------------------------------------------------------------------------------------


class DispatchError(FrameworkError):
    """A command did not come to an answer of its own."""


class UnknownCommand(DispatchError):
    """Nobody registered this command; nothing was recorded."""

    def __init__(self, command: type | str) -> None:
        self.command = command
        name = repr(command) if isinstance(command, str) else _qualified(command)
        super().__init__(f"no aggregate takes {name}: register one that does with router.register")


class Fault(NamedTuple):
    """What is wrong with one part of a message."""

    path: str
    """Where: `$` is the whole, `$.lines[2].amount` a field of something in a list."""
    reason: str


class InvalidCommand(DispatchError):
    """A document does not make a command of its class; nothing was recorded."""

    def __init__(self, command: type, faults: Sequence[Fault]) -> None:
        self.command = command
        self.faults = tuple(faults)
        super().__init__(f"{command.__name__}: " + "; ".join(f"{path}: {reason}" for path, reason in faults))


class InvalidIdentity(DispatchError):
    """A command names no aggregate: its identity is empty or of no use as a name; nothing was recorded."""

    def __init__(self, command: type, value: object, reason: str) -> None:
        self.command = command
        self.value = value
        super().__init__(f"{command.__name__}: identity {value!r} {reason}")


class InvalidMetadata(DispatchError):
    """The metadata given to a dispatch cannot be recorded; nothing was."""


class InvalidOption(DispatchError):
    """A dispatch was asked for in a way that there is not, such as within no time; nothing was recorded."""


class InvalidDecision(DispatchError):
    """An aggregate's `execute` or `apply` broke its contract; nothing was recorded."""


class NoAnswer(DispatchError):
    """A middleware gave something else than the answer to a dispatch."""

    def __init__(self, middleware: str, given: object, *, has_asked: bool) -> None:
        self.middleware = middleware
        self.has_asked = has_asked
        """Whether it called on: if so, what the command led to may be recorded; if not, nothing was."""
        recorded = "what the command led to may be recorded" if has_asked else "nothing was recorded"
        super().__init__(
            f"{middleware} returned {given!r} and not what call_next answered; {recorded}:"
            " write 'return await call_next(context)', or raise to refuse"
        )


class AuditFailed(DispatchError):
    """A command could not be written down in the audit, and so was not decided; nothing was recorded."""

    def __init__(self, command: type, cause: Exception) -> None:
        self.command = command
        super().__init__(
            f"{command.__name__} was not decided because the audit cannot be written: {type(cause).__name__}: {cause}"
        )


class CommandIdReused(DispatchError):
    """A command came under the id of another command that has been answered; nothing was recorded."""

    def __init__(self, command_id: UUID) -> None:
        self.command_id = command_id
        super().__init__(f"command id {command_id} belongs to another command: give each command its own id")


class TooManyAttempts(DispatchError):
    """Other writers won every time this command was decided; nothing was recorded, it may be sent again."""

    def __init__(self, stream: str, attempts: int) -> None:
        self.stream = stream
        self.attempts = attempts
        super().__init__(f"{stream}: other writers won {attempts} times in a row; nothing was recorded")


class DispatchTimeout(DispatchError):
    """The time ran out while the command still waited for its turn; nothing was recorded."""

    def __init__(self, stream: str, seconds: float) -> None:
        self.stream = stream
        self.seconds = seconds
        super().__init__(f"{stream}: not decided within {seconds:g} s; the command was withdrawn")


class OutcomeUnknown(DispatchError):
    """The append was on its way when the asking ended: it may or may not have been recorded.

    Dispatched again under the *command_id* that its caller gave, the command is answered as it was, or decided if it
    never was. Without such an id there is nothing to ask by: *command_id* is None, and the stream has to be looked at.
    For a *deletion* it is the same, which is answered alike when it is repeated.
    """

    def __init__(self, stream: str, command_id: UUID | None, *, deletion: bool = False) -> None:
        self.stream = stream
        self.command_id = command_id
        if deletion:
            super().__init__(f"{stream} may or may not be deleted: delete it again to learn the outcome")
            return
        asking = (
            f"dispatch again with command_id={command_id} to learn the outcome"
            if command_id
            else "look at the stream; a dispatch with a command_id of its own could be repeated to learn the outcome"
        )
        super().__init__(f"{stream}: the append may or may not have been recorded: {asking}")


class SelfWait(DispatchError):
    """A handler asked to wait until it has itself handled what it is about to cause; nothing was recorded."""

    def __init__(self, handler: str, through: Sequence[str] = ()) -> None:
        self.handler = handler
        self.through = tuple(through)
        """The handlers between: the first is the one that was to be waited for, and waits for the next."""
        chain = f", through {' and '.join(map(repr, through))}, which wait in turn" if through else ""
        where = "inside one of them" if through else "inside it"
        super().__init__(
            f"handler {handler!r} would wait for itself{chain}: dispatch with consistency=EVENTUAL {where}"
        )


class UnknownHandler(DispatchError):
    """Somebody would wait for a handler that no process can run which lives; nothing was recorded."""

    def __init__(self, handler: str, known: Collection[str]) -> None:
        self.handler = handler
        super().__init__(f"nobody runs a handler {handler!r}; these are run: {', '.join(sorted(known)) or 'none'}")


class NotRunning(DispatchError):
    """The application is not open: use it inside `async with application`."""

    def __init__(self, state: str = "not open") -> None:
        super().__init__(f"the application is {state}: use it inside 'async with application as …'")


class SubsystemFailed(DispatchError):
    """A part of the application died; its error is the cause of this one."""

    def __init__(self, name: str, cause: BaseException) -> None:
        self.name = name
        super().__init__(f"{name} has failed and does not run: {type(cause).__name__}: {cause}")


class SomeFailed(DispatchError):
    """Of many commands some did not come to a result; what the others led to is recorded."""

    def __init__(self, results: Sequence[Any], errors: Mapping[int, Exception], *, was_stopped: bool) -> None:
        self.results = tuple(results)
        """The `DispatchResult` of each command that was begun, in their order; None where there is none."""
        self.errors = dict(errors)
        """What was raised instead, by the command's place, counted from 0."""
        self.was_stopped = was_stopped
        """Whether commands were left that were not begun, because an error was no fault of its command."""
        place, first = min(errors.items())
        rest = ", and the rest was not begun" if was_stopped else ""
        super().__init__(
            f"{len(errors)} of {len(results)} commands failed{rest};"
            f" the first is number {place}: {type(first).__name__}: {first}"
        )


# Processes -----------------------------------------------------------------------------------------


class ProcessError(FrameworkError):
    """An event that an instance of a process cannot take."""


class InvalidInterest(ProcessError):
    """`ProcessManager.interested` named what cannot be an instance, or one more than once."""


class ProcessAlreadyStarted(ProcessError):
    """A strict `Start` names an instance that runs already."""

    def __init__(self, process: str, instance: str) -> None:
        self.process = process
        self.instance = instance
        super().__init__(f"{process} {instance!r} runs already, and the event would begin it")


class ProcessNotStarted(ProcessError):
    """A strict `Continue` names an instance that has not begun, or is finished."""

    def __init__(self, process: str, instance: str) -> None:
        self.process = process
        self.instance = instance
        super().__init__(f"{process} {instance!r} does not run, and the event would go on with it")


class StepTooSlow(ProcessError):
    """What an instance makes of an event took longer than its process allows; it was not used."""

    def __init__(self, process: str, instance: str, took_s: float, allowed_s: float) -> None:
        self.process = process
        self.instance = instance
        self.took_s = took_s
        self.allowed_s = allowed_s
        super().__init__(
            f"{process} {instance!r} took {took_s:.3g} s over the event, and has {allowed_s:g} s: do less in handle"
            " and apply, or raise step_timeout"
        )


# Codec ---------------------------------------------------------------------------------------------


class CodecError(FrameworkError):
    """A value and its stored form do not fit together."""


class UnencodableValue(CodecError):
    """A value cannot be stored so that it comes back equal; nothing was written."""


class UndecodablePayload(CodecError):
    """A stored payload does not fit the class that should hold it."""


class UpcastFailed(CodecError):
    """An upcaster did not bring a stored event further; the event is untouched."""

    def __init__(self, upcaster: str, where: str, reason: str) -> None:
        self.upcaster = upcaster
        self.where = where
        self.reason = reason
        super().__init__(f"{upcaster} failed at {where}: {reason}")


class UnknownEventType(CodecError):
    """The log holds an event type that no registered class is called by."""

    def __init__(self, type_name: str, version: int, where: str = "") -> None:
        self.type_name = type_name
        self.version = version
        place = f" ({where})" if where else ""
        super().__init__(
            f"event type {type_name!r} version {version} is stored{place} but no registered class is of that name and"
            " version: register the class that declares it, name the old one with @event_type(..., was=...), or give an"
            " Upcaster"
        )


# Store ---------------------------------------------------------------------------------------------


class StoreError(FrameworkError):
    """The store refused, or could not be asked."""


class InvalidRequest(StoreError, ValueError):
    """What was asked means nothing to any store, such as a name that none can hold; nothing was done."""


class WrongExpectedVersion(StoreError):
    """A stream is not at the version its writer expected; nothing of that append was recorded."""

    def __init__(self, stream: str, expected: str, actual: int) -> None:
        self.stream = stream
        self.expected = expected
        self.actual = actual
        super().__init__(f"{stream}: expected {expected}, found version {actual}")


class DuplicateEvent(StoreError):
    """An event id is recorded already, with another content or in another place; nothing was recorded."""

    def __init__(self, stream: str, event_ids: Sequence[UUID]) -> None:
        self.stream = stream
        self.event_ids = tuple(event_ids)
        super().__init__(f"{stream}: event ids taken by other events: {', '.join(map(str, self.event_ids))}")


class ReceiptTaken(StoreError):
    """A command id of this append has its receipt already; nothing was recorded, the receipt holds the answer."""

    def __init__(self, command_ids: Sequence[UUID]) -> None:
        self.command_ids = tuple(command_ids)
        super().__init__(f"command ids answered already: {', '.join(map(str, self.command_ids))}")


class StreamDeleted(StoreError):
    """The stream is deleted: it can be neither read nor written again."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        super().__init__(f"{stream} is deleted")


class StorageUnavailable(StoreError):
    """The database did not answer; nothing was recorded, and asking again later is safe."""


class AppendRefused(StoreError):
    """The database refused an append for what is in it; nothing was recorded, and repeating it changes nothing."""


class UnfitTransaction(StoreError):
    """The transaction that an append should be part of cannot carry it; nothing was recorded."""


class HeadHeldTooLong(StoreError):
    """A caller's own transaction held the head of the log too long; it was undone, and nothing was recorded.

    From the append until the end of its transaction nobody else can append.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"the transaction was undone, because it kept everyone from appending for more than {seconds:g} s:"
            " let COMMIT follow the append at once, or append with store.transaction()"
        )


class TransactionEnded(StoreError):
    """A projector ended the transaction that its rows share with its place in the log.

    What it had written by then may stand; its place was not moved, so those events would come again.
    """

    def __init__(self, projector: str) -> None:
        self.projector = projector
        super().__init__(
            f"projector {projector!r} ended the transaction it was lent, and rows of it may stand without their place"
            " in the log: leave COMMIT, ROLLBACK and BEGIN out of project, and fill its tables anew"
        )


class LogTooShort(StoreError):
    """A slot of a subscription has come further than the log reaches: it is of a later state of the log, or of another.

    It stands still: events that are recorded from now on would take places that it has passed, and be skipped.
    """

    def __init__(self, name: str, position: int, head: int) -> None:
        self.name = name
        self.position = position
        self.head = head
        super().__init__(
            f"{name} has come to position {position}, and the log ends at {head}: an older backup was restored, or a"
            " standby took over without the last commits; bring those back, or give the handler another name and the"
            " projector another version, to begin anew"
        )


class SchemaMismatch(StoreError):
    """The database holds another version of the framework's tables than this code was written for."""


class LeaseLost(StoreError):
    """Another process has taken over this slot of a subscription; nothing was written."""

    def __init__(self, name: str, slot: int, fence: int) -> None:
        self.name = name
        self.slot = slot
        self.fence = fence
        super().__init__(f"slot {slot} of {name} is not held under fence {fence} any more: another process runs it")


class UnknownSubscription(StoreError):
    """No subscription of that name has ever run, or it was deleted; nothing was changed."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        self.name = name
        super().__init__(f"there is no subscription {name!r}; there are: {', '.join(sorted(known)) or 'none'}")


class SubscriptionInUse(StoreError):
    """A subscription is run by a process that lives; nothing was deleted."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} is run at this moment: stop those who run it, or pause it, and delete it then")


# Embedded server -----------------------------------------------------------------------------------


class EmbeddedServerError(FrameworkError):
    """The embedded PostgreSQL could not be run."""


class NoPostgresBinaries(EmbeddedServerError):
    """There are no PostgreSQL programs for this platform; give a server with FRAMEWORK_DSN."""


class DataFolderUnusable(EmbeddedServerError):
    """The data folder cannot be used as it is."""


def _qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
