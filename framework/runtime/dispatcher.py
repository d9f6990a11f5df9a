"""Takes a command to its aggregate and brings back the answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from contextvars import copy_context
from typing import Any
from uuid import UUID

import attrs

from framework.clock import Clock
from framework.errors import CommandRejected, InvalidMetadata, SelfWait
from framework.journal import Journal
from framework.messages import CAUSED_BY, Cause, Consistency, DispatchResult, Metadata, current_cause
from framework.observe import COMMAND_ACCEPTED, COMMAND_FAILED, COMMAND_REJECTED, caused, log
from framework.policies import Defaults
from framework.router import Registration, Router
from framework.runtime.actor import Request
from framework.runtime.actors import Actors
from framework.runtime.consistency import ConsistencyWaits


@attrs.frozen
class Order:
    """A command and how its caller wants it dispatched."""

    command: object
    command_id: UUID | None = None
    """Given, it makes the dispatch idempotent, whatever its outcome."""
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    metadata: Metadata | None = None
    consistency: Consistency | Collection[str] = Consistency.EVENTUAL
    timeout_s: float | None = None


class Dispatcher:
    """Route, actor, consistency, result."""

    def __init__(
        self,
        router: Router,
        journal: Journal,
        actors: Actors,
        waits: ConsistencyWaits,
        clock: Clock,
        defaults: Defaults,
    ) -> None:
        self._router = router
        self._actors = actors
        self._codec = journal.codec
        self._types = journal.types
        self._waits = waits
        self._clock = clock
        self._defaults = defaults

    async def dispatch(self, order: Order) -> DispatchResult:
        """Return the answer to *order*'s command; raises what `Application.dispatch` says."""
        registration = self._router.route(order.command)
        stream = registration.stream(order.command)
        cause = current_cause.get()
        command_id = order.command_id or self._clock.new_id()
        correlation_id = order.correlation_id or (cause.correlation_id if cause else command_id)
        causation_id = order.causation_id or (cause.causation_id if cause else None)
        awaited = self._awaited(order.consistency, cause, registration)
        with caused(correlation_id=correlation_id, causation_id=causation_id, command_id=str(command_id)):
            request = Request(
                command=order.command,
                command_id=command_id,
                digest=self._digest(order),
                correlation_id=correlation_id,
                metadata=self._metadata(order.metadata, causation_id),
                context=copy_context(),
                answer=asyncio.get_running_loop().create_future(),
            )
            result = await self._answer(request, stream, registration, order)
            log.debug(
                COMMAND_ACCEPTED,
                stream=stream,
                version=result.version,
                command=type(order.command).__name__,
                events=len(result.events),
            )
            if not awaited:
                return result
            return await self._consistent(result, awaited)

    async def _answer(self, request: Request, stream: str, registration: Registration, order: Order) -> DispatchResult:
        timeout_s = self._defaults.dispatch_timeout.total_seconds() if order.timeout_s is None else order.timeout_s
        command = type(request.command).__name__
        # The time settles the answer itself: a timer costs a fifth of a block that would cancel whoever waits.
        timer = asyncio.get_running_loop().call_later(timeout_s, request.expire, stream, timeout_s)
        try:
            # No `await` between finding the actor and reaching its mailbox, or the actor could end in between.
            mailbox = self._actors.find(stream, registration).mailbox
            if not mailbox.offer(request):
                with suppress(TimeoutError):  # by then the answer has been settled, or is in this very step
                    async with asyncio.timeout(timeout_s):
                        await mailbox.put(request)
            return await request.answer
        except CommandRejected as refusal:
            log.info(COMMAND_REJECTED, stream=stream, command=command, reason=type(refusal).__name__)
            raise
        except Exception as error:
            log.error(COMMAND_FAILED, stream=stream, command=command, error=repr(error))
            raise
        finally:
            timer.cancel()

    def _digest(self, order: Order) -> bytes | None:
        if order.command_id is None:
            return None
        name = type(order.command).__qualname__.encode()
        return hashlib.sha256(name + b"\0" + self._codec.encode(order.command)).digest()

    def _metadata(self, given: Metadata | None, causation_id: UUID | None) -> bytes:
        metadata: dict[str, Any] = dict(given) if given else {}
        for key in metadata:
            if key.startswith("$"):
                message = f"metadata key {key!r}: keys that begin with '$' belong to the framework"
                raise InvalidMetadata(message)
        if causation_id is not None:
            metadata[CAUSED_BY] = str(causation_id)
        return self._codec.encode_metadata(metadata) if metadata else b"{}"

    def _awaited(
        self, consistency: Consistency | Collection[str], cause: Cause | None, registration: Registration
    ) -> Collection[str]:
        """Return the handlers to wait for; raises `UnknownHandler` or `SelfWait` before anything is decided."""
        match consistency:
            case Consistency.EVENTUAL:
                return ()
            case Consistency.STRONG:
                types = {self._types.name_of(event)[0] for event in registration.events}
                handlers: Collection[str] = self._waits.interested_in(types)
            case _:
                handlers = tuple(consistency)
                self._waits.check(handlers)
        for outer in cause.handlers if cause else ():
            if outer in handlers:
                raise SelfWait(outer)
        return handlers

    async def _consistent(self, result: DispatchResult, handlers: Collection[str]) -> DispatchResult:
        timeout_s = self._defaults.consistency_timeout.total_seconds()
        waited: Mapping[str, str] = await self._waits.wait_for(result.position, handlers, timeout_s=timeout_s)
        return attrs.evolve(result, waited=waited)
