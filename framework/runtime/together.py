"""Commands to several aggregates, decided and appended as one: all of them or none.

The actors of all the aggregates are visited, in the order of their streams' names: whoever wants several takes them in
that one order, so no two wait for each other. While they are held nobody else in this process decides on their states;
only another process can be first at one of the streams, and then all is decided again, as an actor does with a round;
in turn, too, where that happens time and again.
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
    HeadHeldTooLong,
    ReceiptTaken,
    StorageUnavailable,
    TooManyAttempts,
    WrongExpectedVersion,
)
from framework.messages import DispatchResult
from framework.policies import CONFLICT
from framework.refusals import decode_refusal, encode_refusal
from framework.runtime.actors import Actors
from framework.runtime.deciding import Decision, Round
from framework.runtime.requests import Request
from framework.runtime.rounds import CONFLICTS_BEFORE_TURN, Means, Rounds, ToAppend
from framework.store.protocol import Appended, Receipt, StreamWrite

Decided: TypeAlias = Sequence[tuple[Rounds, Round]]
Failed: TypeAlias = tuple[str, Decision, Exception]
"""A command that came to an error, and the stream it is for."""


class Together:
    """Commands that are decided as one, on their way to an answer each."""

    def __init__(self, means: Means, requests: Sequence[Request]) -> None:
        """Each of *requests* bears the digest of all, if their id was given."""
        self._means = means
        self._journal = means.journal
        self._watch = means.watch
        self._requests = requests
        self._is_sent = False
        """Whether the store was handed something that it has not answered."""

    async def decide(self, actors: Actors) -> Sequence[DispatchResult]:
        """Return the answers once all events are durable.

        Raises the error of the first command that was refused or failed, for all of them; `DispatchTimeout`,
        `TooManyAttempts`, and whatever keeps an append from being recorded: nothing was recorded. `OutcomeUnknown`
        where that cannot be said.
        """
        timeout_s = max(request.terms.timeout_s for request in self._requests)
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit, AsyncExitStack() as visits:
                visited: dict[str, Rounds] = {}
                for request in sorted(self._requests, key=lambda request: request.stream):
                    if request.stream not in visited:
                        actor = actors.find(request.stream, request.route.registration)
                        visited[request.stream] = await visits.enter_async_context(actor.visited())
                for rounds in visited.values():
                    await rounds.load(self._requests)
                try:
                    return await self._record(visited)
                except ReceiptTaken:
                    return await self._answer_as_before()
        except TimeoutError:
            if not limit.expired():
                raise  # an aggregate's own
            if self._is_sent:
                raise self._requests[0].outcome_unknown(self._name) from None
            raise DispatchTimeout(self._name, timeout_s) from None

    @property
    def _name(self) -> str:
        return ", ".join(dict.fromkeys(request.stream for request in self._requests))

    async def _record(self, visited: Mapping[str, Rounds]) -> Sequence[DispatchResult]:
        """Decide until the log holds nothing but what was decided on; raises `ReceiptTaken` for a repeat."""
        retries = max(request.terms.retry for request in self._requests)
        conflicts = 0
        while True:
            has_rivals = conflicts >= CONFLICTS_BEFORE_TURN
            try:
                outcome = await (self._conclude_in_turn if has_rivals else self._conclude)(visited)
            except WrongExpectedVersion as conflict:
                conflicts += 1
                self._watch.conflicted(visited[conflict.stream].replica.registration.aggregate)
                if conflicts > retries:
                    raise TooManyAttempts(self._name, conflicts) from None
                if conflicts < CONFLICTS_BEFORE_TURN:
                    await asyncio.sleep(CONFLICT.delay_s(conflicts))
                    for rounds in visited.values():
                        await rounds.replica.catch_up()
            else:
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

    async def _conclude(self, visited: Mapping[str, Rounds]) -> Sequence[DispatchResult] | Exception:
        """Return the answers, or the error for all of them, once the log bears out what they were decided on.

        Raises `WrongExpectedVersion` if it does not.
        """
        decided = self._decide(visited)
        if failed := self._first_failed(decided):
            await _confirm(decided)
            if refusal := self._refusal(failed):
                await self._append((), [refusal])
            return await self._failure(failed)
        receipts = _receipts(decided)
        if any(round_.events for _, round_ in decided):
            # Those without events go along, so that their versions are looked at in the same moment.
            await self._commit(decided, await self._append(_writes(decided), receipts))
        else:
            await _confirm(decided)
            if receipts:
                await self._append((), receipts)
            await self._commit(decided, ())
        return [request.answer.result() for request in self._requests]

    async def _conclude_in_turn(self, visited: Mapping[str, Rounds]) -> Sequence[DispatchResult] | Exception:
        """Do as `_conclude` does, but decide while nobody else can append."""
        decided: Decided = ()

        def decide() -> ToAppend:
            nonlocal decided
            decided = self._decide(visited)
            if failed := self._first_failed(decided):
                refusal = self._refusal(failed)
                return (), [refusal] if refusal else []
            return [write for write in _writes(decided) if write.events], _receipts(decided)

        replicas = [rounds.replica for rounds in visited.values()]
        self._is_sent = True
        try:
            places = await self._means.append_in_turn(replicas, decide, self._requests)
        except (StorageUnavailable, HeadHeldTooLong):
            # Nothing was recorded. In the usual way it waits until the database is back.
            self._is_sent = False
            return await self._conclude(visited)
        except (WrongExpectedVersion, ReceiptTaken):
            self._is_sent = False
            raise
        if failed := self._first_failed(decided):
            return await self._failure(failed)
        await self._commit(decided, places)
        return [request.answer.result() for request in self._requests]

    def _decide(self, visited: Mapping[str, Rounds]) -> Decided:
        return [
            (rounds, rounds.decide(request for request in self._requests if request.stream == stream))
            for stream, rounds in visited.items()
        ]

    async def _commit(self, decided: Decided, places: Sequence[Appended]) -> None:
        """Have every aggregate take over what was *decided*, which is recorded at *places*."""
        last = {place.stream: place.position for place in places}
        for rounds, round_ in decided:
            await rounds.commit(round_, last.get(rounds.replica.stream, 0) - len(round_.events))

    def _first_failed(self, decided: Decided) -> Failed | None:
        """Return the first command, in the order given, that came to an error, and where."""
        failed = [
            (self._requests.index(decision.request), (rounds.replica.stream, decision, decision.error))
            for rounds, round_ in decided
            for decision in round_.decisions
            if decision.error is not None
        ]
        return min(failed, key=lambda each: each[0])[1] if failed else None

    def _refusal(self, failed: Failed) -> Receipt | None:
        """Return what is to be remembered of what *failed*, under the id of the whole, if that was given."""
        whole, (stream, decision, error) = self._requests[0], failed
        if whole.digest is None or not isinstance(error, CommandRejected):
            return None
        return Receipt(
            command_id=whole.command_id,
            digest=whole.digest,
            stream=stream,
            first_version=decision.first_version,
            event_count=0,
            refusal=encode_refusal(error),
        )

    async def _failure(self, failed: Failed) -> Exception:
        """Return the error of what *failed*; raises `ReceiptTaken` if it was answered before, in another way."""
        whole, (_, _, error) = self._requests[0], failed
        is_refusal = isinstance(error, CommandRejected)
        if not is_refusal and whole.digest is not None and await self._journal.receipts([whole.command_id]):
            raise ReceiptTaken([whole.command_id])
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

    async def _answer_as_before(self) -> Sequence[DispatchResult]:
        """Answer as the first time; raises the refusal of the first time, or `CommandIdReused`."""
        receipts = await self._journal.receipts([request.command_id for request in self._requests])
        results: list[DispatchResult] = []
        for request in self._requests:
            receipt = receipts.get(request.command_id)
            if receipt is None or receipt.digest != request.digest:
                raise CommandIdReused(request.command_id)
            if receipt.refusal is not None:
                raise decode_refusal(receipt.refusal)
            results.append(await self._means.repeats.result(request, receipt))
        return results


def _writes(decided: Decided) -> Sequence[StreamWrite]:
    return [StreamWrite(each.replica.stream, each.replica.version, round_.events) for each, round_ in decided]


def _receipts(decided: Decided) -> Sequence[Receipt]:
    return [receipt for each, round_ in decided for receipt in round_.receipts(each.replica.stream)]


async def _confirm(decided: Decided) -> None:
    """Raise `WrongExpectedVersion` if the log holds more than it was *decided* on."""
    for rounds, _ in decided:
        await rounds.replica.confirm()
