"""One task per live aggregate: commands wait in its mailbox and are decided a round at a time.

A round is every command that waits when the actor looks. Each is decided on the state that the one before it left, and
the events of all go to the store as one append, so an aggregate under load commits many commands at once. No caller
hears anything, not even a refusal, before what the answer rests on is committed: had another writer been first, the
answer could be another one.

A round that loses to other nodes time and again is decided in turn, while nobody else can append.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from contextvars import Context
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid5

import attrs

from framework.aggregate import Aggregate
from framework.clock import Clock
from framework.errors import (
    AppendRefused,
    CommandIdReused,
    CommandRejected,
    DispatchTimeout,
    FrameworkError,
    HeadHeldTooLong,
    InvalidDecision,
    NotRunning,
    OutcomeUnknown,
    ReceiptTaken,
    StorageUnavailable,
    TooManyAttempts,
    WrongExpectedVersion,
)
from framework.journal import Journal
from framework.messages import DispatchResult, ResultWithState
from framework.middleware import CommandContext
from framework.observe import ACTOR_FAILED, LIFESPAN_FAILED, log
from framework.policies import CONFLICT, Defaults
from framework.refusals import decode_refusal, encode_refusal
from framework.router import Registration, Route
from framework.runtime.mailbox import Mailbox
from framework.runtime.snapshots import Folded
from framework.runtime.states import States
from framework.runtime.watch import UNWATCHED, Caller, Watch
from framework.store.protocol import Expected, NewEvent, Receipt, StoredEvent, StreamWrite

ROUND_LIMIT = 256
"""Commands decided together at most: enough to make a commit's cost vanish, few enough to keep the loop responsive."""

TURN_LIMIT = 64
"""Commands decided together at most while all other writers wait: it should take no longer than their commit."""

CONFLICTS_BEFORE_TURN = 2
"""After so many conflicts in a row a round is decided in turn: by then it is no coincidence."""

Outcome: TypeAlias = DispatchResult | Exception


@attrs.define(eq=False)
class Request:
    """A command on its way to an answer."""

    order: CommandContext
    route: Route
    digest: bytes | None
    """Set where the caller gave the id: the answer is then kept under it."""
    metadata: bytes
    """What is recorded with the events."""
    retry: int
    """How often the command may be decided again."""
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

    def expire(self, stream: str, after_s: float) -> None:
        """Tell the caller that its time is over; what no actor has taken yet is withdrawn by it."""
        self.settle(self.outcome_unknown(stream) if self.is_taken else DispatchTimeout(stream, after_s))

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


@attrs.define(eq=False)
class Decision:
    """What one command of a round came to, as long as nothing else has been written."""

    request: Request
    repeats: list[Request]
    """The same command again, in the same round: it gets the same answer."""
    first_version: int
    state: Aggregate[Any, Any]
    """The state after it."""
    events: list[Any] = attrs.field(factory=list[Any])
    error: Exception | None = None


@attrs.define(eq=False)
class Round:
    """Commands decided one on the other, not yet committed."""

    state: Aggregate[Any, Any]
    version: int
    decisions: list[Decision] = attrs.field(factory=list[Decision])
    events: list[NewEvent] = attrs.field(factory=list[NewEvent])

    def receipts(self, stream: str) -> list[Receipt]:
        """Return what is to be remembered of the commands whose callers gave an id."""
        return [
            Receipt(
                command_id=decision.request.command_id,
                digest=decision.request.digest,
                stream=stream,
                first_version=decision.first_version,
                event_count=len(decision.events),
                refusal=encode_refusal(decision.error) if decision.error else None,
            )
            for decision in self.decisions
            # An error that is no refusal is a fault, and a fault may be mended: it is not remembered.
            if decision.request.digest is not None and isinstance(decision.error, CommandRejected | None)
        ]


class Actor:
    """The one writer, in this process, of one aggregate's stream."""

    def __init__(
        self,
        stream: str,
        registration: Registration,
        journal: Journal,
        states: States,
        clock: Clock,
        defaults: Defaults,
        watch: Watch,
    ) -> None:
        self.stream = stream
        self.mailbox: Mailbox[Request] = Mailbox(defaults.mailbox_limit)
        self.registration = registration
        self._journal = journal
        self._states = states
        self._clock = clock
        self._defaults = defaults
        self._watch = watch
        self._state = registration.initial
        self._version: int = 0
        self._position: int = 0
        self._saved = 0
        """The version of its latest snapshot, as far as it knows."""
        self._is_retiring = False
        self._has_ended = False
        self._idle_after = (registration.options.lifespan or defaults.lifespan).idle_after
        """How long the last command lets it."""
        self._due = math.inf
        """When it ends by itself if no more commands come, by the loop's clock."""
        self._alarm: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        """Held by whoever decides: the actor for a round, or a visitor."""
        self._visitors = 0
        self._has_rivals = False
        """Whether others write to the stream as fast: then it is decided in turn, until a turn finds nothing new."""

    @property
    def version(self) -> int:
        """The version of the state it holds."""
        return self._version

    @asynccontextmanager
    async def visited(self) -> AsyncGenerator[None, None]:
        """Give the right to decide: while the block runs, the actor serves nobody and does not end.

        Enter it in the step in which the actor was found. It is given in the order of asking. Raises `NotRunning` if
        the actor was stopped meanwhile.
        """
        self._visitors += 1
        try:
            async with self._turn:
                if self._has_ended:
                    raise NotRunning("stopping")
                yield
        finally:
            self._visitors -= 1
            self._rest()
            self.mailbox.wake()

    def retire(self) -> None:
        """End the actor once nothing waits for it."""
        self._is_retiring = True
        self.mailbox.wake()

    def stay(self) -> None:
        """Take `retire` back. Only in the step in which the actor was found, or it may have ended."""
        self._is_retiring = False

    async def run(self) -> None:
        """Serve the mailbox until retired, or idle for as long as its lifespan allows.

        Returns in the same step in which it finds the mailbox quiet. Cancellation leaves nobody waiting: a command in
        hand is answered with `OutcomeUnknown`, one that waits with `NotRunning`.
        """
        round_: list[Request] = []
        now = asyncio.get_running_loop().time
        try:
            while True:
                if self.mailbox:
                    async with self._turn:
                        round_ = self._take()
                        if round_:
                            await self._serve(round_)
                    self._rest()
                elif (self._is_retiring or now() >= self._due) and self.mailbox.is_quiet and not self._visitors:
                    # No `await` from here to the removal of this actor from the registry, which the owner's callback
                    # does: a command can reach it before, or find no actor after, and never a dead one.
                    return
                else:
                    self._set_alarm()
                    await self.mailbox.filled()
        finally:
            self._has_ended = True
            if self._alarm is not None:
                self._alarm.cancel()
            for request in round_:
                request.settle(request.outcome_unknown(self.stream))
            for request in self.mailbox.close(NotRunning("stopping")):
                request.settle(NotRunning("stopping"))

    def _rest(self) -> None:
        """Count anew the time that the actor may be idle."""
        idle_s = math.inf if self._idle_after == timedelta.max else self._idle_after.total_seconds()
        self._due = asyncio.get_running_loop().time() + idle_s

    def _set_alarm(self) -> None:
        """Have the actor look at the time when it is due."""
        # One that rings too early is set again then: a busy actor leaves it alone.
        if self._alarm is not None and self._alarm.when() > self._due:
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None and self._due < math.inf:
            self._alarm = asyncio.get_running_loop().call_at(self._due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.mailbox.wake()

    def _take(self) -> list[Request]:
        taken = [request for request in self.mailbox.take(ROUND_LIMIT) if not request.answer.done()]
        for request in taken:
            request.is_taken = True
        self._watch.taken(self.registration.aggregate, taken)
        return taken

    async def _serve(self, requests: list[Request]) -> None:
        try:
            await self._answer(requests)
        except AppendRefused as error:
            if len(requests) == 1:
                self._fail(requests, error)
                return
            # The database takes exception to what one of them led to: each alone, so that it fails alone.
            for request in requests:
                if not request.answer.done():
                    await self._serve([request])
        except FrameworkError as error:
            self._fail(requests, error)
        except Exception as error:  # noqa: BLE001 - the actor must outlive a fault, and tells the callers of it
            log.error(ACTOR_FAILED, stream=self.stream, error=repr(error), exc_info=error)
            self._fail(requests, error)
            self._state, self._version, self._position = self.registration.initial, 0, 0

    @staticmethod
    def _fail(requests: Iterable[Request], error: Exception) -> None:
        for request in requests:
            if isinstance(error, OutcomeUnknown):
                request.settle(request.outcome_unknown(error.stream))
            else:
                request.settle(error)

    async def _answer(self, requests: list[Request]) -> None:
        """Decide and commit *requests* until every one has its answer."""
        await self.load(requests)
        conflicts = 0
        while requests:
            together = requests[: TURN_LIMIT if self._has_rivals else ROUND_LIMIT]
            try:
                round_, first = await (self._append_in_turn if self._has_rivals else self._append)(together)
            except WrongExpectedVersion:
                conflicts += 1
                self._watch.conflicted(self.registration.aggregate)
                requests = self._persisting(requests, conflicts)
                if conflicts >= CONFLICTS_BEFORE_TURN:
                    self._has_rivals = True
                elif requests:
                    await asyncio.sleep(CONFLICT.delay_s(conflicts))
                    await self.catch_up()
            except ReceiptTaken as taken:
                requests = await self._answer_as_before(requests, taken.command_ids)
                await self.catch_up()
            else:
                await self.commit(round_, first)
                requests = requests[len(together) :]

    async def _append(self, requests: Sequence[Request]) -> tuple[Round, int]:
        """Decide *requests*, and return what they came to, once it is committed, and the position it lies behind."""
        round_ = self.decide(requests)
        receipts = round_.receipts(self.stream)
        if round_.events:
            with self._watch.appending((self.stream,), len(round_.events), requests) as came_to:
                appended = await self._journal.append(self.stream, self._version, round_.events, receipts)
                came_to(appended.position)
            return round_, appended.position - len(round_.events)
        await self.confirm()
        if receipts:
            await self._journal.store.append((), receipts)
        return round_, self._position

    async def _append_in_turn(self, requests: Sequence[Request]) -> tuple[Round, int]:
        """Do as `_append` does, but decide while nobody else can append."""
        before = self._version
        await self.catch_up()  # so that little is left to be read while all others wait
        round_ = Round(self._state, self._version)
        came_to: list[Callable[[int], None]] = []

        def decide(
            missed: Mapping[str, Sequence[StoredEvent]],
        ) -> tuple[Sequence[StreamWrite], Sequence[Receipt]]:
            nonlocal round_
            self._fold(missed[self.stream])
            round_ = self.decide(requests)
            receipts = round_.receipts(self.stream)
            if not round_.events:
                return (), receipts
            came_to.append(watching.enter_context(self._watch.appending((self.stream,), len(round_.events), requests)))
            return [StreamWrite(self.stream, self._version, round_.events)], receipts

        try:
            with ExitStack() as watching:
                places = await self._journal.store.append_in_turn({self.stream: self._version}, decide)
                for tell, place in zip(came_to, places, strict=True):
                    tell(place.position)
        except (StorageUnavailable, HeadHeldTooLong):
            # Nothing was recorded. In the usual way it waits until the database is back.
            self._has_rivals = False
            return await self._append(requests)
        self._has_rivals = self._version > before
        return round_, places[0].position - len(round_.events) if places else self._position

    def _persisting(self, requests: Iterable[Request], conflicts: int) -> list[Request]:
        """Return those of *requests* that want to be decided again after so many *conflicts*; the others end here."""
        others: list[Request] = []
        for request in requests:
            if conflicts > request.retry:
                request.settle(TooManyAttempts(self.stream, conflicts))
            else:
                others.append(request)
        return others

    async def load(self, callers: Sequence[Caller]) -> None:
        """Take over what the log holds, which *callers* wait for, if nothing of it is taken over yet."""
        if not self._version:
            with self._watch.rehydrating(self.registration.aggregate, self.stream, callers) as folded:
                found = await self._states.load(self.stream, self.registration)
                self._state, self._version, self._position, self._saved = found
                folded(self._version - self._saved)

    async def commit(self, round_: Round, first: int) -> None:
        """Take over the state of a round whose events lie behind position *first*, and answer its commands."""
        before, position = self._version, self._position
        self._state, self._version = round_.state, round_.version
        if round_.events:
            self._position = first + len(round_.events)
            self._offer_snapshot()
        failed = [d for d in round_.decisions if d.error and not isinstance(d.error, CommandRejected)]
        faults = [request for decision in failed for request in (decision.request, *decision.repeats)]
        if repeats := [request.command_id for request in faults if request.digest is not None]:
            # What fails now may be the repeat of what was accepted then.
            await self._answer_as_before(faults, repeats)
        for decision in round_.decisions:
            version = decision.first_version + len(decision.events) - 1
            at = first + version - before if version > before else position
            for request in (decision.request, *decision.repeats):
                request.settle(decision.error or self._result(request, version, at, decision.events, decision.state))
        self._idle_after = self._patience(round_.decisions[-1])

    def _patience(self, decision: Decision) -> timedelta:
        """Return how long to be idle after *decision*."""
        request = decision.request
        lifespan = request.order.options.lifespan or request.route.options.lifespan or self._defaults.lifespan
        message = decision.error or (decision.events[-1] if decision.events else request.order.command)
        try:
            found = request.context.run(lifespan.idle_after_message, message)
            found.total_seconds()  # an `after` without types may have returned anything
        except Exception as error:  # noqa: BLE001 - the user's code: it decides how long, and nothing else
            log.error(LIFESPAN_FAILED, stream=self.stream, error=repr(error), exc_info=error)
            return lifespan.idle_after
        return found

    def _result(
        self, request: Request, version: int, position: int, events: Iterable[Any], state: Aggregate[Any, Any]
    ) -> DispatchResult:
        order = request.order
        answer = self.stream, version, position, tuple(events), order.command_id, order.correlation_id
        return DispatchResult(*answer) if order.returning is None else ResultWithState(*answer, state=state)

    def _offer_snapshot(self) -> None:
        every = self.registration.snapshots
        if every is not None and self._version - self._saved >= every.events:
            folded = Folded(self._state, self._version, self._position)
            if self._states.snapshots.offer(self.stream, self.registration, every, folded):
                self._saved = self._version

    async def confirm(self) -> None:
        """Raise `WrongExpectedVersion` if the log holds more than this state."""
        before = self._version
        if await self.catch_up():
            raise WrongExpectedVersion(self.stream, f"version {before}", self._version)

    async def catch_up(self) -> bool:
        """Fold what the log holds beyond this state, and say whether there was anything."""
        before = Folded(self._state, self._version, self._position)
        folded = await self._states.follow(self.stream, before)
        self._state, self._version, self._position, _ = folded
        return folded is not before

    def _fold(self, stored: Sequence[StoredEvent]) -> None:
        folded = self._states.fold(Folded(self._state, self._version, self._position), stored)
        self._state, self._version, self._position, _ = folded

    async def _answer_as_before(self, requests: Sequence[Request], ids: Collection[UUID]) -> list[Request]:
        """Answer those of *requests* that have a receipt under one of *ids* as they were answered first.

        Returns the others.
        """
        receipts = await self._journal.receipts(ids)
        others: list[Request] = []
        for request in requests:
            receipt = receipts.get(request.command_id)
            if receipt is None or request.digest is None:
                others.append(request)
            elif receipt.digest != request.digest:
                request.settle(CommandIdReused(request.command_id))
            elif receipt.refusal is not None:
                request.settle(decode_refusal(receipt.refusal))
            else:
                request.settle(await self.first_answer(request, receipt))
        return others

    async def first_answer(self, request: Request, receipt: Receipt) -> DispatchResult:
        """Return the result that *receipt* is kept of."""
        # One event further back, for the position of a command that led to none.
        after = max(receipt.first_version - 2, 0)
        last = receipt.first_version + receipt.event_count - 1
        stored = await self._journal.read_stream(receipt.stream, after=after, until=last, limit=receipt.event_count + 1)
        events = [self._journal.decode(each) for each in stored if each.version >= receipt.first_version]
        state = self.registration.initial
        if request.order.returning is not None:
            state = (await self._states.load(self.stream, self.registration, until=last)).state
        return self._result(request, last, stored[-1].position if stored else 0, events, state)

    # Deciding: nothing below awaits ------------------------------------------------------------------

    def decide(self, requests: Iterable[Request]) -> Round:
        """Decide *requests* one on the other, the first on the state as it is; nothing is answered yet."""
        round_ = Round(self._state, self._version)
        by_id: dict[UUID, Decision] = {}
        # Not a block around each that is nobody's: it takes a thirtieth of a dispatch.
        decide = self._execute if self._watch is UNWATCHED else self._execute_watched
        for request in requests:
            if request.digest is not None and (first := by_id.get(request.command_id)):
                if first.request.digest == request.digest:
                    first.repeats.append(request)
                else:
                    request.settle(CommandIdReused(request.command_id))
                continue
            decision = Decision(request, [], round_.version + 1, round_.state)
            try:
                request.context.run(decide, round_, decision)
            except Exception as error:  # noqa: BLE001 - the domain's code failed: its caller is told, the actor goes on
                decision.error = _answerable(error)
                decision.events.clear()
            round_.decisions.append(decision)
            if request.digest is not None:  # an id that nobody gave is nobody else's, and to look at it costs
                by_id[request.command_id] = decision
        return round_

    def _execute_watched(self, round_: Round, decision: Decision) -> None:
        order, version, events = decision.request.order, decision.first_version, decision.events
        with self._watch.deciding(self.stream, order, version, events):
            self._execute(round_, decision)

    def _execute(self, round_: Round, decision: Decision) -> None:
        """Decide one command on the state of *round_*, and add to it only if all went well."""
        request, state = decision.request, round_.state
        order, route = request.order, request.route
        if order.expected_version is not None and not Expected.is_met(order.expected_version, round_.version):
            raise WrongExpectedVersion(self.stream, Expected.describe(order.expected_version), round_.version)
        if route.check is not None:
            route.check(state, order.command, order.metadata)
        encoded: list[NewEvent] = []
        for event in self._produced(route.decide(state, order.command)):
            if type(event) not in self.registration.events:
                raise self._broken(f"execute yielded {event!r}, which is no event of its contract")
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

    def _produced(self, produced: Any) -> Iterable[Any]:
        if hasattr(produced, "__iter__"):
            events: Iterable[Any] = produced
            return events
        if inspect.iscoroutine(produced):
            produced.close()
            raise self._broken("execute is async: it decides without waiting, so write 'def execute'")
        raise self._broken(f"execute returned {produced!r} instead of yielding events")

    def _broken(self, what: str) -> InvalidDecision:
        return InvalidDecision(f"{self.registration.aggregate.__qualname__}.{what}")


def _answerable(error: Exception) -> Exception:
    """Return *error* as a future takes it; one it does not take would keep those behind from their answers."""
    if not isinstance(error, StopIteration):
        return error
    answer = RuntimeError("StopIteration was raised where a command is decided: is a 'next' without a default there?")
    answer.__cause__ = error
    return answer
