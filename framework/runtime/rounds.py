"""From commands to their answers: a round is decided together, appended as one, and only then answered.

No caller hears anything, not even a refusal, before what the answer rests on is committed: had another writer been
first, the answer could be another one. Then the whole round is decided again; one that loses to other nodes time and
again is decided in turn, while nobody else can append.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TypeAlias

import attrs

from framework.errors import (
    CommandRejected,
    HeadHeldTooLong,
    ReceiptTaken,
    StorageUnavailable,
    TooManyAttempts,
    WrongExpectedVersion,
)
from framework.journal import Journal
from framework.policies import CONFLICT, Lifespan
from framework.runtime.deciding import Deciding, Round
from framework.runtime.repeats import Repeats
from framework.runtime.replica import Replica
from framework.runtime.requests import Request
from framework.runtime.watch import Watch
from framework.store.protocol import Appended, Receipt, StoredEvent, StreamWrite

ROUND_LIMIT = 256
"""Commands decided together at most: enough to make a commit's cost vanish, few enough to keep the loop responsive."""

TURN_LIMIT = 64
"""Commands decided together at most while all other writers wait: it should take no longer than their commit."""

CONFLICTS_BEFORE_TURN = 2
"""After so many conflicts in a row a round is decided in turn: by then it is no coincidence."""

ToAppend: TypeAlias = tuple[Sequence[StreamWrite], Sequence[Receipt]]


@attrs.frozen
class Means:
    """What the rounds of all aggregates are decided and committed with."""

    journal: Journal
    deciding: Deciding
    repeats: Repeats
    watch: Watch
    lifespan: Lifespan
    """Where none is registered."""

    async def append_in_turn(
        self, replicas: Sequence[Replica], decide: Callable[[], ToAppend], requests: Sequence[Request]
    ) -> Sequence[Appended]:
        """Append what *decide* makes of *requests* on *replicas*, which hold the whole log then and are at its end.

        Nobody else can append meanwhile, so it must be quick. Raises `StorageUnavailable` or `HeadHeldTooLong` if it
        did not come to that, and as `EventLog.append_in_turn` does.
        """
        came_to: list[Callable[[int], None]] = []

        def decide_there(missed: Mapping[str, Sequence[StoredEvent]]) -> ToAppend:
            for replica in replicas:
                replica.fold(missed[replica.stream])
            writes, receipts = decide()
            if writes:
                streams, number = [write.stream for write in writes], sum(len(write.events) for write in writes)
                came_to.append(watching.enter_context(self.watch.appending(streams, number, requests)))
            return writes, receipts

        for replica in replicas:
            await replica.catch_up()  # so that little is left to be read while all others wait
        with ExitStack() as watching:
            after = {replica.stream: replica.version for replica in replicas}
            places = await self.journal.store.append_in_turn(after, decide_there)
            for tell in came_to:
                tell(max(place.position for place in places))
            return places


class Rounds:
    """The rounds of one aggregate."""

    __slots__ = ("_has_rivals", "_means", "idle_after", "replica")

    def __init__(self, replica: Replica, means: Means) -> None:
        self.replica = replica
        self.idle_after = (replica.registration.options.lifespan or means.lifespan).idle_after
        """How long the last command lets the aggregate stay in memory."""
        self._means = means
        self._has_rivals = False
        """Whether others write to the stream as fast: then it is decided in turn, until a turn finds nothing new."""

    async def answer(self, requests: Sequence[Request]) -> None:
        """Decide and commit *requests* until every one has its answer."""
        await self.load(requests)
        conflicts = 0
        while requests:
            limit = TURN_LIMIT if self._has_rivals else ROUND_LIMIT
            together = requests if len(requests) <= limit else requests[:limit]
            try:
                round_, first = await (self._append_in_turn if self._has_rivals else self._append)(together)
            except WrongExpectedVersion:
                conflicts += 1
                self._means.watch.conflicted(self.replica.registration.aggregate)
                requests = self._persisting(requests, conflicts)
                if conflicts >= CONFLICTS_BEFORE_TURN:
                    self._has_rivals = True
                elif requests:
                    await asyncio.sleep(CONFLICT.delay_s(conflicts))
                    await self.replica.catch_up()
            except ReceiptTaken as taken:
                requests = await self._means.repeats.answer(requests, taken.command_ids)
                await self.replica.catch_up()
            else:
                await self.commit(round_, first)
                requests = requests[len(together) :]

    async def load(self, callers: Sequence[Request]) -> None:
        """Have the state there that *callers* wait for, if nothing of it is there yet."""
        if not self.replica.version:
            await self.replica.load(callers, self._means.watch)

    def decide(self, requests: Iterable[Request]) -> Round:
        """Decide *requests* one on the other, the first on the state as it is; nothing is answered yet."""
        return self._means.deciding.decide(self.replica, requests)

    async def commit(self, round_: Round, first: int) -> None:
        """Take over the state of a round whose events lie behind position *first*, and answer its commands."""
        replica = self.replica
        stream, before, position = replica.stream, replica.version, replica.position
        replica.state, replica.version = round_.state, round_.version
        if round_.events:
            replica.position = first + len(round_.events)
            replica.offer_snapshot()
        if failed := [d for d in round_.decisions if d.error and not isinstance(d.error, CommandRejected)]:
            faults = [request for decision in failed for request in (decision.request, *decision.repeats)]
            if repeats := [request.command_id for request in faults if request.digest is not None]:
                # What fails now may be the repeat of what was accepted then.
                await self._means.repeats.answer(faults, repeats)
        for decision in round_.decisions:
            version = decision.first_version + len(decision.events) - 1
            at = first + version - before if version > before else position
            events, state = decision.events, decision.state
            for request in (decision.request, *decision.repeats):
                request.settle(decision.error or request.result(stream, version, at, events, state))
        self.idle_after = round_.decisions[-1].idle_after

    async def _append(self, requests: Sequence[Request]) -> tuple[Round, int]:
        """Decide *requests*, and return what they came to, once it is committed, and the position it lies behind."""
        replica, store = self.replica, self._means.journal.store
        round_ = self.decide(requests)
        receipts = round_.receipts(replica.stream)
        if round_.events:
            with self._means.watch.appending((replica.stream,), len(round_.events), requests) as came_to:
                write = StreamWrite(replica.stream, replica.version, round_.events)
                (appended,) = await store.append((write,), receipts)
                came_to(appended.position)
            return round_, appended.position - len(round_.events)
        await replica.confirm()
        if receipts:
            await store.append((), receipts)
        return round_, replica.position

    async def _append_in_turn(self, requests: Sequence[Request]) -> tuple[Round, int]:
        """Do as `_append` does, but decide while nobody else can append."""
        replica = self.replica
        before = replica.version
        decided: list[Round] = []

        def decide() -> ToAppend:
            round_ = self.decide(requests)
            decided.append(round_)
            writes = [StreamWrite(replica.stream, replica.version, round_.events)] if round_.events else []
            return writes, round_.receipts(replica.stream)

        try:
            places = await self._means.append_in_turn([replica], decide, requests)
        except (StorageUnavailable, HeadHeldTooLong):
            # Nothing was recorded. In the usual way it waits until the database is back.
            self._has_rivals = False
            return await self._append(requests)
        (round_,) = decided
        self._has_rivals = replica.version > before
        return round_, places[0].position - len(round_.events) if places else replica.position

    def _persisting(self, requests: Iterable[Request], conflicts: int) -> list[Request]:
        """Return those of *requests* that want to be decided again after so many *conflicts*; the others end here."""
        others: list[Request] = []
        for request in requests:
            if conflicts > request.terms.retry:
                request.settle(TooManyAttempts(self.replica.stream, conflicts))
            else:
                others.append(request)
        return others
