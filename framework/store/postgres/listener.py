"""Knows how far the logs of a database have grown: by this process's appends, by what other nodes say, and by looking.

What is said is a hint, and a reason to look: anybody may say anything over a channel. A notification that is lost, or a
connection that is cut, delays those who wait until the next look, and never more. One connection listens for all stores
of the database, one statement tells what they appended, and one statement looks at all heads that are waited for: a
store that nobody waits at costs nothing of this.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from framework.clock import jitter
from framework.connections import answering, connect, describe, quoted, unavailable
from framework.errors import FrameworkError, StorageUnavailable
from framework.observe import LISTENER_LOST, log
from framework.policies import ANSWER_SECONDS, POLL_SECONDS, RECONNECT
from framework.store.postgres.statements import NOTIFY

if TYPE_CHECKING:
    from framework.connections import Connection

TROUBLE: Final = (FrameworkError, asyncpg.PostgresError)
"""What nothing here may end of: a server that is away, or lets nobody in, or takes no more notifications."""

PAUSE_SECONDS: Final = 0.005
"""Between two notifications: committing one is work for the database, and a busy log has news all the time."""


SLOTS_FREED: Final = "slots freed"
"""What is said when slots are to be shared out anew, or looked at; else the news is a position, the head."""

POSITION: Final = re.compile("[0-9]{1,18}", re.ASCII)

PING_SECONDS: Final = ANSWER_SECONDS
"""How long a connection that listens may hear nothing before it is asked whether it still would."""


def channel(schema: str) -> str:
    """Return the channel that news of the log in *schema* go over.

    It is an identifier, which has a longest length, and no two schemas may share one: so it is a digest.
    """
    return f"aggregate_{hashlib.sha256(schema.encode()).hexdigest()[:16]}"


class Head:
    """The head of one log as far as this process knows, and those who wait for it to move."""

    def __init__(self, schema: str, position: int, listener: Listener) -> None:
        self.schema = schema
        self.channel = channel(schema)
        self.position = position
        self._listener = listener
        self._waiters: set[asyncio.Future[None]] = set()
        self._is_closed = False
        self.woken_by: str | None = None
        """How it was last heard that the log has grown; see `EventLog.woken_by`."""

    @property
    def is_waited_for(self) -> bool:
        """Whether anybody waits for it to move."""
        return bool(self._waiters)

    def heard(self, position: int, by: str = "append") -> None:
        """Note that the log reaches at least to *position*, and wake who waits."""
        if position > self.position:
            self.position = position
            self.woken_by = by
            self._wake()

    def found(self, position: int, before: int, by: str) -> None:
        """Note that the log was seen to reach to *position*, by a look begun when it was known to reach to *before*.

        It may be less: a standby takes over without the last commits, and who waits beyond them must wait.
        """
        if self.position == before:
            self.position = position
        if position > before:
            self.woken_by = by
            self._wake()

    def told(self, news: str) -> None:
        """Note what somebody has said, who may be mistaken: unless it is old news, the log is looked at."""
        if news == SLOTS_FREED:
            self._listener.slots_freed(self.schema)
        elif not (POSITION.fullmatch(news) and int(news) <= self.position):
            self._listener.heed(self)

    def appended(self, position: int) -> None:
        """Note an append of this process, and tell the other nodes."""
        self.heard(position)
        self._listener.tell(self)

    async def wait_beyond(self, position: int) -> int:
        """Return the head once it lies above *position*."""
        while self.position <= position:
            if self._is_closed:
                raise StorageUnavailable("the store is closed")
            await self.growth(position)  # a cancelled task cancels it, too
        return self.position

    def growth(self, position: int) -> asyncio.Future[None]:
        """Return a future that is done once the head may lie above *position*."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.position > position or self._is_closed:
            waiter.set_result(None)
        else:
            self._waiters.add(waiter)
            waiter.add_done_callback(self._waiters.discard)
            self._listener.look(self)
        return waiter

    def close(self) -> None:
        """Let nobody wait any more."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class Listener:
    """What all stores of a database hear of it."""

    def __init__(
        self,
        listen_dsn: str | None,
        session: Callable[[str], AbstractAsyncContextManager[Connection]],
        slots_freed: Callable[[str], None],
    ) -> None:
        self.slots_freed = slots_freed
        """Told the schema in which slots of subscriptions were given back, or something was asked of who runs them."""
        self.is_listening = None if listen_dsn is None else False
        """Whether news of other nodes come in at this moment; None where they cannot."""
        self._listen_dsn = listen_dsn
        self._session = session
        """Lends a connection that finds the tables of a schema."""
        self._heads: dict[str, set[Head]] = {}
        """By their channels."""
        self._news: set[Head] = set()
        """Those that the other nodes have not been told of."""
        self._hinted: set[Head] = set()
        """Those of which something was said that nobody has looked for yet."""
        self._has_hints = asyncio.Event()
        self._has_news = asyncio.Event()
        self._is_waited_for = asyncio.Event()
        self._others = asyncio.Event()
        """Set when the channels are others, or the connection that listens is lost."""

    def enter(self, schema: str, position: int) -> Head:
        """Hear of the log in *schema* from now on, which has come to *position*."""
        head = Head(schema, position, self)
        self._heads.setdefault(head.channel, set()).add(head)
        self._others.set()
        return head

    def leave(self, head: Head) -> None:
        """Hear of *head* no more, and let nobody wait for it."""
        head.close()
        self._hinted.discard(head)
        heads = self._heads.get(head.channel, set())
        heads.discard(head)
        if not heads:
            self._heads.pop(head.channel, None)
        self._others.set()

    def tell(self, head: Head) -> None:
        """Tell the other nodes how far *head* has come, soon."""
        self._news.add(head)
        self._has_news.set()

    def look(self, head: Head) -> None:
        """Look at *head*, which is waited for, before long; at once, if something was said of it."""
        self._is_waited_for.set()
        if head in self._hinted:
            self._has_hints.set()

    def heed(self, head: Head) -> None:
        """Look at *head* because of what was said of it, as soon as it is waited for."""
        self._hinted.add(head)
        if head.is_waited_for:
            self._has_hints.set()

    async def run(self) -> None:
        """Listen, look and tell, until cancelled. Whatever ends it, nobody is left waiting."""
        try:
            async with asyncio.TaskGroup() as parts:
                if self._listen_dsn is not None:
                    parts.create_task(self._listen(self._listen_dsn), name="listen")
                parts.create_task(self._poll(), name="poll")
                parts.create_task(self._check(), name="check")
                parts.create_task(self._tell(), name="notify")
        finally:
            for head in self._all():
                head.close()

    def _all(self) -> list[Head]:
        return [head for heads in self._heads.values() for head in heads]

    async def _listen(self, dsn: str) -> None:
        failures = 0
        while True:
            try:
                await self._listen_once(dsn)
                failures = 0  # it did listen, for a while
            except TROUBLE as error:
                failures += 1
                if failures == 1:  # on a standby it is in vain until that takes over
                    log.warning(LISTENER_LOST, error=describe(error))
            await asyncio.sleep(RECONNECT.delay_s(failures))

    async def _listen_once(self, dsn: str) -> None:
        """Listen until the connection is lost."""
        with unavailable():
            connection = await connect(dsn)
        try:
            connection.add_termination_listener(lambda _: self._others.set())
            looked_at: set[Head] = set()
            listened: set[str] = set()
            while not connection.is_closed():
                self._others.clear()
                with answering(connection, ANSWER_SECONDS), unavailable():
                    for name in listened - self._heads.keys():
                        await connection.remove_listener(name, self._notified)
                        listened.discard(name)
                    for name in self._heads.keys() - listened:
                        await connection.add_listener(name, self._notified)
                        listened.add(name)
                # First listen, then look: what is appended in between is seen by one or the other.
                heads = {head for head in self._all() if head.channel in listened}
                await self._look_at(heads - looked_at, "reconnect")
                looked_at = heads
                self.is_listening = True
                if not await _is_set(self._others, within_s=PING_SECONDS):
                    with answering(connection, ANSWER_SECONDS), unavailable():
                        await connection.execute("SELECT 1")
        finally:
            self.is_listening = False
            connection.terminate()

    def _notified(self, _connection: Any, _pid: int, name: str, payload: object) -> None:
        for head in self._heads.get(name, ()):
            head.told(str(payload))

    async def _poll(self) -> None:
        while True:
            self._is_waited_for.clear()
            if not any(head.is_waited_for for head in self._all()):
                await self._is_waited_for.wait()
            before = {head: head.position for head in self._all()}
            await asyncio.sleep(jitter(POLL_SECONDS))
            await self._look_at(
                [
                    head
                    for head in self._all()
                    if head.is_waited_for and before.get(head, head.position) == head.position
                ],
                "poll",
            )

    async def _check(self) -> None:
        while True:
            await self._has_hints.wait()
            self._has_hints.clear()
            heads = [head for head in self._hinted if head.is_waited_for]
            self._hinted.difference_update(heads)
            await self._look_at(heads, "notification")

    async def _look_at(self, heads: Collection[Head], why: str) -> None:
        """Look at *heads* in one statement; one whose tables are gone does not hide the others."""
        try:
            await self._read(heads, why)
        except FrameworkError as error:
            log.warning(LISTENER_LOST, error=describe(error))
        except asyncpg.PostgresError as error:
            if len(heads) == 1:
                log.warning(LISTENER_LOST, error=describe(error))
                return
            for head in heads:
                await self._look_at([head], why)

    async def _read(self, heads: Collection[Head], why: str) -> None:
        if not heads:
            return
        ordered = [(head, head.position) for head in heads]
        each = (f"SELECT {n}, position FROM {quoted(head.schema)}.head" for n, (head, _) in enumerate(ordered))
        async with self._session(ordered[0][0].schema) as connection:
            rows: list[tuple[int, int]] = await connection.fetch(" UNION ALL ".join(each))
        for number, position in rows:
            head, before = ordered[number]
            head.found(position, before, why)

    async def _tell(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            told = list(self._news)
            self._news.clear()
            try:
                async with self._session(told[0].schema) as connection:
                    positions = [str(head.position) for head in told]
                    await connection.execute(NOTIFY, [head.channel for head in told], positions)
            except TROUBLE as error:
                log.warning(LISTENER_LOST, error=describe(error))  # the others look for themselves
            await asyncio.sleep(PAUSE_SECONDS)


async def _is_set(event: asyncio.Event, *, within_s: float) -> bool:
    """Return whether *event* is set before *within_s* seconds are over, as soon as that is known."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
