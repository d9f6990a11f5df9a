"""Commands to several aggregates, decided and appended as one: all of them or none.

The actors of all the aggregates are visited, in the order of their streams' names: whoever wants several takes them in
that one order, so no two wait for each other. While they are held nobody else in this process decides on their states;
only another process can be first at one of the streams, and then all is decided again, as an actor does with a round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TypeAlias

from framework.errors import (
    CommandIdReused,
    CommandRejected,
    DispatchTimeout,
    ReceiptTaken,
    TooManyAttempts,
    WrongExpectedVersion,
)
from framework.journal import Journal
from framework.messages import DispatchResult
from framework.policies import CONFLICT
from framework.refusals import decode_refusal, encode_refusal
from framework.runtime.actor import Actor, Decision, Request, Round
from framework.runtime.actors import Actors
from framework.runtime.watch import Watch
from framework.store.protocol import Appended, Receipt, StreamWrite

Rounds: TypeAlias = Sequence[tuple[Actor, Round]]


class Together:
    """Commands that are decided as one, on their way to an answer each."""

    def __init__(self, journal: Journal, requests: Sequence[tuple[str, Request]], watch: Watch) -> None:
        """Each of *requests* comes with its stream; each bears the digest of all, if their id was given."""
        self._journal = journal
        self._pairs = requests
        self._watch = watch
        self._requests = [request for _, request in requests]
        self._is_sent = False
        """Whether the store was handed something that it has not answered."""

    async def decide(self, actors: Actors, timeout_s: float) -> Sequence[DispatchResult]:
        """Return the answers once all events are durable.

        Raises the error of the first command that was refused or failed, for all of them; `DispatchTimeout`,
        `TooManyAttempts`, and whatever keeps an append from being recorded: nothing was recorded. `OutcomeUnknown`
        where that cannot be said.
        """
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit, AsyncExitStack() as visits:
                visited: dict[str, Actor] = {}
                for stream, request in sorted(self._pairs, key=lambda pair: pair[0]):
                    if stream not in visited:
                        visited[stream] = actors.find(stream, request.route.registration)
                        await visits.enter_async_context(visited[stream].visited())
                for actor in visited.values():
                    await actor.load(self._requests)
                try:
                    return await self._record(visited)
                except ReceiptTaken:
                    return await self._answer_as_before(visited)
        except TimeoutError:
            if not limit.expired():
                raise  # an aggregate's own
            if self._is_sent:
                raise self._requests[0].outcome_unknown(self._name) from None
            raise DispatchTimeout(self._name, timeout_s) from None

    @property
    def _name(self) -> str:
        return ", ".join(dict.fromkeys(stream for stream, _ in self._pairs))

    async def _record(self, visited: Mapping[str, Actor]) -> Sequence[DispatchResult]:
        """Decide until the log holds nothing but what was decided on; raises `ReceiptTaken` for a repeat."""
        retries = max(request.retry for request in self._requests)
        conflicts = 0
        while True:
            rounds = [
                (actor, actor.decide(request for each, request in self._pairs if each == stream))
                for stream, actor in visited.items()
            ]
            try:
                outcome = await self._conclude(rounds)
            except WrongExpectedVersion as conflict:
                conflicts += 1
                self._watch.conflicted(visited[conflict.stream].registration.aggregate)
                if conflicts > retries:
                    raise TooManyAttempts(self._name, conflicts) from None
                await asyncio.sleep(CONFLICT.delay_s(conflicts))
                for actor in visited.values():
                    await actor.catch_up()
            else:
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

    async def _conclude(self, rounds: Rounds) -> Sequence[DispatchResult] | Exception:
        """Return the answers, or the error for all of them, once the log bears out what *rounds* were decided on.

        Raises `WrongExpectedVersion` if it does not.
        """
        if failed := self._first_failed(rounds):
            await _confirm(rounds)
            return await self._remembered(*failed)
        receipts = [receipt for actor, round_ in rounds for receipt in round_.receipts(actor.stream)]
        if any(round_.events for _, round_ in rounds):
            # Those without events go along, so that their versions are looked at in the same moment.
            writes = [StreamWrite(actor.stream, actor.version, round_.events) for actor, round_ in rounds]
            firsts = [
                place.position - len(write.events)
                for place, write in zip(await self._append(writes, receipts), writes, strict=True)
            ]
        else:
            await _confirm(rounds)
            if receipts:
                await self._append((), receipts)
            firsts = [0] * len(rounds)
        for (actor, round_), first in zip(rounds, firsts, strict=True):
            await actor.commit(round_, first)
        return [request.answer.result() for request in self._requests]

    def _first_failed(self, rounds: Rounds) -> tuple[Actor, Decision, Exception] | None:
        """Return the first command, in the order given, that came to an error, and where."""
        failed = [
            (self._requests.index(decision.request), (actor, decision, decision.error))
            for actor, round_ in rounds
            for decision in round_.decisions
            if decision.error is not None
        ]
        return min(failed, key=lambda each: each[0])[1] if failed else None

    async def _remembered(self, actor: Actor, decision: Decision, error: Exception) -> Exception:
        """Return *error*, kept under the id of the whole if that was given; raises `ReceiptTaken` for a repeat."""
        whole = self._requests[0]
        if whole.digest is None:
            return error
        if isinstance(error, CommandRejected):
            receipt = Receipt(
                command_id=whole.command_id,
                digest=whole.digest,
                stream=actor.stream,
                first_version=decision.first_version,
                event_count=0,
                refusal=encode_refusal(error),
            )
            await self._append((), [receipt])
        elif await self._journal.receipts([whole.command_id]):
            raise ReceiptTaken([whole.command_id])  # what fails now was answered then
        return error

    async def _append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt]) -> Sequence[Appended]:
        self._is_sent = True
        streams = [write.stream for write in writes if write.events]
        try:
            if not streams:
                return await self._journal.store.append(writes, receipts)
            events = sum(len(write.events) for write in writes)
            with self._watch.appending(streams, events, self._requests) as came_to:
                places = await self._journal.store.append(writes, receipts)
                came_to(max(place.position for place in places))
                return places
        except (WrongExpectedVersion, ReceiptTaken):
            self._is_sent = False
            raise

    async def _answer_as_before(self, visited: Mapping[str, Actor]) -> Sequence[DispatchResult]:
        """Answer as the first time; raises the refusal of the first time, or `CommandIdReused`."""
        receipts = await self._journal.receipts([request.command_id for request in self._requests])
        results: list[DispatchResult] = []
        for stream, request in self._pairs:
            receipt = receipts.get(request.command_id)
            if receipt is None or receipt.digest != request.digest:
                raise CommandIdReused(request.command_id)
            if receipt.refusal is not None:
                raise decode_refusal(receipt.refusal)
            results.append(await visited[stream].first_answer(request, receipt))
        return results


async def _confirm(rounds: Rounds) -> None:
    """Raise `WrongExpectedVersion` if the log holds more than *rounds* were decided on."""
    for actor, _ in rounds:
        await actor.confirm()
