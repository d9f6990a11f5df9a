"""What a dispatch is before it is decided: where it goes, what is recorded with it, and whom its caller waits for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from uuid import UUID

import attrs

from framework.aggregate import Aggregate
from framework.clock import Clock
from framework.errors import DispatchTimeout, InvalidMetadata, InvalidOption, OutcomeUnknown, UnencodableValue
from framework.journal import Journal
from framework.messages import CAUSED_BY, Consistency, DispatchResult, Metadata, ResultWithState, current_cause
from framework.middleware import CommandContext
from framework.policies import Defaults, Lifespan, Options
from framework.router import Route, Router
from framework.store.protocol import Expected

NO_OPTIONS: Final = Options()
NO_METADATA: Final[Metadata] = MappingProxyType({})

Outcome: TypeAlias = DispatchResult | Exception


@attrs.frozen
class Terms:
    """How commands are dispatched, with nothing left open."""

    timeout_s: float
    wanted: Consistency | tuple[str, ...]
    """Whom the caller waits for after the aggregate."""
    retry: int
    """How often a command that lost to another writer is decided again."""
    lifespan: Lifespan
    """How long the aggregate stays in memory after it."""

    @classmethod
    def of(cls, options: Options, defaults: Defaults) -> Terms:
        """Return what *options* say, and *defaults* where they say nothing."""
        timeout = defaults.dispatch_timeout if options.timeout is None else options.timeout
        wanted = defaults.consistency if options.consistency is None else options.consistency
        retry = defaults.conflict_retries if options.retry is None else options.retry
        return cls(timeout.total_seconds(), wanted, retry, options.lifespan or defaults.lifespan)


@attrs.define(eq=False)
class Request:
    """A command on its way to an answer."""

    order: CommandContext
    route: Route
    stream: str
    terms: Terms
    digest: bytes | None
    """Set where the caller gave the id: the answer is then kept under it."""
    metadata: bytes
    """What is recorded with the events."""
    context: Context
    """The caller's: the command is decided in it."""
    answer: asyncio.Future[DispatchResult]
    asked_at: float
    """By the loop's clock."""
    is_taken: bool = False
    """Whether the actor has it in hand: from then on it cannot be withdrawn."""

    @property
    def command_id(self) -> UUID:
        """The command's, given or made."""
        return self.order.command_id

    def outcome_unknown(self, stream: str) -> OutcomeUnknown:
        """Return what to tell the caller when nobody knows whether the append to *stream* was recorded."""
        # Under an id that nobody gave no receipt is kept: the same command sent under it would be decided anew.
        return OutcomeUnknown(stream, None if self.digest is None else self.command_id)

    def expire(self) -> None:
        """Tell the caller that its time is over; what no actor has taken yet is withdrawn by it."""
        stream, timeout_s = self.stream, self.terms.timeout_s
        self.settle(self.outcome_unknown(stream) if self.is_taken else DispatchTimeout(stream, timeout_s))

    def settle(self, outcome: Outcome) -> None:
        """Give the caller *outcome*, if it still listens."""
        if self.answer.done():
            return
        if isinstance(outcome, DispatchResult):
            self.answer.set_result(outcome)
        else:
            self.answer.set_exception(outcome)
            # A caller cancelled in this very step will not look; that is no mistake to warn of.
            self.answer.exception()

    def result(
        self, stream: str, version: int, position: int, events: Sequence[Any], state: Aggregate[Any, Any]
    ) -> DispatchResult:
        """Return what its caller is told of a command that was accepted."""
        order, happened = self.order, tuple(events)
        if order.returning is None:
            return DispatchResult(stream, version, position, happened, order.command_id, order.correlation_id)
        return ResultWithState(stream, version, position, happened, order.command_id, order.correlation_id, state=state)


class Preparation:
    """Makes requests of orders, by what was said with the call, at registration, and for the application."""

    def __init__(self, router: Router, journal: Journal, clock: Clock, defaults: Defaults) -> None:
        self._router = router
        self._codec = journal.codec
        self._clock = clock
        self._defaults = defaults
        self._registered: dict[Route, Terms] = {}
        """What holds for commands whose callers say nothing, which are most."""

    def order(
        self,
        command: object,
        *,
        command_id: UUID | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        metadata: Metadata | None = None,
        options: Options = NO_OPTIONS,
        expected_version: int | None = None,
        returning: type[Any] | None = None,
    ) -> CommandContext:
        """Return *command* with all that its caller says of its dispatch; raises `InvalidOption`."""
        if options is not NO_OPTIONS and options.fault:
            raise InvalidOption(options.fault)
        if expected_version is not None and expected_version < Expected.STREAM_EXISTS:
            raise InvalidOption(f"expected_version={expected_version} is neither a version nor one of Expected")
        cause = current_cause.get()
        made_id = command_id or self._clock.new_id()
        # By position, because it is made for every dispatch, and keywords are half of what that takes.
        return CommandContext(
            command,
            made_id,
            correlation_id or (cause.correlation_id if cause else made_id),
            causation_id or (cause.causation_id if cause else None),
            NO_METADATA if metadata is None else metadata,
            command_id is not None,
            options,
            expected_version,
            returning,
        )

    def stream(self, command: object) -> str:
        """Return the stream of *command*; raises `UnknownCommand` or `InvalidIdentity`."""
        return self._router.route(command).stream(command)

    def digest(self, order: CommandContext) -> bytes | None:
        """Return what tells the command from another one under its id, if that was given; raises `UnencodableValue`."""
        if not order.is_repeatable:
            return None
        command = order.command
        return hashlib.sha256(type(command).__qualname__.encode() + b"\0" + self._codec.encode(command)).digest()

    def prepare(self, order: CommandContext, digest: bytes | None) -> Request:
        """Return *order* ready to be decided; raises what is wrong with it."""
        route = self._router.route(order.command)
        stream = route.stream(order.command)
        if order.returning not in (None, route.registration.aggregate):
            asked, known = order.returning, route.registration.aggregate
            raise InvalidOption(f"returning={asked!r}: {route.command.__name__} goes to {known.__name__}")
        loop = asyncio.get_running_loop()
        return Request(
            order,
            route,
            stream,
            self._terms(order.options, route),
            digest,
            self._metadata(order),
            copy_context(),
            loop.create_future(),
            loop.time(),
        )

    def _terms(self, call: Options, route: Route) -> Terms:
        """Return what the one nearest to the caller says of each."""
        if call is not NO_OPTIONS:
            return Terms.of(call.over(route.options), self._defaults)
        terms = self._registered.get(route)
        if terms is None:
            terms = self._registered[route] = Terms.of(route.options, self._defaults)
        return terms

    def _metadata(self, order: CommandContext) -> bytes:
        if order.metadata is NO_METADATA and order.causation_id is None:
            return b"{}"
        given: Any = order.metadata
        if not isinstance(given, Mapping):
            raise InvalidMetadata(f"metadata is a mapping from text to JSON values, not {given!r}")
        for key in order.metadata:
            if str(key).startswith("$"):
                message = f"metadata key {key!r}: keys that begin with '$' belong to the framework"
                raise InvalidMetadata(message)
        caused_by = {} if order.causation_id is None else {CAUSED_BY: str(order.causation_id)}
        try:
            return self._codec.encode_metadata({**order.metadata, **caused_by})
        except UnencodableValue as error:
            raise InvalidMetadata(str(error)) from error
