"""Decides commands one on the other: nothing here awaits, and nothing is answered yet."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

import attrs

from framework.aggregate import Aggregate
from framework.clock import Clock
from framework.errors import CommandIdReused, CommandRejected, InvalidDecision, WrongExpectedVersion
from framework.journal import Journal
from framework.observe import LIFESPAN_FAILED, log
from framework.refusals import encode_refusal
from framework.router import Registration
from framework.runtime.replica import Replica
from framework.runtime.requests import Request
from framework.runtime.watch import UNWATCHED, Watch
from framework.store.protocol import Expected, NewEvent, Receipt


@attrs.define(eq=False)
class Decision:
    """What one command of a round came to, as long as nothing else has been written."""

    request: Request
    first_version: int
    state: Aggregate[Any, Any]
    """The state after it."""
    events: list[Any]
    error: Exception | None = None
    repeats: Sequence[Request] = ()
    """The same command again, in the same round: it gets the same answer."""

    @property
    def idle_after(self) -> timedelta:
        """How long the aggregate stays in memory after it."""
        lifespan = self.request.terms.lifespan
        if lifespan.after is None:
            return lifespan.idle_after
        try:
            found: timedelta = self.request.context.run(lifespan.idle_after_message, self._message)
            found.total_seconds()  # an `after` without types may have returned anything
        except Exception as error:  # noqa: BLE001 - the user's code: it decides how long, and nothing else
            log.error(LIFESPAN_FAILED, stream=self.request.stream, error=repr(error), exc_info=error)
            return lifespan.idle_after
        return found

    @property
    def _message(self) -> object:
        return self.error or (self.events[-1] if self.events else self.request.order.command)


@attrs.define(eq=False)
class Round:
    """Commands decided one on the other, not yet committed."""

    state: Aggregate[Any, Any]
    version: int
    decisions: list[Decision]
    by_id: dict[UUID, Decision]
    """Those of the commands whose callers gave an id."""
    events: list[NewEvent]

    def receipts(self, stream: str) -> Sequence[Receipt]:
        """Return what is to be remembered of the commands whose callers gave an id."""
        if not self.by_id:
            return ()
        return [
            Receipt(
                command_id=decision.request.command_id,
                digest=decision.request.digest,
                stream=stream,
                first_version=decision.first_version,
                event_count=len(decision.events),
                refusal=encode_refusal(decision.error) if decision.error else None,
            )
            for decision in self.by_id.values()
            # An error that is no refusal is a fault, and a fault may be mended: it is not remembered.
            if decision.request.digest is not None and isinstance(decision.error, CommandRejected | None)
        ]


class Deciding:
    """Decides for every aggregate of an application."""

    def __init__(self, journal: Journal, clock: Clock, watch: Watch) -> None:
        self._journal = journal
        self._clock = clock
        self._watch = watch
        # Not a block around each that is nobody's: it takes a thirtieth of a dispatch.
        self._way = self._execute if watch is UNWATCHED else self._execute_watched

    def decide(self, replica: Replica, requests: Iterable[Request]) -> Round:
        """Decide *requests* one on the other, the first on the state that *replica* holds."""
        round_ = Round(replica.state, replica.version, [], {}, [])
        for request in requests:
            if request.digest is not None and (first := round_.by_id.get(request.command_id)):
                if first.request.digest == request.digest:
                    first.repeats = (*first.repeats, request)
                else:
                    request.settle(CommandIdReused(request.command_id))
                continue
            decision = Decision(request, round_.version + 1, round_.state, [])
            try:
                request.context.run(self._way, replica, round_, decision)
            except Exception as error:  # noqa: BLE001 - the domain's code failed: its caller is told, the actor goes on
                decision.error = _answerable(error)
                decision.events.clear()
            round_.decisions.append(decision)
            if request.digest is not None:  # an id that nobody gave is nobody else's, and to look at it costs
                round_.by_id[request.command_id] = decision
        return round_

    def _execute_watched(self, replica: Replica, round_: Round, decision: Decision) -> None:
        order, version, events = decision.request.order, decision.first_version, decision.events
        with self._watch.deciding(replica.stream, order, version, events):
            self._execute(replica, round_, decision)

    def _execute(self, replica: Replica, round_: Round, decision: Decision) -> None:
        """Decide one command on the state of *round_*, and add to it only if all went well."""
        request, state, registration = decision.request, round_.state, replica.registration
        order, route = request.order, request.route
        if order.expected_version is not None and not Expected.is_met(order.expected_version, round_.version):
            raise WrongExpectedVersion(replica.stream, Expected.describe(order.expected_version), round_.version)
        if route.check is not None:
            route.check(state, order.command, order.metadata)
        encoded: list[NewEvent] = []
        for event in _produced(route.decide(state, order.command), registration):
            if type(event) not in registration.events:
                raise _broken(registration, f"execute yielded {event!r}, which is no event of its contract")
            encoded.append(self._encode(request, event, len(encoded)))
            state = state.fold((event,))
            decision.events.append(event)
        round_.state = decision.state = state
        round_.version += len(encoded)
        round_.events += encoded

    def _encode(self, request: Request, event: object, number: int) -> NewEvent:
        # Ids that follow from the command's make a repeated append recognisable as the same one.
        repeatable = request.digest is not None
        return self._journal.encode(
            event,
            event_id=uuid5(request.command_id, str(number)) if repeatable else self._clock.new_id(),
            metadata=request.metadata,
            correlation_id=request.order.correlation_id,
            causation_id=request.order.command_id,
        )


def _produced(produced: Any, registration: Registration) -> Iterable[Any]:
    if hasattr(produced, "__iter__"):
        events: Iterable[Any] = produced
        return events
    if inspect.iscoroutine(produced):
        produced.close()
        raise _broken(registration, "execute is async: it decides without waiting, so write 'def execute'")
    raise _broken(registration, f"execute returned {produced!r} instead of yielding events")


def _broken(registration: Registration, what: str) -> InvalidDecision:
    return InvalidDecision(f"{registration.aggregate.__qualname__}.{what}")


def _answerable(error: Exception) -> Exception:
    """Return *error* as a future takes it; one it does not take would keep those behind from their answers."""
    if not isinstance(error, StopIteration):
        return error
    answer = RuntimeError("StopIteration was raised where a command is decided: is a 'next' without a default there?")
    answer.__cause__ = error
    return answer
