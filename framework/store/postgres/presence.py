"""Says for all of a process that it lives, and tells each of its members which slots are theirs.

A process has one row in its database, which it writes every two seconds, however many applications run in it. One whose
row grows old is buried: whoever sees that removes the row, and what belonged to it is free. So it is one fact, the same
for all, that a process is dead, and nobody takes its slots while it renews them. It may not know yet: by its own clock
what it holds runs out before anybody may bury it, and should that be wrong, there are fences. A process that finds
itself buried begins a new life under another name, with nothing of the old one.

The heartbeat also brings word of what has changed: nodes that are gone, and schemas in which slots were given back or
somebody joined. Only there is looked at the slots, at many schemas in one statement. What other nodes say makes that
quicker, and nothing is lost where it is not heard.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg
import attrs

from framework.clock import SYSTEM_CLOCK, jitter
from framework.connections import describe, quoted, troubled, unavailable
from framework.errors import StorageUnavailable
from framework.observe import LEASES_UNKNOWN, NODE_BURIED, NODE_REBORN, log
from framework.policies import HEARTBEAT_WITHIN, LEASE, RECONNECT, RENEW
from framework.store.postgres import statements
from framework.store.postgres.listener import SLOTS_FREED, channel
from framework.store.subscriptions import Lease, Life, Member, Share, fair_share

if TYPE_CHECKING:
    from framework.connections import Connection

AT_ONCE: Final = 50
"""Schemas looked at in one statement: a thousand at once would keep what else is on the database waiting."""


@attrs.define(eq=False)
class Part:
    """A member with its place: a `Membership`."""

    schema: str
    names: tuple[str, ...]
    member: Member
    id: UUID
    _presence: Presence
    node: UUID | None = None
    """The node under which it is entered."""

    def lost(self) -> None:
        """Say that a slot was found to be another's."""
        self._presence.look_later(self)

    async def leave(self) -> None:
        """Give back all that the member holds."""
        await self._presence.leave(self)


class Presence:
    """A process, as the other nodes on one database see it."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        session: Callable[[str], AbstractAsyncContextManager[Connection]],
    ) -> None:
        """Say that it lives over a connection made by *connect*, and look at slots over one lent by *session*."""
        self._connect = connect
        self._session = session
        self._connection: asyncpg.Connection[Any] | None = None
        self._label = f"{socket.gethostname()}:{os.getpid()}"
        self._node: UUID | None = None
        self._life = Life()
        self._turn = asyncio.Lock()
        """Held while a life begins, ends, or is told of."""
        self._sharing = asyncio.Lock()
        """Held while slots are shared out: who is told what was true before something else would give up its slots."""
        self._parts: set[Part] = set()
        self._has_parts = asyncio.Event()
        self._due: set[Part] = set()
        """Those who are to be told anew of their slots."""
        self._leaving: set[Part] = set()
        """Those who have not said that they are gone: until they have, others leave their part to them."""
        self._is_due = asyncio.Event()
        self._others: frozenset[UUID] = frozenset()
        self._numbers: dict[str, int] = {}
        """How often slots of a schema were to be shared out anew, when that was last done."""

    async def join(self, schema: str, names: Collection[str], member: Member) -> Part:
        """Have *member* run its part of the slots of *names* in *schema*; raises `StorageUnavailable`."""
        part = Part(schema, tuple(names), member, SYSTEM_CLOCK.new_id(), self)
        async with self._turn:
            if self._node is None:
                await self._begin()
            self._parts.add(part)
            self._has_parts.set()
        try:
            await self._share_out([part])
        except BaseException:
            # It may have been entered all the same, and others would wait for it to take its slots.
            self._retire(part)
            self._is_due.set()
            raise
        return part

    async def leave(self, part: Part) -> None:
        """Give back all that *part* holds; should the database be away, as soon as that is back."""
        self._retire(part)
        try:
            await self._forget(part)
        except StorageUnavailable as error:
            log.warning(LEASES_UNKNOWN, error=str(error))
            self._is_due.set()

    def look(self, schema: str) -> None:
        """Tell the members in *schema* anew of their slots, soon."""
        self._due.update(part for part in self._parts if part.schema == schema)
        self._is_due.set()

    def look_later(self, part: Part) -> None:
        """Tell *part* anew with the next heartbeat."""
        if part in self._parts:
            self._due.add(part)

    async def run(self) -> None:
        """Live, until cancelled. Whatever ends it, the members are told."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._live(), name="heartbeat")
                both.create_task(self._keep_sharing(), name="leases")
        except ExceptionGroup as failed:
            for part in self._parts:
                part.member.failed(failed.exceptions[0])
            raise
        finally:
            self._life.until = 0.0
            if self._connection is not None:
                self._connection.terminate()

    # The heartbeat -----------------------------------------------------------------------------------

    async def _live(self) -> None:
        failures = 0
        while True:
            await self._has_parts.wait()
            try:
                async with self._turn:
                    if self._node is not None:
                        await self._beat(self._node)
                    elif self._parts:
                        await self._begin()
                        self._due |= self._parts
                failures = 0
            except StorageUnavailable as error:
                # What is held runs out by itself, and what runs by it stops.
                failures += 1
                log.warning(LEASES_UNKNOWN, error=str(error))
            if self._due or self._leaving:
                self._is_due.set()
            await asyncio.sleep(RECONNECT.delay_s(failures) if failures else jitter(RENEW.total_seconds()))

    async def _beat(self, node: UUID) -> None:
        # It counts from before the question: the answer may take its time.
        until = asyncio.get_running_loop().time() + LEASE.total_seconds()
        (row,) = await self._ask(statements.BEAT, node, LEASE)
        if not row["lives"]:
            log.error(NODE_REBORN, node=str(node))
            await self._begin()
            self._due |= self._parts
        else:
            self._life.until = until
            others = frozenset(row["others"])
            if row["is_any_stale"]:
                for buried in await self._ask(statements.BURY, LEASE):
                    log.warning(NODE_BURIED, node=str(buried["node"]), label=buried["label"])
                    others -= {buried["node"]}
            if self._others - others:
                self._due |= self._parts
            self._others = others
        schemas = {part.schema for part in self._parts}
        numbers = dict(await self._ask(statements.CHANGES, list(schemas)))
        changed = {schema for schema in schemas if numbers.get(schema) != self._numbers.get(schema)}
        self._numbers = numbers
        self._due.update(part for part in self._parts if part.schema in changed)

    async def _begin(self) -> None:
        """Begin to live under a name that nobody has buried."""
        self._life.until = 0.0  # what was held in the life before is lost, whatever its clock says
        self._node = None
        node = SYSTEM_CLOCK.new_id()
        until = asyncio.get_running_loop().time() + LEASE.total_seconds()
        await self._ask(statements.BEGIN_LIFE, node, self._label)
        self._node, self._life = node, Life(until)

    async def _ask(self, statement: str, *arguments: object) -> list[Any]:
        """Run *statement* on a connection of its own: those of the stores may be busy for longer than a lease lasts."""
        connection = self._connection
        try:
            async with asyncio.timeout(HEARTBEAT_WITHIN.total_seconds()):
                if connection is None or connection.is_closed():
                    connection = self._connection = await self._connect()
                with unavailable(connection=connection), troubled():
                    return await connection.fetch(statement, *arguments)
        except TimeoutError as error:
            if connection is not None:
                connection.terminate()  # who knows whether it would ever answer
            raise StorageUnavailable("the database does not take the heartbeat") from error

    # The slots ---------------------------------------------------------------------------------------

    async def _keep_sharing(self) -> None:
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            try:
                for part in list(self._leaving):
                    await self._forget(part)
                for parts in _chunks(self._due & self._parts):
                    await self._tell(parts)
            except StorageUnavailable as error:
                log.warning(LEASES_UNKNOWN, error=str(error))  # they are due still, and the next heartbeat says so

    async def _tell(self, parts: Sequence[Part]) -> None:
        """Tell *parts* of their slots; one that cannot be told fails alone."""
        self._due.difference_update(parts)
        try:
            await self._share_out(parts)
        except StorageUnavailable:
            self._due.update(parts)
            raise
        except Exception as error:  # noqa: BLE001 - tables that are gone, or a member at fault: the others do not suffer
            if len(parts) > 1:
                for part in parts:
                    await self._tell([part])
                return
            self._retire(parts[0])
            parts[0].member.failed(error)
            self._is_due.set()

    async def _share_out(self, parts: Sequence[Part]) -> None:
        """Take for *parts* what is due to them, and tell them what they hold."""
        async with self._sharing:
            node, life = self._node, self._life
            parts = [part for part in parts if part in self._parts]
            if node is None or not parts:
                return  # it is between two lives, or they have left
            async with self._session(parts[0].schema) as connection:
                await self._enter(connection, node, [part for part in parts if part.node != node])
                counts = await _counted(connection, parts)
                await _take(connection, parts, counts)
        for part, count in zip(parts, counts, strict=True):
            if count.wanted:
                self.look_later(part)  # somebody was quicker, or holds on to them
            if part in self._parts:
                part.member.shared(Share(count.held, count.surplus, life, count.to_cut))

    async def _enter(self, connection: Connection, node: UUID, parts: Sequence[Part]) -> None:
        """Enter *parts* as members of this life, and have the others make room."""
        if not parts:
            return
        for part in parts:
            if part.node is not None:
                part.id = SYSTEM_CLOCK.new_id()  # what it held as the one before is nobody's
        names = [(number, part.id, name) for number, part in enumerate(parts) for name in part.names]
        await connection.execute(_together(statements.REMOVE_DEAD_MEMBERS, parts))
        await connection.execute(_together(statements.ENTER_MEMBERS, parts), node, *_columns(names))
        for part in parts:
            part.node = node
        await _say_changed(connection, {part.schema for part in parts})

    async def _forget(self, part: Part) -> None:
        try:
            async with self._sharing, self._session(part.schema) as connection:
                await connection.execute(statements.LEAVE, part.id)
                await connection.execute(statements.NOTIFY, [channel(part.schema)], [SLOTS_FREED])
        except asyncpg.PostgresError as error:
            log.warning(LEASES_UNKNOWN, error=describe(error))  # its tables are gone, and its part with them
        self._leaving.discard(part)
        async with self._turn:
            if self._parts or self._leaving:
                return
            self._has_parts.clear()
            if self._node is not None:
                node, self._node, self._life.until = self._node, None, 0.0
                await self._ask(statements.END_LIFE, node)

    def _retire(self, part: Part) -> None:
        """Tell *part* nothing any more; its place is kept for it until it is known to be given up."""
        self._parts.discard(part)
        self._due.discard(part)
        self._leaving.add(part)


@attrs.frozen
class Count:
    """What a member holds, is to give back, and is to take."""

    held: list[Lease] = attrs.field(factory=list[Lease])
    surplus: list[Lease] = attrs.field(factory=list[Lease])
    wanted: list[Lease] = attrs.field(factory=list[Lease])
    to_cut: list[str] = attrs.field(factory=list[str])
    """Subscriptions that are held to be cut anew, and that nobody runs."""


def _count(part: Part, rows: Sequence[Any]) -> Count:
    """Return the part that *part* has of the slots in *rows*."""
    slots: defaultdict[str, dict[int, Any]] = defaultdict(dict)
    for row in rows:
        if row["name"] in part.names:
            slots[row["name"]][row["slot"]] = row
    count = Count()
    for name, by_number in slots.items():
        owners: dict[int, UUID | None] = {
            number: row["owner"] for number, row in by_number.items() if not row["is_held"]
        }
        mine = [number for number, row in by_number.items() if row["owner"] == part.id]
        members: set[UUID] = {part.id, *next(iter(by_number.values()))["members"]}
        take, give = fair_share(part.id, owners, members)
        leases = {number: Lease(name, number, row["fence"]) for number, row in by_number.items()}
        count.held.extend(leases[number] for number in mine)
        count.surplus.extend(leases[number] for number in mine if number in give or by_number[number]["is_held"])
        count.wanted.extend(leases[number] for number in take)
        if not take and all(row["is_to_cut"] and row["owner"] not in members for row in by_number.values()):
            count.to_cut.append(name)
    return count


async def _counted(connection: Connection, parts: Sequence[Part]) -> list[Count]:
    rows: defaultdict[int, list[Any]] = defaultdict(list)
    for row in await connection.fetch(" UNION ALL ".join(_each(statements.SHARES, parts))):
        rows[row["number"]].append(row)
    return [_count(part, rows[number]) for number, part in enumerate(parts)]


async def _take(connection: Connection, parts: Sequence[Part], counts: Sequence[Count]) -> None:
    """Take what is wanted and move it to what is held: only what is as it was when we looked, and nobody has locked."""
    wanted = [(number, parts[number].id, *lease) for number, count in enumerate(counts) for lease in count.wanted]
    if not wanted:
        return
    taken = " UNION ALL ".join(f"SELECT * FROM part_{number}" for number in range(len(parts)))
    for row in await connection.fetch(_together(statements.TAKE_SLOTS, parts, taken), *_columns(wanted)):
        count, lease = counts[int(row["number"])], Lease(row["name"], row["slot"], row["fence"])
        count.wanted.remove(lease._replace(fence=lease.fence - 1))
        count.held.append(lease)


async def _say_changed(connection: Connection, schemas: Collection[str]) -> None:
    await connection.execute(statements.CHANGED, list(schemas))
    await connection.execute(statements.NOTIFY, [channel(each) for each in schemas], [SLOTS_FREED] * len(schemas))


def _each(statement: str, parts: Sequence[Part]) -> list[str]:
    """Return *statement* once for each of the schemas of *parts*."""
    return [statement.format(schema=quoted(part.schema), number=number) for number, part in enumerate(parts)]


def _together(statement: str, parts: Sequence[Part], then: str = "SELECT") -> str:
    """Return one statement that changes the schemas of all *parts*, all or nothing, and *then* selects from that."""
    each = (f"part_{number} AS ({text})" for number, text in enumerate(_each(statement, parts)))
    return f"WITH {', '.join(each)} {then}"


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _chunks(parts: Collection[Part]) -> Iterator[list[Part]]:
    """Return *parts* a few at a time, in another order for each process: two who take over meet as late as they can."""
    rest = iter(sorted(parts, key=lambda part: part.id))
    while chunk := list(islice(rest, AT_ONCE)):
        yield chunk
