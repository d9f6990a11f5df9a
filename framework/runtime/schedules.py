"""Commands that are sent later, or again and again, on behalf of nobody but the program.

They lie where processes keep what they schedule, and are sent by the same relay: a schedule is the one timer of an
instance that is called by its key. When it is due, it is *begun*: in one transaction it leaves the reach of `cancel`,
gets the id that it is sent under, and, if it recurs, sets the timer anew. From there on it is a command like any other,
which has one outcome, and is parked if that is a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

import attrs
import msgspec

from framework.clock import Clock
from framework.codec import Codec
from framework.cron import Cron
from framework.errors import CommandRejected, InvalidOption
from framework.messages import current_cause
from framework.process_manager import LONGEST
from framework.router import Router
from framework.runtime.processes import Bell, Relayed, Send
from framework.store.protocol import InstanceRow, OutboxRow, Pending, ProcessChange, ProcessStore, TimerRow, Withdrawal
from framework.store.validation import check_limit, check_name

PROCESS: Final = "$schedules"
"""What it is all stored under, as if it were a process."""

TIMER: Final = "due"
"""The key of the only timer that each has."""

SCHEDULES: Final = UUID("9f3c5b0e-7f1d-5c0e-8d59-2c6a1f1f6a55")
"""Where the ids of schedules are from."""


@attrs.frozen
class Scheduled:
    """A command that is to be sent, is being sent, or was parked."""

    key: str
    """What it is replaced, cancelled, retried and discarded by."""
    command_type: str
    """The name of the command's class."""
    command: Any
    """The command's content, as in JSON."""
    due_at: datetime
    """In UTC."""
    every: str | None = None
    """When it recurs, as an expression and a time zone; None where it does not."""
    parked: str | None = None
    """Why it is not sent any more; None where it is."""


class _Plan(msgspec.Struct, omit_defaults=True):
    """What is stored of a schedule beside its ids."""

    command: msgspec.Raw
    due_at: datetime
    cron: str | None = None
    zone: str = ""

    @property
    def every(self) -> Cron | None:
        return None if self.cron is None else Cron(self.cron, zone=self.zone)


class Schedules:
    """What is scheduled outside of processes, on whatever node: listed, cancelled, retried and discarded by its key.

    A command that is refused, or cannot be sent, is parked under its key. What is due under that key then waits behind
    it, until it is retried or discarded.
    """

    def __init__(
        self,
        store: ProcessStore,
        codec: Codec,
        router: Router,
        clock: Clock,
        send: Send,
        begin: Callable[[Relayed, Bell, Send], None],
    ) -> None:
        """Have commands dispatched by *send*, and all relayed by what *begin* begins."""
        self._store = store
        self._codec = codec
        self._router = router
        self._clock = clock
        self._dispatch = send
        self._begin = begin
        self._bell = Bell()
        self._is_relayed = False

    async def list(self, *, after: str = "", limit: int = 1_000) -> Sequence[Scheduled]:
        """Return what is scheduled under keys above *after*, by key: at most *limit*, but that a key comes whole.

        Under one key there may be one that is parked, one that waits behind it, and the next.
        """
        check_limit(limit)
        return [_scheduled(each) for each in await self._store.pending(PROCESS, after=after, limit=limit)]

    async def cancel(self, key: str) -> bool:
        """Have what is scheduled under *key* not sent, and say whether there was something.

        If so, it is never sent. What is on its way has its outcome, and what is parked stays.
        """
        check_name("a schedule", key)
        return bool(await self._store.change_process(PROCESS, ProcessChange(withdrawn=[Withdrawal(key, None)])))

    async def retry(self, key: str) -> int:
        """Have what is parked under *key* sent again, as a new command; return how many that is."""
        parked = await self._parked(key)
        count = 0
        for row in parked:
            again = row._replace(command_id=uuid5(row.command_id, "again"), parked=None)
            if row.timer is None:
                change = ProcessChange(commands=[again])
            else:  # it could not even be begun
                change = ProcessChange(timers=[TimerRow(self._clock.now(), again)])
            count += await self._store.settle_refused(row, change)
            self._ring(change)
        return count

    async def discard(self, key: str) -> int:
        """Go on without what is parked under *key*; return how many that is."""
        parked = await self._parked(key)
        await self._store.settle(PROCESS, [row.command_id for row in parked])
        self._relay()
        self._bell.rung.set()
        return len(parked)

    async def schedule(
        self, command: object, key: str, *, at: datetime | None, after: timedelta | None, every: Cron | None
    ) -> Scheduled:
        """Store *command* to be sent; see `Application.schedule`."""
        check_name("a schedule", key)
        name = self._name(command)
        due_at = self._due(at, after, every)
        plan = _Plan(msgspec.Raw(self._codec.encode(command)), due_at)
        if every is not None:
            plan.cron, plan.zone = every.expression, every.zone
        timer = _timer(key, name, plan)
        cause = current_cause.get()
        if cause is not None and every is None:
            # What recurs for years is no part of what its first cause led to.
            caused = timer.command._replace(correlation_id=cause.correlation_id, causation_id=cause.causation_id)
            timer = timer._replace(command=caused)
        change = ProcessChange(withdrawn=[Withdrawal(key, None)], timers=[timer])
        await self._store.change_process(PROCESS, change)
        self._ring(change)
        return _scheduled(Pending(*timer))

    async def look(self) -> None:
        """Begin to send, if there is anything that was scheduled, by whomever."""
        if not self._is_relayed and await self._store.pending(PROCESS, limit=1):
            self._relay()

    # Sending -----------------------------------------------------------------------------------------

    def _ring(self, change: ProcessChange) -> None:
        self._relay()
        self._bell.ring_for(change)

    def _relay(self) -> None:
        if not self._is_relayed:
            self._is_relayed = True
            self._begin(Relaying(), self._bell, self._send)

    async def _parked(self, key: str) -> Sequence[OutboxRow]:
        check_name("a schedule", key)
        return [row for row in await self._store.parked(PROCESS) if row.instance == key]

    def _name(self, command: object) -> str:
        """Return the name of the class of *command*; raises what a dispatch of it would, as far as can be told."""
        route = self._router.route(command)
        route.stream(command)
        name = route.command.__name__
        self._router.command(name)  # by which it will be found again
        self._codec.check(route.command)
        return name

    def _due(self, at: datetime | None, after: timedelta | None, every: Cron | None) -> datetime:
        now = self._clock.now()
        if [at, after, every].count(None) != 2:  # noqa: PLR2004 - all but one
            raise InvalidOption("a command is scheduled at a moment, after a time, or every so often: give one of them")
        if every is not None:
            return every.after(now)
        if at is not None:
            if at.utcoffset() is None:
                raise InvalidOption(f"at={at!r} has no time zone, and is no moment: give one, as datetime.now(UTC) has")
            if not -LONGEST <= at - now <= LONGEST:
                raise InvalidOption(f"at={at.isoformat()} is more than a hundred years away")
            return at.astimezone(UTC)
        if after is None or not timedelta(0) <= after <= LONGEST:
            raise InvalidOption(f"a command scheduled after {after}: give from nothing to a hundred years")
        return now + after

    async def _send(self, row: OutboxRow, command_id: UUID) -> None:
        if row.timer is not None:
            await self._begin_run(row)
            return
        cls: type[Any] = self._router.command(row.command_type)
        await self._dispatch(self._codec.decode(cls, bytes(_plan(row).command)), command_id)

    async def _begin_run(self, row: OutboxRow) -> None:
        """Have the command of *row* sent once its turn comes, and the next if it recurs; neither if it is withdrawn."""
        plan = _plan(row)
        run_id = _run_id(row.command_id)
        timers: list[TimerRow] = []
        if plan.every is not None:
            # Not one for each that was missed, while nobody ran or the one before was not done.
            due_at = plan.every.after(max(plan.due_at, self._clock.now()))
            again = _Plan(plan.command, due_at, plan.cron, plan.zone)
            timers.append(_timer(row.instance, row.command_type, again))
        once = msgspec.json.encode(_Plan(plan.command, plan.due_at))
        run = row._replace(command_id=run_id, command=once, timer=None)
        change = ProcessChange(commands=[run], timers=timers)
        if await self._store.settle_refused(row, change):
            self._ring(change)


class Relaying:
    """What a relay sends that is scheduled outside of processes: the rows themselves, which `Schedules` understands."""

    name = PROCESS

    def command(self, row: OutboxRow) -> Any:
        """Return *row*."""
        return row

    def refused(
        self, row: OutboxRow, instance: InstanceRow | None, command: Any, refusal: CommandRejected, at: datetime
    ) -> ProcessChange:
        """Raise the *refusal*: there is nobody to hear of it but who looks."""
        del row, instance, command, at
        raise refusal


def _timer(key: str, command_type: str, plan: _Plan) -> TimerRow:
    """Return *plan* as it is stored."""
    command_id = uuid5(SCHEDULES, f"{key}/{plan.due_at.isoformat()}")
    row = OutboxRow(
        process=PROCESS,
        instance=key,
        number=0,
        piece=0,
        command_id=command_id,
        command_type=command_type,
        command=msgspec.json.encode(plan),
        correlation_id=_run_id(command_id),
        causation_id=uuid5(SCHEDULES, key),
        timer=TIMER,
    )
    return TimerRow(plan.due_at, row)


def _run_id(command_id: UUID) -> UUID:
    """Return what a command is sent under; its timer has another id, so that it is begun once."""
    return uuid5(command_id, "run")


def _plan(row: OutboxRow) -> _Plan:
    return msgspec.json.decode(row.command, type=_Plan)


def _scheduled(pending: Pending) -> Scheduled:
    row = pending.command
    plan = _plan(row)
    every = None if plan.cron is None else f"{plan.cron} {plan.zone}"
    command = msgspec.json.decode(plan.command)
    return Scheduled(row.instance, row.command_type, command, plan.due_at, every, row.parked)
