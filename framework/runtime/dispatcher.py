"""Takes a command through the middleware to its aggregate, and brings back the answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Coroutine, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import attrs

from framework.errors import CommandRejected, NoAnswer
from framework.messages import Consistency, DispatchResult
from framework.middleware import CommandContext, Middleware, onion
from framework.observe import COMMAND_ACCEPTED, COMMAND_FAILED, COMMAND_REJECTED, caused, log
from framework.runtime.actors import Actors
from framework.runtime.consistency import ConsistencyWaits
from framework.runtime.deadlines import Deadlines
from framework.runtime.mailbox import Mailbox
from framework.runtime.requests import Preparation, Request
from framework.runtime.rounds import Means
from framework.runtime.together import Together
from framework.runtime.watch import Watch


class Dispatcher:
    """Middleware, actor, consistency, result."""

    def __init__(
        self,
        preparation: Preparation,
        means: Means,
        actors: Actors,
        waits: ConsistencyWaits,
        middleware: Sequence[Middleware],
        consistency_timeout_s: float,
        watch: Watch,
    ) -> None:
        self.preparation = preparation
        self._means = means
        self._actors = actors
        self._waits = waits
        self._watch = watch
        self._middleware = (*watch.layers, *middleware)
        self._way = onion(self._middleware, self._decided)
        self._consistency_timeout_s = consistency_timeout_s
        self._deadlines = Deadlines()

    def dispatch(self, order: CommandContext) -> Coroutine[Any, Any, DispatchResult]:
        """Return the answer to *order*'s command; raises what `Application.dispatch` says."""
        return self._through_layers(order) if self._middleware else self._decided(order)

    def ordered_by(self, command: object) -> str | None:
        """Return the stream of *command*, if there are layers that could let a later one overtake it."""
        return self.preparation.stream(command) if self._middleware else None

    async def _through_layers(self, order: CommandContext) -> DispatchResult:
        with _caused(order):
            return await self._way(order)

    def _decided(self, order: CommandContext) -> Coroutine[Any, Any, DispatchResult]:
        """Have *order* decided: the innermost of the onion."""
        # Not a block for ids that nobody is to hear of: it would be one more thing alive for each command on its way.
        return self._heard(order) if log.is_heard else self._answer(order)

    async def _heard(self, order: CommandContext) -> DispatchResult:
        with _caused(order):
            return await self._answer(order)

    async def _answer(self, order: CommandContext) -> DispatchResult:
        request = self.preparation.prepare(order, self.preparation.digest(order))
        awaited = await self._awaited(request)
        # The time settles the answer itself, and cancels nobody.
        deadline = self._deadlines.enter(request)
        try:
            # No `await` between finding the actor and reaching its mailbox, or the actor could end in between.
            mailbox = self._actors.find(request.stream, request.route.registration).mailbox
            if not mailbox.offer(request):
                await _wait_for_room(mailbox, request)
            result = await request.answer
        except Exception as error:
            _log_failure(order, request.stream, type(order.command).__name__, error)
            raise
        finally:
            deadline.remove(request)
        _log_success(order, result)
        if not awaited:
            return result
        waited = await self._waits.wait_for_results([result], awaited, timeout_s=self._consistency_timeout_s)
        return attrs.evolve(result, waited=waited)

    async def _awaited(self, request: Request) -> Collection[str]:
        """Return the handlers to wait for; raises `UnknownHandler` or `SelfWait` before anything is decided."""
        wanted = request.terms.wanted
        if wanted is Consistency.EVENTUAL:
            return ()
        name_of = self._means.journal.types.name_of
        return await self._waits.choose(wanted, {name_of(event)[0] for event in request.route.registration.events})

    # Several at once ---------------------------------------------------------------------------------

    async def dispatch_together(self, orders: Sequence[CommandContext]) -> Sequence[DispatchResult]:
        """Return the answers to all *orders*, decided as one; raises what `Application.dispatch_together` says.

        Each order goes through all layers, within those of the one before it: what refuses one refuses all.
        """
        changed, answers = list(orders), list[DispatchResult]()

        async def enter(place: int) -> DispatchResult:
            if place == len(orders):
                answers[:] = await self._decided_together(changed)
                return answers[0]

            async def core(order: CommandContext) -> DispatchResult:
                changed[place] = order
                await enter(place + 1)
                return answers[place]

            with _caused(orders[place]):
                answer = await onion(self._middleware, core)(orders[place])
            if not answers:
                raise NoAnswer("a middleware around one of several commands", answer, has_asked=False)
            answers[place] = answer
            return answer

        if not orders:
            return ()
        await enter(0)
        return tuple(answers)

    async def _decided_together(self, orders: Sequence[CommandContext]) -> Sequence[DispatchResult]:
        # A receipt stands for its part of this whole: the same command in another company is not the same.
        digests = [self.preparation.digest(order) or b"" for order in orders]
        whole = hashlib.sha256(b"".join(digests)).digest() if all(digests) else None
        requests = [self.preparation.prepare(order, whole) for order in orders]
        awaited = [await self._awaited(request) for request in requests]
        try:
            results = await Together(self._means, requests).decide(self._actors)
        except Exception as error:
            names = ", ".join(type(order.command).__name__ for order in orders)
            _log_failure(orders[0], ", ".join(request.stream for request in requests), names, error)
            raise
        for order, result in zip(orders, results, strict=True):
            _log_success(order, result)
        handlers = {name for names in awaited for name in names}
        if not handlers:
            return results
        waited = await self._waits.wait_for_results(results, handlers, timeout_s=self._consistency_timeout_s)
        return [
            attrs.evolve(result, waited={name: waited[name] for name in names})
            for result, names in zip(results, awaited, strict=True)
        ]


def _caused(order: CommandContext) -> AbstractContextManager[None]:
    """Bind the ids of *order* to what is logged in the block."""
    return caused(correlation_id=order.correlation_id, causation_id=order.causation_id, command_id=order.command_id)


async def _wait_for_room(mailbox: Mailbox[Request], request: Request) -> None:
    with suppress(TimeoutError):  # by then the answer has been settled, or is in this very step
        async with asyncio.timeout(request.terms.timeout_s):
            await mailbox.put(request)


def _log_success(order: CommandContext, result: DispatchResult) -> None:
    if not log.is_heard:  # to say it to nobody would take a hundredth of a dispatch
        return
    log.debug(
        COMMAND_ACCEPTED,
        stream=result.stream,
        version=result.version,
        command=type(order.command).__name__,
        events=len(result.events),
    )


def _log_failure(order: CommandContext, stream: str, command: str, error: Exception) -> None:
    if isinstance(error, CommandRejected):
        log.info(COMMAND_REJECTED, stream=stream, command=command, reason=type(error).__name__)
    else:
        ids = {"command_id": str(order.command_id), "correlation_id": str(order.correlation_id)}
        log.error(COMMAND_FAILED, stream=stream, command=command, error=repr(error), **ids)
